"""Endpoint strings whose connections are tunnels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.client.connecting.endtoend import EncryptedEndpoint
from nymearemoteproxy.client.endpoints import ClientEndpoint, ProxyEndpoint, TunnelEndpoint
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.httpproxies import HttpProxy
from tests.support.proxies import (
    NONCE,
    TOKEN,
    Certificate,
    Fake,
    awaited,
    recording,
)

reactor: Any = globalReactor
SERVER = "5f0ac2b2-5f4f-4d0c-9e2b-6ac0a7e3d001"


class ParsingTests(SynchronousTestCase):
    """What a string says."""

    def parsed(self, text: str) -> ProxyEndpoint:
        """Return the endpoint of a string."""
        made = clientFromString(reactor, text)
        assert isinstance(made, ProxyEndpoint)
        return made

    def test_where(self) -> None:
        """WebSocket with TLS, at HTTPS's port, unless something else is said."""
        for text, scheme, host, port, resource in (
            ("example.com", "wss", "example.com", 443, "/"),
            ("example.com:2212", "wss", "example.com", 2212, "/"),
            ("example.com:80:transport=ws:resource=/a?b", "ws", "example.com", 80, "/a?b"),
            ("example.com:2213:transport=tls", "tls", "example.com", 2213, "/"),
            (f"{quoteStringArgument('::1')}:1:transport=tcp", "tcp", "::1", 1, "/"),
        ):
            url = self.parsed(f"nymea:{text}:token=t").route.url
            self.assertEqual(
                (url.scheme, url.host, url.port, url.resource), (scheme, host, port, resource)
            )

    def test_kinds(self) -> None:
        """A token leads to a partner, a server's uuid to the server."""
        self.assertIsInstance(self.parsed("nymea:example.com:token=t"), TunnelEndpoint)
        made = self.parsed(f"nymea:example.com:serverUuid={SERVER}")
        assert isinstance(made, ClientEndpoint)
        self.assertEqual(made.serverUuid, f"{{{SERVER}}}")

    def test_tokenForServer(self) -> None:
        """It is shown to a proxy that wants one."""
        made = self.parsed(f"nymea:example.com:serverUuid={SERVER}:token=t")
        assert isinstance(made, ClientEndpoint)
        self.assertEqual(made._token, "t")

    def test_httpProxy(self) -> None:
        """It makes the connections of either kind; what is none is said without its password."""
        way = quoteStringArgument("http://anna:s3cret@[2001:db8::1]:3128")
        for kind in "token=t", f"serverUuid={SERVER}":
            made = self.parsed(f"nymea:example.com:{kind}:httpProxy={way}").route.httpProxy
            self.assertEqual(made, HttpProxy("2001:db8::1", 3128, "anna:s3cret"))
        wrong = quoteStringArgument("socks://anna:s3cret@example.com")
        raised = self.assertRaises(
            ValueError, self.parsed, f"nymea:example.com:token=t:httpProxy={wrong}"
        )
        self.assertNotIn("s3cret", str(raised))

    def test_encrypted(self) -> None:
        """From end to end, to either kind, by a fingerprint or an authority."""
        ca = Path(self.mktemp())
        ca.write_bytes(Certificate().pem)
        for text in (
            f"token=t:endFingerprint={'0' * 64}",
            f"token=t:endName=example.com:endCa={ca}",
            f"serverUuid={SERVER}:endFingerprint={'0' * 64}",
            f"serverUuid={SERVER}:endCa={ca}",
        ):
            made = clientFromString(reactor, f"nymea:example.com:{text}")
            self.assertIsInstance(made, EncryptedEndpoint)

    def test_mistakes(self) -> None:
        """One line each."""
        ca = Path(self.mktemp())
        ca.write_bytes(Certificate().pem)
        for text, said in (
            ("example.com:token=t:endFingerprint=12", "64 hexadecimal digits"),
            (f"example.com:token=t:endCa={ca}", "the name is needed"),
            ("example.com", "give tokenFile= or token="),
            ("example.com:0:token=t", "port"),
            ("example.com:token=t:transport=ftp", "must start with"),
            ("example.com:token=t:fingerprint=12", "64 hexadecimal digits"),
            ("example.com:80:token=t:transport=ws:fingerprint=12", "64 hexadecimal digits"),
            ("example.com:serverUuid=1", "uuid"),
        ):
            error = self.assertRaises(ValueError, clientFromString, reactor, f"nymea:{text}")
            self.assertIn(said, str(error))
            self.assertNotIn("\n", str(error))
        self.assertRaises(
            OSError, clientFromString, reactor, f"nymea:example.com:tokenFile={self.mktemp()}"
        )


class TunnelTests(TestCase):
    """A tunnel of an endpoint that was a string."""

    @awaited
    async def test_files(self) -> None:
        """Token and certificate come from files."""
        certificate = Certificate()
        fake = Fake(self, "wss", certificate)
        token, ca = Path(self.mktemp()), Path(self.mktemp())
        token.write_text(f"\n{TOKEN}\n")
        ca.write_bytes(certificate.pem)
        for trust in f"ca={ca}", f"fingerprint={certificate.fingerprint}":
            text = f"nymea:127.0.0.1:{fake.port}:tokenFile={token}:nonce={NONCE}:{trust}"
            protocol = await clientFromString(reactor, text).connect(recording())
            protocol.transport.abortConnection()
            params = fake.requests.pop()["params"]
            self.assertEqual((params["token"], params["nonce"]), (TOKEN, NONCE))

    @awaited
    async def test_untrusted(self) -> None:
        """Without them the system's authorities decide."""
        fake = Fake(self, "wss", Certificate())
        connecting = clientFromString(reactor, f"nymea:127.0.0.1:{fake.port}:token=t").connect(
            recording()
        )
        await self.assertFailure(connecting, TunnelError)
        self.assertEqual(fake.requests, [])
