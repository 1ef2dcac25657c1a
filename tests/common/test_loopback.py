"""Which addresses are this machine itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.loopback import isLoopback


class LoopbackTests(SynchronousTestCase):
    """Who may ask without a password, and what a secret may be sent to in clear, go by it."""

    @given(st.ip_addresses(v=4))
    def test_v4(self, address: object) -> None:
        self.assertEqual(isLoopback(str(address)), str(address).startswith("127."))

    def test_v6(self) -> None:
        """One address, however it is written."""
        for host in "::1", "0:0:0:0:0:0:0:1", "0000::0001":
            self.assertTrue(isLoopback(host), host)
        for host in "::", "::2", "fe80::1", "::127.0.0.1":
            self.assertFalse(isLoopback(host), host)

    def test_names(self) -> None:
        """A name may lead anywhere, and what only looks like an address is none."""
        for host in "", "localhost", "127.1", "127.0.0.1.", "[::1]", "127.0.0.1:80", " 127.0.0.1":
            self.assertFalse(isLoopback(host), host)
