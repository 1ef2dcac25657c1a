"""What is counted of all connections."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import turns
from nymearemoteproxy.connections.counters import Counters
from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.connections.records import RECORDS_A_TURN, TCP, WEBSOCKET, Record
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import oneTurn

OPEN = st.tuples(
    st.sampled_from((TCP, WEBSOCKET)),
    st.sampled_from((None, Role.PARTNER, Role.SERVER, Role.CLIENT)),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.booleans(),
)
"""Transport, role, bytes received and sent, and whether it is over."""


class Client:
    """Stands for the protocol of a connection."""

    def __init__(self, stage: str) -> None:
        self.stage = stage


def make(number: int, transport: str, role: Role | None, received: int, sent: int) -> Record:
    """Return a connection that has carried so much."""
    record = Record(number, transport, False, "", "", "", Ticket(None), 0)
    record.role, record.received, record.sent = role, received, sent
    if role is not None:
        record.joined = 1.0
    record.client = Client("connecting" if role is None else "tunneled")
    return record


class CountersTests(SynchronousTestCase):
    """Connections that are open, and that were."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.records: dict[int, Record] = {}
        self.counters = Counters(turns.Turns(self.clock), self.records.values())

    def count(self, counting: Any) -> Any:
        """Return what is counted in turns of the reactor, and in how many."""
        taken = 0
        while not counting.called:
            oneTurn(self.clock)
            taken += 1
        return self.successResultOf(counting), taken

    @given(st.lists(OPEN, max_size=20))
    def test_same(self, connections: list[Any]) -> None:
        """All at once or in turns, and open or closed: nothing is counted twice or left out."""
        self.setUp()
        for number, (*details, isOver) in enumerate(connections):
            record = make(number, *details)
            if isOver:
                self.counters.carried(record)
            else:
                self.records[number] = record
        for _time in range(2):  # what is counted changes nothing
            load = self.counters.load()
            for name, place in (("received", 2), ("sent", 3)):
                for transport in TCP, WEBSOCKET:
                    wanted = sum(each[place] for each in connections if each[0] == transport)
                    self.assertEqual(getattr(load, name)[transport], wanted)
        opened = [each for each in connections if not each[4]]
        self.assertEqual(load.connections.total(), len(opened))
        self.assertEqual(load.servers, sum(each[1] is Role.SERVER for each in opened))
        self.assertEqual(self.count(self.counters.count())[0], load)
        self.assertEqual(self.count(self.counters.countTotals())[0], load.totals)

    def test_turns(self) -> None:
        """Many take several turns, and who leaves meanwhile is counted as at the beginning."""
        self.patch(turns, "TURN", 0)
        for number in range(3 * RECORDS_A_TURN):
            self.records[number] = make(number, TCP, Role.PARTNER, 1, 2)
        counting = self.counters.countTotals()
        oneTurn(self.clock)
        self.counters.carried(self.records.popitem()[1])
        totals, taken = self.count(counting)
        self.assertEqual(totals.traffic, 3 * RECORDS_A_TURN)
        self.assertGreaterEqual(taken, 3)
