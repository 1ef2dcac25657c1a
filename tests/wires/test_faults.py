"""Owns the checks of faults of our own or of a backend: they cost one connection."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.authentication.backend import Verdict
from nymearemoteproxy.connections.dismissal import ABORT_TIMEOUT
from nymearemoteproxy.meeting.place import Place
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.inmemory import InMemory


class FaultTests(InMemory):
    """Faults of our own or of a backend end one connection, with a trace in the log."""

    def test_backendRaises(self) -> None:
        """Nobody is let in when the backend fails in a way it should not."""
        self.backend.answers = False
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.backend.pending[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(json.loads(pipe.take())["status"], "error")
        pipe.lose(ConnectionDone())
        self.assertOutcomes(Outcome.AUTHENTICATION_ERROR)

    def test_internalError(self) -> None:
        def broken(*_details: object) -> None:
            raise ZeroDivisionError

        self.rendezvous.join = broken  # type: ignore[method-assign, assignment]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(pipe.lost)
        self.assertOutcomes(Outcome.INTERNAL_ERROR)

    def test_backendRaisesAtOnce(self) -> None:
        def broken(_token: str) -> Deferred[Verdict]:
            raise ZeroDivisionError

        self.backend.authenticate = broken  # type: ignore[method-assign]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(json.loads(pipe.take())["status"], "error")

    def test_legCannotBeMade(self) -> None:
        """The partner is sent away, and the key is free again."""
        one, two = self.open("TCP"), self.open("TCP")
        self.authenticate(one)

        def broken(_needsGap: bool) -> None:
            raise ZeroDivisionError

        two.protocol.makeLeg = broken
        self.authenticate(two)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(two.lost)
        self.assertTrue(one.halfClosed)
        self.assertEqual(self.rendezvous.tunnels, 0)

    def test_metTooLate(self) -> None:
        """A meeting that comes when the client has left sends the partner away."""
        met: Deferred[Any] = Deferred(lambda _met: None)
        met.addErrback(lambda _cancelled: later)
        later: Deferred[Any] = Deferred()
        released: list[None] = []
        tunnel = Tunnel(lambda: released.append(None))
        self.rendezvous.join = lambda *_details: met  # type: ignore[method-assign]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        pipe.lose(ConnectionDone())
        later.callback(Place(tunnel))
        self.assertEqual(len(released), 1)

    def test_partnersFault(self) -> None:
        """A fault on the way out of one client does not keep the other in the books."""
        one, two = self.join("TCP", "TCP")

        def broken() -> None:
            raise ZeroDivisionError

        two.loseWriteConnection = broken  # type: ignore[method-assign, assignment]
        self.assertRaises(ZeroDivisionError, one.lose, ConnectionDone())
        self.assertEqual(self.proxy.registry.gate.connections, 1)

    def test_shutDownInSpiteOfAFault(self) -> None:
        """What a fault left behind does not keep the process alive."""
        self.open("TCP")
        stopped = self.proxy.registry.dismissal.dismissAll()
        self.proxy.registry.gate.connections += 1
        for record in self.proxy.registry._records.values():
            record.client.abort = lambda: None
        self.proxy.registry.dismissal.abortAll()
        self.assertNoResult(stopped)
        self.clock.advance(ABORT_TIMEOUT)
        self.successResultOf(stopped)

    def test_rendezvousFails(self) -> None:
        met: Deferred[Any] = Deferred()
        self.rendezvous.join = lambda *_details: met  # type: ignore[method-assign]
        pipe = self.open("TCP")
        self.authenticate(pipe)
        met.errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(pipe.lost)
