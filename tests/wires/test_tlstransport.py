"""Owns the checks of TLS over memory buffers, against pyOpenSSL and OpenSSL's own client.

What OpenSSL's clients cannot be made to send is made here, from RFC 8446 and RFC 5246.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import shutil
import ssl
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import example, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import reactor as globalReactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from nymearemoteproxy.common import turns
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.listening.tls import CertificateFiles, loadCertificate
from nymearemoteproxy.wires.direct import DirectFactory, DirectTransport
from nymearemoteproxy.wires.tlstransport import MAX_UNSENT_ANSWERS, SLICE_SIZE, TlsFactory
from tests.support.identities import Identity, clientContext
from tests.support.memory import Pipe, Producer, oneTurn
from tests.support.wires import Inline

reactor: Any = globalReactor

PROPERTY = settings(max_examples=100, deadline=None, database=None)

PEER = IPv4Address("TCP", "192.0.2.1", 4000)

VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

RECORD = 16384
"""Plain text in a full record (RFC 8446 section 5.1)."""

# RFC 8446 section 5.1 and 6
ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
CLOSE_NOTIFY = b"\x01\x00"
PROTOCOL_VERSION = b"\x02\x46"

KEY_UPDATE = b"\x18\x00\x00\x01\x01"
"""A KeyUpdate that asks for the other side's (RFC 8446 section 4.6.3)."""

CLIENT_HELLO = b"\x01\x00\x00\x00"
"""An empty ClientHello: enough to be refused, when it comes late."""

NOISE = hashlib.shake_256(b"payload").digest(1 << 18)
"""No two places of it look alike."""


@functools.cache
def serverContext() -> ssl.SSLContext:
    """Return what the service would serve with."""
    own = Identity("server")
    with tempfile.NamedTemporaryFile() as file:
        file.write(own.pem + own.keyPem)
        file.flush()
        return loadCertificate(CertificateFiles(file.name))


def splitRecords(data: bytes) -> list[bytes]:
    """Cut a stream of TLS into its records; all must be whole."""
    records = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        assert len(data) >= size, "a record is cut"
        records.append(data[:size])
        data = data[size:]
    return records


class Lower(Pipe):
    """A transport below TLS that, as real ones do, tells of an abort only later.

    :ivar sent: what was sent to the socket, call by call.
    :ivar waiting: what was left to Twisted, call by call.
    """

    def __init__(self) -> None:
        super().__init__(PEER)
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []
        self.aborted = False

    def send(self, data: bytes) -> int:
        size = super().send(data)
        self.sent.append(data)
        return size

    def write(self, data: bytes) -> None:
        super().write(data)
        self.waiting.append(data)

    def abortConnection(self) -> None:
        self.aborted = True


class Recorder(Protocol):
    """Remembers what it is told.

    :ivar chunks: what arrived, call by call.
    :ivar losses: why the connection was lost, call by call.
    :ivar handshakes: how often it was told of a finished handshake.
    :ivar onHandshake: what to do then.
    :ivar onData: what to do with data.
    """

    transport: Any

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.losses: list[Failure] = []
        self.handshakes = 0
        self.onHandshake: Callable[[], object] = lambda: None
        self.onData: Callable[[bytes], object] = lambda data: None

    def lose(self, _data: bytes = b"") -> None:
        """Close in the orderly way."""
        self.transport.loseConnection()

    def abort(self, _data: bytes = b"") -> None:
        """Close at once."""
        self.transport.abortConnection()

    def handshakeCompleted(self) -> None:
        """Be told, if it says that it listens."""
        self.handshakes += 1
        self.onHandshake()

    def dataReceived(self, data: bytes) -> None:
        self.chunks.append(data)
        self.onData(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.losses.append(reason)


@implementer(IHandshakeListener)
class Listener(Recorder):
    """Wants to know when the handshake is done, too."""


class Client:
    """An independent client of TLS, in memory: everything it says is returned.

    :ivar received: the data that it got.
    :ivar closed: it got close_notify.
    :ivar fault: what went wrong.
    """

    def __init__(self, context: SSL.Context | None = None) -> None:
        self.connection = SSL.Connection(context or clientContext(), None)
        self.connection.set_connect_state()
        self.received = b""
        self.closed = False
        self.fault = ""

    def output(self) -> bytes:
        """Return what it has to send."""
        parts = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                parts.append(self.connection.bio_read(1 << 20))
        return b"".join(parts)

    def shakeHands(self, data: bytes = b"") -> bytes:
        """Go on with the handshake."""
        if data:
            self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.fault = str(error)
        return self.output()

    def encrypt(self, data: bytes) -> bytes:
        """Send data."""
        self.connection.sendall(data)
        return self.output()

    def close(self) -> bytes:
        """Send close_notify."""
        self.connection.shutdown()
        return self.output()

    def take(self, data: bytes) -> None:
        """Get something."""
        if data:
            self.connection.bio_write(data)
        try:
            while True:
                self.received += self.connection.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            self.fault = str(error)


class Forger:
    """Makes records of a TLS 1.3 client that did not send any yet (RFC 8446 sections 5 and 7).

    :param context: of the client; its secrets are overheard.
    """

    def __init__(self, context: SSL.Context) -> None:
        context.set_keylog_callback(self._overhear)

    def _overhear(self, _connection: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.split()
        if label == b"CLIENT_TRAFFIC_SECRET_0":
            self._use(bytes.fromhex(secret.decode()))

    def _use(self, secret: bytes) -> None:
        assert len(secret) == SHA384.digest_size, "not TLS_AES_256_GCM_SHA384"
        self._secret = secret
        self._key = AESGCM(self._expand(b"key", 32))
        self._nonce = int.from_bytes(self._expand(b"iv", 12), "big")
        self._count = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(SHA384(), size, info).derive(self._secret)

    def seal(self, kind: int, content: bytes) -> bytes:
        """Return a record of this content type."""
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = (self._nonce ^ self._count).to_bytes(12, "big")
        self._count += 1
        return header + self._key.encrypt(nonce, inner, header)

    def keyUpdate(self) -> bytes:
        """Return a KeyUpdate that asks for another, and use new keys from then on."""
        record = self.seal(HANDSHAKE, KEY_UPDATE)
        self._use(self._expand(b"traffic upd", SHA384.digest_size))
        return record


class OldForger:
    """Makes records of a TLS 1.2 client that did not send data yet (RFC 5246, RFC 5288).

    :param context: of the client; its secrets are overheard.
    """

    def __init__(self, context: SSL.Context) -> None:
        self._count = 1  # Finished was the first one
        context.set_keylog_callback(self._overhear)

    def _overhear(self, connection: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.split()
        assert label == b"CLIENT_RANDOM"
        master = bytes.fromhex(secret.decode())
        seed = b"key expansion" + connection.server_random() + connection.client_random()

        def digest(data: bytes) -> bytes:
            return hmac.digest(master, data, "sha384")

        first = digest(seed)
        block = digest(first + seed) + digest(digest(first) + seed)
        # Keys of 32 bytes, then implicit nonces of 4 bytes: the client's comes first.
        self._key, self._salt = AESGCM(block[:32]), block[64:68]

    def seal(self, kind: int, content: bytes) -> bytes:
        """Return a record of this content type."""
        head, count = bytes([kind]) + b"\x03\x03", self._count.to_bytes(8, "big")
        self._count += 1
        extra = count + head + len(content).to_bytes(2, "big")
        sealed = count + self._key.encrypt(self._salt + count, content, extra)
        return head + len(sealed).to_bytes(2, "big") + sealed


class Session:
    """A client and the server's end of its connection, built as the service does.

    :ivar lower: what the server's end is on.
    :ivar transport: the server's end.
    """

    def __init__(
        self,
        protocol: Recorder | None = None,
        context: SSL.Context | None = None,
        line: Turns | None = None,
    ):
        self.protocol = protocol or Listener()
        self.client = Client(context)
        self.lower = Lower()
        factory = Factory.forProtocol(lambda: self.protocol)
        direct = DirectFactory(TlsFactory(serverContext(), factory, line)).buildProtocol(PEER)
        self.lower.protocol = direct
        direct.makeConnection(self.lower)
        self.transport = self.lower.protocol

    def receive(self, *parts: bytes) -> None:
        """Let the server read this, in one."""
        self.lower.receive(b"".join(parts))

    def nearlyShaken(self) -> bytes:
        """Shake hands; return what completes it for the server, not received yet.

        In TLS 1.3 only: the client is done and may send data.
        """
        self.receive(self.client.shakeHands())
        return self.client.shakeHands(self.lower.take())

    def shaken(self) -> Session:
        """Shake hands."""
        self.receive(self.nearlyShaken())
        self.deliver()
        self.lower.sent.clear()
        return self

    def deliver(self) -> None:
        """Let the client have what the server sent."""
        self.client.take(self.lower.take())

    def stall(self) -> None:
        """Let the client stop reading; it misses some data."""
        self.lower.full = True
        self.transport.write(b"stalled")
        self.lower.waiting.clear()


class SmallRecordTests(SynchronousTestCase):
    """A read may hold thousands of small records; they are looked at in turns."""

    def setUp(self) -> None:
        self.patch(turns, "TURN", 0)
        self.clock = Clock()
        self.session = Session(line=Turns(self.clock)).shaken()
        self.content = NOISE[:4000]
        self.flood = b"".join(self.session.client.encrypt(bytes([octet])) for octet in self.content)
        self.assertGreater(len(self.flood), 5 * SLICE_SIZE)

    @property
    def arrived(self) -> bytes:
        """What the protocol was given so far."""
        return b"".join(self.session.protocol.chunks)

    @property
    def isRead(self) -> bool:
        """Whether more is read from the client."""
        return self.session.lower.producerState == "producing"

    def test_inTurns(self) -> None:
        """Slice by slice, in order; meanwhile nothing more is read."""
        self.session.receive(self.flood)
        seen = len(self.arrived)
        while not self.isRead:
            self.assertLess(seen, len(self.content))
            self.assertTrue(self.content.startswith(self.arrived))
            oneTurn(self.clock)
            self.assertTrue(0 < len(self.arrived) - seen < 1000)
            seen = len(self.arrived)
        self.assertEqual(self.arrived, self.content)
        self.assertGreater(len(self.session.protocol.chunks), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_protocolFails(self) -> None:
        """A fault of the protocol's in a later turn costs the connection."""
        self.session.receive(self.flood)
        self.session.protocol.onData = lambda _data: 1 // 0
        oneTurn(self.clock)
        self.assertTrue(self.session.lower.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_largerRecords(self) -> None:
        """What records of 512 bytes a read holds is looked at at once."""
        self.session = Session(line=Turns(self.clock)).shaken()
        data = b"".join(self.session.client.encrypt(bytes(512)) for _ in range(180))
        self.session.receive(data)
        self.assertEqual(len(self.session.protocol.chunks), 1)
        self.assertTrue(self.isRead)

    def test_paused(self) -> None:
        """While the protocol wants nothing it gets nothing; then the rest, in turns."""
        self.session.protocol.onData = lambda _data: self.session.transport.pauseProducing()
        self.session.receive(self.flood)
        for count in range(1, 4):
            for _ in range(3):
                oneTurn(self.clock)
            self.assertEqual(len(self.session.protocol.chunks), count)
            self.assertFalse(self.isRead)
            self.session.transport.resumeProducing()
            self.assertFalse(self.isRead)
        self.session.protocol.onData = lambda _data: None
        self.clock.advance(0)
        self.assertEqual(self.arrived, self.content)
        self.assertTrue(self.isRead)

    def test_end(self) -> None:
        """What came before close_notify is delivered before it."""
        self.session.receive(self.flood + self.session.client.close())
        self.assertFalse(self.session.lower.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.arrived, self.content)
        self.assertTrue(self.session.lower.disconnecting)

    def test_fault(self) -> None:
        """So it is with a fault."""
        self.session.receive(self.flood + b"\x17\x03\x03\x00\x05wrong")
        self.assertFalse(self.session.lower.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.arrived, self.content)
        self.assertTrue(self.session.lower.disconnecting)

    def test_aborted(self) -> None:
        """Nothing is delivered after an abort or the loss of the connection."""
        self.session.receive(self.flood)
        seen = self.arrived
        self.session.transport.abortConnection()
        self.clock.advance(0)
        self.session.transport.resumeProducing()
        self.session.lower.lose(ConnectionAborted())
        self.clock.advance(0)
        self.assertEqual(self.arrived, seen)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TlsCase(SynchronousTestCase):
    """Helpers."""

    def sessions(self) -> list[Session]:
        """Return one for every version, with the handshake done."""
        return [Session(context=clientContext(version)).shaken() for version in VERSIONS.values()]

    def forged(self) -> tuple[Session, Forger]:
        """Return a session of TLS 1.3 in which the client's records are made by hand."""
        context = clientContext()
        forger = Forger(context)
        return Session(context=context).shaken(), forger

    def forgedOld(self) -> tuple[Session, OldForger]:
        """The same with TLS 1.2."""
        context = clientContext(SSL.TLS1_2_VERSION)
        forger = OldForger(context)
        return Session(context=context).shaken(), forger

    def assertOpen(self, session: Session) -> None:
        """Nobody is about to close."""
        self.assertFalse(session.lower.disconnecting or session.lower.aborted)
        self.assertEqual(session.protocol.losses, [])

    def assertLost(self, session: Session, kind: type[Exception]) -> Exception:
        """The protocol is told once, and for this reason; return it."""
        self.assertEqual([loss.type for loss in session.protocol.losses], [kind])
        value: Exception = session.protocol.losses[0].value
        return value

    def assertFailed(self, session: Session, *words: str) -> None:
        """The connection is being closed, and the protocol is told what was wrong."""
        self.assertTrue(session.lower.disconnecting)
        self.assertFalse(session.lower.aborted, "the alert might be lost")
        self.assertEqual(session.protocol.losses, [])
        session.lower.lose(ConnectionDone())
        [loss] = session.protocol.losses
        self.assertIsInstance(loss.value, ssl.SSLError)
        for word in words:
            self.assertIn(word, str(loss.value).lower().replace("_", " "))

    def assertTalks(self, session: Session) -> None:
        """Data still gets through, both ways."""
        session.protocol.chunks.clear()
        session.receive(session.client.encrypt(b"there"))
        self.assertEqual(session.protocol.chunks, [b"there"])
        session.client.received = b""
        session.protocol.transport.write(b"back")
        session.deliver()
        self.assertEqual(session.client.received, b"back")


class HandshakeTests(TlsCase):
    """How connections begin."""

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3, however the bytes arrive; the protocol is told once."""
        for name, version in VERSIONS.items():
            for step in (1, 1 << 16):
                session = Session(context=clientContext(version))
                self.assertIs(session.protocol.transport, session.transport)
                said = session.client.shakeHands()
                while said:
                    self.assertEqual(session.protocol.handshakes, 0)
                    for place in range(0, len(said), step):
                        session.receive(said[place : place + step])
                    said = session.client.shakeHands(session.lower.take())
                self.assertEqual(session.protocol.handshakes, 1)
                self.assertEqual(session.client.connection.get_protocol_version_name(), name)
                self.assertEqual(session.protocol.chunks, [])
                self.assertTalks(session)
                self.assertEqual(session.protocol.handshakes, 1)
                self.assertOpen(session)

    def test_notListening(self) -> None:
        """Only who says that it listens is told."""
        session = Session(Recorder()).shaken()
        self.assertTalks(session)
        self.assertEqual(session.protocol.handshakes, 0)

    def test_writeInHandshakeCompleted(self) -> None:
        session = Session()
        session.protocol.onHandshake = lambda: session.protocol.transport.write(b"welcome")
        session.shaken()
        self.assertEqual(session.client.received, b"welcome")

    def test_switch(self) -> None:
        """The next protocol gets what came with the last bytes of the handshake."""
        session = Session()
        first, second = session.protocol, Listener()
        first.onHandshake = lambda: first.transport.switchProtocol(second)
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"one"), session.client.encrypt(b"two"))
        self.assertEqual(second.chunks, [b"onetwo"])
        self.assertIs(second.transport, session.transport)
        session.receive(session.client.encrypt(b"more"))
        self.assertEqual(second.chunks, [b"onetwo", b"more"])
        session.lower.lose(ConnectionLost())
        self.assertEqual((first.handshakes, second.handshakes), (1, 0))
        self.assertEqual((first.chunks, first.losses, len(second.losses)), ([], [], 1))

    def test_muchBehind(self) -> None:
        """More than OpenSSL is given at a time came with the last bytes of the handshake."""
        for size in (SLICE_SIZE, 3 * SLICE_SIZE):
            session = Session()
            end = session.nearlyShaken()
            session.receive(end, session.client.encrypt(NOISE[:size]))
            self.assertEqual([len(chunk) for chunk in session.protocol.chunks], [size])
            self.assertTrue(session.protocol.chunks == [NOISE[:size]])
            self.assertOpen(session)

    def test_everythingAtOnce(self) -> None:
        """The end of the handshake, data and close_notify in one read."""
        session = Session()
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"all"), session.client.close())
        self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (1, [b"all"]))
        self.assertTrue(session.lower.disconnecting)
        session.deliver()
        self.assertTrue(session.client.closed)
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionDone)

    def test_abortInHandshakeCompleted(self) -> None:
        """What came behind the handshake is not delivered."""
        session = Session()
        session.protocol.onHandshake = session.protocol.abort
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"data"))
        self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (1, []))
        self.assertTrue(session.lower.aborted)

    def test_loseInHandshakeCompleted(self) -> None:
        """What came behind the handshake is delivered, as it is whenever we close first."""
        session = Session()
        session.protocol.onHandshake = session.protocol.lose
        end = session.nearlyShaken()
        session.receive(end, session.client.encrypt(b"data"))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertFalse(session.lower.disconnecting, "the client has not said goodbye")
        session.deliver()
        self.assertTrue(session.client.closed)
        session.receive(session.client.close())
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionDone)

    def test_alpn(self) -> None:
        """Protocols that the client offers do not matter."""
        for protocols in ([b"h2"], [b"h2", b"http/1.1"], [b"mqtt"]):
            context = clientContext()
            context.set_alpn_protos(protocols)
            session = Session(context=context).shaken()
            self.assertEqual(session.client.connection.get_alpn_proto_negotiated(), b"")
            self.assertTalks(session)

    def test_resumption(self) -> None:
        """A client that comes back is spared the certificate; pyOpenSSL could not tell."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.maximum_version = version
            ticket = None
            for resumed in (False, True):
                session = Session()
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                client = context.wrap_bio(incoming, outgoing, session=ticket)
                for _ in range(3):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        client.do_handshake()
                        # Where the client is done first its data comes with its last bytes.
                        client.write(b"early")
                    session.receive(outgoing.read())
                    incoming.write(session.lower.take())
                    if session.protocol.handshakes:
                        break
                if not session.protocol.chunks:
                    client.do_handshake()
                    client.write(b"early")
                    session.receive(outgoing.read())
                session.protocol.transport.write(b"data")
                incoming.write(session.lower.take())
                self.assertEqual(client.read(), b"data")
                self.assertEqual(session.protocol.chunks, [b"early"])
                self.assertEqual(client.session_reused, resumed, version)
                ticket = client.session

    def test_noTls(self) -> None:
        """Something else than TLS."""
        for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\xff" * (1 << 16)):
            session = Session()
            session.receive(garbage)
            self.assertFailed(session)
            self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (0, []))

    def test_badHandshake(self) -> None:
        """A record of TLS that holds no handshake: an alert tells."""
        session = Session()
        session.receive(b"\x16\x03\x01\x00\x20" + b"\xff" * 32)
        [alert] = splitRecords(session.lower.take())
        self.assertEqual((alert[0], alert[5:6]), (ALERT, b"\x02"))
        self.assertFailed(session)
        self.assertEqual(session.protocol.handshakes, 0)

    def test_badEnd(self) -> None:
        """The last bytes of the handshake are damaged: the protocol hears nothing of it."""
        session = Session()
        end = bytearray(session.nearlyShaken())
        end[-1] ^= 1
        session.receive(bytes(end))
        session.deliver()
        self.assertIn("alert", session.client.fault)
        self.assertFailed(session)
        self.assertEqual(session.protocol.handshakes, 0)

    def test_oldVersion(self) -> None:
        """TLS 1.1 is refused, and the client told why.

        The version is changed by hand: the client's OpenSSL may not know it any more.
        """
        session = Session(context=clientContext(SSL.TLS1_2_VERSION))
        hello = bytearray(session.client.shakeHands())
        self.assertEqual(hello[9:11], b"\x03\x03")
        hello[9:11] = b"\x03\x02"
        session.receive(bytes(hello))
        [alert] = splitRecords(session.lower.take())
        self.assertEqual((alert[0], alert[5:]), (ALERT, PROTOCOL_VERSION))
        self.assertFailed(session, "unsupported protocol")

    def test_clientLeaves(self) -> None:
        """The connection ends before the handshake is done, however far that was."""
        for version in VERSIONS.values():
            session = Session(context=clientContext(version))
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionLost)
            session = Session(context=clientContext(version))
            session.receive(session.client.shakeHands()[:-1])
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionLost)
            session = Session(context=clientContext(version))
            session.receive(session.nearlyShaken()[:-1])
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionLost)
            self.assertEqual(session.protocol.handshakes, 0)

    def test_weLeave(self) -> None:
        """There is nobody to say goodbye to yet."""
        for leave in ("loseConnection", "abortConnection"):
            session = Session()
            session.receive(session.client.shakeHands())
            session.lower.take()
            getattr(session.protocol.transport, leave)()
            self.assertTrue(session.lower.aborted, leave)
            self.assertEqual(session.lower.take(), b"")
            session.lower.lose(ConnectionAborted())
            self.assertLost(session, ConnectionAborted)


sizes = st.lists(
    st.one_of(
        st.integers(1, 100),
        st.integers(1, 2 * RECORD + 1000),
        st.sampled_from([RECORD - 1, RECORD, RECORD + 1, 2 * RECORD, SLICE_SIZE]),
    ),
    min_size=1,
    max_size=6,
)
cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=6)


class DataTests(TlsCase):
    """What is sent arrives, in as few pieces as possible."""

    def checkReceiving(self, version: int, amounts: list[int], places: list[float]) -> None:
        """Payloads of these sizes arrive, cut at these places of the encrypted stream.

        Each read delivers what it completes, all of it at once.
        """
        session = Session(context=clientContext(version)).shaken()
        stream, ends, at = b"", [], 0
        for amount in amounts:
            sealed = session.client.encrypt(NOISE[at : at + amount])
            for record in splitRecords(sealed):
                stream += record
                at += min(RECORD, amount)
                amount -= min(RECORD, amount)
                ends.append((len(stream), at))
        self.assertEqual(ends[-1][1], sum(amounts))
        bounds = sorted(int(place * len(stream)) for place in places)
        expected, before, delivered = [], 0, 0
        for bound in [*bounds, len(stream)]:
            if bound > before:
                session.receive(stream[before:bound])
                before = bound
            complete = max((plain for end, plain in ends if end <= bound), default=0)
            if complete > delivered:
                expected.append(NOISE[delivered:complete])
                delivered = complete
            # A comparison that fails must not print all of it.
            self.assertEqual(
                [len(chunk) for chunk in session.protocol.chunks],
                [len(chunk) for chunk in expected],
            )
        self.assertTrue(session.protocol.chunks == expected, "the content differs")
        self.assertOpen(session)

    @PROPERTY
    @given(st.sampled_from(list(VERSIONS.values())), sizes, cuts)
    @example(SSL.TLS1_3_VERSION, [RECORD] * 5, [])
    @example(SSL.TLS1_2_VERSION, [2 * RECORD, 1], [0.5, 0.999])
    def test_receive(self, version: int, amounts: list[int], places: list[float]) -> None:
        self.checkReceiving(version, amounts, places)

    def test_manySmall(self) -> None:
        """A large read with many small records, of which the last, or another one, is cut."""
        for version in VERSIONS.values():
            for size in (1, 31, 700):
                amounts = [size] * (3 * SLICE_SIZE // (size + 30))
                for places in ([], [0.9999], [0.01], [0.0001, 0.9]):
                    self.checkReceiving(version, amounts, places)

    def test_bytewise(self) -> None:
        for version in VERSIONS.values():
            stream = 3 * (29 + 50)
            self.checkReceiving(version, [50] * 3, [place / stream for place in range(stream)])

    def test_memory(self) -> None:
        """OpenSSL is not given more at a time than it should keep memory for."""
        session = Session().shaken()
        given: list[int] = []

        class Watched:
            """Looks at what waits to be read."""

            def read(self, size: int) -> bytes:
                given.append(session.transport._incoming.pending)
                return tls.read(size)

        tls = session.transport._tls
        self.patch(session.transport, "_tls", Watched())
        session.receive(session.client.encrypt(NOISE))
        self.assertEqual(b"".join(session.protocol.chunks), NOISE)
        self.assertLessEqual(max(given), SLICE_SIZE)

    def test_emptyRecord(self) -> None:
        """It carries nothing, least of all the end (RFC 8446 section 5.1)."""
        session, forger = self.forged()
        empty = forger.seal(APPLICATION_DATA, b"")
        session.receive(empty)
        self.assertEqual(session.protocol.chunks, [])
        session.receive(forger.seal(APPLICATION_DATA, b""), forger.seal(APPLICATION_DATA, b"data"))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertOpen(session)

    @PROPERTY
    @given(st.sampled_from(list(VERSIONS.values())), sizes)
    @example(SSL.TLS1_3_VERSION, [5 * RECORD + 1])
    def test_send(self, version: int, amounts: list[int]) -> None:
        """Each write is one write to the lower transport, however many records it takes."""
        session = Session(context=clientContext(version)).shaken()
        at = 0
        for count, amount in enumerate(amounts, 1):
            session.protocol.transport.write(NOISE[at : at + amount])
            at += amount
            self.assertEqual(len(session.lower.sent), count)
        session.deliver()
        self.assertTrue(session.client.received == NOISE[:at])

    def test_sendPartly(self) -> None:
        """An OpenSSL that takes a record at a time, which the standard library's may become."""
        for size in (RECORD, 3 * RECORD, 3 * RECORD + 1):
            session = Session().shaken()
            seal = session.transport._tls.write

            class Partial:
                """Seals one record."""

                write = staticmethod(lambda data, seal=seal: seal(data[:RECORD]))

            patched = self.patch(session.transport, "_tls", Partial())
            session.protocol.transport.write(NOISE[:size])
            patched.restore()
            self.assertEqual(len(session.lower.sent), 1)
            session.deliver()
            self.assertTrue(session.client.received == NOISE[:size])

    def test_writeInDataReceived(self) -> None:
        for session in self.sessions():
            session.protocol.onData = session.protocol.transport.write
            session.receive(session.client.encrypt(NOISE[:40000]))
            session.deliver()
            self.assertTrue(session.client.received == NOISE[:40000])

    def test_switch(self) -> None:
        """The next protocol gets what arrives next."""
        session = Session().shaken()
        first, second = session.protocol, Recorder()
        first.onData = lambda data: first.transport.switchProtocol(second)
        session.receive(session.client.encrypt(b"one"))
        session.receive(session.client.encrypt(b"two"))
        self.assertEqual((first.chunks, second.chunks), ([b"one"], [b"two"]))
        self.assertIs(second.transport, session.transport)


class CloseTests(TlsCase):
    """How connections end, orderly or not."""

    def assertClientClosed(self, session: Session) -> None:
        """The client was told goodbye, and the lower connection is being closed."""
        session.deliver()
        self.assertTrue(session.client.closed)
        self.assertTrue(session.lower.disconnecting)
        self.assertEqual(session.protocol.losses, [])
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionDone)

    def test_client(self) -> None:
        """Data before close_notify is delivered, the goodbye answered."""
        for session in self.sessions():
            session.receive(session.client.encrypt(b"last words"), session.client.close())
            self.assertEqual(session.protocol.chunks, [b"last words"])
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_clientAlone(self) -> None:
        """close_notify in a read of its own, or cut."""
        for session in self.sessions():
            goodbye = session.client.close()
            session.receive(goodbye[:7])
            self.assertOpen(session)
            session.receive(goodbye[7:])
            self.assertClientClosed(session)

    def test_answerLastWords(self) -> None:
        """What is written when the last data arrives still goes out, before our goodbye."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.transport.write
            session.receive(session.client.encrypt(b"last words"), session.client.close())
            self.assertClientClosed(session)
            self.assertEqual(session.client.received, b"last words")

    def test_writeAfterClient(self) -> None:
        """Both directions have ended."""
        for session in self.sessions():
            session.receive(session.client.close())
            session.lower.take()
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionDone)

    def test_dataBehindClose(self) -> None:
        """It is ignored, in the same read as close_notify and in a later one, however much."""
        for size in (10, 3 * SLICE_SIZE):
            session, forger = self.forged()
            good = forger.seal(APPLICATION_DATA, b"good")
            goodbye = forger.seal(ALERT, CLOSE_NOTIFY)
            late = [forger.seal(APPLICATION_DATA, b"l" * 1000) for _ in range(size // 1000 + 1)]
            session.receive(good, goodbye, *late)
            session.receive(forger.seal(APPLICATION_DATA, b"later"))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_fin(self) -> None:
        """Without close_notify something may be missing."""
        for session in self.sessions():
            session.receive(session.client.encrypt(b"data"))
            session.lower.lose(ConnectionDone())
            self.assertEqual(session.protocol.chunks, [b"data"])
            self.assertLost(session, ConnectionLost)

    def test_reset(self) -> None:
        """What the lower connection tells is passed on."""
        session = Session().shaken()
        reason = ConnectionLost("reset")
        session.lower.lose(reason)
        self.assertIs(self.assertLost(session, ConnectionLost), reason)

    def test_afterwards(self) -> None:
        """What is asked of a connection that is lost does not matter, and nothing arrives."""
        session = Session().shaken()
        session.lower.lose(ConnectionLost())
        session.receive(session.client.encrypt(b"late"))
        self.assertEqual(session.protocol.chunks, [])
        session.protocol.transport.write(b"late")
        session.protocol.transport.loseConnection()
        self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
        self.assertLost(session, ConnectionLost)

    def test_server(self) -> None:
        """We close: the goodbye goes out, the connection stays until the client's comes."""
        for session in self.sessions():
            transport = session.protocol.transport
            transport.write(b"our last words")
            transport.loseConnection()
            session.deliver()
            self.assertEqual(session.client.received, b"our last words")
            self.assertTrue(session.client.closed)
            self.assertTrue(session.lower.halfClosed, "clients wait for the end of the stream")
            self.assertOpen(session)
            session.receive(session.client.encrypt(b"client's last"))
            session.receive(session.client.encrypt(b"words"))
            self.assertEqual(session.protocol.chunks, [b"client's last", b"words"])
            self.assertOpen(session)
            session.receive(session.client.encrypt(b"!"), session.client.close())
            self.assertEqual(session.protocol.chunks[2:], [b"!"])
            self.assertEqual(session.lower.take(), b"")
            self.assertClientClosed(session)

    def test_serverCutRecord(self) -> None:
        """We close while a record has arrived in part; the rest of it is still read."""
        for version in VERSIONS.values():
            for cut in (3, 20):
                session = Session(context=clientContext(version)).shaken()
                record = session.client.encrypt(b"data")
                session.receive(record[:cut])
                session.protocol.transport.loseConnection()
                session.receive(record[cut:], session.client.close())
                self.assertEqual(session.protocol.chunks, [b"data"])
                self.assertClientClosed(session)

    def test_serverInDataReceived(self) -> None:
        """We close when data arrives; what follows is delivered all the same."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.lose
            session.receive(session.client.encrypt(b"one"), session.client.encrypt(b"two"))
            session.receive(session.client.encrypt(b"three"), session.client.close())
            self.assertEqual(session.protocol.chunks, [b"onetwo", b"three"])
            self.assertClientClosed(session)

    def test_serverThenFin(self) -> None:
        """A client that does not answer our goodbye may have had more to say."""
        session = Session().shaken()
        session.protocol.transport.loseConnection()
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionLost)

    def test_halfClose(self) -> None:
        """To end only what we send is the same."""
        for session in self.sessions():
            session.protocol.transport.loseWriteConnection()
            session.deliver()
            self.assertTrue(session.client.closed)
            self.assertTrue(session.lower.halfClosed)
            session.receive(session.client.encrypt(b"client's last words"))
            self.assertEqual(session.protocol.chunks, [b"client's last words"])
            self.assertOpen(session)

    def test_serverTwice(self) -> None:
        """One goodbye is enough, and nothing is written behind it."""
        for session in self.sessions():
            session.protocol.transport.loseConnection()
            session.deliver()
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertOpen(session)

    def test_both(self) -> None:
        """Goodbyes that cross are each other's answers."""
        for session in self.sessions():
            goodbye = session.client.close()
            session.protocol.transport.loseConnection()
            session.receive(goodbye)
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_bothInDataReceived(self) -> None:
        """We close when data arrives, and the client's goodbye came with it."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.lose
            session.receive(session.client.encrypt(b"data"), session.client.close())
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_keyUpdateAfterOurs(self) -> None:
        """The client's records go on as it likes, until its goodbye."""
        session, forger = self.forged()
        session.protocol.transport.loseConnection()
        session.receive(forger.keyUpdate(), forger.seal(APPLICATION_DATA, b"data"))
        session.receive(forger.seal(ALERT, CLOSE_NOTIFY))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertClientClosed(session)

    def test_manyKeyUpdatesAfterOurs(self) -> None:
        """They want answers, which can come no more: nothing is sent, kept or taken amiss."""
        session, forger = self.forged()
        session.protocol.transport.loseConnection()
        session.lower.take()
        for _ in range(MAX_UNSENT_ANSWERS // len(KEY_UPDATE)):
            session.receive(forger.keyUpdate())
        session.receive(forger.seal(APPLICATION_DATA, b"data"))
        self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertOpen(session)

    def test_renegotiationAfterOurs(self) -> None:
        """The same with a client of TLS 1.2 that asks for it."""
        session, forger = self.forgedOld()
        session.protocol.transport.loseConnection()
        session.lower.take()
        session.receive(
            forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"data")
        )
        self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertOpen(session)

    def test_waits(self) -> None:
        """The goodbye does not overtake what the client has not taken yet."""
        for close in (
            lambda session: session.protocol.transport.loseConnection(),
            lambda session: session.receive(session.client.close()),
        ):
            for session in self.sessions():
                session.stall()
                close(session)
                self.assertFalse(session.lower.aborted)
                self.assertEqual(session.lower.take(), b"")
                session.lower.drain()
                session.deliver()
                self.assertEqual(session.client.received, b"stalled")
                self.assertTrue(session.client.closed)

    def test_abort(self) -> None:
        """At once, and without a goodbye."""
        for session in self.sessions():
            session.protocol.transport.abortConnection()
            self.assertTrue(session.lower.aborted)
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertFalse(session.lower.halfClosed)
            session.lower.lose(ConnectionAborted())
            self.assertLost(session, ConnectionAborted)

    def test_abortAfterClosing(self) -> None:
        """The client does not close, and we have waited long enough."""
        for session in self.sessions():
            session.protocol.transport.loseConnection()
            session.protocol.transport.abortConnection()
            self.assertTrue(session.lower.aborted)
            session.receive(session.client.close())
            self.assertFalse(session.lower.disconnecting)

    def test_abortInDataReceived(self) -> None:
        """Nothing else happens, even if more was in the same read."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.abort
            session.receive(session.client.encrypt(b"data"), session.client.close())
            self.assertFalse(session.lower.disconnecting or session.lower.halfClosed)
            session.lower.lose(ConnectionAborted())
            self.assertEqual(session.protocol.chunks, [b"data"])
            self.assertLost(session, ConnectionAborted)

    def test_abortBeforeAFault(self) -> None:
        """It is the abort that ended the connection, not what was behind it."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.abort
            good, bad = session.client.encrypt(b"data"), session.client.encrypt(b"bad")
            session.receive(good, bad[:-1], bytes([bad[-1] ^ 1]))
            self.assertEqual(session.protocol.chunks, [b"data"])
            self.assertFalse(session.lower.disconnecting)
            session.lower.lose(ConnectionAborted())
            self.assertLost(session, ConnectionAborted)

    def test_readAfterAbort(self) -> None:
        """Twisted may have read already when we abort."""
        for session in self.sessions():
            session.protocol.transport.abortConnection()
            session.receive(session.client.encrypt(b"data"))
            session.receive(session.client.close())
            self.assertEqual(session.protocol.chunks, [])
            self.assertFalse(session.lower.disconnecting)


class FaultTests(TlsCase):
    """Clients that break TLS, and an OpenSSL that fails."""

    def corrupt(self, session: Session) -> list[bytes]:
        """Return a good record, a corrupted one, and another one."""
        good, bad, next = (session.client.encrypt(data) for data in (b"good", b"bad", b"next"))
        return [good, bad[:-1] + bytes([bad[-1] ^ 1]), next]

    def assertToldClient(self, session: Session) -> None:
        """The client gets an alert, and only one."""
        self.assertEqual(len(splitRecords(session.lower.value())), 1)
        session.deliver()
        self.assertIn("bad record mac", session.client.fault.lower())

    def test_corrupted(self) -> None:
        """What was good before it is delivered, and nothing behind it."""
        for session in self.sessions():
            session.receive(*self.corrupt(session))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_corruptedLarge(self) -> None:
        """The same in a read that is given to OpenSSL in slices."""
        for session in self.sessions():
            first = session.client.encrypt(NOISE[: 2 * SLICE_SIZE])
            session.receive(first, *self.corrupt(session), session.client.encrypt(NOISE))
            self.assertTrue(b"".join(session.protocol.chunks) == NOISE[: 2 * SLICE_SIZE] + b"good")
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_closed(self) -> None:
        """Nothing is said after a fault."""
        for session in self.sessions():
            _good, bad, _next = self.corrupt(session)
            session.receive(bad)
            session.lower.take()
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual(session.protocol.chunks, [])
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertFailed(session, "bad record mac")

    def test_closing(self) -> None:
        """A fault instead of the goodbye that we wait for."""
        for session in self.sessions():
            session.protocol.transport.loseConnection()
            self.assertOpen(session)
            session.lower.take()
            session.receive(*self.corrupt(session))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertFailed(session, "bad record mac")

    def test_writeInDataReceived(self) -> None:
        """What the good data is answered cannot be sent any more; what was wrong is still told."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.transport.write
            session.receive(*self.corrupt(session))
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_loseInDataReceived(self) -> None:
        for session in self.sessions():
            session.protocol.onData = session.protocol.lose
            session.receive(*self.corrupt(session))
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_stalled(self) -> None:
        """A client that would not take the alert is cut off; the reason is told all the same."""
        for session in self.sessions():
            session.stall()
            session.receive(*self.corrupt(session))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertTrue(session.lower.aborted)
            session.lower.lose(ConnectionAborted())
            [loss] = session.protocol.losses
            self.assertIsInstance(loss.value, ssl.SSLError)

    def test_alert(self) -> None:
        """The client gives up."""
        for session in self.sessions():
            session.client.take(b"\x17\x03\x03\x00\x20" + b"?" * 32)
            self.assertTrue(session.client.fault)
            session.receive(session.client.output())
            self.assertEqual(session.lower.take(), b"", "it was answered")
            self.assertFailed(session, "alert")

    def test_openSslFails(self) -> None:
        """Whoever writes is not bothered, whichever of the records fails."""
        for works in (0, 1, 2):
            session = Session().shaken()
            broken = Broken(works)
            self.patch(session.transport, "_tls", broken)
            session.protocol.transport.write(b"data" * RECORD)
            self.assertEqual(session.lower.take(), b"")
            session.protocol.transport.write(b"more")
            self.assertEqual(broken.asked, works + 1)
            self.assertFailed(session, "it is broken")


class Broken:
    """An OpenSSL that fails.

    :param works: how many records are sealed before.
    """

    def __init__(self, works: int) -> None:
        self.works = works
        self.asked = 0

    def write(self, data: bytes) -> int:
        """Take a record, or fail."""
        self.asked += 1
        if self.asked > self.works:
            raise ssl.SSLError(1, "it is broken")
        return min(RECORD, len(data))


class PressureTests(TlsCase):
    """A client that does not read."""

    def test_producer(self) -> None:
        session = Session().shaken()
        transport = session.protocol.transport
        producer = Producer()
        transport.registerProducer(producer, True)
        transport.write(b"one")
        self.assertFalse(transport.blocked)
        self.assertEqual(producer.asked, [])
        session.lower.full = True
        transport.write(b"two")
        self.assertTrue(transport.blocked)
        self.assertEqual(producer.asked, ["pause"])
        producer.asked.clear()
        transport.write(b"three")
        self.assertNotIn("resume", producer.asked)
        producer.asked.clear()
        session.lower.drain()
        self.assertFalse(transport.blocked)
        self.assertEqual(producer.asked, ["resume"])
        session.deliver()
        self.assertEqual(session.client.received, b"onetwothree")
        transport.unregisterProducer()
        session.stall()
        self.assertEqual(producer.asked, ["resume"])

    def test_reading(self) -> None:
        session = Session().shaken()
        session.protocol.transport.pauseProducing()
        self.assertEqual(session.lower.producerState, "paused")
        session.protocol.transport.resumeProducing()
        self.assertEqual(session.lower.producerState, "producing")

    def test_below(self) -> None:
        """Addresses, and who knows the socket."""
        session = Session()
        transport = session.protocol.transport
        self.assertEqual(transport.getPeer(), PEER)
        self.assertEqual(transport.getHost(), session.lower.getHost())
        self.assertIsInstance(transport.lowest, DirectTransport)
        self.assertIs(transport.lowest.getHandle(), session.lower)


class AnswerTests(TlsCase):
    """What TLS says by itself."""

    def test_keyUpdate(self) -> None:
        """One that asks for ours gets it before the next data; data around it is delivered."""
        session, forger = self.forged()
        before = forger.seal(APPLICATION_DATA, b"before")
        session.receive(before, forger.keyUpdate(), forger.seal(APPLICATION_DATA, b"after"))
        self.assertEqual(session.protocol.chunks, [b"beforeafter"])
        session.lower.sent.clear()
        session.protocol.transport.write(b"with new keys")
        self.assertEqual([len(splitRecords(sent)) for sent in session.lower.sent], [2])
        session.deliver()
        self.assertEqual(session.client.received, b"with new keys")
        self.assertOpen(session)

    def test_renegotiation(self) -> None:
        """A client of TLS 1.2 that asks for it is told no, and not cut off."""
        session = Session(context=clientContext(SSL.TLS1_2_VERSION)).shaken()
        self.assertTrue(session.client.connection.renegotiate())
        session.receive(session.client.shakeHands())
        [refusal] = splitRecords(session.lower.value())
        self.assertEqual(refusal[0], ALERT)
        session.client.shakeHands(session.lower.take())
        self.assertIn("no renegotiation", session.client.fault)
        self.assertOpen(session)
        self.assertEqual((session.protocol.handshakes, session.protocol.chunks), (1, []))

    def test_atOnce(self) -> None:
        """An answer does not wait for the next data; what came around its cause is delivered."""
        session, forger = self.forgedOld()
        parts = [(APPLICATION_DATA, b"a"), (HANDSHAKE, CLIENT_HELLO), (APPLICATION_DATA, b"b")]
        session.receive(*(forger.seal(*part) for part in parts))
        self.assertEqual(session.protocol.chunks, [b"ab"])
        self.assertEqual([record[0] for record in splitRecords(session.lower.take())], [ALERT])
        self.assertOpen(session)

    def test_keptBack(self) -> None:
        """Nothing is piled up below for a client that does not read; it comes in order later."""
        session, forger = self.forgedOld()
        session.stall()
        for _ in range(3):
            session.receive(
                forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"data")
            )
        self.assertEqual(session.lower.waiting, [])
        self.assertEqual(session.protocol.chunks, [b"data"] * 3)
        session.lower.drain()
        session.lower.take()
        session.protocol.transport.write(b"resumed")
        kinds = [record[0] for record in splitRecords(session.lower.take())]
        self.assertEqual(kinds, [ALERT] * 3 + [APPLICATION_DATA])
        self.assertOpen(session)

    def test_afterDraining(self) -> None:
        """What was kept back goes out when the client is heard of again, if not before."""
        session, forger = self.forgedOld()
        session.stall()
        session.receive(forger.seal(HANDSHAKE, CLIENT_HELLO))
        session.lower.drain()
        session.lower.take()
        session.receive(forger.seal(APPLICATION_DATA, b"data"))
        self.assertEqual([record[0] for record in splitRecords(session.lower.take())], [ALERT])

    def test_beforeTheGoodbye(self) -> None:
        """What was kept back goes out before it, and nothing behind it."""
        session, forger = self.forgedOld()
        session.stall()
        session.receive(forger.seal(HANDSHAKE, CLIENT_HELLO))
        session.protocol.transport.loseConnection()
        session.lower.drain()
        kinds = [record[0] for record in splitRecords(session.lower.take())]
        self.assertEqual(kinds, [APPLICATION_DATA, ALERT, ALERT])
        self.assertTrue(session.lower.halfClosed)
        self.assertOpen(session)

    def test_tooMany(self) -> None:
        """A client that wants answers and does not take them is cut off; nothing is delivered."""
        session, forger = self.forgedOld()
        session.receive(forger.seal(HANDSHAKE, CLIENT_HELLO))
        size = len(session.lower.take())
        session.stall()
        for _ in range(MAX_UNSENT_ANSWERS // size):
            session.receive(
                forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"good")
            )
        self.assertEqual(len(session.protocol.chunks), MAX_UNSENT_ANSWERS // size)
        self.assertOpen(session)
        session.protocol.chunks.clear()
        session.receive(
            forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"too much")
        )
        self.assertTrue(session.lower.aborted)
        self.assertEqual((session.protocol.chunks, session.lower.waiting), ([], []))
        session.lower.lose(ConnectionAborted())
        self.assertLost(session, ConnectionAborted)


class FactoryTests(SynchronousTestCase):
    """Connections that a limit refuses."""

    def test_refused(self) -> None:
        """No TLS is made for them: there is nothing here to make it with."""

        class Refusing(Factory):
            """Takes nobody."""

            def buildProtocol(self, addr: object) -> None:
                asked.append(addr)

        asked: list[object] = []
        nothing: Any = None
        self.assertIsNone(TlsFactory(nothing, Refusing()).buildProtocol(PEER))
        self.assertEqual(asked, [PEER])

    def test_silent(self) -> None:
        """It does not log that it starts."""
        self.assertFalse(TlsFactory(serverContext(), Factory()).noisy)


class Command(ProcessProtocol):
    """A running program.

    :ivar ended: fires when it has ended.
    """

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self._said = b""
        self._awaited: tuple[bytes, Deferred[None]] | None = None

    def until(self, text: bytes) -> Deferred[None]:
        """Fire when it says this, after all that was waited for before."""
        said: Deferred[None] = Deferred()
        self._awaited = (text, said)
        self._look()
        return said

    def _look(self) -> None:
        if self._awaited is not None:
            text, said = self._awaited
            _before, found, rest = self._said.partition(text)
            if found:
                self._said, self._awaited = rest, None
                said.callback(None)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._said += data
        self._look()

    def processEnded(self, reason: Failure) -> None:
        if self._awaited is not None:
            (text, said), self._awaited = self._awaited, None
            said.errback(AssertionError(f"no {text!r} but {self._said!r}"))
        self.ended.callback(None)

    def kill(self) -> Deferred[None]:
        """Make sure that it ends."""
        if not self.ended.called:
            self.transport.signalProcess("KILL")
        return self.ended


class Echo(Recorder):
    """Answers what it gets in capital letters.

    :ivar lost: fires when the connection is closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data.upper())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.lost.callback(None)


class SocketTests(TestCase):
    """Over a real connection."""

    timeout = 30

    @inlineCallbacks
    def test_keyUpdate(self) -> Inline:
        """OpenSSL's client renews its keys, with and without asking for ours."""
        openssl = shutil.which("openssl")
        if openssl is None:
            raise SkipTest("openssl is not installed")
        echo = Echo()
        factory = Factory.forProtocol(lambda: echo)
        factory.noisy = False
        below = DirectFactory(TlsFactory(serverContext(), factory))
        port = reactor.listenTCP(0, below, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        command = Command()
        address = f"127.0.0.1:{port.getHost().port}"
        # -msg tells of the handshake's messages, as they are sent (>>>) and received (<<<).
        arguments = [openssl, "s_client", "-connect", address, "-tls1_3", "-msg"]
        reactor.spawnProcess(command, openssl, arguments)
        self.addCleanup(lambda: echo.lost if echo.transport else None)
        self.addCleanup(command.kill)
        # What it reads at once is either a command or data.
        command.transport.write(b"before\n")
        yield command.until(b"BEFORE")
        command.transport.write(b"K\n")
        yield command.until(b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
        command.transport.write(b"between\n")
        yield command.until(b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
        yield command.until(b"BETWEEN")
        command.transport.write(b"k\n")
        yield command.until(b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
        command.transport.write(b"after\n")
        yield command.until(b"AFTER")
        command.transport.write(b"Q\n")
        yield command.ended
        yield echo.lost
        self.assertEqual(b"".join(echo.chunks), b"before\nbetween\nafter\n")
        self.assertEqual([loss.type for loss in echo.losses], [ConnectionDone])
