"""The PROXY header: what a service is told of a client before that one's first byte.

Owns how version 2 is written (section 2.2 of haproxy's proxy-protocol.txt). Knows nothing of
connections, nor of who reads it.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_START = struct.Struct("!12sBBH")  # signature, command, family, and the size of what follows
_PORTS = bytes(4)

# Commands: this end has made the connection for itself, or for somebody else.
_LOCAL = 0x20
_PROXY = 0x21

# Families, with the protocol.
_UNSPECIFIED = 0x00
_TCP4 = 0x11
_TCP6 = 0x21


def proxyHeader(peer: str) -> bytes:
    """Return the header for a client.

    Where it went, and both ports, are not known here: they are 0. Without an address it says that
    the connection is our own, which everybody has to accept.

    :param peer: the IP address it comes from; anything else stands for none.
    """
    try:
        address = ip_address(peer)
    except ValueError:
        return _START.pack(_SIGNATURE, _LOCAL, _UNSPECIFIED, 0)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    source = address.packed
    addresses = source + bytes(len(source)) + _PORTS
    family = _TCP4 if address.version == 4 else _TCP6
    return _START.pack(_SIGNATURE, _PROXY, family, len(addresses)) + addresses
