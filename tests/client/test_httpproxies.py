"""An HTTP proxy on the way: how it is written, its answers, and connections through one."""

from __future__ import annotations

import base64
import sys
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, NoProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.client.connecting.throughhttpproxy import ThroughHttpProxy
from nymearemoteproxy.client.endpoints import ClientEndpoint, ServerEndpoint, TunnelEndpoint
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.httpproxies import (
    MAX_HEAD,
    ConnectAnswer,
    HttpProxy,
    ofEnvironment,
)
from nymearemoteproxy.client.rules.urls import ProxyUrl
from tests.client.test_endpoints import EndpointMixin, TlsMixin
from tests.support.endtoend import environmentOfPrograms
from tests.support.httpproxies import ESTABLISHED, FakeHttpProxy
from tests.support.proxies import (
    TOKEN,
    Certificate,
    Fake,
    HalfRecorder,
    TwoReactors,
    awaited,
    recording,
)

reactor: Any = globalReactor

UUID = "{00000000-0000-0000-0000-00000000000d}"


class WrittenTests(SynchronousTestCase):
    def test_good(self) -> None:
        for text, expected in {
            "http://proxy.lan:3128": ("proxy.lan", 3128, None),
            "http://proxy.lan:3128/": ("proxy.lan", 3128, None),
            "HTTP://Proxy.lan": ("proxy.lan", 80, None),
            "proxy.lan:3128": ("proxy.lan", 3128, None),
            "http://[::1]:3128": ("::1", 3128, None),
            "http://[::1]": ("::1", 80, None),
            "http://bücher.example:1": ("xn--bcher-kva.example", 1, None),
            "http://me:secret@h:1": ("h", 1, "me:secret"),
            "me:secret@h:1": ("h", 1, "me:secret"),
            "http://me@h:1": ("h", 1, "me:"),
            "http://a%40b:p%3Aq%2Fr@h:1": ("h", 1, "a@b:p:q/r"),
            "http://m:a@b@h:1": ("h", 1, "m:a@b"),
            "http://m:a/b@h:1/": ("h", 1, "m:a/b"),
            "http://m:ü@h:1": ("h", 1, "m:ü"),
        }.items():
            proxy = HttpProxy.parse(text)
            self.assertEqual((proxy.host, proxy.port, proxy.credentials), expected)

    def test_bad(self) -> None:
        for text in (
            *("", "http://", "http://:1", "http://h:x", "http://h:0", "http://h:1/path"),
            *("https://h:1", "socks5://me:secret@h:1", "http://me:secret@", "http://h_secret:1"),
            *("http://:secret@h:1", "http://a%3Ab:secret@h:1"),
            *("http://me:secret@h:port", "http://me:secret\udcff@h:1", "http://\udcff:secret@h:1"),
        ):
            problem = self.assertRaises(ValueError, HttpProxy.parse, text)
            self.assertIn("http://[USER:PASSWORD@]HOST[:PORT]", str(problem))
            self.assertTrue(str(problem).isprintable())
            self.assertNotIn("secret", str(problem))

    def test_credentialsAreNotShown(self) -> None:
        proxy = HttpProxy.parse("http://me:secret@h:1")
        self.assertNotIn("secret", repr(proxy) + proxy.where)

    def test_request(self) -> None:
        self.assertEqual(
            HttpProxy.parse("http://h:1").request("[::1]:443"),
            b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
        )
        # RFC 7617 section 2
        proxy = HttpProxy.parse("http://Aladdin:open%20sesame@h:1")
        self.assertIn(
            b"\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
            proxy.request("h:443"),
        )

    def test_noWayToAUnixSocket(self) -> None:
        with self.assertRaises(ValueError):
            TunnelEndpoint(Clock(), "unix:/x", TOKEN, httpProxy=HttpProxy.parse("h:1"))


class EnvironmentTests(SynchronousTestCase):
    def chosen(self, url: str, **environment: str) -> str | None:
        proxy = ofEnvironment(environment, ProxyUrl.parse(url))
        return None if proxy is None else proxy.where

    def test_variables(self) -> None:
        for url in ("wss://a.example", "ws://a.example", "tcp://a.example:1", "tls://a.example:1"):
            self.assertEqual(self.chosen(url, https_proxy="http://h:1"), "h:1")
            self.assertEqual(self.chosen(url, HTTPS_PROXY="h:2"), "h:2")
            self.assertEqual(self.chosen(url, https_proxy="h:1", HTTPS_PROXY="h:2"), "h:1")
            self.assertIsNone(self.chosen(url, https_proxy=""))
            self.assertIsNone(self.chosen(url))

    def test_thisMachine(self) -> None:
        for url in (
            *("unix:/run/proxy", "ws://localhost:1", "ws://localhost.", "ws://127.1.2.3:1"),
            "ws://[::1]:1",
        ):
            self.assertIsNone(self.chosen(url, https_proxy="http://h:1"))

    def test_exempt(self) -> None:
        for exempt in (
            *("*", "a.example", "A.Example", ".a.example", "example", ".example", "*.example"),
            *("x, a.example ,y", "x a.example", "a.example:443"),
        ):
            for variable in ("no_proxy", "NO_PROXY"):
                told = {"https_proxy": "http://h:1", variable: exempt}
                self.assertIsNone(self.chosen("wss://a.example", **told), exempt)
        told = {"https_proxy": "http://h:1", "no_proxy": "a.example"}
        self.assertIsNone(self.chosen("wss://a.example.", **told))
        for exempt in (
            *("b.example", "xa.example", "ample", "a.example:80", ",", ".", "192.0.2.0/24"),
        ):
            chosen = self.chosen("wss://a.example", https_proxy="http://h:1", no_proxy=exempt)
            self.assertEqual(chosen, "h:1", exempt)

    def test_exemptAddresses(self) -> None:
        for host, exempt in (
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.0/24"),
            ("[2001:db8::1]", "2001:db8::/32"),
            ("[2001:db8::1]", "2001:DB8:0::1"),
        ):
            self.assertIsNone(self.chosen(f"wss://{host}", https_proxy="h:1", no_proxy=exempt))
        for exempt in ("192.0.2.8", "2001:db8::/32", "2.7"):
            chosen = self.chosen("wss://192.0.2.7", https_proxy="h:1", no_proxy=exempt)
            self.assertEqual(chosen, "h:1", exempt)

    def test_mistake(self) -> None:
        """It is no mistake where the variable makes no difference."""
        with self.assertRaises(ValueError) as raised:
            self.chosen("wss://a.example", https_proxy="https://me:secret@h:1")
        self.assertTrue(str(raised.exception).startswith("https_proxy: "))
        self.assertNotIn("secret", str(raised.exception))
        self.assertIsNone(self.chosen("ws://localhost", https_proxy="https://h:1"))


class AnswerTests(SynchronousTestCase):
    def receive(self, *pieces: bytes, proxy: str = "h:1") -> bytes | None:
        answer = ConnectAnswer(HttpProxy.parse(proxy))
        for piece in pieces[:-1]:
            self.assertIsNone(answer.receive(piece))
        return answer.receive(pieces[-1])

    def refusal(self, *pieces: bytes, proxy: str = "h:1") -> tuple[str, bool]:
        with self.assertRaises(TunnelError) as raised:
            self.receive(*pieces, proxy=proxy)
        self.assertTrue(str(raised.exception).isprintable())
        return str(raised.exception), raised.exception.isTransient

    def test_consent(self) -> None:
        for head in (ESTABLISHED, b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 204 \xff\n\n"):
            self.assertEqual(self.receive(head), b"")
            self.assertEqual(self.receive(head + b"rest\r\n\r\n"), b"rest\r\n\r\n")
            pieces = [head[i : i + 1] for i in range(len(head))]
            self.assertEqual(self.receive(*pieces), b"")

    def test_refusals(self) -> None:
        for line, expected in {
            b"403 Forbidden": ("it answered 403 Forbidden", False),
            b"400 \x1b[2J": ("it answered 400 \\x1b[2J", False),
            b"301 Moved": ("it answered 301 Moved", False),
            b"502 Bad Gateway": ("it answered 502 Bad Gateway", True),
            b"429 Slowly": ("it answered 429 Slowly", True),
            b"503": ("it answered 503", True),
        }.items():
            self.assertEqual(self.refusal(b"HTTP/1.1 " + line + b"\r\n\r\n"), expected)
        words, isTransient = self.refusal(b"HTTP/1.1 403 " + b"x" * 9999 + b"\r\n\r\n")
        self.assertLess(len(words), 300)

    def test_credentials(self) -> None:
        refused = b"HTTP/1.1 407 Authenticate!\r\nProxy-Authenticate: Basic\r\n\r\n"
        words, isTransient = self.refusal(refused)
        self.assertIn("wants a user name and a password", words)
        self.assertFalse(isTransient)
        words, isTransient = self.refusal(refused, proxy="me:secret@h:1")
        self.assertEqual(
            (words, isTransient), ("it does not accept the user name and the password", False)
        )

    def test_somethingElse(self) -> None:
        for said in (b"SSH-2.0", b"{", b"\x15\x03", b"HTTP/2 200\r\n", b"HTTP/1.1 abc\r\n\r\n"):
            self.assertEqual(self.refusal(said), ("it is no HTTP proxy", False))

    def test_bound(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        self.assertIsNone(self.receive(head + b"x" * (MAX_HEAD - len(head))))
        self.assertEqual(self.refusal(head, b"x" * MAX_HEAD), ("its answer has no end", False))


class Nearby:
    """An endpoint whose connection is in memory."""

    def __init__(self) -> None:
        self.transport = StringTransportWithDisconnection()

    def connect(self, factory: Any) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return succeed(protocol)


class HandOverTests(SynchronousTestCase):
    """What becomes of the connection, byte by byte."""

    def setUp(self) -> None:
        self.nearby = Nearby()
        self.transport: Any = self.nearby.transport
        self.endpoint = ThroughHttpProxy(self.nearby, HttpProxy("h", 1), "there:443")

    def receive(self, data: bytes) -> None:
        for i in range(len(data)):
            self.transport.protocol.dataReceived(data[i : i + 1])

    def test_handedOver(self) -> None:
        """The other protocol has the connection itself; the answer is none of its business."""
        connecting = self.endpoint.connect(recording())
        self.assertEqual(
            self.transport.value(), b"CONNECT there:443 HTTP/1.1\r\nHost: there:443\r\n\r\n"
        )
        self.receive(ESTABLISHED[:-1])
        self.assertNoResult(connecting)
        self.receive(ESTABLISHED[-1:] + b"data")
        protocol = self.successResultOf(connecting)
        self.assertIs(self.transport.protocol, protocol)
        self.assertIs(protocol.transport, self.transport)
        self.assertEqual(protocol.data, b"data")
        self.transport.loseConnection()
        self.assertIsInstance(self.successResultOf(protocol.lost), ConnectionDone)

    def test_endsOnce(self) -> None:
        """Whatever comes after a refusal changes nothing."""
        connecting = self.endpoint.connect(recording())
        self.transport.protocol.dataReceived(b"HTTP/1.1 403 No\r\n\r\n")
        self.failureResultOf(connecting, TunnelError)
        self.assertTrue(self.transport.disconnected)
        self.transport.protocol.dataReceived(ESTABLISHED)
        self.transport.protocol.connectionLost(Failure(ConnectionDone()))

    def test_factoryWithoutProtocol(self) -> None:
        factory = recording()
        factory.buildProtocol = lambda address: None
        connecting = self.endpoint.connect(factory)
        self.transport.protocol.dataReceived(ESTABLISHED)
        self.failureResultOf(connecting, NoProtocol)
        self.assertTrue(self.transport.disconnected)


class ThroughMixin(EndpointMixin):
    """All that the endpoint promises, by way of an HTTP proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = FakeHttpProxy(self)  # type: ignore[arg-type]

    def endpoint(self, **arguments: Any) -> TunnelEndpoint:
        proxy = HttpProxy("127.0.0.1", self.gate.port, "me:secret")
        return super().endpoint(httpProxy=proxy, **arguments)

    def tearDown(self) -> None:
        expected = "Basic " + base64.b64encode(b"me:secret").decode()
        for head in self.gate.heads:
            self.assertIn(f"\r\nProxy-Authorization: {expected}\r\n".encode(), head)


class TcpThroughTests(ThroughMixin, TestCase):
    scheme = "tcp"

    @awaited
    async def test_halfClose(self) -> None:
        """What follows the end of what we send still arrives."""
        self.fake.closedByHalf = lambda peer: (peer.send(b"late"), peer.close())
        protocol = await self.endpoint().connect(recording(HalfRecorder))
        protocol.transport.loseWriteConnection()
        await protocol.lost
        self.assertEqual((protocol.data, protocol.halves), (b"late", "wr"))

    @awaited
    async def test_everyKindOfEndpoint(self) -> None:
        """They say where they could not get to, and through whom."""
        self.gate.answers(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        proxy = HttpProxy("127.0.0.1", self.gate.port)
        for endpoint in (
            TunnelEndpoint(reactor, self.fake.url, TOKEN, httpProxy=proxy),
            ClientEndpoint(reactor, self.fake.url, UUID, httpProxy=proxy),
            ServerEndpoint(reactor, self.fake.url, UUID, httpProxy=proxy),
        ):
            problem = await self.assertFailure(endpoint.connect(recording()), TunnelError)
            self.assertEqual(
                str(problem),
                f"cannot connect to 127.0.0.1:{self.fake.port} through the HTTP proxy "
                f"{proxy.where}: it answered 403 Forbidden",
            )
            self.assertFalse(problem.isTransient)
        self.gate.heads.clear()

    @awaited
    async def test_closesWithoutAnAnswer(self) -> None:
        self.gate.answers(b"HTTP/1.1 2")
        problem = await self.assertFailure(self.endpoint().connect(recording()), TunnelError)
        self.assertIn(": it closed the connection without an answer", str(problem))
        self.assertTrue(problem.isTransient)

    @awaited
    async def test_isAway(self) -> None:
        await self.gate.stop()
        problem = await self.assertFailure(self.endpoint().connect(recording()), TunnelError)
        self.assertRegex(str(problem), r"through the HTTP proxy 127.*: connection refused")
        self.assertTrue(problem.isTransient)

    @awaited
    async def test_nothingIsSentBeforeItHasConsented(self) -> None:
        """Not even to one that never answers; it is left when the time is over."""
        arrived: Deferred[Any] = Deferred()
        self.gate.script = arrived.callback
        endpoint = self.endpoint()
        clock = Clock()
        endpoint.route.reactor = TwoReactors(clock)
        connecting = endpoint.connect(recording())
        asked = await arrived
        clock.advance(30)
        problem = await self.assertFailure(connecting, TunnelError)
        self.assertIn("through the HTTP proxy", str(problem))
        self.assertIn("within 30 s", str(problem))
        await asked.lost
        self.assertEqual(len(self.gate.heads), 1)

    @awaited
    async def test_cancelledBeforeItHasConsented(self) -> None:
        arrived: Deferred[Any] = Deferred()
        self.gate.script = arrived.callback
        connecting = self.endpoint().connect(recording())
        asked = await arrived
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await asked.lost


class SecureWebSocketThroughTests(ThroughMixin, TlsMixin, TestCase):
    """TLS is with the nymea-remoteproxy, and its name is known to the HTTP proxy only."""

    scheme = "wss"

    @awaited
    async def test_nameThatOnlyTheHttpProxyKnows(self) -> None:
        self.use(Certificate(["xn--bcher-kva.invalid"]))
        self.gate.hosts["xn--bcher-kva.invalid"] = "127.0.0.1"
        self.fake.url = f"wss://Bücher.invalid:{self.fake.port}"
        await self.joins()
        self.assertIn(b"CONNECT xn--", self.gate.heads[0])


class WebSocketThroughTests(ThroughMixin, TestCase):
    scheme = "ws"

    @awaited
    async def test_firstBytesComeWithTheAnswer(self) -> None:
        """What follows the answer at once is the other end's."""
        fake = Fake(self, "tcp")
        self.gate.answers(ESTABLISHED + b"HTTP/1.1 404 Not Found\r\n\r\n", close=False)
        self.fake = fake
        self.fake.url = f"ws://127.0.0.1:{fake.port}"
        self.assertIn("404", await self.failing())


class CommandTests(TestCase):
    """The command as a process."""

    timeout = 300

    async def run_(self, *arguments: str, **environment: str) -> tuple[str, int]:
        """Run it with everything that it has to say; return that, and the exit status."""
        _out, told, status = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "nymearemoteproxy.client.cli", "--verbose", "--token", TOKEN, *arguments],
            {**environmentOfPrograms(), **environment},
        )
        self.assertNotIn(b"s3cret", told)
        return told.decode(), status

    @awaited
    async def test_fromTheCommandLine(self) -> None:
        """It counts more than the environment, and what it knows of us is not told."""
        gate, fake = FakeHttpProxy(self), Fake(self, "ws")
        self.addCleanup(fake.stop)
        fake.script = lambda peer: (Fake._joinByMessages(peer), peer.close())
        way = f"http://me:s3cret@127.0.0.1:{gate.port}"
        told, status = await self.run_(
            *("--url", fake.url, "--proxy", way), https_proxy="http://127.0.0.1:1", no_proxy="*"
        )
        self.assertEqual(status, 0, told)
        where = f"127.0.0.1:{fake.port}"
        self.assertIn(f"connecting to {where} through the HTTP proxy 127.0.0.1:{gate.port}", told)
        self.assertTrue(gate.heads[0].startswith(f"CONNECT {where} HTTP/1.1\r\n".encode()))

    @awaited
    async def test_fromTheEnvironment(self) -> None:
        """A refusal is one line."""
        gate = FakeHttpProxy(self)
        gate.answers(b"HTTP/1.1 407 Who?\r\n\r\n")
        way = f"http://me:s3cret@127.0.0.1:{gate.port}"
        told, status = await self.run_("--url", "wss://proxy.example", https_proxy=way)
        self.assertEqual(status, 1, told)
        self.assertEqual(
            told.splitlines()[-1],
            "nymea-remoteproxy-client: cannot connect to proxy.example:443 through the HTTP proxy "
            f"127.0.0.1:{gate.port}: it does not accept the user name and the password",
        )
