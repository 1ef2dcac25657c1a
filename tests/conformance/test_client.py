"""RFC 6455, sections 4 to 7: our own client. Each test is named by the section of its rule.

Framing is Autobahn's here, with settings and callbacks of ours, so it is tested as one. Absent is
what `tests.conformance.test_rfc6455` says, and 5.6 and 8.1, for the client takes every message as
bytes. It fails a connection (7.1.7) by cutting it off, without the close frame that it should send.
"""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.attempt import Attempt
from nymearemoteproxy.client.connecting.heartbeat import HEARTBEAT_INTERVAL
from nymearemoteproxy.client.connecting.proxywebsocket import DROP_TIMEOUT
from nymearemoteproxy.client.endpoints import TunnelEndpoint
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.protocol.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from tests.conformance.peers import Frame, closeBody
from tests.conformance.test_rfc6455 import CONTROL, DATA, FORBIDDEN, reserving
from tests.conformance.test_rfc9112 import GUID, Answer, answered
from tests.support.proxies import ACCEPTED, ESTABLISHED, Recorder, recording
from tests.support.wires import maskedFrame


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """Return a server's frame, of up to 125 bytes."""
    return bytes([(0x80 if fin else 0) | opcode, len(payload)]) + payload


def sized(encoded: bytes, opcode: int = BINARY) -> bytes:
    """Return the head of a server's frame whose length is written like this."""
    return bytes([0x80 | opcode, 126 if len(encoded) == 2 else 127]) + encoded


class Line(StringTransport):
    """The client's connection; the test is the server's end of it."""

    protocol: Any

    def getHandle(self) -> Any:
        return self

    def setsockopt(self, *option: int) -> None:
        """Nothing to set."""

    def setTcpNoDelay(self, isOn: bool) -> None:
        """Nothing to set."""

    setTcpKeepAlive = setTcpNoDelay

    def unregisterProducer(self) -> None:
        """As real ones do, it does not mind that there is none."""

    def abortConnection(self) -> None:
        self.disconnecting = True


class ClientTests(SynchronousTestCase):
    """The rules, by section."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(Attempt, "_wire", lambda _attempt: self)

    def connect(self, factory: Any) -> Deferred[Any]:
        """What an endpoint does."""
        self.line = Line()
        self.line.protocol = factory.buildProtocol(self.line.getPeer())
        self.line.protocol.makeConnection(self.line)
        return succeed(self.line.protocol)

    def asked(self) -> Answer:
        """Let a client connect; return the head of its request."""
        endpoint = TunnelEndpoint(self.clock, "ws://proxy.example:2212/path", "a long token")
        self.result = endpoint.connect(recording())
        return answered(self.take())

    def response(self, **instead: str) -> bytes:
        """Return what grants the request, with other lines than usual."""
        key = self.asked()[1]["sec-websocket-key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        usual = {
            "Status": "HTTP/1.1 101 Switching Protocols",
            "Upgrade": "Upgrade: websocket",
            "Connection": "Connection: Upgrade",
            "Accept": f"Sec-WebSocket-Accept: {accept}",
        }
        lines = [line for line in {**usual, **instead}.values() if line]
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    def joined(self) -> Recorder:
        """Let a client get its tunnel; return the protocol at its end."""
        self.send(self.response())
        self.take()
        return self.established()

    def established(self) -> Recorder:
        """The same for one whose request is granted."""
        self.send(frame(BINARY, ACCEPTED))
        self.send(sized(len(ESTABLISHED).to_bytes(2, "big")), ESTABLISHED)
        protocol: Recorder = self.successResultOf(self.result)
        return protocol

    def send(self, *parts: bytes) -> None:
        """Let the server send this, in one read of the client."""
        self.line.protocol.dataReceived(b"".join(parts))

    def take(self) -> bytes:
        """Return what the client has sent since."""
        data = self.line.value()
        self.line.clear()
        return data

    def frames(self) -> list[Frame]:
        """Return the frames that it has sent since; all are masked."""
        return [(opcode, fin, payload) for opcode, fin, _mask, payload in self.masked()]

    def masked(self) -> list[tuple[int, bool, bytes, bytes]]:
        """Return opcode, FIN, mask and payload of the frames that it has sent since."""
        data, found = self.take(), []
        while data:
            first, size, at = data[0], data[1] & 0x7F, 2
            self.assertEqual(first & 0x70, 0, "a reserved bit")
            self.assertTrue(data[1] & 0x80, "not masked")
            if size == 126:
                size, at = int.from_bytes(data[2:4], "big"), 4
            mask, data = data[at : at + 4], data[at + 4 :]
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[:size]))
            found.append((first & 0x0F, first >= 0x80, mask, payload))
            data = data[size:]
        return found

    def lose(self) -> None:
        """Close TCP."""
        self.line.protocol.connectionLost(Failure(ConnectionDone()))

    def assertFailed(self, *breaches: bytes) -> None:
        """Each of these fails the connection; what came before has arrived, and nothing behind."""
        for breach in breaches:
            protocol = self.joined()
            self.send(frame(BINARY, b"before"), breach, frame(BINARY, b"after"))
            self.send(frame(BINARY, b"later"), frame(PING, b"?"))
            self.assertEqual(protocol.data, b"before", breach)
            self.assertTrue(self.line.disconnecting, breach)
            self.assertNotIn(PONG, [opcode for opcode, _fin, _payload in self.frames()])
            self.lose()
            self.assertIsInstance(protocol.reason.value, ConnectionLost, breach)

    def assertNoTunnel(self, **instead: str) -> None:
        """A response with these lines fails the connection."""
        self.send(self.response(**instead), frame(BINARY, ACCEPTED))
        self.assertTrue(self.line.disconnecting, instead)
        self.lose()
        self.failureResultOf(self.result, TunnelError)

    # 4.1 Client requirements

    def test_4_1_request(self) -> None:
        """GET of the resource in HTTP/1.1, with all that is required, and no extension offered."""
        line, headers, rest = self.asked()
        self.assertEqual((line, rest), ("GET /path HTTP/1.1", b""))
        self.assertEqual(headers["host"], "proxy.example:2212")
        self.assertEqual(headers["upgrade"].lower(), "websocket")
        self.assertEqual(headers["connection"].lower(), "upgrade")
        self.assertEqual(headers["sec-websocket-version"], "13")
        self.assertEqual(len(base64.b64decode(headers["sec-websocket-key"], validate=True)), 16)
        self.assertNotIn("sec-websocket-extensions", headers)
        self.assertNotIn("sec-websocket-protocol", headers)

    def test_4_1_freshKey(self) -> None:
        """The key is chosen anew for each connection."""
        keys = {self.asked()[1]["sec-websocket-key"] for _ in range(8)}
        self.assertEqual(len(keys), 8)

    def test_4_1_nothingBeforeTheResponse(self) -> None:
        """No frame is sent before the upgrade is granted."""
        response = self.response()
        self.send(response[:-1])
        self.assertEqual(self.take(), b"")
        self.send(response[-1:])
        self.assertNotEqual(self.frames(), [])

    def test_4_1_status(self) -> None:
        """Only 101 grants it."""
        self.assertNoTunnel(Status="HTTP/1.1 200 OK")

    def test_4_1_upgrade(self) -> None:
        """The response upgrades to WebSocket, in whatever case."""
        self.send(self.response(Upgrade="Upgrade: WebSocket", Connection="Connection: upgrade"))
        self.assertFalse(self.line.disconnecting)
        self.assertNoTunnel(Upgrade="")
        self.assertNoTunnel(Upgrade="Upgrade: h2c")
        self.assertNoTunnel(Connection="")
        self.assertNoTunnel(Connection="Connection: close")

    def test_4_1_accept(self) -> None:
        """The response is one to this very request."""
        self.assertNoTunnel(Accept="")
        self.assertNoTunnel(Accept="Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_4_1_notOffered(self) -> None:
        """Nothing is granted that was not asked for."""
        self.assertNoTunnel(More="Sec-WebSocket-Extensions: permessage-deflate")
        self.assertNoTunnel(More="Sec-WebSocket-Protocol: chat")

    # 5 Data framing

    def test_5_1_clientMasks(self) -> None:
        """All frames are masked: the request, data, a ping, a pong, a close."""
        self.send(self.response())
        protocol = self.established()
        protocol.transport.write(b"data")
        self.send(frame(PING, b"?"))
        self.clock.advance(HEARTBEAT_INTERVAL)
        protocol.transport.loseConnection()
        sent = [opcode for opcode, _fin, _payload in self.frames()]
        self.assertEqual(sent, [BINARY, BINARY, PONG, PING, CLOSE])

    def test_5_1_serverNeverMasks(self) -> None:
        """A client closes when a server's frame is masked."""
        self.assertFailed(*(maskedFrame(opcode, b"") for opcode in (*DATA, *CONTROL)))

    def test_5_2_reservedBits(self) -> None:
        """RSV1, RSV2 and RSV3 are 0, since no extension says what they mean."""
        self.assertFailed(*(reserving(bits, frame(TEXT, b"")) for bits in (0x40, 0x20, 0x10)))
        self.assertFailed(*(reserving(0x40, frame(opcode, b"")) for opcode in CONTROL))

    def test_5_2_reservedOpcodes(self) -> None:
        """Opcodes 3 to 7 and B to F are reserved."""
        self.assertFailed(*(frame(opcode, b"") for opcode in (*range(3, 8), *range(11, 16))))

    def test_5_2_lengths(self) -> None:
        """A length is written in the fewest bytes, and is below 2^63."""
        self.assertFailed(*(sized(size.to_bytes(2, "big")) for size in (0, 125)))
        self.assertFailed(*(sized(size.to_bytes(8, "big")) for size in (0, 65535, 1 << 63)))

    def test_5_3_unpredictableMasks(self) -> None:
        """Each frame has a new mask, of strong entropy: no generator whose state can be known."""
        self.patch(random, "getrandbits", lambda _bits: 0)
        protocol = self.joined()
        for _ in range(8):
            protocol.transport.write(b"data")
            self.send(frame(PING, b"?"))
        masks = {mask for _opcode, _fin, mask, _payload in self.masked()}
        self.assertEqual(len(masks), 16)

    def test_5_4_fragments(self) -> None:
        """A message may come in fragments, with control frames between them."""
        protocol = self.joined()
        self.send(
            frame(BINARY, b"a", fin=False),
            frame(PING, b"?"),
            frame(CONTINUATION, b"", fin=False),
            frame(CONTINUATION, b"b"),
        )
        self.assertEqual(protocol.data, b"ab")
        self.assertEqual(self.frames(), [(PONG, True, b"?")])

    def test_5_4_order(self) -> None:
        """A message begins with another opcode than 0, and none is within another."""
        self.assertFailed(frame(CONTINUATION, b""), frame(CONTINUATION, b"", fin=False))
        self.assertFailed(*(frame(BINARY, b"", fin=False) + frame(opcode, b"x") for opcode in DATA))

    def test_5_5_controlFrames(self) -> None:
        """They have at most 125 bytes, and FIN."""
        self.assertFailed(*(sized(b"\x00\x7e", opcode) + bytes(126) for opcode in CONTROL))
        self.assertFailed(*(frame(opcode, b"", fin=False) for opcode in CONTROL))

    def test_5_5_1_body(self) -> None:
        """None, or a code of two bytes that may be there and a reason in UTF-8."""
        self.assertFailed(frame(CLOSE, b"\x03"), frame(CLOSE, closeBody(1000) + b"\xff"))
        for code in (0, 999, *FORBIDDEN, 1016, 2999, 5000):
            self.assertFailed(frame(CLOSE, closeBody(code)))

    def test_5_5_1_answered(self) -> None:
        """A close frame is answered by one, and no data follows either; its code is Autobahn's."""
        for body in (b"", closeBody(1001), closeBody(3000, "grüße")):
            protocol = self.joined()
            self.take()
            self.send(frame(CLOSE, body), frame(BINARY, b"after"))
            self.send(frame(BINARY, b"later"))
            protocol.transport.write(b"after")
            self.assertEqual(self.frames(), [(CLOSE, True, closeBody(1000))])
            self.assertEqual(protocol.data, b"")

    def test_5_5_1_nothingKept(self) -> None:
        """What comes behind a close frame is discarded, however much it is."""
        self.joined()
        self.send(frame(CLOSE, b""))
        for _ in range(3):
            self.send(bytes(1 << 16))
        self.assertEqual(self.line.protocol.data, b"")

    def test_5_5_2_pingAnswered(self) -> None:
        """By a pong with the same data."""
        self.joined()
        for data in (b"", b"\x00\xff", b"x" * 125):
            self.send(frame(PING, data))
            self.assertEqual(self.frames(), [(PONG, True, data)])

    def test_5_5_3_unsolicited(self) -> None:
        """A pong that nobody asked for is not answered, and breaks nothing."""
        protocol = self.joined()
        self.send(frame(PONG, b"heartbeat"), frame(BINARY, b"data"))
        self.assertEqual((protocol.data, self.frames()), (b"data", []))

    # 7 Closing the connection

    def test_7_1_1_serverClosesTcpFirst(self) -> None:
        """After both close frames a client waits for the server to close TCP, for a while."""
        protocol = self.joined()
        protocol.transport.loseConnection()
        self.send(frame(CLOSE, closeBody(1000)))
        self.assertFalse(self.line.disconnecting)
        self.clock.advance(DROP_TIMEOUT)
        self.assertTrue(self.line.disconnecting)

    def test_7_1_2_readsOn(self) -> None:
        """What the server sends before its own close frame still arrives."""
        protocol = self.joined()
        protocol.transport.loseConnection()
        self.send(frame(BINARY, b"last words"), frame(CLOSE, closeBody(1000)))
        self.lose()
        self.assertEqual(protocol.data, b"last words")
        self.assertIsInstance(protocol.reason.value, ConnectionDone)

    def test_7_1_5_code(self) -> None:
        """The code of the first close frame says how it ended; without one it was no clean end."""
        for parts, words in (
            ([frame(CLOSE, closeBody(1001, "going"))], "going (1001)"),
            (
                [frame(CLOSE, closeBody(1001)), frame(CLOSE, closeBody(1013))],
                "no reason given (1001)",
            ),
            ([], "connection"),
        ):
            protocol = self.joined()
            self.send(*parts)
            self.lose()
            self.assertIn(words, str(protocol.reason.value).lower())
