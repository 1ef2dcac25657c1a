"""Whether another URL is meant: by what was said, and with the real server."""

from __future__ import annotations

import tempfile
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.client.connecting.reasons import meantScheme
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.endpoints import TunnelEndpoint
from nymearemoteproxy.client.rules.errors import TunnelError
from tests.support.endtoend import Server
from tests.support.proxies import TOKEN, awaited, recording

reactor: Any = globalReactor


class MeantSchemeTests(SynchronousTestCase):
    """The URL of every kind, at a port of every kind, by what the server says there."""

    def assertMeant(self, scheme: str, said: bytes, isTls: bool, words: str) -> None:
        meant = meantScheme(scheme, said, isTls)
        self.assertEqual(meant, f"; is it {words}?" if words else "", (scheme, said, isTls))

    def test_http(self) -> None:
        """It speaks HTTP, perhaps WebSocket."""
        said = b"HTTP/1.1"
        for scheme, words in (("tcp", "ws://"), ("ws", "")):
            self.assertMeant(scheme, said, False, words)
        for scheme, words in (("tls", "wss://"), ("wss", "")):
            self.assertMeant(scheme, said, True, words)

    def test_json(self) -> None:
        """It takes streams."""
        for scheme, words in (("ws", "tcp://"), ("tcp", "")):
            self.assertMeant(scheme, b'{"id":-1', False, words)
        for scheme, words in (("wss", "tls://"), ("tls", "")):
            self.assertMeant(scheme, b'{"id":-1', True, words)

    def test_tls(self) -> None:
        for scheme, words in (("ws", "wss:// or tls://"), ("tcp", "tls:// or wss://")):
            self.assertMeant(scheme, b"\x15\x03\x03\x00\x02\x02", False, words)

    def test_noTls(self) -> None:
        for scheme, words in (("wss", "ws:// or tcp://"), ("tls", "tcp:// or ws://")):
            for said in (b"", b"HTTP/1.1"):
                self.assertMeant(scheme, said, False, words)

    def test_nothing(self) -> None:
        for scheme, words in (("ws", "wss:// or tls://"), ("tcp", "tls://, wss:// or ws://")):
            self.assertMeant(scheme, b"", False, words)
        for scheme, words in (("tls", "wss://"), ("wss", "")):
            self.assertMeant(scheme, b"", True, words)

    def test_unix(self) -> None:
        for said in (b"", b"HTTP/1.1"):
            self.assertEqual(
                meantScheme("unix", said, False),
                "; is it a socket for WebSocket? unix: is for streams",
            )
        self.assertEqual(meantScheme("unix", b"SSH-2.0-", False), "")

    def test_anythingElse(self) -> None:
        for scheme, isTls in (("ws", False), ("wss", True), ("tcp", False), ("tls", True)):
            self.assertMeant(scheme, b"SSH-2.0-", isTls, "")


class WrongSchemeTests(TestCase):
    """Every kind of URL at every kind of port of the real server."""

    timeout = 300

    @awaited
    async def test_everyCombination(self) -> None:
        """It is asked whether the right one is meant."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        where = "interface=127.0.0.1"
        arguments = ["--accept-any-token", "--set", "ProxyServer.webSocketHandshakeTimeout=500"]
        for kind in ("--websocket", "--stream"):
            arguments += [kind, f"tcp:0:{where}", kind, f"ssl:0:{where}"]
        server = await deferToThread(Server, arguments, listeners=4, stateHome=directory.name)
        self.addCleanup(deferToThread, server.stop)
        urls = {url.partition(":")[0]: url for url in server.urls}

        async def attempt(scheme: str, url: str) -> None:
            tls = TlsOptions(insecure=True) if scheme in ("wss", "tls") else None
            url = scheme + url[url.index(":") :]
            connecting = TunnelEndpoint(reactor, url, TOKEN, tls=tls).connect(recording())
            problem = await self.assertFailure(connecting, TunnelError)
            _, _, meant = str(problem).partition("; is it ")
            told[scheme, right] = meant

        told: dict[tuple[str, str], str] = {}
        for right, url in urls.items():
            await gatherResults(
                [Deferred.fromCoroutine(attempt(scheme, url)) for scheme in urls if scheme != right]
            )
        self.assertEqual(len(told), 12)
        for (scheme, right), meant in told.items():
            self.assertIn(f"{right}://", meant, scheme)
