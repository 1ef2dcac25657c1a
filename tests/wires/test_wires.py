"""The wire contract, over every transport and every pair of transports, on real sockets."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks

from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.arrival import Arrival
from nymearemoteproxy.wires.control import Control
from nymearemoteproxy.wires.upgrade import Upgrade
from tests.support.served import ALIVE, OTHER, TRANSPORTS, NoCollectorMixin, Served
from tests.support.wires import Connector, Inline, Wire, maskedFrame, reactor

INVALID = "Invalid token. You are not allowed to use this server."


class ControlMixin:
    """The control phase over one transport."""

    transport = ""

    @inlineCallbacks
    def test_hello(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        wire.call("RemoteProxy.Hello", number=7)
        response = yield wire.message()
        self.assertEqual(response["id"], 7)
        self.assertEqual(response["params"]["server"], "nymea-remoteproxy")
        self.assertEqual(response["params"]["name"], "test server")
        self.assertEqual(response["params"]["apiVersion"], "0.3")

    @inlineCallbacks
    def test_introspect(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        wire.call("RemoteProxy.Introspect", {})
        response = yield wire.message()
        self.assertIn("Authentication.Authenticate", response["params"]["methods"])

    @inlineCallbacks
    def test_answersManyCallsInOneRead(self) -> Inline:
        """Far more answers than fit a buffer: reading stops until they are taken, none is lost."""
        wire = yield self.connector.connect(self.transport)
        count = 2000
        request = b'{"id":1,"method":"RemoteProxy.Introspect"}'
        if wire.webSocket:
            request = maskedFrame(1, request)
        wire.sendRaw(request * count)
        for _ in range(count):
            yield wire.message()

    @inlineCallbacks
    def test_bytewise(self) -> Inline:
        """Requests may arrive a byte at a time, line end and all, and still pair cleanly."""
        one = yield self.join(OTHER[self.transport], "good")
        two = yield self.connector.connect(self.transport)
        two.transport.setTcpNoDelay(True) if self.transport != "unix" else None
        request = b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"good"}}\n'
        for byte in maskedFrame(1, request) if two.webSocket else request:
            two.sendRaw(bytes([byte]))
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            yield turn
        yield two.message()
        yield two.message()
        yield one.message()
        one.send(b"welcome")  # when it arrives, the server has read the line end by itself
        yield two.take(7)
        two.send(b"payload")
        self.assertEqual((yield one.take(7)), b"payload")

    @inlineCallbacks
    def check(self, data: bytes, number: int, text: str, code: int, outcome: Outcome) -> Inline:
        """Send something wrong; expect this error, and the end."""
        wire = yield self.connector.connect(self.transport)
        wire.send(data)
        response = yield wire.message()
        self.assertEqual(response["id"], number)
        self.assertEqual(response["status"], "error")
        self.assertIn(text, response["error"])
        self.assertEqual((yield wire.end()), b"")
        self.assertClosed(wire, code, outcome.reason)
        wire.leave()
        yield wire.gone()
        yield self.ended(outcome)

    def test_garbage(self) -> Deferred[None]:
        return self.check(b"garbage", -1, "Invalid JSON", 1002, Outcome.INVALID_JSON)

    def test_notANumber(self) -> Deferred[None]:
        return self.check(b'{"id":NaN}', -1, "Invalid JSON", 1002, Outcome.INVALID_JSON)

    def test_unknownMethod(self) -> Deferred[None]:
        request = b'{"id":3,"method":"RemoteProxy.Goodbye"}'
        return self.check(request, 3, "Unknown method", 1008, Outcome.INVALID_REQUEST)

    def test_missingParam(self) -> Deferred[None]:
        request = b'{"id":3,"method":"Authentication.Authenticate","params":{"uuid":"1"}}'
        return self.check(request, 3, '"token"', 1008, Outcome.INVALID_REQUEST)

    def test_tooLarge(self) -> Deferred[None]:
        request = b'{"id":1,"x":"' + b"x" * self.messageLimit
        return self.check(request, -1, "10240 bytes", 1009, Outcome.MESSAGE_TOO_LARGE)

    @inlineCallbacks
    def test_manyMegabytesWithoutABrace(self) -> Inline:
        """The error arrives although the client is still sending."""
        wire = yield self.connector.connect(self.transport)
        wire.send(b'{"' + b"x" * (4 << 20))
        response = yield wire.message()
        self.assertEqual(response["id"], -1)
        yield wire.end()
        wire.transport.abortConnection()

    @inlineCallbacks
    def test_refusedFirstApi(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        wire.authenticate("bad")
        response = yield wire.message()
        self.assertEqual(response, {"id": 1, "status": "error", "error": INVALID})
        yield wire.end()
        self.assertClosed(wire, 1008, "invalid token")

    @inlineCallbacks
    def test_refused(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        wire.authenticate("bad", uuid="{1}", name="one")
        response = yield wire.message()
        self.assertEqual(
            response,
            {
                "id": 1,
                "status": "success",
                "params": {"authenticationError": "AuthenticationErrorAuthenticationFailed"},
                "error": INVALID,
            },
        )
        yield wire.end()
        self.assertClosed(wire, 1008, "invalid token")

    @inlineCallbacks
    def test_backendBroken(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        wire.authenticate("broken", uuid="{1}", name="one")
        response = yield wire.message()
        self.assertEqual(
            response["params"], {"authenticationError": "AuthenticationErrorProxyError"}
        )
        yield wire.end()
        self.assertClosed(wire, 1013, "authentication unavailable")
        yield self.ended(Outcome.AUTHENTICATION_ERROR)

    @inlineCallbacks
    def test_leavesWhileAuthenticating(self) -> Inline:
        """The request to the backend is cancelled."""
        wire = yield self.connector.connect(self.transport)
        wire.authenticate("slow")
        yield self.eventually(lambda: self.backend.asked == 1)
        wire.leave()
        yield wire.gone()
        yield self.ended(Outcome.LEFT_EARLY)
        self.assertEqual(self.backend.cancelled, 1)

    @inlineCallbacks
    def test_leavesWhileWaiting(self) -> Inline:
        """The place is free at once, and whoever comes next waits."""
        one = yield self.join(self.transport, "good")
        one.leave()
        yield one.gone()
        yield self.ended(Outcome.LEFT_EARLY)
        yield self.join(self.transport, "good")
        self.assertEqual(self.rendezvous.waiting, 1)

    @inlineCallbacks
    def test_dataWhileAuthenticating(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        wire.authenticate("slow")
        yield self.eventually(lambda: self.backend.asked == 1)
        wire.send(b"x")
        self.assertEqual((yield wire.end()), b"")
        self.assertClosed(wire, 1008, "data before the tunnel was established")
        self.assertEqual(self.backend.cancelled, 1)

    @inlineCallbacks
    def test_dataWhileWaiting(self) -> Inline:
        """Nothing of it reaches the partner that comes later, nor is there one."""
        one = yield self.join(self.transport, "good")
        one.send(b"x")
        self.assertEqual((yield one.end()), b"")
        self.assertClosed(one, 1008, "data before the tunnel was established")
        yield self.join(OTHER[self.transport], "good")
        self.assertEqual(self.rendezvous.waiting, 1)

    @inlineCallbacks
    def test_dataRightBehindAuthenticate(self) -> Inline:
        """However fast the backend is, data in the same read is data before the tunnel."""
        one = yield self.join(OTHER[self.transport], "good")
        two = yield self.connector.connect(self.transport)
        request = b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"good"}}\n'
        if two.webSocket:
            two.sendRaw(maskedFrame(1, request) + maskedFrame(1, b"x"))
        else:
            two.sendRaw(request + b"x")
        yield two.end()
        self.assertClosed(two, 1008, "data before the tunnel was established")
        self.assertEqual(one.payload, b"")
        self.assertEqual(self.rendezvous.waiting, 1)

    @inlineCallbacks
    def test_dataInTheSecondRecord(self) -> Inline:
        """The same when the data is in one TCP segment with Authenticate, but not in one record."""
        one = yield self.join("tcp", "good", uuid="{1}", name="one")
        two = yield self.connector.connect(self.transport)
        two.call("RemoteProxy.Hello")
        yield two.message()
        if self.transport in ("tls", "wss"):
            # Twisted sends a record for each 16 KiB at most; this leaves as one TCP write.
            tls = two.transport.getHandle()
            request = json.dumps(
                {"id": 1, "method": "Authentication.Authenticate", "params": {"token": "good"}}
            ).encode()
            for part in request, b"PREMATURE":
                tls.send(maskedFrame(1, part) if two.webSocket else part)
            two.transport.transport.write(tls.bio_read(1 << 16))
            yield two.end()
            self.assertClosed(two, 1008, "data before the tunnel was established")
            self.assertEqual(self.rendezvous.waiting, 1)
        self.assertEqual(one.payload, b"")

    @inlineCallbacks
    def test_tunnelExists(self) -> Inline:
        """The third one gets its success and is sent away; the tunnel goes on."""
        one, two = yield self.tunnel(self.transport, OTHER[self.transport])
        three = yield self.join(self.transport, "good")
        self.assertEqual((yield three.end()), b"")
        self.assertClosed(three, 1008, "tunnel already exists")
        one.send(b"still here")
        self.assertEqual((yield two.take(10)), b"still here")

    @inlineCallbacks
    def test_duplicateUuid(self) -> Inline:
        one = yield self.join(self.transport, "good", uuid="{AB}", name="one")
        two = yield self.join(OTHER[self.transport], "good", uuid="ab", name="two")
        yield one.end()
        yield two.end()
        for wire in one, two:
            self.assertClosed(wire, 1008, "duplicate client uuid")

    @inlineCallbacks
    def test_nonceDiffers(self) -> Inline:
        yield self.join(self.transport, "good", nonce="1")
        yield self.join(self.transport, "good", nonce="2")
        yield self.join(self.transport, "good")
        self.assertEqual(self.rendezvous.waiting, 3)

    @inlineCallbacks
    def test_sameNonceOtherToken(self) -> Inline:
        yield self.join(self.transport, "good", nonce="1")
        yield self.join(self.transport, "better", nonce="1")
        self.assertEqual(self.rendezvous.waiting, 2)

    @inlineCallbacks
    def test_shutDown(self) -> Inline:
        waiting = yield self.join(self.transport, "waiting")
        one, two = yield self.tunnel(self.transport, OTHER[self.transport])
        fresh = yield self.connector.connect(self.transport)
        yield self.eventually(lambda: self.proxy.registry.gate.connections == 4)
        stopped = self.proxy.registry.dismissal.dismissAll()
        for wire in one, two, waiting, fresh:
            yield wire.end()
        self.assertClosed(one, 1001, "server is shutting down")
        self.assertClosed(two, 1001, "server is shutting down")
        self.assertClosed(waiting, 1013, "server is shutting down, try again later")
        for wire in one, two, waiting, fresh:
            wire.leave()
        yield stopped


class PairMixin:
    """A tunnel between two transports."""

    first = ""
    second = ""

    @inlineCallbacks
    def test_notifications(self) -> Inline:
        """Both dialects meet; each is told in its own, and nothing else."""
        one = yield self.join(self.first, "good")
        two = yield self.join(self.second, "good", uuid="{2}", name="zwei")
        self.assertEqual((yield one.message()), {"id": "1", "notification": "Tunnel.Established"})
        notification = yield two.message()
        self.assertIsInstance(notification.pop("id"), int)
        self.assertEqual(
            notification,
            {
                "notification": "RemoteProxy.TunnelEstablished",
                "params": {"name": "", "uuid": ""},
            },
        )
        three = yield self.join(self.first, "other", uuid="{3}", name="drei", nonce="n")
        four = yield self.join(self.second, "other", uuid="{4}", name="vier", nonce="n")
        self.assertEqual((yield three.message())["params"], {"name": "vier", "uuid": "{4}"})
        self.assertEqual((yield four.message())["params"], {"name": "drei", "uuid": "{3}"})
        one.send(b"one")
        two.send(b"two")
        three.send(b"three")
        four.send(b"four")
        self.assertEqual((yield one.take(3)), b"two")
        self.assertEqual((yield two.take(3)), b"one")
        self.assertEqual((yield three.take(4)), b"four")
        self.assertEqual((yield four.take(5)), b"three")

    @inlineCallbacks
    def test_megabytesBothWays(self) -> Inline:
        one, two = yield self.tunnel(self.first, self.second)
        there, back = os.urandom(3_000_000), os.urandom(2_000_000)
        arrived = gatherResults([two.take(len(there)), one.take(len(back))])
        sizes = (1, 7, 125, 126, 65_535, 65_536, 300_000)
        for wire, data in (one, there), (two, back):
            at, turn = 0, 0
            while at < len(data):
                size = sizes[turn % len(sizes)]
                wire.send(data[at : at + size])
                at, turn = at + size, turn + 1
        got = yield arrived
        self.assertEqual(
            [hashlib.sha256(data).hexdigest() for data in got],
            [hashlib.sha256(data).hexdigest() for data in (there, back)],
        )

    @inlineCallbacks
    def test_lastWordsToASlowReader(self) -> Inline:
        """A reader that starts only after its partner has left still gets everything."""
        one, two = yield self.tunnel(self.first, self.second)
        # What the buffers on the way can hold; those of Unix sockets are small.
        data = os.urandom(100_000 if self.second == "unix" else 2_000_000)
        two.transport.pauseProducing()
        one.send(data)
        one.leave()
        yield one.until(lambda: one.lost or one.ended)
        two.transport.resumeProducing()
        rest = yield two.end()
        self.assertEqual(hashlib.sha256(rest).digest(), hashlib.sha256(data).digest())
        self.assertClosed(two, 1000, "tunnel partner disconnected")
        two.leave()
        yield two.gone()
        yield one.gone()
        yield self.ended(Outcome.PARTNER_LEFT)
        yield self.ended(Outcome.CLIENT_LEFT)

    @inlineCallbacks
    def test_partnerVanishes(self) -> Inline:
        """A connection that is reset takes its partner along."""
        one, two = yield self.tunnel(self.first, self.second)
        one.transport.abortConnection()
        yield two.end()
        self.assertClosed(two, 1000, "tunnel partner disconnected")
        two.leave()
        yield two.gone()
        yield self.ended(Outcome.PARTNER_LEFT)
        yield self.eventually(lambda: self.rendezvous.tunnels == 0)


class HalfCloseMixin:
    """A stream client that closes only its sending direction."""

    transport = ""
    partner = ""

    @inlineCallbacks
    def test_halfClose(self) -> Inline:
        """Its partner receives everything sent before, and what that one answers still arrives."""
        one, two = yield self.tunnel(self.transport, self.partner)
        data = os.urandom(1_000_000)
        one.send(data)
        one.transport.loseWriteConnection()
        yield two.take(len(data))
        if not two.webSocket and self.partner != "tls":
            yield two.end()
            two.send(b"answer")
            self.assertEqual((yield one.take(6)), b"answer")
            third = yield self.join(self.transport, "good")
            yield third.end()
            yield self.ended(Outcome.TUNNEL_EXISTS)
        two.leave()
        yield two.gone()
        yield one.end()

    @inlineCallbacks
    def test_answeredThoughHalfClosed(self) -> Inline:
        """As with ``echo ... | nc``: the request and the end of the stream come at once."""
        wire = yield self.connector.connect(self.transport)
        wire.call("RemoteProxy.Hello")
        wire.transport.loseWriteConnection()
        response = yield wire.message()
        self.assertEqual(response["status"], "success")
        yield wire.end()
        yield self.ended(Outcome.LEFT_EARLY)


class WebSocketMixin:
    """What only WebSocket has."""

    transport = ""

    @inlineCallbacks
    def test_boundariesAndTypes(self) -> Inline:
        """Messages arrive as they were, however they are fragmented and cut."""
        one, two = yield self.tunnel(self.transport, "ws")
        messages = [(1, "grüße".encode()), (2, b"\x00\xff"), (1, b""), (2, os.urandom(200_000))]
        for opcode, payload in messages:
            one.sendRaw(maskedFrame(opcode, payload))
        one.sendRaw(maskedFrame(1, b"a", fin=False))
        one.sendRaw(maskedFrame(9, b"ping between"))
        one.sendRaw(maskedFrame(0, b"b", fin=False) + maskedFrame(0, b"c"))
        seen = len(two.messages)
        yield two.until(lambda: len(two.messages) == seen + 5)
        self.assertEqual(two.messages[seen:], [*messages, (1, b"abc")])
        yield one.until(lambda: one.pongs)
        self.assertEqual(one.pongs, [b"ping between"])

    @inlineCallbacks
    def test_answersInTheTypeUsedFirst(self) -> Inline:
        for opcode in 1, 2:
            wire = yield self.connector.connect(self.transport, opcode)
            wire.call("RemoteProxy.Hello")
            yield wire.message()
            self.assertEqual(wire.messages[0][0], opcode)

    @inlineCallbacks
    def test_noExtension(self) -> Inline:
        wire = yield self.connector.connect(self.transport)
        self.assertNotIn(b"sec-websocket-extensions", wire.head.lower())

    @inlineCallbacks
    def test_streamToText(self) -> Inline:
        """Text is cut between characters; what is no UTF-8 arrives as binary, unchanged."""
        one, two = yield self.tunnel(self.transport, "unix", opcode=1)
        seen = len(one.messages)
        text = "grüße".encode()
        two.send(text[:3])
        yield one.until(lambda: one.messages[seen:])
        two.send(text[3:])
        yield one.until(lambda: len(one.messages) == seen + 2)
        self.assertEqual(one.messages[seen:], [(1, b"gr"), (1, text[2:])])
        two.send(b"\xff\xfe")
        yield one.until(lambda: len(one.messages) == seen + 3)
        self.assertEqual(one.messages[seen + 2], (2, b"\xff\xfe"))
        two.send(b"end\xc3")
        two.leave()
        yield one.end()
        self.assertEqual(one.messages[seen + 3 :], [(1, b"end"), (2, b"\xc3")])

    @inlineCallbacks
    def test_unfinishedCharacterIsNotHeldForever(self) -> Inline:
        one, two = yield self.tunnel(self.transport, "tcp", opcode=1)
        seen = len(one.messages)
        two.send(b"\xe2")
        yield one.until(lambda: one.messages[seen:])
        self.assertEqual(one.messages[seen:], [(2, b"\xe2")])

    @inlineCallbacks
    def breach(self, data: bytes, code: int = 1002) -> Inline:
        """Break the protocol in the control phase, and in a tunnel, behind good data."""
        wire = yield self.connector.connect(self.transport)
        wire.sendRaw(data)
        yield wire.end()
        self.assertEqual(wire.close[0], code)
        one, two = yield self.tunnel(self.transport, "tcp")
        one.sendRaw(maskedFrame(2, b"last words") + data)
        self.assertEqual((yield two.end()), b"last words")
        yield one.end()
        self.assertEqual(one.close[0], code)
        one.leave()
        two.leave()
        yield self.ended(Outcome.WEBSOCKET_PROTOCOL_ERROR, 2)

    def test_unmasked(self) -> Deferred[None]:
        return self.breach(b"\x82\x01x")

    def test_reservedBit(self) -> Deferred[None]:
        return self.breach(b"\xc2\x81\x00\x00\x00\x00x")

    def test_unknownOpcode(self) -> Deferred[None]:
        return self.breach(maskedFrame(3, b""))

    def test_longPing(self) -> Deferred[None]:
        return self.breach(maskedFrame(9, b"x" * 126))

    def test_fragmentedPing(self) -> Deferred[None]:
        return self.breach(maskedFrame(9, b"", fin=False))

    def test_brokenCloseCode(self) -> Deferred[None]:
        return self.breach(maskedFrame(8, (1005).to_bytes(2, "big")))

    def test_closeReasonNotText(self) -> Deferred[None]:
        return self.breach(maskedFrame(8, (1000).to_bytes(2, "big") + b"\xff"), 1007)

    @inlineCallbacks
    def test_pingWhileWaiting(self) -> Inline:
        """A ping is no data, not even one that is cut in two when the tunnel begins."""
        one = yield self.join(self.transport, "good")
        ping = maskedFrame(9, b"p")
        one.sendRaw(ping + ping[:3])
        yield one.until(lambda: one.pongs)
        two = yield self.join("tcp", "good")
        yield one.message()
        yield two.message()
        one.sendRaw(ping[3:])
        yield one.until(lambda: len(one.pongs) == 2)
        one.send(b"x")
        self.assertEqual((yield two.take(1)), b"x")

    @inlineCallbacks
    def test_half0fAFrameWhileWaiting(self) -> Inline:
        one = yield self.join(self.transport, "good")
        one.sendRaw(maskedFrame(1, b"x")[:1])
        yield one.end()
        self.assertEqual(one.close[0], 1008)

    @inlineCallbacks
    def test_farewellRightBehindAuthenticate(self) -> Inline:
        """A client that closes in the same read leaves; its partner-to-be waits on."""
        yield self.join("tcp", "good")
        two = yield self.connector.connect(self.transport)
        request = b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"good"}}\n'
        two.sendRaw(maskedFrame(1, request) + maskedFrame(8, b""))
        yield two.gone()
        yield self.ended(Outcome.LEFT_EARLY)
        self.assertEqual(self.rendezvous.waiting, 1)

    @inlineCallbacks
    def _exchange(self, data: bytes) -> Inline:
        """Send bytes to the WebSocket port; fire with all that comes back."""
        kind = "tcp" if self.transport == "ws" else "tls"
        connector = Connector({kind: self.connector.addresses[self.transport]})
        wire: Wire = yield connector.connect(kind)
        wire.sendRaw(data)
        answer = yield wire.end()
        yield connector.close()
        return answer

    @inlineCallbacks
    def test_plainRequest(self) -> Inline:
        answer = yield self._exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 426 "), answer)
        yield self.ended(Outcome.WEBSOCKET_HANDSHAKE_FAILED)

    @inlineCallbacks
    def test_otherMethod(self) -> Inline:
        answer = yield self._exchange(b"POST /?secret HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 405 "), answer)

    @inlineCallbacks
    def test_endlessRequest(self) -> Inline:
        answer = yield self._exchange(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000)
        self.assertTrue(answer.startswith(b"HTTP/1.1 431 "), answer)
        yield self.ended(Outcome.MESSAGE_TOO_LARGE)

    @inlineCallbacks
    def test_originAndExtensionsDecideNothing(self) -> Inline:
        """Local web views have odd origins, and an extension is declined, not refused."""
        odd = [b"Origin: null", b"ORIGIN: file://", b"Origin: qrc://"]
        extension = b"Sec-WebSocket-Extensions: permessage-deflate; foo=1"
        for version in b"13", b"8":
            for header in [*odd, b"Sec-WebSocket-" + odd[2], extension]:
                answer = yield self._exchange(
                    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n" + header + b"\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                    b"Sec-WebSocket-Version: " + version + b"\r\n\r\n" + maskedFrame(8, b"")
                )
                self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
                self.assertIn(b"ICX+Yqv66kxgM0FcWaLWlFLwTAI=", answer)

    @inlineCallbacks
    def test_lastTypeCountsForATunnel(self) -> Inline:
        """Answers have the type used first, relayed bytes the one used to authenticate."""
        one = yield self.connector.connect(self.transport, 1)
        one.call("RemoteProxy.Hello")
        yield one.message()
        one.opcode = 2
        one.authenticate("good")
        yield one.message()
        two = yield self.join("tcp", "good")
        yield one.message()
        yield two.message()
        seen = len(one.messages)
        two.send(b"text")
        yield one.until(lambda: one.messages[seen:])
        self.assertEqual([opcode for opcode, _payload in one.messages], [1, 1, 1, 2])

    @inlineCallbacks
    def test_framesRightBehindTheUpgrade(self) -> Inline:
        """A hasty client sends its first request before it has seen the answer to the upgrade."""
        request = maskedFrame(1, json.dumps({"id": 5, "method": "RemoteProxy.Hello"}).encode())
        answer = yield self._exchange(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            + request
            + maskedFrame(8, b"")
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.assertIn(b'{"id":5,"status":"success"', answer)


class StalledMixin:
    """A client that is lost while its partner does not read, so that it is not read from either."""

    timing = Timing(ping=0.1, pingAnswer=1.0, close=0.2)
    transport = ""
    size = 20_000_000
    """More than the kernel's buffers hold on the way."""

    @inlineCallbacks
    def unread(self) -> Inline:
        """Fires with the wires of a tunnel; the first client is not read from any more."""
        one, two = yield self.tunnel(self.transport, OTHER[self.transport])
        two.deafen()
        one.send(bytes(self.size))
        record = next(iter(self.proxy.registry._records.values()))
        yield self.eventually(lambda: record.client.unread)
        return one, two

    @inlineCallbacks
    def test_resetWhileUnread(self) -> Inline:
        one, two = yield self.unread()
        one.transport.abortConnection()
        yield self.ended(Outcome.CONNECTION_LOST)
        yield self.eventually(lambda: self.rendezvous.tunnels == 0)
        two.transport.resumeProducing()
        yield two.end()

    @inlineCallbacks
    def test_aliveWhileUnread(self) -> Inline:
        """One that is only slow is left alone, and loses nothing."""
        one, two = yield self.unread()
        for _ in range(5):
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.3, turn.callback, None)
            yield turn
        two.transport.resumeProducing()
        yield two.take(self.size)


class StalledLeaverMixin:
    """A TLS client that takes nothing, but ends its side of TLS; its TCP connection stays."""

    timing = Timing(close=0.2)
    transport = ""

    @inlineCallbacks
    def stalled(self) -> Inline:
        """Fires with the wires of a tunnel; the first client has stopped reading."""
        one, two = yield self.tunnel(self.transport, "tcp")
        one.deafen()
        two.send(bytes(20_000_000))
        record = next(iter(self.proxy.registry._records.values()))
        yield self.eventually(lambda: record.client.blocked)
        return one, two

    @inlineCallbacks
    def check(self, two: Any, outcome: Outcome) -> Inline:
        """The partner hears of it at once; the connection is not kept for ever."""
        yield two.end()
        yield self.eventually(lambda: self.rendezvous.tunnels == 0)
        two.leave()
        yield self.ended(outcome)

    @inlineCallbacks
    def test_closeNotify(self) -> Inline:
        one, two = yield self.stalled()
        one.send(b"last words")
        one.transport.loseConnection()
        self.assertEqual((yield two.take(10)), b"last words")
        leaves = Outcome.CONNECTION_LOST if one.webSocket else Outcome.CLIENT_LEFT
        yield self.check(two, leaves)
        one.transport.abortConnection()

    @inlineCallbacks
    def test_breach(self) -> Inline:
        one, two = yield self.stalled()
        one.transport.transport.write(b"no TLS at all")
        yield self.check(two, Outcome.CONNECTION_LOST)


class GarbageMixin(NoCollectorMixin):
    """What is over leaves no reference cycles."""

    transport = ""

    @inlineCallbacks
    def test_nothingIsLeft(self) -> Inline:
        one, two = yield self.tunnel(self.transport, self.transport)
        yield self.gone(Arrival, Control, Upgrade)
        one.leave()
        yield two.end()
        two.leave()
        yield gatherResults([one.gone(), two.gone()])
        yield self.gone(*ALIVE)

    @inlineCallbacks
    def test_lost(self) -> Inline:
        one, two = yield self.tunnel(self.transport, self.transport)
        one.transport.abortConnection()
        two.transport.abortConnection()
        yield gatherResults([one.gone(), two.gone()])
        yield self.gone(*ALIVE)

    @inlineCallbacks
    def test_breach(self) -> Inline:
        """Errors hold the frames they were raised in."""
        wire = yield self.connector.connect(self.transport)
        lowest = wire.transport
        if self.transport in ("wss", "tls"):
            lowest = lowest.transport
        lowest.write(b"\x17\x03\x03\x00\x05wrong" if lowest is not wire.transport else b"\xff\xff")
        yield wire.end()
        wire.leave()
        yield wire.gone()
        yield self.gone(*ALIVE)


def _suites() -> None:
    """Make one test class per transport, and one per pair of transports."""
    for transport in TRANSPORTS:
        mixins: list[type] = [ControlMixin]
        if transport in ("ws", "wss"):
            mixins.append(WebSocketMixin)
        name = f"{transport.capitalize()}Tests"
        globals()[name] = type(
            name, (*mixins, Served), {"transport": transport, "__module__": __name__}
        )
        if transport != "unix":
            name = f"{transport.capitalize()}StalledTests"
            members = {"transport": transport, "__module__": __name__}
            globals()[name] = type(name, (StalledMixin, Served), members)
        name = f"{transport.capitalize()}GarbageTests"
        members = {"transport": transport, "__module__": __name__}
        globals()[name] = type(name, (GarbageMixin, Served), members)
        if transport in ("wss", "tls"):
            name = f"{transport.capitalize()}StalledLeaverTests"
            globals()[name] = type(name, (StalledLeaverMixin, Served), members)
        for second in TRANSPORTS:
            name = f"{transport.capitalize()}With{second.capitalize()}Tests"
            members = {"first": transport, "second": second, "__module__": __name__}
            globals()[name] = type(name, (PairMixin, Served), members)
            if transport in ("tcp", "unix"):
                name = f"{transport.capitalize()}HalfClosed{second.capitalize()}Tests"
                members = {"transport": transport, "partner": second, "__module__": __name__}
                globals()[name] = type(name, (HalfCloseMixin, Served), members)


_suites()
