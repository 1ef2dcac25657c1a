"""When to try again, what is said meanwhile, and how a dead proxy is noticed."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.heartbeat import HEARTBEAT_INTERVAL, Heartbeat
from nymearemoteproxy.client.connecting.retrying import PATIENCE, Backoff, Reports, RetryingEndpoint
from nymearemoteproxy.client.rules.errors import TunnelError
from tests.support.nearby import Endpoint


class BackoffTests(SynchronousTestCase):
    def test_doubles(self) -> None:
        backoff = Backoff(lambda: 0.5)
        delays = [backoff.next() for _ in range(9)]
        self.assertEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        backoff.reset()
        self.assertEqual(backoff.next(), 1)

    def test_most(self) -> None:
        backoff = Backoff(lambda: 0.5, most=5)
        self.assertEqual([backoff.next() for _ in range(5)], [1, 2, 4, 5, 5])

    def test_chance(self) -> None:
        chances = iter([0.0, 1.0, 0.25])
        backoff = Backoff(lambda: next(chances))
        self.assertEqual([backoff.next() for _ in range(3)], [0.5, 3, 3])

    def test_realChance(self) -> None:
        delays = {Backoff().next() for _ in range(100)}
        self.assertTrue(all(0.5 <= delay < 1.5 for delay in delays))
        self.assertGreater(len(delays), 90)


class ReportsTests(SynchronousTestCase):
    def test_onceEach(self) -> None:
        said: list[str] = []
        reports = Reports(said.append)
        for text in ("a", "a", "b", "a"):
            reports.trouble(text)
        reports.trouble("c", 2.2)
        reports.trouble("c", 4.4)
        reports.over()
        reports.trouble("c", 1.0)
        self.assertEqual(said, ["a", "b", "a", "c; next attempt in 3 s", "c; next attempt in 1 s"])


class RetryingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.said: list[str] = []
        self.factory = Factory.forProtocol(Protocol)

    def retrying(self, patience: float | None = PATIENCE) -> RetryingEndpoint:
        return RetryingEndpoint(
            self.endpoint,  # type: ignore[arg-type]
            self.clock,
            Reports(self.said.append),
            lambda: Backoff(lambda: 0.5),
            patience,
        )

    def connect(self, patience: float | None = PATIENCE) -> Any:
        return self.retrying(patience).connect(self.factory)

    def attempts(self) -> int:
        return len(self.endpoint.attempts)

    def test_atOnce(self) -> None:
        connecting = self.connect()
        line = self.endpoint.succeed()
        self.assertIs(self.successResultOf(connecting), line.protocol)
        self.assertEqual((self.clock.getDelayedCalls(), self.said), ([], []))

    def test_transient(self) -> None:
        connecting = self.connect()
        for delay in (1, 2, 4):
            self.endpoint.fail(TunnelError("away", isTransient=True))
            before = self.attempts()
            self.clock.advance(delay - 0.1)
            self.assertEqual(self.attempts(), before)
            self.clock.advance(0.1)
            self.assertEqual(self.attempts(), before + 1)
        self.assertNoResult(connecting)
        self.endpoint.succeed()
        self.successResultOf(connecting)
        self.assertEqual(self.said, ["away; next attempt in 1 s"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_permanent(self) -> None:
        for problem in (TunnelError("never"), ValueError("a fault")):
            connecting = self.connect()
            self.endpoint.fail(problem)
            self.assertIs(self.failureResultOf(connecting).value, problem)
        self.assertEqual((self.clock.getDelayedCalls(), self.said), ([], []))

    def test_permanentLater(self) -> None:
        connecting = self.connect()
        self.endpoint.fail(TunnelError("away", isTransient=True))
        self.clock.advance(1)
        self.endpoint.fail(TunnelError("never"))
        self.assertEqual(str(self.failureResultOf(connecting, TunnelError).value), "never")

    def test_permanentOnceItHasWorked(self) -> None:
        """Whatever goes wrong then may pass, even what nobody thought of; one line for each."""
        retrying = self.retrying(None)
        retrying.connect(self.factory)
        self.endpoint.succeed()
        connecting = retrying.connect(self.factory)
        for problem in (TunnelError("never"), TunnelError("never"), ValueError("a\nfault")):
            self.endpoint.fail(problem)
            self.clock.advance(60)
        self.endpoint.succeed()
        self.successResultOf(connecting)
        self.assertEqual(
            self.said,
            ["never; next attempt in 1 s", "ValueError('a\\nfault'); next attempt in 4 s"],
        )

    def test_raises(self) -> None:
        """An endpoint that raises, as when no thread can be started, is one that fails."""

        def connect(_: object) -> Any:
            raise RuntimeError("can't start new thread")

        self.endpoint.connect = connect  # type: ignore[method-assign]
        self.failureResultOf(self.connect(), RuntimeError)

    def test_patienceWouldEndBeforeTheNextAttempt(self) -> None:
        connecting = self.connect()
        for delay in (1, 2, 4, 8, 16):
            self.endpoint.fail(TunnelError("away", isTransient=True))
            self.clock.advance(delay)
        self.assertNoResult(connecting)
        self.endpoint.fail(TunnelError("still away", isTransient=True))
        self.assertEqual(str(self.failureResultOf(connecting, TunnelError).value), "still away")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patienceEndsDuringAnAttempt(self) -> None:
        connecting = self.connect()
        self.endpoint.fail(TunnelError("away", isTransient=True))
        self.clock.advance(1)
        self.clock.advance(PATIENCE - 1)
        self.assertEqual(str(self.failureResultOf(connecting, TunnelError).value), "away")
        self.assertEqual(self.endpoint.cancelled, 1)

    def test_patienceEndsDuringTheFirstAttempt(self) -> None:
        connecting = self.connect()
        self.clock.advance(PATIENCE)
        problem = self.failureResultOf(connecting, TunnelError).value
        self.assertEqual(str(problem), "no connection within 60 s")

    def test_forEver(self) -> None:
        connecting = self.connect(None)
        for _ in range(50):
            self.endpoint.fail(TunnelError("away", isTransient=True))
            self.clock.advance(60)
        self.assertNoResult(connecting)
        self.assertEqual(self.attempts(), 51)

    def test_cancelled(self) -> None:
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual((self.endpoint.cancelled, self.clock.getDelayedCalls()), (1, []))
        connecting = self.connect()
        self.endpoint.fail(TunnelError("away", isTransient=True))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual((self.endpoint.cancelled, self.clock.getDelayedCalls()), (1, []))


class HeartbeatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        self.heartbeat = Heartbeat(
            self.clock, lambda: self.events.append("ask"), lambda: self.events.append("dead")
        )
        self.heartbeat.start()

    def after(self, count: int = 1) -> list[str]:
        """What has happened after so many intervals."""
        self.clock.pump([HEARTBEAT_INTERVAL] * count)
        events, self.events[:] = list(self.events), []
        return events

    def test_silence(self) -> None:
        self.clock.advance(HEARTBEAT_INTERVAL - 1)
        self.assertEqual(self.events, [])
        self.clock.advance(1)
        self.assertEqual(self.after(5), ["ask", "dead"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.heartbeat.stop()

    def test_answers(self) -> None:
        for _ in range(3):
            self.assertEqual(self.after(), ["ask"])
            self.heartbeat.heard()
        self.heartbeat.stop()
        self.assertEqual((self.after(5), self.clock.getDelayedCalls()), ([], []))

    def test_held(self) -> None:
        self.heartbeat.hold("sending")
        self.heartbeat.hold("receiving")
        self.assertEqual(self.after(4), ["ask"] * 4)
        self.heartbeat.release("sending")
        self.assertEqual(self.after(4), ["ask"] * 4)
        # The answer may come just after the end of the silence.
        self.heartbeat.release("receiving")
        self.assertEqual(self.after(), ["ask"])
        self.assertEqual(self.after(), ["dead"])

    def test_heldBetween(self) -> None:
        self.assertEqual(self.after(), ["ask"])
        self.heartbeat.hold("receiving")
        self.clock.advance(HEARTBEAT_INTERVAL - 1)
        self.heartbeat.release("receiving")
        self.clock.advance(1)
        self.assertEqual(self.events, ["ask"])
