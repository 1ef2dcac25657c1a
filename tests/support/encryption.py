"""Ends of encrypted tunnels: a client that knows nothing of our code, and tunnels in memory."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nymearemoteproxy.client.connecting.tunneltransport import StreamTransport
from tests.support.nearby import Line
from tests.support.proxies import PARTNER, Certificate

UUID = "6f4ff7c5-41b1-4a3c-9f3f-3f0f5b0f6b6a"
NAME = f"nymea-end-to-end/1 server {UUID}"
"""What both ends of a tunnel to this server agree on."""

REFUSAL = bytes.fromhex("15 0303 0002 0278")
"""A fatal alert, no_application_protocol (RFC 8446 section 6, RFC 7301 section 3.2)."""


def write(certificate: Certificate, directory: Path) -> tuple[str, str]:
    """Write a certificate and its key; return the paths."""
    directory.mkdir(exist_ok=True)
    paths = directory / "end.pem", directory / "end.key"
    paths[0].write_bytes(certificate.pem)
    paths[1].write_bytes(
        certificate.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])


class TlsClient:
    """An end by Python's `ssl`, which trusts everybody, and has begun its handshake.

    :ivar received: what came, decrypted.
    :ivar isOver: the other end has said that nothing follows.
    """

    def __init__(self, *names: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = version
        if names:
            context.set_alpn_protocols(list(names))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing)
        self.received = b""
        self.isOver = False
        self.receive(b"")

    def receive(self, data: bytes) -> None:
        """Take in what the other end sent."""
        self._incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            while True:
                piece = self.tls.read(1 << 16)
                self.isOver = self.isOver or not piece
                if not piece:
                    break
                self.received += piece

    def say(self, data: bytes) -> bytes:
        """Return what has to be sent for this, and all that has not been taken yet."""
        self.tls.write(data)
        return self.take()

    def end(self) -> bytes:
        """Return what says that nothing follows."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        return self.take()

    def take(self) -> bytes:
        """Return what is to be sent."""
        return self._outgoing.read()


def hello(*names: str) -> bytes:
    """Return the first words of an end that offers these names."""
    return TlsClient(*names).take()


class TunnelLine(Line):
    """Ends later than it is told to, as Twisted's transports do."""

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True


class Half:
    """One end of a tunnel in memory, an endpoint.

    :ivar line: what its transport sends to.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.line: TunnelLine
        self.tunnel: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """Be connected at once."""
        protocol = factory.buildProtocol(None)
        self.line = TunnelLine(None)
        self.tunnel = StreamTransport(True, self._clock, self.line, PARTNER, protocol)
        self.line.protocol = self
        protocol.makeConnection(self.tunnel)
        return succeed(protocol)

    def connectionLost(self, reason: Failure) -> None:
        """Pass on what the line tells."""
        self.tunnel.lost(reason)


class Pair:
    """Two ends, and the proxy between them.

    :ivar seen: what passed it, in both directions.
    """

    def __init__(self, clock: Clock) -> None:
        self.halves = Half(clock), Half(clock)
        self.seen = b""

    def pump(self) -> None:
        """Carry everything until nobody has anything left to say."""
        isBusy = True
        while isBusy:
            isBusy = False
            for one, other in (self.halves, self.halves[::-1]):
                data = one.line.take()
                self.seen += data
                if data and not other.line.isLost:
                    isBusy = True
                    other.tunnel.deliver(data)
                if one.line.disconnecting and not one.line.isLost:
                    isBusy = True
                    one.line.lose()
                    other.line.lose(ConnectionDone())
