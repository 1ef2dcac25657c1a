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
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, NAME_SIZE
from nymearemoteproxy.cluster.identity import PROOF_SIZE, MemberIdentity, nameOf
from nymearemoteproxy.common.tally import INTERVAL
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlsclient import TlsClientTransport
from tests.support.links import ELSEWHERE, HERE, OTHER_SECRET, SECRET, THERE, LinkEnd
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
    """Connections of those who have not proven who they are."""

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

    def meet(self, caller: Caller, greeting: bytes | None = None) -> Listener:
        """Let a member be at the other end; return its protocol.

        :param greeting: what it proves itself with; None = as it should.
        """
        identity = MemberIdentity(SECRET, HERE)
        protocol = Listener()
        tls = TlsClientTransport(
            identity.clientContext,
            identity.sessions,
            nameOf(THERE),
            protocol,
            preface=identity.prefaceTo(THERE),
            greeting=identity.proofTo(THERE) if greeting is None else greeting,
        )
        self.lower = lower = Lower()
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
        for octet in THERE.hex().encode()[:5]:
            self.assertFalse(caller.aborted)
            caller.receive(bytes([octet]))
            self.clock.advance(self.timeLimit / 5)
        self.assertTrue(caller.aborted)

    def test_unfinishedHandshake(self) -> None:
        """Whose first bytes are a member's has no more time for the handshake."""
        caller = self.come()
        caller.receive(MemberIdentity(SECRET, HERE).prefaceTo(THERE) + b"\x16\x03\x01\x02\x00")
        self.clock.advance(self.timeLimit * 0.99)
        self.assertFalse(caller.aborted)
        caller.receive(b"\x01")
        self.clock.advance(self.timeLimit * 0.01)
        self.assertTrue(caller.aborted)
        self.assertEqual(dict(self.factory.refused), {"too-slow": 1})

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
        self.assertIn("left before it had proven itself", self.texts()[0])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_garbage(self) -> None:
        """Also behind what a link begins with, where it is for TLS to refuse it."""
        caller = self.come()
        caller.receive(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((caller.value(), caller.aborted), (b"", True))
        self.assertIn("another member", self.texts()[0])
        self.clock.advance(INTERVAL)
        caller = self.come()
        caller.receive(MemberIdentity(SECRET, HERE).prefaceTo(THERE) + b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((caller.value(), caller.disconnecting), (b"", True))
        caller.lose(ConnectionDone())
        self.assertEqual(dict(self.factory.refused), {"not-proven": 2})
        self.assertIn("http request", self.texts()[1])

    def test_wrongProof(self) -> None:
        """Whoever gets as far as that: a session, and nobody hears of it."""
        for greeting in (
            MemberIdentity(OTHER_SECRET, HERE).proofTo(THERE),
            MemberIdentity(SECRET, HERE).proofTo(ELSEWHERE),
            bytes(PROOF_SIZE),
            b"GET / HTTP/1.1\r\n\r\n" * 3,
        ):
            caller = self.come()
            protocol = self.meet(caller, greeting)
            self.assertEqual((protocol.handshakes, protocol.chunks), (1, []))
            self.assertTrue(caller.aborted)
        self.assertEqual((dict(self.factory.refused), self.built), ({"not-proven": 4}, []))
        self.assertIn("its proof is wrong", self.texts()[0])

    def test_noProof(self) -> None:
        """It has the time of the handshake for both; bytes now and then do not help."""
        caller = self.come()
        protocol = self.meet(caller, b"")
        for _ in range(PROOF_SIZE - 1):
            self.clock.advance(self.timeLimit / PROOF_SIZE)
            protocol.transport.write(b"x")
            caller.receive(self.lower.take())
            self.assertFalse(caller.aborted)
        self.clock.advance(self.timeLimit / PROOF_SIZE)
        self.assertTrue(caller.aborted)
        self.assertEqual((dict(self.factory.refused), self.built), ({"too-slow": 1}, []))

    def test_leavesWithoutProof(self) -> None:
        caller = self.come()
        self.meet(caller, b"x").transport.loseConnection()
        caller.receive(self.lower.take())
        caller.lose(ConnectionDone())
        self.assertEqual((dict(self.factory.refused), self.built), ({"not-proven": 1}, []))
        self.assertEqual(len(self.factory.strangers), 0)

    def test_piecewise(self) -> None:
        """Cut anywhere; what follows the proof is the protocol's."""
        said = MemberIdentity(SECRET, HERE).proofTo(THERE) + b"line"
        for place in (1, MEMBER_SIZE, PROOF_SIZE - 1, PROOF_SIZE, PROOF_SIZE + 1, len(said)):
            caller = self.come()
            protocol = self.meet(caller, said[:place])
            self.assertEqual(len(self.built), place >= PROOF_SIZE)
            protocol.transport.write(said[place:] + b"s")
            caller.receive(self.lower.take())
            [(member, end)] = self.built
            self.assertEqual((member, end.connections, bytes(end.payload)), (HERE, 1, b"lines"))
            self.built.clear()

    def test_preface(self) -> None:
        """Without the right one there is no TLS, however it arrives."""
        preface = MemberIdentity(SECRET, HERE).prefaceTo(THERE)
        for wrong, text in (
            (MemberIdentity(SECRET, HERE).prefaceTo(ELSEWHERE), "for another member"),
            (ELSEWHERE.hex().encode(), "for another member"),
            (MemberIdentity(OTHER_SECRET, HERE).prefaceTo(THERE), "another secret"),
            (preface[:-1] + b"x", "another secret"),
            (preface[:NAME_SIZE] + b"\2" + preface[NAME_SIZE + 1 :], "another secret"),
        ):
            for size in (1, len(wrong)):
                caller = self.come()
                for start in range(0, len(wrong), size):
                    self.assertFalse(caller.aborted)
                    caller.receive(wrong[start : start + size])
                    if caller.aborted:
                        break
                self.assertTrue(caller.aborted)
                self.assertEqual((caller.value(), caller.waiting), (b"", []))
                self.clock.advance(INTERVAL)
            self.assertIn(text, self.texts()[-1])
        self.assertEqual(dict(self.factory.refused), {"not-proven": 10})

    def test_replayed(self) -> None:
        """Who has seen a link begin does not get as far as TLS with that."""
        preface = MemberIdentity(SECRET, HERE).prefaceTo(THERE)
        self.come().receive(preface)
        caller = self.come()
        caller.receive(preface)
        self.assertEqual((caller.value(), caller.aborted), (b"", True))
        self.assertIn("used before", self.texts()[0])

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
