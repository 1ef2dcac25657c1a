"""Addresses whose clients are not let in: how they are written and found."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections.denylist import DenyList, parseDenyList

PROPERTY = settings(max_examples=200, deadline=None, database=None)

ADDRESSES = st.ip_addresses(network="10.0.0.0/28") | st.ip_addresses(network="2001:db8::/120")
NETWORKS = ADDRESSES.flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda prefix: ipaddress.ip_network((address, prefix), strict=False)
    )
)


def listOf(*lines: str) -> DenyList:
    """Return the list that these lines are."""
    return parseDenyList(enumerate(lines, 1))


class DenyListTests(SynchronousTestCase):
    """Which addresses are in which list."""

    @PROPERTY
    @given(st.lists(NETWORKS, max_size=5), ADDRESSES)
    def test_contains(self, networks: list[ipaddress.IPv4Network], address: object) -> None:
        """As the standard library has it."""
        denied = listOf(*map(str, networks))
        self.assertEqual(str(address) in denied, any(address in each for each in networks))

    def test_forms(self) -> None:
        """An address alone, IPv4 on a socket of IPv6, one with a zone."""
        denied = listOf("192.0.2.1", "fe80::1", "2001:DB8::/32")
        for host in "192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "2001:db8:1::2":
            self.assertIn(host, denied)
        for host in "192.0.2.2", "fe80::2", "", None, "nonsense", "a\0b", "\ud800":
            self.assertNotIn(host, denied)
        self.assertEqual(len(denied), 3)

    def test_mapped(self) -> None:
        """IPv4 may be written as IPv6 has it."""
        self.assertEqual(listOf("::ffff:192.0.2.1"), listOf("192.0.2.1"))
        self.assertEqual(listOf("::ffff:192.0.2.0/120"), listOf("192.0.2.0/24"))
        self.assertIn("192.0.2.9", listOf("::ffff:0:0/96"))
        self.assertNotIn("192.0.2.9", listOf("::/80"))

    def test_empty(self) -> None:
        """Nobody is in it."""
        self.assertNotIn("192.0.2.1", DenyList())

    def test_equal(self) -> None:
        """The order does not matter."""
        one, two = listOf("192.0.2.1", "::1"), listOf("::1", "192.0.2.1/32")
        self.assertEqual(one, two)
        self.assertEqual(hash(one), hash(two))
        self.assertNotEqual(one, DenyList())
        self.assertNotEqual(one, None)

    def test_mistakes(self) -> None:
        """The line is named and not repeated."""
        for line in (
            "192.0.2",
            "1.2.3.4/33",
            "1.2.3.4/0032",
            "::/129",
            "1.2.3.4/",
            "::/-1",
            "x\0y",
            "1.2.3.4/²",
        ):
            with self.assertRaises(ValueError) as caught:
                listOf("192.0.2.1", line)
            self.assertEqual(str(caught.exception), "line 2 is no address or network")
        with self.assertRaises(ValueError) as caught:
            listOf("192.0.2.1/24")
        self.assertEqual(str(caught.exception), "line 1 has bits set behind the /24 of its network")
