"""Owns the checks of links that are made and taken, on real sockets."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import unix
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.python import sendmsg
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster import accepting, linking
from nymearemoteproxy.cluster.accepting import listenLocally
from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.identity import MemberIdentity
from nymearemoteproxy.cluster.linking import (
    RETRY_INTERVAL,
    Linker,
    LinkError,
    LinkFailed,
    LinkRefused,
    isOurs,
    tcpAddress,
    unixAddress,
)
from nymearemoteproxy.cluster.localsockets import LocalPort
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.links import (
    ELSEWHERE,
    HERE,
    OTHER_SECRET,
    SECRET,
    THERE,
    LinkCase,
    Sender,
    shortDirectory,
)
from tests.support.wires import Inline, reactor

SNI = "sni_callback"

SOON = 0.2
"""Seconds of a time limit that is to pass."""


class Stopped:
    """A process that listens, and is stopped as with Ctrl-Z: the kernel accepts for it."""

    program = (
        "import os, signal, socket, sys\n"
        "listener = socket.socket(socket.AF_INET if len(sys.argv) < 2 else socket.AF_UNIX)\n"
        "listener.bind(('127.0.0.1', 0) if len(sys.argv) < 2 else sys.argv[1])\n"
        "listener.listen()\n"
        "print(listener.getsockname(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.program], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        self.port = int(said.rpartition(",")[2].rstrip(")\n"))
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class LocalTests(LinkCase):
    """Links within a machine."""

    def setUp(self) -> None:
        super().setUp()
        self.links = self.factory(None)
        self.directory = os.path.join(shortDirectory(self), "links")
        self.path, port = listenLocally(reactor, self.directory, THERE, self.links)
        self.addCleanup(port.stopListening)
        self.member = Member(THERE, unixAddress(self.path), 1)
        self.linker = Linker(reactor)

    @inlineCallbacks
    def test_link(self) -> Inline:
        """Both ends have direct transports, and may write as soon as they have them."""
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        near = self.end()
        yield self.linker.connect(self.member, near)
        near.send(b"hello")
        member, far = yield self.accepted.get()
        self.assertIsNone(member)
        self.assertEqual((yield far.take(5)), b"hello")
        far.send(b"welcome")
        self.assertEqual((yield near.take(7)), b"welcome")
        for end in (near, far):
            self.assertIsInstance(end.transport, DirectTransport)
            self.assertEqual(end.connections, 1)
        near.leave()
        yield far.gone()

    @inlineCallbacks
    def test_room(self) -> Inline:
        """The kernel has room for more at both ends than it gives a Unix socket unasked."""
        near = self.end()
        yield self.linker.connect(self.member, near)
        _member, far = yield self.accepted.get()

        def roomOf(handle: socket.socket) -> int:
            return handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

        with socket.socket(socket.AF_UNIX) as plain:
            for end in (near, far):
                self.assertGreater(roomOf(end.transport.getHandle()), roomOf(plain))

    @inlineCallbacks
    def test_passedDescriptors(self) -> Inline:
        """Nobody looks for any: the kernel closes them. What they came with is read."""
        self.patch(sendmsg, "recvmsg", None)
        near = self.end()
        yield self.linker.connect(self.member, near)
        _member, far = yield self.accepted.get()
        for one, other in ((near, far), (far, near)):
            reading, writing = os.pipe2(os.O_NONBLOCK)
            self.addCleanup(os.close, reading)
            with contextlib.closing(one.transport.getHandle().dup()) as handle:
                socket.send_fds(handle, [b"with"], [writing])
            os.close(writing)
            self.assertEqual((yield other.take(4)), b"with")
            self.assertEqual(os.read(reading, 1), b"")

    @inlineCallbacks
    def test_notThere(self) -> Inline:
        """The file is gone, or is left of a process that was killed: so is the member."""
        dead = os.path.join(self.directory, "dead")
        with socket.socket(socket.AF_UNIX) as handle:
            handle.bind(dead)
        for path in (self.path + "x", dead, os.path.join(self.directory, "none", "at all")):
            end = self.end()
            member = Member(ELSEWHERE, unixAddress(path), 1)
            yield self.assertFailure(self.linker.connect(member, end), LinkRefused)
            self.assertEqual(end.connections, 0)

    @inlineCallbacks
    def test_noPath(self) -> Inline:
        """An address that cannot be one is none."""
        member = Member(ELSEWHERE, unixAddress("/\ud800"), 1)
        failure = yield self.assertFailure(self.linker.connect(member, self.end()), LinkFailed)
        self.assertIn("cannot be read", str(failure))

    @inlineCallbacks
    def test_backlogFull(self) -> Inline:
        """It does not take connections, for it is frozen: that is no refusal."""
        path = os.path.join(self.directory, "full")
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(path)
            listener.listen(0)
            first.connect(path)
            member = Member(ELSEWHERE, unixAddress(path), 1)
            linker = Linker(reactor, timeout=SOON)
            yield self.assertFailure(linker.connect(member, self.end()), LinkFailed)
            near = self.end()
            linking = Linker(reactor, timeout=20).connect(member, near)
            self.assertFalse(linking.called)
            listener.accept()[0].close()
            yield linking
            self.assertEqual(near.connections, 1)
            waiting = Linker(reactor, timeout=20).connect(member, self.end())
            waiting.cancel()
            yield self.assertFailure(waiting, CancelledError)
            refused = Linker(reactor, timeout=20).connect(member, self.end())
            self.assertFalse(refused.called)
        yield self.assertFailure(refused, LinkRefused)
        self.assertLess(RETRY_INTERVAL, SOON)

    @inlineCallbacks
    def test_otherUser(self) -> Inline:
        """Who takes our links, or makes one, must be ours: neither end hears of the other."""
        self.patch(linking, "isOurs", lambda _handle: False)
        near = self.end()
        failure = yield self.assertFailure(self.linker.connect(self.member, near), LinkFailed)
        self.assertIn("another user", str(failure))
        self.assertEqual(near.connections, 0)
        _member, far = yield self.accepted.get()
        yield far.gone()
        self.patch(linking, "isOurs", lambda _handle: True)
        self.patch(accepting, "isOurs", lambda _handle: False)
        yield self.linker.connect(self.member, near)
        reason, text = yield self.links.refusals.get()
        self.assertEqual((reason, text), ("other-user", "it is another user's"))
        self.assertEqual((self.links.refused["other-user"], self.accepted.pending), (1, []))
        yield near.gone()

    def test_whoIsOurs(self) -> None:
        """The kernel tells, at the moment of connecting."""
        one, other = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(other.close)
        self.assertTrue(isOurs(one))

        class Handle:
            """A socket with a process of user 1000 at its other end."""

            family = socket.AF_UNIX
            user = 1000

            def getsockopt(self, *option: int) -> bytes:
                assert option[:2] == (socket.SOL_SOCKET, socket.SO_PEERCRED)
                return struct.pack("iII", 4711, self.user, 100)

        handle: Any = Handle()
        for own, peer, expected in (
            (1000, 1000, True),
            (1001, 1000, False),
            (0, 1000, False),
            (1000, 0, True),
            (1000, 65534, False),
        ):
            self.patch(os, "geteuid", lambda own=own: own)
            handle.user = peer
            self.assertEqual(isOurs(handle), expected)

    @inlineCallbacks
    def test_noDescriptors(self) -> Inline:
        """None is to be had for a socket: that says nothing of the member."""

        def exhausted(*_arguments: int) -> None:
            raise OSError(24, "Too many open files")

        self.patch(linking.socket, "socket", exhausted)
        failure = yield self.assertFailure(self.linker.connect(self.member, self.end()), LinkFailed)
        self.assertEqual(str(failure), "Too many open files")


class PlaceTests(SynchronousTestCase):
    """Where a member has its Unix socket."""

    def refusal(self, directory: str) -> str:
        nothing: Any = None
        error = self.assertRaises(LinkError, listenLocally, nothing, directory, HERE, nothing)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_private(self) -> None:
        """The directory is ours only, whoever made it."""
        directory = shortDirectory(self)
        for mode in (0o750, 0o701, 0o777):
            os.chmod(directory, mode)
            self.assertIn("with mode 700", self.refusal(directory))
        os.chmod(directory, 0o700)
        user = os.geteuid() + 1
        self.patch(os, "geteuid", lambda: user)
        self.assertIn("of our own", self.refusal(directory))

    def test_noDirectory(self) -> None:
        """Something else is there, or leads there."""
        place = shortDirectory(self)
        os.symlink(".", os.path.join(place, "link"))
        self.assertIn("of our own", self.refusal(os.path.join(place, "link")))
        open(os.path.join(place, "file"), "w").close()
        self.assertIn("cannot make", self.refusal(os.path.join(place, "file")))
        self.assertIn("cannot make", self.refusal(os.path.join(place, "file", "directory")))

    def test_cannotListen(self) -> None:
        """The system does not let us; it is said where, and why."""

        def refuse(port: LocalPort) -> None:
            raise CannotListenError(None, port.port, OSError(28, "No space left on device"))

        # Not of our own class, to which it would stick.
        self.patch(unix.Port, "startListening", refuse)
        directory, nothing = shortDirectory(self), None
        error = self.assertRaises(LinkError, listenLocally, reactor, directory, HERE, nothing)
        self.assertIn(f"cannot listen on {directory}", str(error))
        self.assertIn("No space left", str(error))

    def test_tooLong(self) -> None:
        self.assertIn("too long", self.refusal("/tmp/" + "x" * 70))


class RemoteTests(LinkCase):
    """Links between machines."""

    @inlineCallbacks
    def test_link(self) -> Inline:
        """Each end knows who is at the other one before it hears of the connection."""
        member = self.listen(self.factory(MemberIdentity(SECRET, THERE)))
        near = self.end()
        yield self.linker().connect(member, near)
        near.send(b"hello")
        known, far = yield self.accepted.get()
        self.assertEqual(known, HERE)
        self.assertEqual((yield far.take(5)), b"hello")
        far.send(b"welcome")
        self.assertEqual((yield near.take(7)), b"welcome")
        self.assertEqual((near.connections, far.connections), (1, 1))
        for end in (near, far):
            handle = end.transport.lowest.getHandle()
            self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 5)
            # It would cut links whose reader is slow.
            self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), 0)
        near.leave()
        yield far.gone()
        yield near.gone()
        self.assertEqual(len(near.reasons), 1)

    @inlineCallbacks
    def test_ipv6(self) -> Inline:
        try:
            member = self.listen(self.factory(MemberIdentity(SECRET, THERE)), "::1")
        except Exception as error:
            self.skipTest(f"there is no IPv6: {error}")
        self.assertIn(r"tcp:\:\:1:", member.address)
        yield self.linker().connect(member, self.end())
        self.assertEqual((yield self.accepted.get())[0], HERE)

    @inlineCallbacks
    def test_resumed(self) -> Inline:
        """From the second link on; who is there is proven all the same."""
        identity = MemberIdentity(SECRET, THERE)
        member = self.listen(self.factory(identity))
        linker = self.linker()
        for isResumed in (False, True, True):
            near = self.end()
            yield linker.connect(member, near)
            known, far = yield self.accepted.get()
            far.send(b"x")
            yield near.take(1)
            self.assertEqual(known, HERE)
            for end in (near, far):
                self.assertEqual(end.transport._tls.session_reused, isResumed)
            # A ticket makes OpenSSL keep 16 KiB for good.
            self.assertEqual(identity.serverContext.num_tickets, not isResumed)
        # Another one comes with a whole handshake, and is known as another.
        yield self.linker(id=ELSEWHERE).connect(member, self.end())
        known, far = yield self.accepted.get()
        self.assertEqual((known, far.transport._tls.session_reused), (ELSEWHERE, False))

    @inlineCallbacks
    def test_resumedByAnother(self) -> Inline:
        """A session proves nothing of the asker: who has got one needs a proof of its own."""
        factory = self.factory(MemberIdentity(SECRET, THERE))
        member = self.listen(factory)
        linker = self.linker()
        near = self.end()
        yield linker.connect(member, near)
        _known, far = yield self.accepted.get()
        far.send(b"x")
        yield near.take(1)
        wrong = MemberIdentity(OTHER_SECRET, HERE).proofTo(THERE)
        self.patch(linker.identity, "proofTo", lambda _server: wrong)
        near = self.end()
        yield linker.connect(member, near)
        self.assertTrue(near.transport._tls.session_reused)
        self.assertEqual((yield factory.refusals.get()), ("not-proven", "its proof is wrong"))
        yield near.gone()

    @inlineCallbacks
    def test_fewWrites(self) -> Inline:
        """The proof goes with the handshake and the first line, the preface with the hello."""
        member = self.listen(self.factory(MemberIdentity(SECRET, THERE)))
        writes: list[bytes] = []
        write = DirectTransport.write

        def written(transport: DirectTransport, data: bytes) -> None:
            writes.append(data)
            write(transport, data)

        self.patch(DirectTransport, "write", written)
        linker = self.linker()
        for expected in (4, 3):  # by both ends; one is the ticket of the first link
            near = self.end()
            near.onConnection = partial(near.send, b"line")
            yield linker.connect(member, near)
            known, far = yield self.accepted.get()
            self.assertEqual((known, (yield far.take(4))), (HERE, b"line"))
            self.assertEqual(len(writes), expected)
            far.send(b"x")
            yield near.take(1)
            writes.clear()

    @inlineCallbacks
    def test_wrongProof(self) -> Inline:
        """It is refused, and hears nothing."""
        factory = self.factory(MemberIdentity(SECRET, THERE))
        member = self.listen(factory)
        linker = self.linker()
        wrong = MemberIdentity(SECRET, HERE).proofTo(ELSEWHERE)
        self.patch(linker.identity, "proofTo", lambda _server: wrong)
        near = self.end()
        yield linker.connect(member, near)
        near.send(b"line")
        self.assertEqual((yield factory.refusals.get()), ("not-proven", "its proof is wrong"))
        yield near.gone()
        self.assertEqual((bytes(near.payload), self.accepted.pending), (b"", []))
        self.assertEqual(len(factory.strangers), 0)

    @inlineCallbacks
    def test_otherSecret(self) -> Inline:
        """Either side has another one: the one hears nothing, the other is counted."""
        factory = self.factory(MemberIdentity(SECRET, THERE))
        member = self.listen(factory)
        near = self.end()
        linker = self.linker(OTHER_SECRET)
        failure = yield self.assertFailure(linker.connect(member, near), LinkFailed)
        self.assertIn("perhaps", str(failure))
        self.assertEqual((yield factory.refusals.get()), ("not-proven", "it has another secret"))
        # It learns the secret.
        linker.identity = MemberIdentity(SECRET, HERE)
        yield linker.connect(member, near)
        self.assertEqual((yield self.accepted.get())[0], HERE)
        # The member has another one from now on.
        factory.identity = MemberIdentity(OTHER_SECRET, THERE)
        yield self.assertFailure(linker.connect(member, self.end()), LinkFailed)
        yield factory.refusals.get()
        self.assertEqual((factory.refused["not-proven"], len(factory.strangers)), (2, 0))
        self.assertEqual(self.accepted.pending, [])

    @inlineCallbacks
    def test_socketInDirectory(self) -> Inline:
        """A cluster's directory sends nobody to a Unix socket, which may be of root's services."""
        directory = shortDirectory(self)
        path, port = listenLocally(reactor, directory, THERE, self.factory(None))
        self.addCleanup(port.stopListening)
        member = Member(ELSEWHERE, unixAddress(path), 1)
        linked = self.linker().connect(member, self.end())
        failure = yield self.assertFailure(linked, LinkFailed)
        self.assertIn("cannot be read", str(failure))
        self.assertEqual(self.accepted.pending, [])

    @inlineCallbacks
    def test_notTheOneThatWasMeant(self) -> Inline:
        """Another member is at that address: it does not answer, or says so, or is found out."""
        identity = MemberIdentity(SECRET, THERE)
        factory = self.factory(identity)
        member = self.listen(factory, id=ELSEWHERE)
        for text, change in (
            ("it closed", lambda: setattr(identity, "id", ELSEWHERE)),
            ("another member is there", lambda: setattr(identity.serverContext, SNI, None)),
            ("not who it should be: hostname mismatch", lambda: None),
        ):
            near = self.end()
            failure = yield self.assertFailure(self.linker().connect(member, near), LinkFailed)
            self.assertIn(text, str(failure).lower())
            self.assertEqual(near.connections, 0)
            yield factory.refusals.get()
            change()
        self.assertEqual(self.accepted.pending, [])

    @inlineCallbacks
    def test_refused(self) -> Inline:
        """Nobody listens there."""
        with socket.socket() as handle:
            handle.bind(("127.0.0.1", 0))
            member = Member(THERE, tcpAddress(*handle.getsockname()), 1)
            near = self.end()
            yield self.assertFailure(self.linker().connect(member, near), LinkRefused)
        self.assertEqual(near.connections, 0)

    @inlineCallbacks
    def test_stopped(self) -> Inline:
        """The member's process is stopped; the kernel connects, and nobody proves anything."""
        stopped = Stopped()
        self.addCleanup(stopped.close)
        member = Member(THERE, tcpAddress("127.0.0.1", stopped.port), 1)
        near = self.end()
        linker = self.linker(timeout=SOON)
        yield self.assertFailure(linker.connect(member, near), LinkFailed)
        self.assertEqual(near.connections, 0)

    @inlineCallbacks
    def test_backlogFull(self) -> Inline:
        """Not even the kernel connects."""
        with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for handle in (first, second):
                handle.setblocking(False)
                handle.connect_ex(listener.getsockname())
            member = Member(THERE, tcpAddress(*listener.getsockname()), 1)
            linker = self.linker(timeout=SOON)
            yield self.assertFailure(linker.connect(member, self.end()), LinkFailed)

    @inlineCallbacks
    def test_somethingElse(self) -> Inline:
        """What listens there speaks no TLS, or closes."""
        for greeting in (b"220 mail.example ESMTP\r\n", b""):

            class Other(Protocol):
                """Greets and leaves."""

                transport: Any

                def connectionMade(self, greeting: bytes = greeting) -> None:
                    self.transport.write(greeting)
                    self.transport.loseConnection()

            near = self.end()
            member = self.listen(Factory.forProtocol(Other))
            yield self.assertFailure(self.linker().connect(member, near), LinkFailed)
            self.assertEqual(near.connections, 0)

    @inlineCallbacks
    def test_cancelled(self) -> Inline:
        """Before the connection is there, and while hands are shaken: nothing is left."""
        met: Deferred[Any] = Deferred()
        left: Deferred[Any] = Deferred()

        class Silent(Protocol):
            """Says nothing."""

            def dataReceived(self, data: bytes) -> None:
                met.callback(None)

            def connectionLost(self, reason: object = None) -> None:
                left.callback(None)

        near = self.end()
        member = self.listen(Factory.forProtocol(Silent))
        linking = self.linker().connect(member, near)
        linking.cancel()
        yield self.assertFailure(linking, CancelledError)
        linking = self.linker().connect(member, near)
        yield met
        linking.cancel()
        yield self.assertFailure(linking, CancelledError)
        yield left
        self.assertEqual(near.connections, 0)

    @inlineCallbacks
    def test_strangers(self) -> Inline:
        """Who does not speak TLS learns nothing; who says nothing is closed in time."""
        factory = self.factory(MemberIdentity(SECRET, THERE), timeout=SOON)
        port = int(self.listen(factory).address.rpartition(":")[2])
        loop = reactor.callInThread  # a socket of the system's, that nobody helps
        for said, reason in ((b"GET / HTTP/1.1\r\n\r\n", "not-proven"), (b"", "too-slow")):
            heard: Deferred[bytes] = Deferred()

            def talk(said: bytes = said, heard: Deferred[bytes] = heard) -> None:
                with socket.create_connection(("127.0.0.1", port)) as handle:
                    handle.sendall(said)
                    try:
                        answer = handle.recv(1000)
                    except ConnectionResetError:
                        answer = b""
                reactor.callFromThread(heard.callback, answer)

            loop(talk)
            self.assertEqual((yield factory.refusals.get())[0], reason)
            self.assertEqual((yield heard), b"")
        self.assertEqual((len(factory.strangers), self.accepted.pending), (0, []))

    @inlineCallbacks
    def test_backPressure(self) -> Inline:
        """Much both ways; who does not read keeps the other from sending."""
        member = self.listen(self.factory(MemberIdentity(SECRET, THERE)))
        near = self.end()
        yield self.linker().connect(member, near)
        _known, far = yield self.accepted.get()
        content = hashlib.shake_256(b"content").digest(1 << 20)
        # Twenty times as much as is checked: more than the kernel takes.
        far.transport.lowest.readMuch()
        far.transport.pauseProducing()
        sender = Sender(near.transport, content * 20)
        self.assertEqual(sender.pauses, 1)
        self.assertTrue(near.transport.blocked)
        Sender(far.transport, content)
        self.assertTrue((yield near.take(len(content))) == content)
        self.assertEqual(bytes(far.payload), b"")
        far.transport.resumeProducing()
        for _ in range(20):
            self.assertTrue((yield far.take(len(content))) == content)
        near.transport.unregisterProducer()


class AddressTests(LinkCase):
    """The directory may hold anything."""

    def check(self, address: str) -> None:
        linker = self.linker()
        failed = linker.connect(Member(THERE, address, 1), self.end())
        self.failureResultOf(failed, LinkError)

    def test_unreadable(self) -> None:
        for address in (
            "",
            "tcp",
            "tcp:",
            "tcp:127.0.0.1",
            "tcp:127.0.0.1:",
            "tcp:127.0.0.1:0",
            "tcp:127.0.0.1:65536",
            "tcp:127.0.0.1:80:timeout=3",
            "tcp:localhost:80",
            "tcp::80",
            "tcp:::1:80",
            "tcp:127.0.0.1:٣",
            "ssl:127.0.0.1:80",
            "unix:",
            "unix:" + "x" * 108,
            "unix:/tmp/\0",
            "unix:\ud800",
        ):
            self.check(address)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text())
    def test_anything(self, text: str) -> None:
        """It fails at once, and with one line."""
        self.check("unix:/nonexistent/" + text)
        self.check("tcp:" + text)

    def test_noSecret(self) -> None:
        """There are no links between machines, then."""
        failed = Linker(reactor).connect(Member(THERE, "tcp:127.0.0.1:1", 1), self.end())
        self.assertIn("no secret", str(self.failureResultOf(failed, LinkFailed).value))
