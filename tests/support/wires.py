"""Clients for the tests, written from the RFCs and not from our own framing code.

A `Wire` is one connection to the proxy over any transport: it sends control messages and payload,
and collects what comes back.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHalfCloseableProtocol, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.packets import prefixed

reactor: Any = globalReactor

Inline = Iterator[Deferred[Any]]


def maskedFrame(opcode: int, payload: bytes, fin: bool = True, mask: bytes = b"\x37\xfa\x21\x3d"):
    """Return a client frame as RFC 6455 section 5.2 draws it."""
    frame = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        frame += bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        frame += bytes([0x80 | 126]) + len(payload).to_bytes(2, "big")
    else:
        frame += bytes([0x80 | 127]) + len(payload).to_bytes(8, "big")
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return frame + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def splitFrame(data: bytes) -> tuple[int, bool, bytes, bytes] | None:
    """Return (opcode, fin, payload, rest) of an unmasked frame, None when it is not whole."""
    if len(data) < 2:
        return None
    assert not data[0] & 0x70, "a reserved bit is set"
    assert not data[1] & 0x80, "a server frame is masked"
    size, at = data[1], 2
    if size == 126:
        size, at = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(data[2:10], "big"), 10
    if len(data) < at or len(data) < at + size:
        return None
    return data[0] & 0x0F, bool(data[0] & 0x80), data[at : at + size], data[at + size :]


_SLIP = {b"\xc0": b"\xdb\xdc", b"\xdb": b"\xdb\xdd"}
_UNSLIP = {escape: byte for byte, escape in _SLIP.items()}


def slip(address: int, data: bytes) -> bytes:
    """Return a SLIP packet as RFC 1055 draws it, with a socket address in front of the data."""
    packet = address.to_bytes(2, "big") + data
    return re.sub(rb"[\xc0\xdb]", lambda match: _SLIP[match[0]], packet) + b"\xc0"


def unslip(packet: bytes) -> tuple[int, bytes]:
    """Return address and data of a packet, given without its end."""
    packet = re.sub(rb"\xdb.?", lambda match: _UNSLIP[match[0]], packet, flags=re.DOTALL)
    assert len(packet) >= 2, f"a packet without an address: {packet!r}"
    return int.from_bytes(packet[:2], "big"), packet[2:]


@implementer(IHalfCloseableProtocol)
class Wire(Protocol):
    """One stream connection; `WebSocketWire` adds the framing.

    :ivar payload: everything received and not taken yet.
    :ivar ended: the server sent the end of its stream.
    :ivar lost: the connection is closed.
    """

    webSocket = False
    transport: Any

    def __init__(self) -> None:
        self.payload = bytearray()
        self.ended = False
        self.lost = False
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    # Sending

    def sendRaw(self, data: bytes) -> None:
        """Send these very bytes."""
        self.transport.write(data)

    def send(self, data: bytes) -> None:
        """Send payload, or a control message."""
        self.sendRaw(data)

    def call(self, method: str, params: dict[str, Any] | None = None, number: int = 1) -> None:
        """Send a request."""
        message: dict[str, Any] = {"id": number, "method": method}
        if params is not None:
            message["params"] = params
        self.send(json.dumps(message).encode() + b"\n")

    def authenticate(self, token: str, **params: str) -> None:
        """Send Authenticate."""
        self.call("Authentication.Authenticate", {"token": token, **params})

    def leave(self) -> None:
        """Go in the orderly way."""
        self.transport.loseConnection()

    # Receiving

    def deafen(self) -> None:
        """Read nothing more, nor have the kernel take what it has room for, which may be 32 MB."""
        lowest = getattr(self.transport, "transport", self.transport)
        lowest.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.transport.pauseProducing()

    def until(self, ready: Callable[[], Any]) -> Deferred[Any]:
        """Return a Deferred that fires with the first true result of `ready`."""
        waited: Deferred[Any] = Deferred()
        self._waiting.append((ready, waited))
        self._look()
        return waited

    def message(self) -> Deferred[dict[str, Any]]:
        """Fire with the next control message."""
        return self.until(self._takeLine)

    def take(self, size: int) -> Deferred[bytes]:
        """Fire with the next `size` bytes of payload."""
        return self.until(lambda: self._takeBytes(size))

    def end(self) -> Deferred[bytes]:
        """Fire with the rest of the payload when the server has said goodbye."""
        return self.until(lambda: (self.payload,) if self.ended or self.lost else None).addCallback(
            lambda result: result[0]
        )

    def gone(self) -> Deferred[Any]:
        """Fire when the connection is closed."""
        return self.until(lambda: self.lost)

    def _takeLine(self) -> Any:
        line, end, rest = self.payload.partition(b"\n")
        if not end:
            assert not (self.lost or self.ended), f"closed, with {self.payload!r} left"
            return None
        self.payload = rest
        return json.loads(line)

    def _takeBytes(self, size: int) -> bytes | None:
        if len(self.payload) < size:
            assert not self.lost, f"closed after {len(self.payload)} of {size} bytes"
            return None
        taken = bytes(self.payload[:size])
        del self.payload[:size]
        return taken

    def _look(self) -> None:
        for entry in list(self._waiting):
            ready, waited = entry
            try:
                result = ready()
            except Exception:
                self._waiting.remove(entry)
                waited.errback(Failure())
            else:
                if result:
                    self._waiting.remove(entry)
                    waited.callback(result)

    def dataReceived(self, data: bytes) -> None:
        self.payload += data
        self._look()

    def readConnectionLost(self) -> None:
        self.ended = True
        if self.webSocket:
            self.transport.loseConnection()
        self._look()

    def writeConnectionLost(self) -> None:
        """We closed our sending direction."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._look()


class WebSocketWire(Wire):
    """One WebSocket connection.

    :ivar messages: the messages received, (opcode, payload); payload is also in `payload`.
    :ivar close: (code, reason) of the server's close frame.
    """

    webSocket = True

    def __init__(self, opcode: int = 1) -> None:
        super().__init__()
        self.opcode = opcode
        self.head: bytes | None = None
        self.messages: list[tuple[int, bytes]] = []
        self.pongs: list[bytes] = []
        self.close: tuple[int, str] | None = None
        self._data = b""
        self._partial: tuple[int, bytearray] | None = None

    def connectionMade(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.sendRaw(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
        )

    def send(self, data: bytes) -> None:
        self.sendRaw(maskedFrame(self.opcode, data))

    def leave(self) -> None:
        self.sendRaw(maskedFrame(8, (1000).to_bytes(2, "big")))

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if self.head is None:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            self.head, self._data = head, rest
        while split := splitFrame(self._data):
            opcode, fin, payload, self._data = split
            self._frameReceived(opcode, fin, payload)
        self._look()

    def _frameReceived(self, opcode: int, fin: bool, payload: bytes) -> None:
        assert self.close is None, f"{payload[:100]!r} behind the close frame"
        if opcode == 8:
            self.close = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
            self.ended = True
            self.sendRaw(maskedFrame(8, payload[:2]))
        elif opcode == 9:
            self.sendRaw(maskedFrame(10, payload))
        elif opcode == 10:
            self.pongs.append(payload)
        else:
            first, begun = self._partial or (opcode, bytearray())
            assert (opcode == 0) is (self._partial is not None)
            begun += payload
            self._partial = None if fin else (first, begun)
            if fin:
                self.messages.append((first, bytes(begun)))
            self.payload += payload


class Registered:
    """A server that is registered with the tunnel proxy: packets at the end of a wire.

    Takes care that nothing comes from a client before it is announced, nor after it is said to be
    gone, that no address is given to two clients at once, and that notifications count from 1.

    :ivar messages: those of the proxy that were not taken yet.
    :ivar streams: what came from each address and was not taken yet.
    :ivar here: the addresses of the clients that are connected.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.messages: deque[dict[str, Any]] = deque()
        self.streams: dict[int, bytearray] = {}
        self.here: set[int] = set()
        self._packet = b""  # what has arrived of the one that is not whole yet
        self._line = b""  # the same of the proxy's message
        self._notices = 0

    def send(self, address: int, data: bytes) -> None:
        """Send one packet."""
        self.wire.send(slip(address, data))

    def _split(self, data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
        """Return the packets of a stream, and what there is of one more."""
        *packets, rest = data.split(b"\xc0")
        return [unslip(packet) for packet in packets], rest

    def call(self, method: str, params: dict[str, Any] | None = None, number: int = 1) -> None:
        """Send a request to the proxy."""
        message: dict[str, Any] = {"id": number, "method": method}
        if params is not None:
            message["params"] = params
        self.send(0, json.dumps(message).encode() + b"\n")

    def until(self, ready: Callable[[], Any]) -> Deferred[Any]:
        """Return a Deferred that fires with the first true result of `ready`."""
        return self.wire.until(lambda: self._read() or ready())

    def message(self) -> Deferred[dict[str, Any]]:
        """Fire with the next message of the proxy."""
        return self.until(self._takeMessage)

    def take(self, address: int, size: int) -> Deferred[bytes]:
        """Fire with the next `size` bytes of a client."""
        return self.until(lambda: self._takeBytes(address, size))

    def _takeMessage(self) -> dict[str, Any] | None:
        if not self.messages:
            assert not (self.wire.lost or self.wire.ended), "closed without the message"
            return None
        return self.messages.popleft()

    def _takeBytes(self, address: int, size: int) -> bytes | None:
        stream = self.streams[address]
        if len(stream) < size:
            gone = self.wire.lost or self.wire.ended or address not in self.here
            assert not gone, f"gone after {len(stream)} of {size} bytes"
            return None
        taken = bytes(stream[:size])
        del stream[:size]
        return taken

    def _read(self) -> None:
        packets, self._packet = self._split(self._packet + bytes(self.wire.payload))
        self.wire.payload.clear()
        for address, data in packets:
            if address:
                assert address in self.here, f"{data[:100]!r} from nobody"
                self.streams[address] += data
            else:
                *lines, self._line = (self._line + data).split(b"\n")
                for line in lines:
                    self._received(json.loads(line))

    def _received(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        kind = message.get("notification")
        if kind is not None:
            self._notices += 1
            assert message["id"] == self._notices, f"notification {self._notices}: {message}"
            address = message["params"]["socketAddress"]
            assert 0 < address < 0xFFFF, address
            if kind == "TunnelProxy.ClientConnected":
                assert address not in self.here, f"{address} is taken"
                self.here.add(address)
                self.streams[address] = bytearray()
            else:
                assert kind == "TunnelProxy.ClientDisconnected", kind
                self.here.remove(address)


class LengthPrefixed(Registered):
    """The same with packets that have their length in front."""

    def send(self, address: int, data: bytes) -> None:
        self.wire.send(prefixed(address, data))

    def _split(self, data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
        packets = []
        while len(data) >= 6 and len(data) >= (end := 6 + int.from_bytes(data[2:6], "big")):
            packets.append((int.from_bytes(data[:2], "big"), data[6:end]))
            data = data[end:]
        return packets, data


class Connector:
    """Opens wires to the listeners of one proxy: name of the transport → address."""

    def __init__(self, addresses: dict[str, Any]) -> None:
        self.addresses = addresses
        self.wires: list[Wire] = []

    @inlineCallbacks
    def connect(self, transport: str, opcode: int = 1) -> Inline:
        """Open a wire; for WebSocket, fire after the upgrade."""
        address = self.addresses[transport]
        if transport == "unix":
            endpoint: Any = UNIXClientEndpoint(reactor, address)
        else:
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", address)
        if transport in ("wss", "tls"):
            endpoint = wrapClientTLS(_TrustAnybody(), endpoint)
        webSocket = transport in ("ws", "wss")

        def build() -> Wire:
            return WebSocketWire(opcode) if webSocket else Wire()

        factory = Factory.forProtocol(build)
        factory.noisy = False
        wire = yield endpoint.connect(factory)
        self.wires.append(wire)
        if webSocket:
            yield wire.until(lambda: wire.head)
            assert wire.head.startswith(b"HTTP/1.1 101 "), wire.head
        return wire

    def close(self) -> Deferred[Any]:
        """Cut off every wire; fire when all are gone."""
        for wire in self.wires:
            if not wire.lost:
                wire.transport.abortConnection()
        return gatherResults([wire.gone() for wire in self.wires])


@implementer(IOpenSSLClientConnectionCreator)
class _TrustAnybody:
    """A TLS client that verifies nothing."""

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        return SSL.Connection(CertificateOptions(verify=False).getContext(), None)
