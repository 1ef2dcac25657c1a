"""Owns the checks of which server a certificate is for."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.servernames import ServerName, ServerNameError
from tests.support.certificates import issue, withNames


def certificate(*names: str) -> x509.Certificate:
    """Return a certificate for host names; addresses are written ``[ADDRESS]``."""
    return issue(
        "nobody",
        [
            x509.IPAddress(ip_address(name[1:-1])) if name.startswith("[") else x509.DNSName(name)
            for name in names
        ],
    )[0]


class ServerNameTests(SynchronousTestCase):
    """A certificate is for a server, or it is not."""

    def assertFor(self, host: str, *names: str) -> None:
        ServerName(host).check(certificate(*names))

    def assertNotFor(self, host: str, *names: str) -> None:
        error = self.assertRaises(ServerNameError, ServerName(host).check, certificate(*names))
        self.assertEqual(str(error), f"the certificate is not for {host}")

    def assertProvesNothing(self, host: str, one: x509.Certificate) -> None:
        self.assertRaises(ServerNameError, ServerName(host).check, one)

    def test_name(self) -> None:
        """One of several; upper and lower case are the same."""
        self.assertFor("example.org", "example.com", "example.org")
        self.assertFor("Example.org", "eXample.org")
        self.assertNotFor("example.org", "example.com", "www.example.org", "example.org.evil.com")

    def test_dotOfTheRoot(self) -> None:
        self.assertFor("example.org.", "example.org")

    def test_wildcard(self) -> None:
        """It stands for one label, all of it, and no more."""
        self.assertFor("a.example.org", "*.example.org")
        for host in ("example.org", "a.b.example.org", "a.example.com"):
            self.assertNotFor(host, "*.example.org")
        self.assertNotFor("foo.example.org", "f*.example.org")
        for nonsense in ("*", "*.org", "*.*.org", "a.*.org", "*a*.example.org"):
            self.assertProvesNothing("a.example.org", certificate(nonsense))

    def test_internationalName(self) -> None:
        """In ASCII on both sides; no wildcard stands for one (RFC 6125 section 7.2)."""
        self.assertFor("xn--bcher-kva.example.org", "xn--bcher-kva.example.org")
        self.assertNotFor("xn--bcher-kva.example.org", "*.example.org")
        self.assertNotFor("xn--bcher-kva.example.org", "bcher.example.org")

    def test_internationalNameInUtf8(self) -> None:
        """As none may be in a certificate (RFC 5280 section 7.2)."""
        name = "bücher.example.org".encode()
        names = bytes([0x30, len(name) + 2, 0x82, len(name)]) + name
        self.assertProvesNothing("xn--bcher-kva.example.org", withNames(names))

    def test_address(self) -> None:
        """However it is written."""
        self.assertFor("127.0.0.1", "localhost", "[::1]", "[127.0.0.1]")
        self.assertFor("::1", "[::1]")
        self.assertFor("2001:DB8:0::1", "[2001:db8::1]")
        self.assertNotFor("127.0.0.1", "[127.0.0.2]", "localhost")
        self.assertNotFor("::1", "[::2]", "[127.0.0.1]")

    def test_addressAsName(self) -> None:
        """An address that a certificate has as a host name is none (RFC 9525 section 6.5)."""
        for host in ("127.0.0.1", "::1"):
            self.assertProvesNothing(host, certificate(host))
        self.assertProvesNothing("127.0.0.1", certificate("*.0.0.1"))
        self.assertNotFor("example.org", "[127.0.0.1]")

    def test_noNames(self) -> None:
        """Twisted 26.10's own check takes such a certificate for everybody's."""
        one, _key = issue("nobody", None)
        for host in ("example.org", "127.0.0.1", "::1"):
            self.assertProvesNothing(host, one)

    def test_unreadableNames(self) -> None:
        for names in (b"", b"\x30\x05", b"\x30\x03\x82\x05a", b"\x04\x01a", b"\x30\x03\x87\x01a"):
            for host in ("example.org", "127.0.0.1"):
                self.assertProvesNothing(host, withNames(names))

    def test_noHost(self) -> None:
        """What is no host name has no certificate."""
        for host in ("", ".", "a b", "*.example.org", "example.org:443"):
            self.assertProvesNothing(host, certificate("example.org", "*.example.org"))

    def test_indication(self) -> None:
        """The handshake names hosts without the dot of the root, and no addresses."""
        for host, indication in (
            ("example.org", b"example.org"),
            ("example.org.", b"example.org"),
            ("127.0.0.1", None),
            ("::1", None),
        ):
            self.assertEqual(ServerName(host).indication, indication)
