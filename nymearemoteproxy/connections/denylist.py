"""Addresses whose clients are not let in.

Owns what a line of such a list is, and how an address is found among many. Knows nothing of
connections, nor of files.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from functools import cache

_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with on a socket of IPv6 (RFC 4291 section 2.5.5.2)."""


class DenyList:
    """A list of networks; an address alone is the network of just that.

    An address is looked for once for each length of prefix there is, however many networks.

    :param networks: each its bytes and the length of its prefix.
    """

    def __init__(self, networks: Iterable[tuple[bytes, int]] = ()) -> None:
        self._networks: Collection[tuple[bytes, int]] = frozenset(networks)
        lengths = {(len(address), prefix) for address, prefix in self._networks}
        self._masks = {
            size: [(prefix, _mask(size, prefix)) for length, prefix in lengths if length == size]
            for size in {size for size, _prefix in lengths}
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DenyList) and self._networks == other._networks

    def __hash__(self) -> int:
        return hash(self._networks)

    def __len__(self) -> int:
        return len(self._networks)

    def __contains__(self, host: str | None) -> bool:
        """Tell whether an address is in one of the networks.

        :param host: an IP address as text; None or empty for a Unix socket, which is in none.
        """
        if not self._masks or not host:
            return False
        try:
            address = packed(host.partition("%")[0])
        except ValueError:
            return False
        if address.startswith(_MAPPED):
            address = address[len(_MAPPED) :]
        size, value = len(address), int.from_bytes(address)
        return any(
            ((value & mask).to_bytes(size), prefix) in self._networks
            for prefix, mask in self._masks.get(size, ())
        )


@cache
def _mask(size: int, prefix: int) -> int:
    """Return the mask of a network as a number.

    :param size: of an address, in bytes.
    """
    return ((1 << prefix) - 1) << (8 * size - prefix)


def packed(text: str) -> bytes:
    """Return the bytes of an address.

    :raises ValueError: it is none, which the system says in three ways, by what is in it.
    """
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except OSError:
        raise ValueError("no address") from None


def parseDenyList(entries: Iterable[tuple[int, str]]) -> DenyList:
    """Read a list of addresses and networks.

    `ipaddress` would take ten times as long, and everybody waits while a list is read anew.

    :param entries: each with the number of its line.
    :raises ValueError: one of them is none; the text is one line that says which.
    """
    return DenyList(_parse(number, text) for number, text in entries)


def _parse(number: int, text: str) -> tuple[bytes, int]:
    host, slash, length = text.partition("/")
    try:
        address = packed(host)
    except ValueError:
        raise ValueError(f"line {number} is no address or network") from None
    bits = 8 * len(address)
    if not slash:
        return _unmapped(address, bits)
    if not (length.isascii() and length.isdecimal() and len(length) <= 3 and int(length) <= bits):
        raise ValueError(f"line {number} is no address or network")
    prefix = int(length)
    if int.from_bytes(address) & ~_mask(len(address), prefix):
        raise ValueError(f"line {number} has bits set behind the /{prefix} of its network")
    return _unmapped(address, prefix)


def _unmapped(address: bytes, prefix: int) -> tuple[bytes, int]:
    """Return the network of IPv4 that one of IPv6 stands for, if it does.

    :param prefix: no bit of the address is set behind it.
    """
    size = len(_MAPPED)
    if address.startswith(_MAPPED):
        return address[size:], prefix - 8 * size
    return address, prefix
