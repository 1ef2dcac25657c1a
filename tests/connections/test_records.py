"""What is counted of all connections, for any connections there may be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections import records
from nymearemoteproxy.connections.limits import Ticket
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import TCP, UNIX, WEBSOCKET, Load, Record, Survey, Totals
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.parts import makeProxy

STEPS = ("come", "send", "leave", "register", "join", "look", "walk")

_NUMBERS = itertools.count(1)


def make(
    transport: str = TCP, role: Role | None = None, received: int = 0, sent: int = 0
) -> Record:
    """Return the record of a connection that is open."""
    number = next(_NUMBERS)
    record = Record(
        number, transport, False, "192.0.2.7:1", "192.0.2.0", "192.0.2.7", Ticket(None), 5.0
    )
    record.role, record.received, record.sent = role, received, sent
    record.client = SimpleNamespace(stage="waiting" if role is None else "tunneled")
    return record


def join(one: Record, other: Record) -> None:
    """Make two records partners."""
    for record, partner in ((one, other), (other, one)):
        record.role, record.joined, record.partner = Role.PARTNER, 6.0, partner
        record.client.stage = "tunneled"


class RecordTests(SynchronousTestCase):
    """One connection."""

    def test_newcomer(self) -> None:
        """Nothing is known but where it comes from."""
        record = Record(7, TCP, True, "192.0.2.7:1", "192.0.2.0", "192.0.2.7", Ticket(None), 5.0)
        self.assertEqual((record.number, record.transport, record.secure), (7, TCP, True))
        self.assertEqual((record.address, record.peer), ("192.0.2.7:1", "192.0.2.0"))
        self.assertEqual((record.host, record.started), ("192.0.2.7", 5.0))
        for name in ("worker", "received", "sent"):
            self.assertEqual(getattr(record, name), 0, name)
        for name in ("name", "uuid", "serverUuid"):
            self.assertEqual(getattr(record, name), "", name)
        for name in ("subject", "role", "trusted", "joined", "partner", "outcome", "client"):
            self.assertIsNone(getattr(record, name), name)

    def test_firstReason(self) -> None:
        """It ends for the reason that came first."""
        record = make()
        self.assertIsNone(record.outcome)
        record.endsWith(Outcome.SHUTDOWN)
        record.endsWith(Outcome.CONNECTION_LOST)
        self.assertIs(record.outcome, Outcome.SHUTDOWN)

    def test_isRegistered(self) -> None:
        """With the tunnel proxy."""
        registered = {role: make(role=role).isRegistered for role in (None, *Role)}
        self.assertEqual(
            registered,
            {None: False, Role.PARTNER: False, Role.SERVER: True, Role.CLIENT: True},
        )

    def test_small(self) -> None:
        """There may be very many."""
        self.assertRaises(AttributeError, setattr, make(), "more", 1)


class TotalsTests(SynchronousTestCase):
    """Counts of all times."""

    def test_joined(self) -> None:
        """Each role has its own."""
        totals = Totals()
        for count, role in enumerate((Role.PARTNER, Role.SERVER, Role.CLIENT), 2):
            for _ in range(count):
                totals.joined(role)
        self.assertEqual(totals, Totals(tunnels=2, servers=3, clients=4))

    def test_carried(self) -> None:
        """What clients sent, apart for the tunnel proxy."""
        totals = Totals()
        for size, role in ((1, None), (2, Role.PARTNER), (4, Role.SERVER), (8, Role.CLIENT)):
            totals.carried(make(role=role, received=size, sent=1000))
        self.assertEqual(totals, Totals(traffic=3, tunnelProxyTraffic=12))


class LoadTests(SynchronousTestCase):
    """One moment."""

    def test_nobody(self) -> None:
        """Nothing."""
        load = Load(Totals())
        load.add([])
        self.assertEqual(load, Load(Totals()))

    def test_byTransportAndState(self) -> None:
        """Connections, and bytes in both directions."""
        load = Load(Totals(traffic=100))
        load.add([make(TCP, None, 1, 2), make(TCP, None, 4, 8), make(UNIX, Role.SERVER, 16, 32)])
        self.assertEqual(load.connections, {(TCP, "waiting"): 2, (UNIX, "tunneled"): 1})
        self.assertEqual(load.received, {TCP: 5, UNIX: 16})
        self.assertEqual(load.sent, {TCP: 10, UNIX: 32})
        self.assertEqual(load.totals, Totals(traffic=100, tunnelProxyTraffic=16))
        self.assertEqual((load.tunnels, load.servers, load.clients), (0, 1, 0))
        self.assertEqual(load.registered, {(UNIX, Role.SERVER): 1})

    def test_severalOfAKind(self) -> None:
        """Those that are closed by now carry, but are none; what was counted before stays."""
        gone, server, waiting = make(received=1), make(TCP, Role.SERVER, 2), make(received=64)
        gone.client = None
        load = Load(Totals(traffic=100, tunnelProxyTraffic=200))
        load.add([gone, server, make(TCP, Role.SERVER, 4), make(UNIX, Role.CLIENT, 8), waiting])
        one, other = make(), make()
        join(one, other)
        other.received = 16
        load.add([one, other, make(TCP, Role.SERVER, 32)])
        expected = {(TCP, Role.SERVER): 3, (UNIX, Role.CLIENT): 1}
        self.assertEqual(load.registered, expected)
        self.assertEqual(load.totals, Totals(traffic=116, tunnelProxyTraffic=246))
        self.assertEqual(load.connections[TCP, "tunneled"], 5)
        self.assertEqual(load.connections[TCP, "waiting"], 1)

    def test_registering(self) -> None:
        """One that has a role and no tunnel yet is not registered."""
        record = make(role=Role.SERVER)
        record.client.stage = "registering"
        load = Load(Totals())
        load.add([record])
        self.assertEqual(load.registered, {})

    @given(
        st.lists(st.booleans(), max_size=10),
        st.integers(0, 5),
        st.integers(0, 5),
        st.integers(0, 5),
    )
    def test_tunnels(self, whole: list[bool], waiting: int, servers: int, clients: int) -> None:
        """A tunnel of which one side is gone is one, however many of them there are."""
        records = [make(WEBSOCKET) for _ in range(waiting)]
        records += [make(role=Role.SERVER) for _ in range(servers)]
        records += [make(role=Role.CLIENT) for _ in range(clients)]
        for isWhole in whole:
            one, other = make(), make()
            join(one, other)
            records.append(one)
            if isWhole:
                records.append(other)
            else:
                other.client = None
        load = Load(Totals())
        load.add(records)
        self.assertEqual(load.tunnels, len(whole))
        self.assertEqual((load.servers, load.clients), (servers, clients))
        self.assertEqual(sum(load.connections.values()), len(records))


class SurveyTests(SynchronousTestCase):
    """Walks over connections that come, join and go meanwhile."""

    def setUp(self) -> None:
        self.patch(records, "RECORDS_A_TURN", 2)

    def test_slices(self) -> None:
        """All of them, and not too many at a time."""
        given = [make(sent=1) for _ in range(5)]
        survey = Survey(Load(Totals()), given)
        self.assertEqual(list(survey), [given[:2], given[2:4], given[4:]])
        self.assertEqual(survey.load.sent, {TCP: 5})

    def test_closedMeanwhile(self) -> None:
        """What it has carried counts, but it is not there any more."""
        given = [make(), make(), make(role=Role.SERVER, received=7)]
        survey = Survey(Load(Totals()), given)
        walk = iter(survey)
        next(walk)
        given[2].client = None
        self.assertEqual(list(walk), [[]])
        self.assertEqual(survey.load.connections.total(), 2)
        self.assertEqual((survey.load.servers, survey.load.totals.tunnelProxyTraffic), (0, 7))

    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 50)), max_size=60))
    def test_whateverHappens(self, steps: list[tuple[str, int]]) -> None:
        """Nothing is counted twice, and no count of all times is ever less than the last one."""
        proxy = makeProxy(Clock())
        walk: Iterator[object] = iter(())
        survey = proxy.registry.counters.survey()
        before, sent = Totals(), 0
        for step, which in [*steps, ("walk", 0)]:
            if step == "walk":  # to its end
                for _ in walk:
                    pass
                totals = survey.load.totals
                for name in (each.name for each in fields(totals)):
                    self.assertGreaterEqual(getattr(totals, name), getattr(before, name), name)
                before = totals
                self.assertLessEqual(survey.load.tunnels, proxy.registry.counters.totals.tunnels)
                survey = proxy.registry.counters.survey()
                walk = iter(survey)
            elif step == "look":
                next(walk, None)
            else:
                sent += happen(proxy, step, which)
        everything = proxy.registry.counters.load()
        self.assertEqual(everything.connections.total(), len(proxy.registry.records))
        self.assertEqual(everything.received.total(), sent)


def happen(proxy: Proxy, step: str, which: int) -> int:
    """Let something happen to a connection, or to two; return how many bytes were sent."""
    there = list(proxy.registry.records)
    if step == "come":
        Guest(proxy)
    elif there:
        record = there[which % len(there)]
        other = there[(which + 1) % len(there)]
        if step == "send":
            record.received += which
            return which
        if step == "leave":
            record.client.leave()
        elif step == "register" and record.role is None:
            record.role = Role.SERVER
            proxy.registry.joined(record, None)
        elif step == "join" and record.role is other.role is None and record is not other:
            record.role = other.role = Role.PARTNER
            proxy.registry.joined(record, other)
            proxy.registry.joined(other, record)
    return 0
