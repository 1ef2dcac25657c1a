"""The PROXY header that a service gets, as section 2.2 of haproxy's proxy-protocol.txt says."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.rules.proxyheader import proxyHeader
from nymearemoteproxy.protocol.proxyheader import ProxyHeader

MAGIC = bytes.fromhex("0d0a0d0a000d0a515549540a")
UNKNOWN = MAGIC + b"\x20\x00\x00\x00"

PROPERTY = settings(max_examples=100, deadline=None, database=None)


class ProxyHeaderTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """Command, family, size; source, destination, and both ports."""
        v4 = MAGIC + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 7]) + bytes(4 + 4)
        self.assertEqual(proxyHeader("192.0.2.7"), v4)
        self.assertEqual(proxyHeader("::ffff:192.0.2.7"), v4)
        source = bytes.fromhex("20010db8000000000000000000000007")
        v6 = MAGIC + b"\x21\x21\x00\x24" + source + bytes(16 + 4)
        self.assertEqual(proxyHeader("2001:db8::7"), v6)

    def test_zone(self) -> None:
        """There is no room for it, and it means something on the proxy's machine only."""
        self.assertEqual(proxyHeader("fe80::1%eth0"), proxyHeader("fe80::1"))

    def test_noAddress(self) -> None:
        for peer in (
            "",
            "unix",
            "hidden",
            "192.0.2",
            "192.0.2.7:80",
            "[::1]",
            "192.0.2.7\r\n",
            "٣",
        ):
            self.assertEqual(proxyHeader(peer), UNKNOWN, peer)

    @PROPERTY
    @given(st.ip_addresses(), st.binary(max_size=99))
    def test_readByTheServer(self, address: IPv4Address | IPv6Address, data: bytes) -> None:
        header = ProxyHeader()
        self.assertEqual(header.feed(proxyHeader(str(address)) + data), data)
        host = str(getattr(address, "ipv4_mapped", None) or address)
        self.assertEqual(header.source, (host, 0))

    @PROPERTY
    @given(st.text())
    def test_anyText(self, peer: str) -> None:
        """Whatever a proxy says, it is a header."""
        header = ProxyHeader()
        self.assertEqual(header.feed(proxyHeader(peer) + b"rest"), b"rest")
