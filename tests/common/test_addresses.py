"""How addresses are spelled for people."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.addresses import describeAddress, describePlace


class DescribeTests(SynchronousTestCase):
    """Addresses for people."""

    def test_host(self) -> None:
        for host, expected in (
            ("192.0.2.7", ("192.0.2.7", "192.0.2.7:1")),
            ("::ffff:192.0.2.7", ("192.0.2.7", "192.0.2.7:1")),
            ("::ffff:0:192.0.2.7", ("::ffff:0:192.0.2.7", "[::ffff:0:192.0.2.7]:1")),
            ("fe80::1%eth0", ("fe80::1%eth0", "[fe80::1%eth0]:1")),
        ):
            kind = IPv6Address if ":" in host else IPv4Address
            self.assertEqual(describeAddress(kind("TCP", host, 1)), expected)

    def test_unixClient(self) -> None:
        """It has no host, whatever its own socket is called."""
        for name in (None, b"/run/x", b"\0\x1b[2J"):
            self.assertEqual(describeAddress(UNIXAddress(name)), (None, "unix"))

    def test_unixPlace(self) -> None:
        """With a path, in the abstract namespace, or unnamed."""
        for name, expected in (
            (b"/run/x", "unix:/run/x"),
            ("/run/x", "unix:/run/x"),
            (b"\0nymea", "unix:@nymea"),
            (b"/run/\xff", "unix:/run/\\xff"),
            (None, "unix:"),
        ):
            self.assertEqual(describePlace("tcp", UNIXAddress(name)), expected)
