"""How clients' addresses are written down.

Owns what is left of an address in the log and in the accounting files. Knows nothing of either.
"""

from __future__ import annotations

import ipaddress
from enum import Enum

IPV4_PREFIX = 24
IPV6_PREFIX = 48
"""Bits that remain of a shortened address. A household has one IPv4 address, or an IPv6 prefix of
48 to 64 bits (RFC 6177), so that what remains does not name one, or hardly."""

HIDDEN = "hidden"


class Privacy(Enum):
    """What is written of an address."""

    FULL = "full"
    SHORTENED = "shortened"
    NONE = "none"

    def write(self, host: str | None, text: str) -> str:
        """Return what may be written.

        :param host: the IP address; None or empty if there is none.
        :param text: the address with its port, or whatever stands for a client without one.
        """
        if self is Privacy.FULL or not host:
            return text
        if self is Privacy.NONE:
            return HIDDEN
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return HIDDEN
        prefix = IPV4_PREFIX if address.version == 4 else IPV6_PREFIX
        network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
        return str(network.network_address)
