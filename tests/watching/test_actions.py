"""What an operator can have done, and that it is counted and logged."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.records import CLOSING, Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.actions import (
    EVENT,
    AbsentError,
    Action,
    ActionError,
    Result,
    TooLateError,
)
from nymearemoteproxy.watching.condition import Condition
from tests.support.acting import ActedOn
from tests.support.admin import add, addTunnel
from tests.support.parts import makeProxy

WHO = "anna from 192.0.2.1"


class Client:
    """A connection that remembers why it was dismissed."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.outcomes: list[Outcome] = []
        self.aborted = False

    def dismiss(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def abort(self) -> None:
        self.aborted = True


class ActionsTests(SynchronousTestCase):
    """Actions on a server that remembers them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.proxy = makeProxy(self.clock, Bounds(100, 100))
        self.server = ActedOn(self.clock, self.proxy.registry)
        self.actions = self.server.actions
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def put(self, record: Record, stage: str = "tunneled") -> Client:
        """Let somebody stand for a connection."""
        record.client = client = Client(stage)
        return client

    def told(self) -> list[tuple[str, str]]:
        """Return the actions that the log has, with who asked for each, at info."""
        found = [each for each in self.events if each.get("event") == EVENT]
        self.assertEqual({each["log_level"] for each in found} - {LogLevel.info}, set())
        return [(each["action"], each["who"]) for each in found]

    def counted(self, action: Action, result: Result) -> int:
        """Return the count of that, if there is no other."""
        self.assertEqual(set(self.actions.counts), {(action, result)})
        return self.actions.counts[action, result]

    def test_endConnection(self) -> None:
        record = add(self.proxy, state="waiting")
        client = self.put(record, "waiting")
        self.actions.endConnection(record.number, WHO)
        self.assertEqual(client.outcomes, [Outcome.ENDED_BY_OPERATOR])
        self.assertEqual(self.told(), [("end-connection", WHO)])
        self.assertEqual(self.counted(Action.END_CONNECTION, Result.DONE), 1)

    def test_endTunnel(self) -> None:
        """By either of its ends."""
        first = addTunnel(self.proxy)
        assert first.partner is not None
        first.joined = first.partner.joined = 0.0
        for record in first, first.partner:
            client = self.put(record)
            self.actions.endTunnel(record.number, WHO)
            self.assertEqual(client.outcomes, [Outcome.ENDED_BY_OPERATOR])
        self.assertEqual(self.told(), [("end-tunnel", WHO)] * 2)
        self.assertEqual(self.counted(Action.END_TUNNEL, Result.DONE), 2)

    def test_noTunnel(self) -> None:
        """Neither before one begins, nor for those of the tunnel proxy, whose are many."""
        server = add(self.proxy, role=Role.SERVER)
        server.joined = 0.0
        for record in add(self.proxy, state="waiting"), server:
            client = self.put(record)
            error = self.assertRaises(AbsentError, self.actions.endTunnel, record.number, WHO)
            self.assertIn(f"connection {record.number} has no tunnel", str(error))
            self.assertEqual(client.outcomes, [])
        self.assertEqual(self.counted(Action.END_TUNNEL, Result.IMPOSSIBLE), 2)
        self.assertEqual(self.told(), [])

    def test_nobodyThere(self) -> None:
        error = self.assertRaises(AbsentError, self.actions.endConnection, 17, WHO)
        self.assertEqual(str(error), "there is no connection 17")
        self.assertEqual(self.counted(Action.END_CONNECTION, Result.IMPOSSIBLE), 1)

    def test_closing(self) -> None:
        record = add(self.proxy)
        client = self.put(record, CLOSING)
        self.assertRaises(TooLateError, self.actions.endConnection, record.number, WHO)
        self.assertEqual(client.outcomes, [])

    def test_broken(self) -> None:
        """A fault of ours: the connection goes all the same."""
        record = add(self.proxy)
        client = self.put(record)
        client.dismiss = lambda outcome: 1 / 0  # type: ignore[assignment, method-assign]
        self.actions.endConnection(record.number, WHO)
        self.assertTrue(client.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_reload(self) -> None:
        """At once, also while it drains, and not when it stops."""
        self.server.mistakes = 3
        for condition in Condition.READY, Condition.DRAINING, Condition.STARTING:
            self.server.condition = condition
            self.assertEqual(self.actions.reload(WHO).mistakes, 3)
        self.assertEqual((self.server.reloads, self.told()), (3, [("reload", WHO)] * 3))
        self.server.condition = Condition.STOPPING
        self.assertRaises(TooLateError, self.actions.reload, WHO)
        self.assertEqual(self.server.reloads, 3)

    def test_drain(self) -> None:
        """In a turn of its own, once."""
        self.actions.drain(WHO)
        self.assertEqual(self.server.drains, 0)
        self.clock.advance(0)
        self.assertEqual(self.server.drains, 1)
        self.assertEqual(self.told(), [("drain", WHO)])
        for condition, words in (
            (Condition.DRAINING, "the server drains already"),
            (Condition.STOPPING, "the server is being stopped"),
        ):
            self.server.condition = condition
            error = self.assertRaises(ActionError, self.actions.drain, WHO)
            self.assertEqual(str(error), words)
        self.clock.advance(0)
        self.assertEqual(self.server.drains, 1)

    def test_refused(self) -> None:
        """Whoever may not is told of in the log, once in a while, and counted each time."""
        for _ in range(100):
            self.actions.refused(Action.DRAIN, "otto (uid 1001, process 12)")
        self.clock.advance(10)
        lines = [each for each in self.events if each["log_level"] is LogLevel.warn]
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[0]["who"], "otto (uid 1001, process 12)")
        self.assertEqual(lines[1]["count"], 99)
        self.assertEqual(self.counted(Action.DRAIN, Result.REFUSED), 100)
