"""Owns the checks of strangers at the port for links: how many, how long, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster import accepting
from nymearemoteproxy.cluster.accepting import LinkFactory
from nymearemoteproxy.cluster.identity import MemberIdentity, nameOf
from nymearemoteproxy.common.tally import INTERVAL
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlsclient import TlsClientTransport
from nymearemoteproxy.wires.tlstransport import TlsTransport
from tests.support.links import HERE, OTHER_SECRET, SECRET, THERE, LinkEnd
from tests.support.tlssessions import Listener, Lower


class Caller(Lower):
    """The accepted side of a connection from somewhere."""

    def __init__(self, factory: LinkFactory, peer: Any) -> None:
        super().__init__()
        self.peerAddr = peer
        self.protocol = factory.buildProtocol(peer)
        self.protocol.makeConnection(self)

    def abortConnection(self) -> None:
        super().abortConnection()
        self.lose(ConnectionAborted())


class StrangerTests(SynchronousTestCase):
    """Connections whose handshake is not finished."""

    timeLimit = 2.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.built: list[tuple[bytes | None, LinkEnd]] = []
        self.factory = LinkFactory(
            self.clock, self.build, MemberIdentity(SECRET, THERE), self.timeLimit
        )
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def build(self, member: bytes | None) -> LinkEnd:
        end = LinkEnd()
        self.built.append((member, end))
        return end

    def come(self, host: str = "192.0.2.1") -> Caller:
        kind = IPv6Address if ":" in host else IPv4Address
        return Caller(self.factory, kind("TCP", host, 4000))

    def meet(self, caller: Caller) -> Listener:
        """Let a member be at the other end; return its protocol."""
        identity = MemberIdentity(SECRET, HERE)
        protocol = Listener()
        tls = TlsClientTransport(identity.clientContext, identity.sessions, nameOf(THERE), protocol)
        lower = Lower()
        lower.protocol = direct = DirectTransport(tls)
        direct.makeConnection(lower)
        while said := lower.take():
            caller.receive(said)
            lower.receive(caller.take())
        return protocol

    def prove(self, caller: Caller) -> Listener:
        """The same, and it gets in."""
        protocol = self.meet(caller)
        self.assertEqual(protocol.handshakes, 1)
        return protocol

    def texts(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def test_silent(self) -> None:
        """It is closed in time, and heard nothing."""
        caller = self.come()
        self.clock.advance(self.timeLimit * 0.99)
        self.assertFalse(caller.aborted)
        self.clock.advance(self.timeLimit * 0.01)
        self.assertTrue(caller.aborted)
        self.assertEqual((caller.value(), caller.waiting), (b"", []))
        self.assertEqual(dict(self.factory.refused), {"too-slow": 1})
        self.assertEqual((self.factory.strangers, self.built), ({}, []))
        [text] = self.texts()
        self.assertIn("192.0.2.1:4000", text)
        self.assertIn("took too long", text)

    def test_dripping(self) -> None:
        """One byte now and then does not help."""
        caller = self.come()
        for octet in b"\x16\x03\x01\x02\x00":
            self.assertFalse(caller.aborted)
            caller.receive(bytes([octet]))
            self.clock.advance(self.timeLimit / 5)
        self.assertTrue(caller.aborted)

    def test_proven(self) -> None:
        """Who has proven who it is has all the time in the world, and is no stranger."""
        caller = self.come()
        protocol = self.prove(caller)
        self.assertEqual((len(self.factory.strangers), self.clock.getDelayedCalls()), (0, []))
        [(member, end)] = self.built
        self.assertEqual((member, end.connections), (HERE, 1))
        self.assertEqual(protocol.losses, [])
        caller.lose(ConnectionDone())
        self.assertEqual((len(end.reasons), dict(self.factory.refused)), (1, {}))

    def test_leaves(self) -> None:
        """A port scanner; it is counted once, and makes room."""
        caller = self.come()
        caller.lose(ConnectionDone())
        self.assertEqual(dict(self.factory.refused), {"not-proven": 1})
        self.assertEqual(len(self.factory.strangers), 0)
        self.assertIn("left before its handshake", self.texts()[0])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_garbage(self) -> None:
        caller = self.come()
        caller.receive(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((caller.value(), caller.disconnecting), (b"", True))
        caller.lose(ConnectionDone())
        self.assertEqual(dict(self.factory.refused), {"not-proven": 1})
        self.assertIn("http request", self.texts()[0])

    def test_namesNoMember(self) -> None:
        """A certificate of this cluster's that is for something else."""
        for name in ("localhost", HERE.hex()[:-2], "", None):
            caller = self.come()
            self.patch(TlsTransport, "peerName", name)
            self.prove(caller)
            self.assertTrue(caller.aborted)
        self.assertEqual((dict(self.factory.refused), self.built), ({"not-proven": 4}, []))

    def test_tooManyFromAddress(self) -> None:
        """The oldest of them has to go; others are not concerned."""
        self.patch(accepting, "MOST_STRANGERS_FROM_ADDRESS", 3)
        other = self.come("192.0.2.2")
        callers = [self.come() for _ in range(5)]
        self.assertEqual([caller.aborted for caller in callers], [True] * 2 + [False] * 3)
        self.assertFalse(other.aborted)
        self.assertEqual(len(self.factory.strangers), 4)
        self.prove(callers[2])
        self.come()
        self.assertFalse(callers[3].aborted)
        self.assertEqual(dict(self.factory.refused), {"too-many": 2})

    def test_sameNetwork(self) -> None:
        """An IPv6 host has all addresses of its /64."""
        self.patch(accepting, "MOST_STRANGERS_FROM_ADDRESS", 1)
        first = self.come("2001:db8::1")
        second = self.come("2001:db8:0:1::1")
        self.assertFalse(first.aborted)
        self.come("2001:db8::ffff")
        self.assertTrue(first.aborted)
        self.assertFalse(second.aborted)

    def test_tooManyInAll(self) -> None:
        """A member that comes then gets in: those that only sit there have to go."""
        self.patch(accepting, "MOST_STRANGERS", 10)
        callers = [self.come(f"192.0.2.{number}") for number in range(100)]
        self.assertEqual(sum(caller.aborted for caller in callers), 90)
        self.assertEqual(len(self.factory.strangers), 10)
        self.prove(self.come())
        self.assertEqual([member for member, _end in self.built], [HERE])
        self.assertEqual(self.factory.refused["too-many"], 91)

    def test_logsFewLines(self) -> None:
        """Of a flood there are two lines."""
        for _ in range(1000):
            self.come().lose(ConnectionDone())
        self.assertEqual(self.factory.refused["not-proven"], 1000)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.texts()), 2)
        self.assertIn("999 more", self.texts()[1])

    def test_nothingIsKept(self) -> None:
        """Whoever came and went, and why."""
        for end in ("lose", "receive"):
            for number in range(20):
                caller = self.come(f"192.0.2.{number}")
                if end == "lose":
                    caller.lose(ConnectionDone())
                else:
                    self.prove(caller)
        self.come()
        self.clock.advance(self.timeLimit + INTERVAL)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.factory.strangers), 0)
        self.assertEqual(dict(self.factory._sources), {})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_newIdentity(self) -> None:
        """For those who come from then on; who shakes hands just now goes on as it began."""
        caller = self.come()
        self.factory.identity = MemberIdentity(OTHER_SECRET, THERE)
        self.prove(caller)
        protocol = self.meet(self.come())
        self.assertEqual((protocol.handshakes, len(self.built)), (0, 1))
