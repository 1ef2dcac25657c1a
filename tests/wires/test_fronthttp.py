"""Owns the checks of HTTP at the front door: what a home gets of it, and what visitors are told."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.connections.records import FRONT_HTTP
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.protocol.httphead import MAX_HEAD
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.fronthttp import FrontHttp
from tests.protocol.test_fronthttp import PATH
from tests.protocol.test_httphead import head
from tests.support.fronts import HOME, NAMED, UNNAMED, VISITOR_ADDRESS, AtTheFront, Home
from tests.support.inmemory import TIMING
from tests.support.memory import Pipe

TOKEN = PATH + "abc"

ASKED = f"GET {TOKEN} HTTP/1.1\r\nHost: {NAMED}\r\nConnection: close\r\n\r\n".encode()
"""What a home gets."""

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"

SECOND = head(f"GET {PATH}xyz HTTP/1.1", f"Host: {NAMED}") + head("POST /login HTTP/1.1", "Host: x")
"""What nobody has looked at."""


def request(name: str = NAMED, target: str = TOKEN, method: str = "GET") -> bytes:
    """Return a visitor's request."""
    return head(f"{method} {target} HTTP/1.1", f"Host: {name}:80", "User-Agent: visitor")


def answer(status: str, text: str, *lines: str) -> bytes:
    """Return what a visitor is told by the proxy, on the first day of 1970."""
    lines = "Date: Thu, 01 Jan 1970 00:00:00 GMT", *lines, "Connection: close"
    if text:
        lines = *lines, "Content-Type: text/plain", f"Content-Length: {len(text)}"
    return head(f"HTTP/1.1 {status}", *lines) + text.encode()


UNKNOWN = answer("404 Not Found", "There is no such home.\n")
UNREACHABLE = answer("503 Service Unavailable", "The home cannot be reached now.\n")


class WithoutTls(AtTheFront):
    """A proxy with a front door for HTTP."""

    def setUp(self) -> None:
        super().setUp()
        self.builders[FRONT_HTTP] = lambda proxy, record: FrontHttp(
            proxy, record, lambda: self.date
        )

    def come(self, host: str = VISITOR_ADDRESS) -> Pipe:
        return self.accept(FRONT_HTTP, host=host)

    def address(self, home: Home) -> int:
        """Return the address of the visitor that has just come to a home."""
        ((what, client),) = home.told()
        self.assertEqual((what, client["clientName"]), ("ClientConnected", "front"))
        self.assertEqual(client["clientPeerAddress"], VISITOR_ADDRESS)
        address: int = client["socketAddress"]
        return address

    def send(self, home: Home, address: int, data: bytes) -> None:
        """Let a home send a visitor something."""
        home.send(address, data)
        self.settle()


class HttpVisitTests(WithoutTls):
    """Challenges, which go to their homes."""

    def test_challenge(self) -> None:
        home = self.register()
        visitor = self.visit(request())
        address = self.address(home)
        self.assertEqual(home.got(address), ASKED)
        self.send(home, address, ANSWER)
        self.assertEqual(visitor.take(), ANSWER)
        self.assertFalse(visitor.halfClosed)

    def test_names(self) -> None:
        """By whatever name the home has; each is told that it was called by."""
        home = self.register(front=True)
        for name in (NAMED.upper() + ".", "any.example.net", UNNAMED):
            self.visit(request(name))
            asked = ASKED.replace(NAMED.encode(), name.encode())
            self.assertEqual(home.got(self.address(home)), asked)

    def test_pieces(self) -> None:
        home = self.register()
        visitor = self.come()
        for octet in request():
            self.assertEqual(home.told(), [])
            visitor.receive(bytes([octet]))
        self.settle()
        self.assertEqual(home.got(self.address(home)), ASKED)

    def test_nothingBehind(self) -> None:
        """Another request, or content, never reaches the home: not with the first, nor later."""
        home = self.register()
        visitor = self.visit(request() + SECOND)
        address = self.address(home)
        visitor.receive(SECOND)
        self.send(home, address, ANSWER[:-1])
        visitor.receive(b"more" * 100)
        self.send(home, address, ANSWER[-1:])
        self.assertEqual(home.got(address), ASKED)
        self.assertEqual(visitor.take(), ANSWER)
        self.assertEqual(home.told(), [])
        self.assertEqual(visitor.producerState, "producing")

    def test_counted(self) -> None:
        """With every byte that the visitor has sent, and every one that it was sent."""
        home = self.register()
        visitor = self.visit(request() + SECOND)
        (record,) = [each for each in self.proxy.registry.records if each.transport == FRONT_HTTP]
        visitor.receive(b"1234")
        self.send(home, self.address(home), ANSWER)
        self.assertEqual(record.received, len(request() + SECOND) + 4)
        self.assertEqual(record.sent, len(ANSWER))
        self.assertEqual((record.name, record.serverUuid), ("front", str(HOME)))
        visitor.lose(ConnectionDone())
        self.assertOutcomes(Outcome.CLIENT_LEFT)

    def test_slowHome(self) -> None:
        """A home has all the time in which the visitor waits for it."""
        home = self.register()
        visitor = self.visit(request())
        address = self.address(home)
        for octet in ANSWER:
            self.clock.advance(50)
            self.send(home, address, bytes([octet]))
        self.assertEqual(visitor.take(), ANSWER)

    def test_homeEnds(self) -> None:
        """It ends the visitor's connection behind its answer, or is lost."""
        for isLost in (False, True):
            home = self.register()
            visitor = self.visit(request())
            address = self.address(home)
            self.send(home, address, ANSWER)
            if isLost:
                home.pipe.lose(ConnectionDone())
            else:
                call = b'{"id":1,"method":"TunnelProxy.DisconnectClient","params":{"socketAddress":'
                home.send(0, call + b"%d}}" % address)
            self.settle()
            self.assertEqual((visitor.take(), visitor.halfClosed), (ANSWER, True))
            visitor.receive(SECOND)
            visitor.lose(ConnectionDone())
            home.pipe.lose(ConnectionDone())
            self.settle()

    def test_visitorLeaves(self) -> None:
        """Before it is answered: the home hears of it."""
        home = self.register()
        visitor = self.visit(request())
        address = self.address(home)
        visitor.lose(ConnectionDone())
        self.settle()
        self.assertEqual(home.told(), [("ClientDisconnected", {"socketAddress": address})])


class HttpPressureTests(WithoutTls):
    """A visitor that does not take its answer."""

    terms = Terms(clientBacklog=1 << 16)

    def test_slowVisitor(self) -> None:
        """It waits where it is counted, so that a home can heed it."""
        home = self.register(flowControl=True)
        visitor = self.visit(request())
        address = self.address(home)
        visitor.stall()
        self.send(home, address, bytes(1 << 15))
        self.assertEqual(home.told(), [("ClientPaused", {"socketAddress": address})])
        visitor.drain()
        self.settle()
        self.assertEqual(home.told(), [("ClientResumed", {"socketAddress": address})])
        self.assertEqual(visitor.take(), bytes(1 << 15))


class HttpTurnedAwayTests(WithoutTls):
    """All others are answered here, and their connections end in order."""

    def test_redirected(self) -> None:
        """Whether there is such a home or not."""
        self.register()
        for number, name in enumerate((NAMED, "other.example"), 1):
            told = answer(
                "301 Moved Permanently",
                "There is nothing without TLS.\n",
                f"Location: https://{name}/x?y",
            )
            pipe = self.visit(request(name, "/x?y"))
            self.assertTurnedAway(pipe, told, *[Outcome.REDIRECTED] * number)

    def test_unknown(self) -> None:
        """A stranger is told the same of homes that are away, or want no visitors."""
        outcomes = Outcome.UNKNOWN_NAME, Outcome.SERVER_NOT_FOUND
        for number, name in enumerate(("other.example", NAMED)):
            self.assertTurnedAway(self.visit(request(name)), UNKNOWN, *outcomes[: number + 1])
        home = self.register(front=False)
        pipe = self.visit(request())
        self.assertTurnedAway(pipe, UNKNOWN, *outcomes, Outcome.VISITORS_NOT_WANTED)
        self.assertEqual(home.told(), [])

    def test_head(self) -> None:
        """RFC 9110 section 9.3.2: no answer to it has content, whatever the home says."""
        pipe = self.visit(request(method="HEAD"))
        self.assertTurnedAway(pipe, answer("404 Not Found", ""), Outcome.SERVER_NOT_FOUND)

    def test_bad(self) -> None:
        """With whatever else there is behind it."""
        for number, bad in enumerate((head("GET / HTTP/1.1"), b"\x16\x03\x01\x02\0\x01\0\x01"), 1):
            pipe = self.visit(bad + SECOND)
            told = pipe.value()
            self.assertTrue(told.startswith(b"HTTP/1.1 400 Bad Request\r\nDate: "), told)
            self.assertTurnedAway(pipe, told, *[Outcome.HTTP_REQUEST_INVALID] * number)

    def test_tooLarge(self) -> None:
        pipe = self.visit(b"GET /" + b"x" * MAX_HEAD)
        told = pipe.value()
        self.assertTrue(told.startswith(b"HTTP/1.1 414 "))
        self.assertTurnedAway(pipe, told, Outcome.MESSAGE_TOO_LARGE)

    def test_slow(self) -> None:
        """A head has to be whole in time, however many pieces come; then nothing is said."""
        pipe = self.come()
        for octet in request()[:3]:
            pipe.receive(bytes([octet]))
            self.clock.advance(TIMING.inactive / 3 - 0.01)
            self.assertFalse(pipe.halfClosed)
        self.clock.advance(0.1)
        self.assertTurnedAway(pipe, b"", Outcome.INACTIVE_TIMEOUT)

    def test_leavesEarly(self) -> None:
        for begun in (b"", request()[:-1]):
            self.visit(begun).lose(ConnectionDone())
        self.assertOutcomes(Outcome.LEFT_EARLY, Outcome.LEFT_EARLY)

    def test_nothingIsLeft(self) -> None:
        """Who is turned away takes no memory until the garbage collector comes."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        away = request()
        for said in (request(target="/"), request("other.example"), head("GET / HTTP/1.1"), away):
            pipe = self.visit(said)
            phase = weakref.ref(pipe.phase)
            pipe.lose(ConnectionDone())
            del pipe.protocol  # as a real transport does
            self.assertIsNone(phase())

    def test_stays(self) -> None:
        """Who does not close after the answer is cut off."""
        pipe = self.visit(request(target="/"))
        pipe.take()
        self.goneAfterAborting(pipe)
        self.assertOutcomes(Outcome.REDIRECTED)


class HttpCrowdTests(WithoutTls):
    """The limits of visitors are for challenges as well."""

    terms = Terms(visitorsPerServer=1)

    def test_visitors(self) -> None:
        self.register()
        self.visit(request())
        self.assertTurnedAway(self.visit(request()), UNREACHABLE, Outcome.TOO_MANY_VISITORS)


class HttpRateTests(WithoutTls):
    """So are those of tunnels."""

    limits = TunnelLimits(rate=1000, idleTimeout=60)

    def test_rate(self) -> None:
        """Also for what is dropped, which reading costs as much."""
        home = self.register()
        visitor = self.visit(request())
        visitor.receive(bytes(2000))
        self.assertEqual(visitor.producerState, "paused")
        self.clock.advance(5)
        self.assertEqual(visitor.producerState, "producing")
        self.assertEqual(home.got(self.address(home)), ASKED)

    def test_idle(self) -> None:
        """It cannot be put off by sending something that goes nowhere."""
        self.register()
        visitor = self.visit(request())
        for _ in range(6):
            self.clock.advance(10)
            visitor.receive(b"x")
        self.clock.advance(1)
        self.assertTrue(visitor.halfClosed)


class HttpAskingTests(WithoutTls):
    """The switchboard takes its time, as one on another machine would."""

    def makeSwitchboard(self) -> Any:
        return self

    def register(self, *_details: object) -> Any:
        """Keep them waiting."""
        return Deferred()

    def test_tooLong(self) -> None:
        """Whoever comes then is told so, and has been left in the kernel meanwhile."""
        pipe = self.visit(request())
        self.assertEqual(pipe.producerState, "paused")
        self.clock.advance(TIMING.inactive + 0.1)
        self.assertTurnedAway(pipe, UNREACHABLE, Outcome.INACTIVE_TIMEOUT)
