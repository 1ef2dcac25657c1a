"""The server against software by others: the `websockets` library and OpenSSL's command."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import SkipTest

from tests.support.endtoend import (
    DIALECTS,
    ESTABLISHED_FIRST,
    FIRST,
    PATIENCE,
    SECOND,
    SharedServer,
    Stream,
    accepted,
    authenticate,
    call,
    inThread,
    join,
    refused,
    secret,
)

try:
    import websockets
except ImportError:
    websockets = None  # type: ignore[assignment]

STREAM = "tcp:0:interface=127.0.0.1"
LARGE = 5_000_000


def inLoop(
    method: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., Any]:
    """Make a test of an asyncio coroutine, in a thread of its own."""

    def test(self: Any) -> None:
        async def limited() -> None:
            self.connections = []
            try:
                await asyncio.wait_for(method(self), 4 * PATIENCE)
            finally:
                for connection in self.connections:
                    connection.transport.abort()

        asyncio.run(limited())

    test.__doc__ = method.__doc__
    test.__name__ = method.__name__
    return inThread(test)


def closed(error: Exception) -> tuple[int, str]:
    """Return code and reason of the close frame that a ConnectionClosed is about."""
    received: Any = getattr(error, "rcvd", None)
    assert received is not None, error
    return received.code, received.reason


class WebsocketsTests(SharedServer):
    """The `websockets` library, over plain TCP and TLS."""

    listeners = 3
    token = secret("valid")
    connections: list[Any]

    def arguments(self) -> list[str]:
        return [
            *("--websocket", STREAM, "--websocket", f"tls:{STREAM}", "--stream", STREAM, "-vv"),
            *("--token", self.token, "--set", "ProxyServer.aloneTimeout=2000"),
            *("--set", "ProxyServer.pingInterval=100"),
            *("--set", "WebSocketServer.subprotocols=nymea, json"),
        ]

    def setUp(self) -> Any:
        if websockets is None:
            raise SkipTest("the websockets library is not installed")
        return super().setUp()

    async def open(self, scheme: str = "ws", **options: Any) -> Any:
        """Return a connection."""
        if scheme == "wss":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            options["ssl"] = context
        if not hasattr(websockets, "asyncio"):
            options.pop("proxy", None)
        options = {"max_size": None, **options}
        connection = await websockets.connect(self.server.url(scheme), **options)
        self.connections.append(connection)
        return connection

    async def join(self, scheme: str, dialect: dict[str, str] = FIRST, **more: str) -> Any:
        """Return a connection that waits for its partner."""
        connection = await self.open(scheme)
        await connection.send(authenticate(self.token, dialect, **more).decode())
        assert await connection.recv() == accepted(dialect).decode()
        return connection

    async def tunnel(self, one: str, two: str) -> tuple[Any, Any]:
        """Return both ends of a tunnel."""
        ends = await self.join(one), await self.join(two)
        for end in ends:
            assert await end.recv() == ESTABLISHED_FIRST.decode()
        return ends

    async def assertCloses(self, connection: Any, code: int, reason: str) -> None:
        """The server closes with this code and reason."""
        try:
            message = await connection.recv()
        except websockets.exceptions.ConnectionClosed as error:
            self.assertEqual(closed(error), (code, reason))
        else:
            self.fail(f"not closed but {message!r}")

    @inLoop
    async def testUpgrade(self) -> None:
        """No extension is negotiated, and of the subprotocols the first that is a setting."""
        offers = {None: ["xml", "NYMEA"], "json": ["xml", "json", "nymea"]}
        for scheme, (expected, offered) in itertools.product(("ws", "wss"), offers.items()):
            connection = await self.open(scheme, compression="deflate", subprotocols=offered)
            response = getattr(connection, "response", None)
            headers = response.headers if response else connection.response_headers
            self.assertNotIn("Sec-WebSocket-Extensions", headers)
            self.assertEqual(connection.subprotocol, expected)
            await connection.close()

    @inLoop
    async def testCalls(self) -> None:
        """Hello and Introspect in text and in binary; answers come as the same."""
        for scheme in ("ws", "wss"):
            for binary in (False, True):
                connection = await self.open(scheme)
                for method in ("RemoteProxy.Hello", "RemoteProxy.Introspect"):
                    message = call(method)
                    await connection.send(message if binary else message.decode())
                    answer = await connection.recv()
                    self.assertIsInstance(answer, bytes if binary else str)
                    self.assertEqual(json.loads(answer)["status"], "success")
                await connection.close()

    @inLoop
    async def testRefused(self) -> None:
        """A wrong token, in both dialects."""
        for dialect in DIALECTS:
            connection = await self.open()
            await connection.send(authenticate(secret(), dialect).decode())
            self.assertEqual(await connection.recv(), refused(dialect).decode())
            await self.assertCloses(connection, 1008, "invalid token")

    @inLoop
    async def testDialects(self) -> None:
        """Both dialects with themselves and with each other."""
        other = {"uuid": "{b0d2a5cf-4c1b-4a2e-a2c5-0e3a7e1f0002}", "name": "other"}
        for one, two in ((FIRST, FIRST), (FIRST, SECOND), (SECOND, other)):
            ends = await self.join("ws", one), await self.join("wss", two)
            for end, own, partners in ((ends[0], one, two), (ends[1], two, one)):
                notification = await end.recv()
                if not own:
                    self.assertEqual(notification, ESTABLISHED_FIRST.decode())
                    continue
                message = json.loads(notification)
                self.assertEqual(message["notification"], "RemoteProxy.TunnelEstablished")
                self.assertEqual(message["params"], partners or {"name": "", "uuid": ""})
            await ends[0].send("hällo")
            self.assertEqual(await ends[1].recv(), "hällo")
            await ends[1].close()
            await self.assertCloses(ends[0], 1000, "tunnel partner disconnected")

    @inLoop
    async def testMessages(self) -> None:
        """Text, binary, empty and fragmented messages keep their type and their boundaries."""
        for schemes in (("ws", "ws"), ("wss", "ws"), ("wss", "wss")):
            one, two = await self.tunnel(*schemes)
            messages: list[Any] = ["", b"", "é😀" * 1000, os.urandom(70_000), "x" * 125, "y" * 126]
            messages += [b"z" * 65535, b"z" * 65536, '{"id":1}\n', b"\x00\xff"]
            for message in messages:
                await one.send(message)
                await two.send(message)
            for message in messages:
                self.assertEqual(await two.recv(), message)
                self.assertEqual(await one.recv(), message)
            await one.send(["fragmented ", "é", "", "text"])
            await one.send([b"fragmented ", b"\xff", b"binary"])
            self.assertEqual(await two.recv(), "fragmented étext")
            self.assertEqual(await two.recv(), b"fragmented \xffbinary")
            await one.close()
            await two.close()

    @inLoop
    async def testLarge(self) -> None:
        """5 MB in one message, both ways at once."""
        for schemes in (("ws", "wss"), ("wss", "ws")):
            one, two = await self.tunnel(*schemes)
            there, back = os.urandom(LARGE), os.urandom(LARGE // 2).hex()
            results = await asyncio.gather(one.send(there), two.send(back), two.recv(), one.recv())
            self.assertEqual(hashlib.sha256(results[2]).digest(), hashlib.sha256(there).digest())
            self.assertEqual(results[3], back)
            await two.close()
            await self.assertCloses(one, 1000, "tunnel partner disconnected")

    @inLoop
    async def testPing(self) -> None:
        """Ping and pong in both directions, before, while waiting and in the tunnel."""
        one = await self.open("ws")
        await asyncio.wait_for(await one.ping(b"early"), PATIENCE)
        await one.send(authenticate(self.token).decode())
        await one.recv()
        await asyncio.wait_for(await one.ping(b"waiting"), PATIENCE)
        two = await self.join("wss")
        for end in (one, two):
            self.assertEqual(await end.recv(), ESTABLISHED_FIRST.decode())
            await asyncio.wait_for(await end.ping(b"x" * 125), PATIENCE)
        # The server's own pings, which the library answers, disturb nothing.
        for _ in range(5):
            await asyncio.sleep(0.1)
            await one.send(b"between")
            self.assertEqual(await two.recv(), b"between")
        await one.close()

    @inLoop
    async def testClose(self) -> None:
        """Close codes of clients are answered; the partner is told 1000."""
        for code in (1000, 1001, 3000, 4999):
            one, two = await self.tunnel("ws", "wss")
            await one.send("last words")
            await one.close(code, "bye")
            self.assertEqual(await two.recv(), "last words")
            await self.assertCloses(two, 1000, "tunnel partner disconnected")
        connection = await self.open("wss")
        await connection.close()
        self.assertEqual(connection.close_code, 1000)

    @inLoop
    async def testServerCloses(self) -> None:
        """The close codes of a lonely, a disobedient and a confused client."""
        lonely = await self.join("ws", nonce="lonely")
        early = await self.join("ws", nonce="early")
        await early.send("too early")
        await self.assertCloses(early, 1008, "data before the tunnel was established")
        confused = await self.open("ws")
        await confused.send("nonsense")
        self.assertEqual(json.loads(await confused.recv())["id"], -1)
        await self.assertCloses(confused, 1002, "invalid JSON")
        one, two = await self.tunnel("ws", "ws")
        third = await self.join("ws")
        await self.assertCloses(third, 1008, "tunnel already exists")
        await one.close()
        await two.close()
        twins = await self.join("ws", SECOND), await self.join("ws", SECOND)
        for twin in twins:
            await self.assertCloses(twin, 1008, "duplicate client uuid")
        await self.assertCloses(lonely, 1013, "no partner in time")

    @inLoop
    async def testStreamPartner(self) -> None:
        """WebSocket with a stream: payload only; text stays text, cut between characters."""
        for scheme in ("ws", "wss"):
            one = await self.join(scheme)
            loop = asyncio.get_running_loop()
            two = await loop.run_in_executor(None, lambda: join(self.server.url("tcp"), self.token))
            self.keep(two)
            self.assertEqual(two.line(), ESTABLISHED_FIRST)
            self.assertEqual(await one.recv(), ESTABLISHED_FIRST.decode())
            await one.send("é1")
            await one.send(b"\xff2")
            await one.send(["a", "b"])
            self.assertEqual(two.read(7), "é1".encode() + b"\xff2ab")
            text = "ßü😀" * 200_000
            await loop.run_in_executor(None, two.send, text.encode())
            received = ""
            while len(received) < len(text):
                received += await one.recv()
            self.assertEqual(received, text)
            two.send(b"\xff\xfe")
            self.assertEqual(await one.recv(), b"\xff\xfe")
            two.close()
            await self.assertCloses(one, 1000, "tunnel partner disconnected")


class OpenSslTests(SharedServer):
    """OpenSSL's own client: versions and ciphers."""

    listeners = 2
    token = secret("valid")

    def arguments(self) -> list[str]:
        return [
            *("--websocket", f"tls:{STREAM}", "--stream", f"tls:{STREAM}", "-vv"),
            *("--token", self.token, "--set", "ProxyServer.aloneTimeout=100"),
        ]

    def setUp(self) -> Any:
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed")
        return super().setUp()

    def connect(
        self, *options: str, scheme: str = "tls", send: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``openssl s_client`` until the server closes."""
        address = self.server.url(scheme).rpartition("/")[2]
        return subprocess.run(
            ["openssl", "s_client", "-connect", address, "-ign_eof", *options],
            input=send,
            capture_output=True,
            timeout=PATIENCE,
        )

    @inThread
    def testVersions(self) -> None:
        """TLS 1.2 and 1.3 work; what is authenticated over them is answered."""
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            mark = self.server.mark()
            done = self.connect(option, "-quiet", send=authenticate(self.token))
            self.assertIn(accepted(FIRST), done.stdout)
            self.server.waitFor("ended: alone-timeout", mark)
            done = self.connect(option, send=authenticate(secret(), SECOND))
            self.assertIn(refused(SECOND), done.stdout)
            self.assertRegex(done.stdout, rb"(Protocol *: |New, )%s" % version.encode())
            self.assertNotRegex(done.stdout, rb"Compression: zlib")

    @inThread
    def testOldVersions(self) -> None:
        """TLS 1.1 and 1.0 are refused; the log tells how the connection ended."""
        for option in ("-tls1_1", "-tls1"):
            mark = self.server.mark()
            done = self.connect(option, "-cipher", "ALL:@SECLEVEL=0")
            if b"unknown option" in done.stderr.lower():
                continue
            self.assertNotEqual(done.returncode, 0)
            self.assertNotRegex(done.stdout, rb"Cipher is [A-Z0-9]*-")
            if b"no protocols available" not in done.stderr:
                self.server.waitFor("ended: tls-handshake-failed", mark)
                self.assertRegex(done.stderr, rb"alert protocol version|handshake failure")

    @inThread
    def testGroups(self) -> None:
        """P-256 and X25519, whatever else is offered: large groups cost the server much."""
        both = b"ECDH, prime256v1" if sys.version_info[:3] == (3, 11, 2) else b"X25519"
        for groups, taken in (
            ("P-256", b"ECDH, prime256v1"),
            ("X25519:P-256", both),
            ("ffdhe8192:P-256", b"ECDH, prime256v1"),
            ("ffdhe8192:X25519:P-256", both),
        ):
            done = self.connect("-groups", groups, send=authenticate(secret(), SECOND))
            self.assertIn(refused(SECOND), done.stdout, groups)
            self.assertIn(b"Server Temp Key: " + taken, done.stdout, groups)
        for groups in ("ffdhe2048", "P-521"):
            mark = self.server.mark()
            done = self.connect("-tls1_3", "-groups", groups)
            self.assertNotEqual(done.returncode, 0)
            self.server.waitFor("ended: tls-handshake-failed", mark)

    @inThread
    def testCiphers(self) -> None:
        """Of TLS 1.2's ciphers only those with forward secrecy and AEAD."""
        listed = subprocess.run(
            ["openssl", "ciphers", "-tls1_2", "-s", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
        names = [name for name in listed.strip().split(":") if not name.startswith("TLS_")]
        good = [
            name
            for name in names
            if name.startswith(("ECDHE-", "DHE-")) and re.search("GCM|CHACHA20|CCM", name)
        ]
        bad = [name for name in names if name not in good]
        self.assertTrue(good and bad)
        ciphers = ["-tls1_2", "-cipher"]
        done = self.connect(*ciphers, f"{':'.join(bad)}:@SECLEVEL=0")
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, rb"alert handshake failure")
        done = self.connect(*ciphers, "DEFAULT", send=authenticate(secret()))
        used = re.search(rb"Cipher is (\S+)", done.stdout)
        assert used
        self.assertIn(used[1].decode(), good)
        self.assertRegex(used[1], b"^ECDHE-ECDSA-")
        done = self.connect("-tls1_3", send=authenticate(secret()))
        self.assertRegex(done.stdout, rb"Cipher is TLS_(AES|CHACHA20)")

    @inThread
    def testRenegotiation(self) -> None:
        """A client that asks for renegotiation gets none; the server goes on."""
        done = self.connect("-tls1_2", send=b"R\n" + call("RemoteProxy.Hello"))
        self.assertNotIn(b'"status":"success"', done.stdout)
        client = Stream(self.server.url("tls"))
        self.keep(client)
        client.send(call("RemoteProxy.Hello"))
        self.assertIn(b'"success"', client.line())

    @inThread
    def testAlpn(self) -> None:
        """A client that offers protocols by ALPN, as browsers do, is served all the same."""
        for scheme in ("tls", "wss"):
            upgrade = (
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 7\r\n\r\n"
            )
            send = upgrade if scheme == "wss" else b"nonsense\n"
            for protocols in ("http/1.1", "h2,http/1.1", "h2", "mqtt"):
                done = self.connect("-alpn", protocols, "-quiet", scheme=scheme, send=send)
                self.assertRegex(done.stdout, rb"Invalid JSON|HTTP/1\.1 4", done.stderr)
