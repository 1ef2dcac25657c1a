"""Owns the checks of the front door: who is let in to which home, and what others are told."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol

from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.presence import INTERVAL, LOOKS
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import parseUuid
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires import visiting
from tests.support.fronts import HOME, NAMED, UNNAMED, VISITOR_ADDRESS, AtTheFront
from tests.support.hellos import (
    INTERNAL,
    MISSING,
    UNEXPECTED,
    UNREADABLE,
    UNRECOGNIZED,
    hello,
    helloTo,
    records,
    serverName,
)
from tests.support.inmemory import TIMING
from tests.support.memory import Pipe
from tests.wires.test_registration import Broken, Far


class VisitTests(AtTheFront):
    """Visitors who get there."""

    def test_visit(self) -> None:
        """The home has a client that begins with the hello, and all else is between the two."""
        home = self.register()
        said = helloTo(NAMED)
        visitor = self.visit(said + b"more")
        ((what, client),) = home.told()
        self.assertEqual((what, client["clientName"]), ("ClientConnected", "front"))
        self.assertEqual(client["clientPeerAddress"], VISITOR_ADDRESS)
        self.assertIsNotNone(parseUuid(client["clientUuid"]))
        address = client["socketAddress"]
        self.assertEqual(home.got(address), said + b"more")
        visitor.receive(b"request")
        self.settle()
        self.assertEqual(home.got(address), b"request")
        home.send(address, b"answer")
        self.settle()
        self.assertEqual(visitor.take(), b"answer")

    def test_names(self) -> None:
        """By whatever name the home has."""
        home = self.register(front=True)
        for name in (NAMED, NAMED.upper() + ".", "any.example.net", UNNAMED, f"www.{UNNAMED}"):
            self.visit(helloTo(name))
            ((what, client),) = home.told()
            self.assertEqual(what, "ClientConnected")
            self.assertEqual(home.got(client["socketAddress"]), helloTo(name))

    def test_pieces(self) -> None:
        """However the hello is cut, it arrives as it was sent."""
        home = self.register()
        message = hello(serverName(NAMED.encode()))
        said = records(message, *range(1, len(message)))
        visitor = self.come()
        for octet in said:
            visitor.receive(bytes([octet]))
        self.settle()
        self.assertEqual(home.got(home.told()[0][1]["socketAddress"]), said)

    def test_behindAnother(self) -> None:
        """Where a PROXY header tells who it is, that comes first, however the two are cut."""
        home = self.register()
        said = helloTo(NAMED)
        for cut in (-3, 0, 7, len(said)):
            visitor, header = self.comeIndirectly()
            cut += len(header)
            visitor.receive((header + said)[:cut])
            visitor.receive((header + said)[cut:])
            self.settle()
            ((_told, client),) = home.told()
            self.assertEqual(client["clientPeerAddress"], VISITOR_ADDRESS)
            self.assertEqual(home.got(client["socketAddress"]), said)

    def test_ends(self) -> None:
        """Each end hears of the other's."""
        home = self.register()
        for isHome in (False, True):
            visitor = self.visit(helloTo(NAMED))
            (_told, client) = home.told()[0]
            home.send(client["socketAddress"], b"last words")
            self.settle()
            if isHome:
                home.pipe.lose(ConnectionDone())
                self.settle()
                self.assertTrue(visitor.halfClosed)
            else:
                visitor.lose(ConnectionDone())
                self.settle()
                address = {"socketAddress": client["socketAddress"]}
                self.assertEqual(home.told(), [("ClientDisconnected", address)])
            self.assertEqual(visitor.take(), b"last words")

    def test_sendsNoMore(self) -> None:
        """Who sends nothing more has left: its connection is closed with no turn in between."""
        self.register()
        visitor = self.visit(helloTo(NAMED))
        self.assertFalse(IHalfCloseableProtocol.providedBy(visitor.protocol))  # as Twisted asks

    def test_counted(self) -> None:
        """It is counted as a client of the tunnel proxy, with every byte once."""
        home = self.register()
        visitor = self.come()
        (record,) = [each for each in self.proxy.registry.records if each.transport == "front"]
        self.assertEqual(record.client.stage, "connecting")
        said = helloTo(NAMED)
        visitor.receive(said)
        self.settle()
        visitor.receive(b"1234")
        home.send(home.told()[0][1]["socketAddress"], b"123")
        self.settle()
        self.assertEqual((record.received, record.sent), (len(said) + 4, 3))
        self.assertEqual((record.name, record.serverUuid), ("front", str(HOME)))
        self.assertEqual((record.client.stage, record.isRegistered), ("tunneled", True))
        self.assertIsNotNone(record.trusted)
        visitor.lose(ConnectionDone())
        self.assertOutcomes(Outcome.CLIENT_LEFT)


class ConsentTests(AtTheFront):
    """A home decides whether visitors may come."""

    def test_consent(self) -> None:
        """The operator's list says so for those who do not."""
        for front, name, mayCome in (
            (None, NAMED, True),
            (None, UNNAMED, False),
            (True, NAMED, True),
            (True, UNNAMED, True),
            (False, NAMED, False),
            (False, UNNAMED, False),
        ):
            home = self.register(**({} if front is None else {"front": front}))
            visitor = self.visit(helloTo(name))
            self.assertEqual(len(home.told()), mayCome, (front, name))
            self.assertEqual(visitor.take(), b"" if mayCome else UNRECOGNIZED)
            home.pipe.lose(ConnectionDone())
            visitor.lose(ConnectionDone())
            self.settle()
        outcomes = self.proxy.registry.counters.outcomes
        self.assertEqual(outcomes[Outcome.VISITORS_NOT_WANTED], 3)

    def test_others(self) -> None:
        """Clients that call come all the same."""
        home = self.register(front=False)
        pipe = self.open("TCP")
        self.call(
            pipe,
            "TunnelProxy.RegisterClient",
            clientName="front",
            clientUuid=str(UUID(int=7)),
            serverUuid=str(HOME),
        )
        self.settle()
        self.assertEqual([what for what, _client in home.told()], ["ClientConnected"])


class TurnedAwayTests(AtTheFront):
    """Visitors who do not get there are told why, and their connections end in order."""

    def test_unknown(self) -> None:
        names = "example.org", "homes.example.org", f"{UUID(int=0)}.homes.example.org", "."
        for number, name in enumerate(names, 1):
            pipe = self.visit(helloTo(name))
            self.assertTurnedAway(pipe, UNRECOGNIZED, *[Outcome.UNKNOWN_NAME] * number)

    def test_away(self) -> None:
        """A stranger is not told that there is such a home."""
        pipe = self.visit(helloTo(NAMED))
        self.assertTurnedAway(pipe, UNRECOGNIZED, Outcome.SERVER_NOT_FOUND)

    def test_nameless(self) -> None:
        said = records(hello())
        pipe = self.come()
        (record,) = self.proxy.registry.records
        pipe.receive(said)
        self.assertTurnedAway(pipe, MISSING, Outcome.NO_SERVER_NAME)
        self.assertEqual(record.sent, len(MISSING))

    def test_noTls(self) -> None:
        pipe = self.visit(b"GET / HTTP/1.1\r\n")
        self.assertTurnedAway(pipe, UNEXPECTED, Outcome.TLS_HANDSHAKE_FAILED)

    def test_empty(self) -> None:
        """A hello with nothing in it is not waited for."""
        pipe = self.visit(records(b"\1\0\0\0"))
        self.assertTurnedAway(pipe, UNREADABLE, Outcome.TLS_HANDSHAKE_FAILED)

    def test_slow(self) -> None:
        """A hello has to be whole in the time that a handshake has."""
        pipe = self.visit(helloTo(NAMED)[:-1])
        self.clock.advance(TIMING.tlsHandshake - 0.1)
        self.assertEqual(pipe.take(), b"")
        self.clock.advance(0.2)
        self.assertTurnedAway(pipe, INTERNAL, Outcome.TLS_HANDSHAKE_TIMEOUT)

    def test_leavesEarly(self) -> None:
        for begun in (b"", helloTo(NAMED)[:-1]):
            self.visit(begun).lose(ConnectionDone())
        self.assertOutcomes(Outcome.LEFT_EARLY, Outcome.LEFT_EARLY)

    def test_stays(self) -> None:
        """Who does not close after the farewell is cut off."""
        pipe = self.visit(helloTo("example.org"))
        pipe.take()
        self.goneAfterAborting(pipe)
        self.assertOutcomes(Outcome.UNKNOWN_NAME)

    def test_stopping(self) -> None:
        """The server stops while it is not known whom the visitor wants, or is told goodbye."""
        waiting, refused = self.come(), self.visit(helloTo("example.org"))
        for proxy in self.allProxies():
            proxy.registry.dismissal.dismissAll()
        self.clock.advance(0)
        outcomes = Outcome.UNKNOWN_NAME, Outcome.SHUTDOWN_WAITING
        self.assertTurnedAway(refused, UNRECOGNIZED, *outcomes[:1])
        self.assertTurnedAway(waiting, INTERNAL, *outcomes)


class CrowdTests(AtTheFront):
    """One home has so many visitors at a time; at a home they are no strangers any more."""

    terms = Terms(visitorsPerServer=2, clientsPerAddress=3)
    bounds = Bounds(unauthenticated=1)

    def test_visitors(self) -> None:
        home = self.register()
        visitors = [self.visit(helloTo(NAMED)) for _ in range(2)]
        for number in (1, 2):  # more than the address has places: none is lost
            pipe = self.visit(helloTo(NAMED))
            self.assertTurnedAway(pipe, INTERNAL, *[Outcome.TOO_MANY_VISITORS] * number)
        self.assertEqual(len(home.told()), 2)
        visitors.pop().lose(ConnectionDone())
        self.settle()
        self.visit(helloTo(NAMED))
        self.assertEqual(
            [what for what, _params in home.told()], ["ClientDisconnected", "ClientConnected"]
        )


class ManyClientsTests(AtTheFront):
    """The limits for clients are for visitors as well."""

    terms = Terms(clientsPerAddress=1)

    def test_address(self) -> None:
        self.register()
        self.visit(helloTo(NAMED))
        pipe = self.visit(helloTo(NAMED))
        self.assertTurnedAway(pipe, INTERNAL, Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS)


class RateTests(AtTheFront):
    """A visitor's tunnel has the limits that tunnels have."""

    limits = TunnelLimits(rate=1000, idleTimeout=60)

    def test_rate(self) -> None:
        self.register()
        visitor = self.visit(helloTo(NAMED))
        visitor.receive(bytes(1000))
        self.assertEqual(visitor.producerState, "paused")
        self.clock.advance(2)
        self.assertEqual(visitor.producerState, "producing")

    def test_idle(self) -> None:
        self.register()
        visitor = self.visit(helloTo(NAMED))
        self.clock.advance(55)
        self.assertFalse(visitor.halfClosed)
        self.clock.advance(6)
        self.assertTrue(visitor.halfClosed)


class AskingTests(AtTheFront):
    """The switchboard takes its time, as one on another machine would."""

    def makeSwitchboard(self) -> Any:
        self.answer: Deferred[Place] = Deferred()
        return self

    def register(self, *_details: object) -> Any:
        """Keep them waiting."""
        return self.answer

    def placed(self) -> tuple[Far, list[str]]:
        """Return the home's end of the tunnel that the visitor is given, and whether it is free."""
        released: list[str] = []
        tunnel = Tunnel(lambda: released.append("free"))
        far = Far()
        tunnel.attach(far)
        self.answer.callback(Place(tunnel))
        return far, released

    def assertWaits(self, pipe: Pipe) -> None:
        self.assertEqual((pipe.producerState, pipe.take(), pipe.halfClosed), ("paused", b"", False))

    def test_notReadMeanwhile(self) -> None:
        """What comes meanwhile is left in the kernel."""
        pipe = self.visit(helloTo(NAMED))
        self.assertWaits(pipe)
        far, _released = self.placed()
        self.assertEqual((pipe.producerState, far.received), ("producing", helloTo(NAMED)))

    def test_homeLeavesMeanwhile(self) -> None:
        """The place is there, and its tunnel is given up before the visitor is in it."""
        pipe = self.visit(helloTo(NAMED))
        tunnel = Tunnel(lambda: None)
        tunnel.attach(Far())
        tunnel.abandon()
        self.answer.callback(Place(tunnel))
        self.assertEqual(pipe.producerState, "producing")
        self.assertTurnedAway(pipe, b"", Outcome.PARTNER_LEFT)

    def test_behindAnother(self) -> None:
        """Nor is what came with the PROXY header left behind."""
        pipe, header = self.comeIndirectly()
        pipe.receive(header + helloTo(NAMED))
        self.assertWaits(pipe)
        far, _released = self.placed()
        self.assertEqual((pipe.producerState, far.received), ("producing", helloTo(NAMED)))

    def test_tooLong(self) -> None:
        """It is not waited for as long as it likes; a place that is found then is given up."""
        pipe = self.visit(helloTo(NAMED))
        self.clock.advance(TIMING.inactive - 0.1)
        self.assertWaits(pipe)
        self.clock.advance(0.2)
        self.assertEqual(pipe.producerState, "producing")
        self.assertTurnedAway(pipe, INTERNAL, Outcome.INACTIVE_TIMEOUT)
        far, released = self.placed()
        self.assertEqual((released, far.outcome), (["free"], Outcome.PARTNER_LEFT))

    def test_leavesMeanwhile(self) -> None:
        pipe = self.visit(helloTo(NAMED))
        pipe.lose(ConnectionDone())
        far, released = self.placed()
        self.assertEqual((released, far.outcome), (["free"], Outcome.PARTNER_LEFT))
        self.assertOutcomes(Outcome.LEFT_EARLY)

    def test_cutOffMeanwhile(self) -> None:
        """It is ended by somebody else, and that reason counts."""
        self.visit(helloTo(NAMED))
        (record,) = self.proxy.registry.records
        record.client.dismiss(Outcome.ADDRESS_DENIED)
        _far, released = self.placed()
        self.assertEqual(released, ["free"])
        self.assertOutcomes(Outcome.ADDRESS_DENIED)

    def test_refusedTooLate(self) -> None:
        pipe = self.visit(helloTo(NAMED))
        pipe.lose(ConnectionDone())
        self.answer.errback(PlaceRefused(Outcome.SERVER_NOT_FOUND))
        self.assertEqual(pipe.take(), b"")

    def test_isThere(self) -> None:
        """Another member may want to know whether the visitor still is; the kernel knows."""
        for lastAck, isThere in ((0, True), (1_000_000, False)):
            pipe = self.visit(helloTo(NAMED))
            *_others, record = self.proxy.registry.records
            looked = self.proxy.registry.presence.look(record)
            pipe.lastAck = lastAck
            self.clock.pump([INTERVAL] * LOOKS)
            self.assertEqual(self.successResultOf(looked), isThere)
        self.assertOutcomes(Outcome.PING_TIMEOUT)


class FaultTests(AtTheFront):
    """A fault of ours costs one connection, and nobody hears of it but the log."""

    def makeSwitchboard(self) -> Any:
        return self

    def register(self, *_details: object) -> Any:
        """Do what a broken one may."""
        return self.broken()

    def raises(self) -> Any:
        raise ZeroDivisionError

    def fails(self) -> Any:
        return fail(ZeroDivisionError())

    def cannotBeAttached(self) -> Any:
        self.released: list[str] = []
        tunnel = Tunnel(lambda: self.released.append("free"))
        tunnel.attach(Broken())
        return succeed(Place(tunnel))

    def hasNoLeg(self) -> Any:
        self.patch(visiting, "hasLimits", lambda *_: self.raises())
        tunnel = Tunnel(lambda: self.released.append("free"))
        tunnel.attach(Far())
        return succeed(Place(tunnel))

    def test_faults(self) -> None:
        for broken in (self.raises, self.fails, self.cannotBeAttached, self.hasNoLeg):
            self.broken = broken
            pipe = self.visit(helloTo(NAMED))
            self.assertTrue(pipe.lost)
            (error,) = self.flushLoggedErrors()
            self.assertTrue(error.check(ZeroDivisionError), error)
        self.assertEqual(self.released, ["free", "free"])
        self.assertOutcomes(*[Outcome.INTERNAL_ERROR] * 4)
