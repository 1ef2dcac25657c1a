"""TLS over memory buffers: the service's end, independent clients, and records made by hand.

What OpenSSL's clients cannot be made to send is made here, from RFC 8446 and RFC 5246.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import ssl
import tempfile
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.common.certificates import CertificateFiles
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.listening.tls import loadCertificate
from nymearemoteproxy.wires import tlsbuffers
from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from tests.support.identities import Identity, clientContext
from tests.support.memory import Pipe

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
def serverContext() -> ServerContexts:
    """Return what the service would serve with."""
    own = Identity("server")
    with tempfile.NamedTemporaryFile() as file:
        file.write(own.pem + own.keyPem)
        file.flush()
        return loadCertificate(CertificateFiles(file.name))


def assertBuffersEmpty() -> None:
    """Nothing of one connection waits where another one would find it."""
    left = tlsbuffers._INCOMING.pending, tlsbuffers._OUTGOING.pending
    assert left == (0, 0), left


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

    def receive(self, data: bytes) -> None:
        super().receive(data)
        assertBuffersEmpty()

    def send(self, data: bytes) -> int:
        assertBuffersEmpty()
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
        assertBuffersEmpty()
        self.handshakes += 1
        self.onHandshake()

    def dataReceived(self, data: bytes) -> None:
        assertBuffersEmpty()
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
