"""Bad input to the real server process."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from typing import cast

from tests.support.endtoend import (
    BINARY,
    CLOSE,
    DIALECTS,
    FIRST,
    PING,
    PONG,
    SECOND,
    STREAM,
    TEXT,
    TLS_STREAM,
    UPGRADE,
    SharedServer,
    Stream,
    WebSocket,
    accepted,
    authenticate,
    call,
    connect,
    frame,
    inThread,
    join,
    refused,
    secret,
    tunnel,
)


class BadInputTests(SharedServer):
    """What no client should send: the documented answer, and one log line."""

    listeners = 4
    token = secret("valid")

    def arguments(self) -> list[str]:
        return [
            *("--websocket", STREAM, "--websocket", TLS_STREAM),
            *("--stream", STREAM, "--stream", TLS_STREAM, "--token", self.token),
            *("--set", "ProxyServer.tlsHandshakeTimeout=3000"),
            *("--set", "ProxyServer.webSocketHandshakeTimeout=3000"),
            *("--set", "ProxyServer.inactiveTimeout=5000"),
        ]

    def open(self, scheme: str, tls: bool | None = None) -> Stream:
        """Return a new client."""
        url = self.server.url(scheme)
        client = Stream(url, tls) if tls is not None else connect(url)
        self.keep(client)
        return client

    def assertEnded(self, client: Stream, *outcomes: str) -> None:
        """The connection has ended this way, and one log line is all there is about it."""
        self.assertIn(self.ended(client), outcomes)
        self.assertEqual(len(self.linesAbout(client)), 1, self.linesAbout(client))

    def assertRefused(
        self, message: bytes, error: str, code: int, *outcomes: str, id: int = -1
    ) -> None:
        """Every kind of client gets this error for this message."""
        for scheme in ("tcp", "tls", "ws", "wss"):
            client = self.open(scheme)
            client.sendMessage(message)
            answer, closeCode = client.goodbye()
            self.assertEqual(answer[-1:], b"\n", message[:80])
            response = json.loads(answer)
            self.assertEqual((response["id"], response["status"]), (id, "error"), message[:80])
            self.assertEqual(set(response), {"id", "status", "error"})
            self.assertRegex(response["error"], error)
            if scheme in ("ws", "wss"):
                self.assertEqual(closeCode, code)
            self.assertEnded(client, *outcomes)

    @inThread
    def testGarbage(self) -> None:
        """Bytes that begin no object; field clients never send a line of text or HTTP."""
        for data in (b"x", b"\x00", b"\xff\xfe", b"[]", b'"', b"GET / HTTP/1.1\r\n\r\n", b"}"):
            self.assertRefused(data, "Invalid JSON", 1002, "invalid-json")

    @inThread
    def testNoJson(self) -> None:
        """Objects that are no JSON."""
        for members in (
            '"id":1,,',
            '"id":1e400,',
            '"id":-1e400,',
            '"id":NaN,',
            '"id":Infinity,',
            '"id":1,"x":-Infinity,',
            f'"id":1{"0" * 400},',
            f'"id":1{"0" * 5000},',
            '"id":01,',
            '"id":1,"x":"\x01",',
            '"id":1,"x":"\x00",',
            '"id":1,"x":"\\x",',
            '"id":1,"x":"\\ud800",',
            '"id":1,"\\udc00":1,',
            '"id":1,"x":"\\udc00\\ud800",',
            "'id':1,",
            "id:1,",
            f'"id":1,"x":{"[" * 10000},',
            f'"id":1,"x":{"[" * 5000}{"]" * 4000},',
        ):
            message = "{" + members + '"method":"RemoteProxy.Hello"}'
            self.assertRefused(message.encode(), "Invalid JSON", 1002, "invalid-json")
        self.assertRefused(b'{"id":1,"x":"\xff"}', "UTF-8", 1002, "invalid-json")
        self.assertRefused(b'{"id":1,"x":"\xed\xa0\x80"}', "UTF-8", 1002, "invalid-json")

    @inThread
    def testDeep(self) -> None:
        """Deep nesting that is proper JSON is refused somehow, and breaks nothing."""
        for text in (
            '{"id":1,"x":%s}' % ("[" * 5000 + "]" * 5000),
            '{"a":' * 1700 + "1" + "}" * 1700,
        ):
            client = self.open("tcp")
            client.sendMessage(text.encode())
            self.assertEqual(json.loads(client.goodbye()[0])["status"], "error")
            self.assertEnded(client, "invalid-json", "invalid-request")

    @inThread
    def testTooLarge(self) -> None:
        """More than 10 KiB for a message, whole or not, is refused as it is being received."""
        for data in (
            b'{"id":1,"x":"' + b"x" * 1024 * 1024,
            b'{"id":1,"x":"' + b"\\" * 20000,
            b'{"a":' * 10000,
            b'{"id":1,"x":"%s"}' % (b"x" * 10240),
        ):
            self.assertRefused(data, "10240 bytes", 1009, "message-too-large")

    @inThread
    def testLargest(self) -> None:
        """Exactly 10 KiB are not too large; white space between objects does not count."""
        message = b'{"id":1,"method":"RemoteProxy.Hello","x":"'
        message += b"x" * (10240 - 2 - len(message)) + b'"}'
        client = self.open("tcp")
        for data in (message, b" " * 1024 * 1024 + message, b"\r\n\t " * 5000 + message + b"\n"):
            client.send(data)
            self.assertIn(b'"success"', client.line())
        client.close()
        self.assertEnded(client, "left-early")

    @inThread
    def testBadRequests(self) -> None:
        """JSON that is no request: the id of the request where there is one, and what is wrong."""
        invalid = "invalid-request"
        hello = "RemoteProxy.Hello"
        auth = "Authentication.Authenticate"
        for message in (
            {"method": hello},
            {"id": "1", "method": hello},
            {"id": 1.0, "method": hello},
            {"id": True, "method": hello},
            {"id": None, "method": hello},
        ):
            self.assertRefused(json.dumps(message).encode(), "id", 1008, invalid)
        for params, error in (
            ({"id": 7}, "method"),
            ({"id": 7, "method": 1}, "method"),
            ({"id": 7, "method": "Hello"}, "method"),
            ({"id": 7, "method": "A.b.c"}, "method"),
            ({"id": 7, "method": "Nope.Hello"}, "[Nn]amespace"),
            ({"id": 7, "method": "RemoteProxy.Nope"}, "[Uu]nknown method"),
            ({"id": 7, "method": hello, "params": []}, "params"),
            ({"id": 7, "method": hello, "params": None}, "params"),
            ({"id": 7, "method": hello, "params": {"surplus": 1}}, '"surplus"'),
            ({"id": 7, "method": auth}, '"token"'),
            ({"id": 7, "method": auth, "params": {"token": 1}}, '"token"'),
            ({"id": 7, "method": auth, "params": {"token": self.token, "nonce": 1}}, '"nonce"'),
            ({"id": 7, "method": auth, "params": {"token": self.token, "uuid": "x"}}, '"name"'),
            ({"id": 7, "method": auth, "params": {"token": self.token, "name": "x"}}, '"uuid"'),
        ):
            self.assertRefused(json.dumps(params).encode(), error, 1008, invalid, id=7)

    @inThread
    def testDuplicateKeys(self) -> None:
        """Of a key given twice the last counts."""
        client = self.open("tcp")
        client.send(b'{"id":1,"method":"No.Such","id":2,"method":"RemoteProxy.Hello"}')
        self.assertEqual(json.loads(client.line())["id"], 2)
        client.close()

    @inThread
    def testOddButRight(self) -> None:
        """Split bytes, several at once, unknown keys, large ids, escapes: all that is allowed."""
        client = self.open("tcp")
        for byte in b'{"id":1,"method":"RemoteProxy.Hello","x":"}\\"{"}':
            client.send(bytes((byte,)))
        self.assertIn(b'"id":1,', client.line())
        client.send(call("RemoteProxy.Hello", 2).strip() + call("RemoteProxy.Introspect", 3) * 2)
        self.assertIn(b'"id":2,', client.line())
        self.assertIn(b'"id":3,', client.line())
        self.assertIn(b'"id":3,', client.line())
        client.send(call("RemoteProxy.Hello", 10**300))
        self.assertIn(b'"id":1%s,' % (b"0" * 300), client.line())
        client.send(b'{"id":-5,"method":"RemoteProxy.Hello","x":"\\ud83d\\ude00 \xf0\x9f\x98\x80"}')
        self.assertIn(b'"id":-5,', client.line())
        client.close()

    @inThread
    def testLongToken(self) -> None:
        """A token of 9 KiB is refused like any other that is wrong."""
        for scheme in ("tcp", "wss"):
            for dialect in DIALECTS:
                client = self.open(scheme)
                client.sendMessage(authenticate(secret() + "x" * 9 * 1024, dialect))
                self.assertEqual(client.goodbye()[0], refused(dialect))
                self.assertEnded(client, "token-refused")

    @inThread
    def testOddTokens(self) -> None:
        """Tokens with NUL, line ends, control characters, or nothing in them are just wrong."""
        for token in ("", "\0", f"{self.token}\n", f" {self.token}", f"{self.token}\0", "é" * 999):
            client = self.open("tcp")
            client.sendMessage(authenticate(token))
            self.assertEqual(client.goodbye()[0], refused(FIRST))
            self.assertEnded(client, "token-refused")

    @inThread
    def testHostileNames(self) -> None:
        """Names reach the partner unchanged, and do not write log lines of their own."""
        name = "a\n2026-01-01T00:00:00+0000 info from 1.2.3.4:5 ended: x\x1b[2J\0 {outcome} %s é 😀"
        one = join(self.server.url("tcp"), self.token, SECOND)
        two = join(self.server.url("ws"), self.token, {"uuid": "{\n}", "name": name})
        self.keep(one, two)
        self.assertEqual(json.loads(one.line())["params"], {"name": name, "uuid": "{\n}"})
        two.message()
        one.close()
        two.goodbye()
        for client in (one, two):
            self.ended(client)
        self.assertEqual(self.server.find("1\\.2\\.3\\.4", self.since), [])

    @inThread
    def testTls(self) -> None:
        """What is no TLS, or half of it, on the TLS listeners."""
        hello = _clientHello()
        for scheme in ("tls", "wss"):
            for data in (b"garbage\r\n" * 10, UPGRADE, call("RemoteProxy.Hello"), b"\0" * 600):
                client = self.open(scheme, tls=False)
                client.send(data)
                client.rest()
                client.close()
                self.assertEnded(client, "tls-handshake-failed")
            for data in (b"", hello[:1], hello[: len(hello) // 2], hello):
                client = self.open(scheme, tls=False)
                client.send(data)
                client.close()
                self.assertEnded(client, "tls-handshake-failed")
        waiting = [self.open(scheme, tls=False) for scheme in ("tls", "wss") for _ in range(3)]
        for client, size in zip(waiting, (0, 1, len(hello) // 2) * 2, strict=True):
            client.send(hello[:size])
        for client in waiting:
            client.rest()
            client.close()
            self.assertEnded(client, "tls-handshake-timeout")

    @inThread
    def testUpgrade(self) -> None:
        """What is no WebSocket upgrade, or half of one."""
        for scheme, tls in (("ws", False), ("wss", True)):
            for data in (
                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxx",
                b"garbage\r\n\r\n",
                b"\0\xff\r\n\r\n",
                b"\r\n\r\n",
                UPGRADE.replace(b"Version: 13", b"Version: 7"),
                UPGRADE.replace(b"GET", b"PUT"),
                UPGRADE.replace(b"dGhl", b"====="),
                UPGRADE.replace(b"Host: localhost", b"Host: \xff\xfe:x"),
                UPGRADE.replace(b"Sec-WebSocket-Key", b"X"),
            ):
                client = self.open(scheme, tls=tls)
                client.send(data)
                answer = client.rest()
                self.assertRegex(answer, rb"^HTTP/1\.1 [45]\d\d |^$", data)
                client.close()
                self.assertEnded(client, "websocket-handshake-failed")
            for data in (b"", UPGRADE[:1], UPGRADE[:40], UPGRADE[:-1]):
                client = self.open(scheme, tls=tls)
                client.send(data)
                client.close()
                self.assertEnded(client, "left-early")
            client = self.open(scheme, tls=tls)
            client.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 1024 * 1024)
            self.assertRegex(client.rest(), rb"^HTTP/1\.1 4\d\d |^$")
            client.close()
            self.assertEnded(client, "message-too-large")
        waiting = [
            self.open(scheme, tls=tls)
            for scheme, tls in (("ws", False), ("wss", True))
            for _ in range(3)
        ]
        for client, size in zip(waiting, (0, 1, 40) * 2, strict=True):
            client.send(UPGRADE[:size])
        for client in waiting:
            client.rest()
            client.close()
            self.assertEnded(client, "websocket-handshake-timeout")

    @inThread
    def testDripping(self) -> None:
        """Deadlines are absolute: who sends a byte now and then is closed all the same."""
        silent, dripping, calling = (self.open("tcp") for _ in range(3))
        done = threading.Event()

        def drip() -> None:
            for byte in b" " * 5 + b'{"id":1,"method"' + b" " * 2000:
                dripping.send(bytes((byte,)))
                if done.wait(0.1):
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        self.assertEqual(dripping.rest(), b"")
        done.set()
        thread.join()
        self.assertEqual(silent.goodbye()[0], b"")
        calling.close()
        dripping.close()
        self.assertEnded(silent, "inactive-timeout")
        self.assertEnded(dripping, "inactive-timeout")

    FRAMES: tuple[tuple[bytes, int], ...] = (
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(TEXT, b"{}", reserved=1), 1002),
        (frame(TEXT, b"{}", reserved=4), 1002),
        (frame(PING, b"", reserved=2), 1002),
        (frame(3, b"{}"), 1002),
        (frame(11, b""), 1002),
        (frame(15, b""), 1002),
        (frame(0, b"continues nothing"), 1002),
        (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PONG, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, b"\x00\x00"), 1002),
        (frame(CLOSE, (999).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1004).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1006).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1015).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (2999).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (5000).to_bytes(2, "big")), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (b"\x81\xfe\x00\x05" + b"\0" * 9, 1002),
        (b"\x81\xff" + b"\0" * 6 + b"\x01\x00" + b"\0" * 4, 1002),
        (b"\x81\xff\x80" + b"\0" * 7 + b"\0" * 4, 1002),
    )

    @inThread
    def testFrames(self) -> None:
        """Broken frames before the tunnel."""
        for scheme in ("ws", "wss"):
            for data, code in self.FRAMES:
                client = self.open(scheme)
                client.send(data)
                self.assertEqual(client.goodbye(), (b"", code), data[:40])
                self.assertEnded(client, "websocket-protocol-error")

    @inThread
    def testFramesWhileWaiting(self) -> None:
        """The same while the client waits for its partner."""
        for n, (data, code) in enumerate(self.FRAMES):
            client = join(self.server.url("ws"), self.token, nonce=secret(f"nonce{n}"))
            self.keep(client)
            client.send(data)
            answer = client.goodbye()
            # Data out of turn is a fault of its own; which of two is named first is free.
            self.assertIn(answer, [(b"", code), (b"", 1008)], data[:40])
            self.assertEnded(client, "websocket-protocol-error", "data-before-tunnel")

    @inThread
    def testFramesInTunnel(self) -> None:
        """The same in a tunnel; what came before the fault reaches the partner, which is told."""
        for data, code in self.FRAMES:
            one, two = tunnel(self.server.url("ws"), self.token)
            self.keep(one, two)
            one.send(frame(BINARY, b"before") + data)
            self.assertEqual(one.goodbye(), (b"", code), data[:40])
            received, partnersCode = two.goodbye()
            self.assertTrue(received.startswith(b"before"), received)
            self.assertEqual(partnersCode, 1000)
            self.assertEqual(cast(WebSocket, two).reason, b"tunnel partner disconnected")
            self.assertEnded(one, "websocket-protocol-error")
            self.assertEnded(two, "partner-left")

    @inThread
    def testControlFramesAreNoData(self) -> None:
        """Ping and pong are allowed at any time, also inside of a message."""
        client = cast(WebSocket, self.open("ws"))
        message = authenticate(self.token)
        client.send(frame(PING, b"one") + frame(TEXT, message[:10], fin=False))
        client.send(frame(PING, b"x" * 125) + frame(PONG, b"unasked") + frame(0, message[10:]))
        self.assertEqual(client.frame(), (PONG, b"one"))
        answers = {client.frame(), client.frame()}
        self.assertEqual(answers, {(PONG, b"x" * 125), (TEXT, accepted(FIRST))})
        client.send(frame(PING, b"waiting") + frame(PONG, b""))
        self.assertEqual(client.frame(), (PONG, b"waiting"))
        client.send(frame(CLOSE, (3999).to_bytes(2, "big") + b"bye"))
        opcode, payload = client.frame()
        self.assertEqual(opcode, CLOSE)
        self.assertIn(int.from_bytes(payload[:2], "big"), (1000, 3999))
        self.assertEqual(client.rest(), b"")
        client.close()
        self.assertEnded(client, "left-early")

    @inThread
    def testDataWhileWaiting(self) -> None:
        """Who sends instead of waiting is closed, and nothing of it reaches the partner."""
        for scheme in ("tcp", "tls", "ws", "wss"):
            for data in (b"x", b"{}", call("RemoteProxy.Hello"), b"\n x"):
                client = join(self.server.url(scheme), self.token)
                self.keep(client)
                client.sendMessage(data)
                self.assertEqual(client.goodbye(), (b"", 1008 if "ws" in scheme else None))
                self.assertEnded(client, "data-before-tunnel")

    @inThread
    def testDataWithAuthenticate(self) -> None:
        """The same when it comes in one write with the request; it is no payload."""
        for scheme in ("tcp", "ws"):
            client = self.open(scheme)
            if scheme == "ws":
                client.send(frame(TEXT, authenticate(self.token)) + frame(TEXT, b"early"))
            else:
                client.send(authenticate(self.token) + b"early")
            self.assertEqual(client.goodbye(), (b"", 1008 if scheme == "ws" else None))
            self.assertEnded(client, "data-before-tunnel")

    @inThread
    def testVanishing(self) -> None:
        """Resets at every stage end one connection each, and nothing else."""

        def reset(client: Stream) -> None:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

        for scheme in ("tcp", "tls", "ws", "wss"):
            for begin in (
                lambda url: connect(url),
                lambda url: join(url, self.token),
                lambda url: tunnel(url, self.token)[0],
            ):
                client = begin(self.server.url(scheme))
                reset(client)
                self.assertEnded(client, "left-early", "connection-lost", "partner-left")
        client = self.open("tcp")
        client.send(call("RemoteProxy.Hello"))
        self.assertIn(b'"success"', client.line())


def _clientHello() -> bytes:
    """Return the first bytes of a TLS client."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()
