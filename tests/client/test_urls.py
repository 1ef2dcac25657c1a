"""How addresses are written, and which arguments of an endpoint are refused."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.trust import ServerCheck, TlsOptions
from nymearemoteproxy.client.endpoints import TunnelEndpoint
from nymearemoteproxy.client.rules.urls import ProxyUrl, parseService
from tests.support.proxies import TOKEN

reactor: Any = globalReactor


class UrlTests(SynchronousTestCase):
    def test_good(self) -> None:
        self.assertEqual(ProxyUrl.parse("unix:/run/x y").path, "/run/x y")
        url = ProxyUrl.parse("WSS://Example.org:2212/a?b=c")
        self.assertEqual((url.scheme, url.host, url.port), ("wss", "example.org", 2212))
        self.assertEqual(url.resource, "/a?b=c")
        self.assertEqual(ProxyUrl.parse("ws://[::1]:1").where, "[::1]:1")
        self.assertEqual(ProxyUrl.parse("tcp://h:1/").resource, "/")
        self.assertEqual(ProxyUrl.parse("ws://h:1/%20[a]?b=c:d@e").resource, "/%20[a]?b=c:d@e")

    def test_portOfTheScheme(self) -> None:
        for url, where in {
            "wss://h": "h:443",
            "wss://h/path?q": "h:443",
            "WSS://h?q": "h:443",
            "ws://h.": "h.:80",
            "ws://[::1]": "[::1]:80",
        }.items():
            self.assertEqual(ProxyUrl.parse(url).where, where)
        self.assertEqual(ProxyUrl.parse("ws://h?q").resource, "/?q")

    def test_internationalNames(self) -> None:
        """As IDNA 2008 writes them, for the name server, TLS and HTTP alike."""
        for name, written in {
            "Bücher.example": "xn--bcher-kva.example",
            "straße.example.": "xn--strae-oqa.example.",
            "例え。テスト": "xn--r8jz45g.xn--zckzah",
            "\N{FULLWIDTH LATIN SMALL LETTER A}.example": "a.example",
            "xn--bcher-kva.example": "xn--bcher-kva.example",
        }.items():
            url = ProxyUrl.parse(f"wss://{name}:2212/x")
            self.assertEqual((url.host, url.where), (written, f"{written}:2212"))
            self.assertEqual(ProxyUrl.parse(f"wss://{name}").where, f"{written}:443")
            self.assertEqual(parseService(f"{name}:22").host, written)
        self.assertEqual(parseService("XN--KCHE-0RA:22").host, "XN--KCHE-0RA")

    def test_hosts(self) -> None:
        for host in (
            *("h", "h.", "A-b--c.example", "127.0.0.1", "127.1", "xn--kche-0ra.example", "1.a"),
            *("[::1]", "[2001:DB8::1]", "[::ffff:127.0.0.1]", "a" * 63, "a." * 126 + "a"),
        ):
            url = ProxyUrl.parse(f"wss://{host}:2212")
            self.assertEqual(url.host, host.lower().strip("[]"))
            self.assertEqual(url.where, f"{host.lower()}:2212")

    def test_bad(self) -> None:
        """Each is refused at the start, in one line that says why and repeats no secret."""
        for url, words in {
            "": "start with",
            "unix:": "no socket",
            "unix:a\0b": "no socket",
            "host:2212": "start with",
            "http://h:1": "start with",
            "ws:h:1": "missing",
            "tcp://h": "missing",
            "tls://[::1]": "missing",
            "ws://:1": "missing",
            "ws:///path": "missing",
            "ws://h:": "port",
            "ws://h:0": "port",
            "ws://h:x": "port",
            "ws://h:+1": "port",
            "ws://h:99999": "port",
            "ws://h:" + "9" * 5000: "port",
            "ws://[::1:1": "brackets",
            "ws://::1:1": "brackets",
            "ws://[h]:1": "brackets",
            "ws://[v1.a]:1": "brackets",
            "ws://[::1]x:1": "brackets",
            "ws://x[::1]:1": "brackets",
            "ws://h:1:1": "brackets",
            "ws://[fe80::1%eth0]:1": "zone",
            "ws://[fe80::1%25eth0]:1": "zone",
            "ws://u@h:1": "user name",
            "ws://@h:1": "user name",
            "wss://me:secret@h:1": "user name",
            "wss://me:s/secret@h:1": "port",
            "ws://h:1/#f": "fragment",
            "ws://h:1#": "fragment",
            "ws://h_x:1": "name",
            "ws://a..b:1": "name",
            "ws://-a:1": "name",
            "ws://a-.b:1": "name",
            "ws://ab--c:1": "name",
            "ws://a.ab--c.d:1": "name",
            f"ws://{'ı' * 63}:1": "name",
            "ws://h%41:1": "name",
            f"ws://{'a' * 64}:1": "name",
            f"ws://{'a.' * 127}a:1": "name",
            "ws://h :1": "name",
            "ws://h\n:1": "name",
            "ws://h\u2028:1": "name",
            "ws://ü..a:1": "name",
            "ws://ü_:1": "name",
            "ws://\ud800:1": "name",
            "ws://-ü:1": "name",
            f"ws://{'ü' * 300}:1": "name",
            "ws://h:1/ü": "characters",
            'ws://h:1/"': "characters",
            "ws://h:1/a|b": "characters",
            "ws://h\\x:1": "name",
            "tcp://h:1/path": "no path",
            "tls://h:1?q": "no path",
        }.items():
            problem = self.assertRaises(ValueError, TunnelEndpoint, Clock(), url, TOKEN)
            self.assertTrue(str(problem).isprintable(), url)
            self.assertIn(words, str(problem), url)
            self.assertNotIn("secret", str(problem))

    def test_dotOfTheRoot(self) -> None:
        """No certificate has it, and neither has the handshake (RFC 6066 section 3)."""
        check = ServerCheck(TlsOptions(), "example.org.")
        self.assertEqual(check.clientConnectionForTLS(None).get_servername(), b"example.org")

    def test_badArguments(self) -> None:
        for arguments in ({"uuid": "x"}, {"tls": TlsOptions()}):
            with self.assertRaises(ValueError):
                TunnelEndpoint(Clock(), "ws://h:1", TOKEN, **arguments)  # type: ignore[arg-type]

    def test_badTlsOptions(self) -> None:
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for arguments in (
            {"ca": b"nothing"},
            {"ca": broken},
            {"fingerprint": "12:34"},
            {"fingerprint": "g" * 64},
            {"fingerprint": "a" * 64, "insecure": True},
        ):
            with self.assertRaises(ValueError):
                TlsOptions(**arguments)  # type: ignore[arg-type]
