"""What is left of an address when it is written down."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.privacy import HIDDEN, Privacy

ports = st.integers(1, 65535)


def written(privacy: Privacy, address: Any) -> str:
    """Return what is written of an address of Twisted's."""
    return privacy.write(*describeAddress(address))


class PrivacyTests(SynchronousTestCase):
    """The three ways."""

    def test_full(self) -> None:
        """All of it."""
        self.assertEqual(written(Privacy.FULL, IPv4Address("TCP", "192.0.2.7", 80)), "192.0.2.7:80")
        self.assertEqual(
            written(Privacy.FULL, IPv6Address("TCP", "2001:db8::1", 80)), "[2001:db8::1]:80"
        )

    def test_none(self) -> None:
        """Nothing, not even of what kind it is."""
        for host in "192.0.2.7", "nonsense":
            self.assertEqual(written(Privacy.NONE, IPv4Address("TCP", host, 80)), HIDDEN)
        self.assertEqual(written(Privacy.NONE, IPv6Address("TCP", "2001:db8::1", 80)), HIDDEN)

    def test_shortened(self) -> None:
        """As examples."""
        for host, expected in (
            ("192.0.2.7", "192.0.2.0"),
            ("::ffff:192.0.2.7", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("fe80::1%eth0", "fe80::"),
            ("::1", "::"),
            ("::FFFF:192.0.2.7", "::"),  # as a PROXY header may spell it
            ("nonsense", HIDDEN),
        ):
            self.assertEqual(written(Privacy.SHORTENED, IPv4Address("TCP", host, 80)), expected)

    def test_noAddress(self) -> None:
        """A Unix socket has no address that could name anybody."""
        for privacy in Privacy:
            self.assertEqual(written(privacy, UNIXAddress("/run/socket")), "unix")
            self.assertEqual(privacy.write("", "unix"), "unix")

    @given(st.ip_addresses(v=4), st.integers(0, 255), ports, ports)
    def test_ipv4(self, address: Any, last: int, port: int, otherPort: int) -> None:
        """Two addresses of one /24 cannot be told apart, and the /24 can be seen."""
        other = ipaddress.IPv4Address(int(address) & ~0xFF | last)
        self.assertIndistinguishable(address, other, port, otherPort, 24)

    @given(st.ip_addresses(v=6), st.integers(0, (1 << 80) - 1), ports, ports)
    def test_ipv6(self, address: Any, rest: int, port: int, otherPort: int) -> None:
        """The same for a /48."""
        other = ipaddress.IPv6Address(int(address) >> 80 << 80 | rest)
        mapped = address.ipv4_mapped, other.ipv4_mapped
        if not any(mapped):  # those are IPv4 addresses
            self.assertIndistinguishable(address, other, port, otherPort, 48)

    def assertIndistinguishable(
        self, one: Any, other: Any, port: int, otherPort: int, prefix: int
    ) -> None:
        """Check what is written of two addresses of one network."""
        kind = IPv4Address if one.version == 4 else IPv6Address
        text = written(Privacy.SHORTENED, kind("TCP", str(one), port))
        self.assertEqual(text, written(Privacy.SHORTENED, kind("TCP", str(other), otherPort)))
        network = ipaddress.ip_network((one, prefix), strict=False)
        self.assertEqual(ipaddress.ip_address(text), network.network_address)
