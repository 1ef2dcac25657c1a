"""The PROXY header: what a reverse proxy says of its client, before the client's own first byte.

Owns versions 1 and 2 of it (section 2 of haproxy's proxy-protocol.txt). Knows nothing of
connections, nor of what comes behind the header.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

MOST_LINE = 107
"""Bytes of version 1, with its line end (section 2.1)."""

MOST_HEADER = 4096
"""Bytes of version 2. Addresses take 232 at most, but names, certificates' subjects and the like
may follow; it is what nginx takes."""

MOST_PORT = 65535

_WORD = b"PROXY "
_NUMBER = rb"(0|[1-9][0-9]{0,4})"
_ADDRESS = rb"([0-9A-Fa-f.:]+)"
_KNOWN = rb"(TCP[46]) %s %s %s %s" % (_ADDRESS, _ADDRESS, _NUMBER, _NUMBER)
_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: .*)?|%s)" % _KNOWN, re.DOTALL)

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_START = len(_SIGNATURE) + 4
"""Bytes of version 2 up to where addresses begin: version and command, family and protocol, and the
length of what follows."""

_LOCAL = 0x20
_PROXY = 0x21
_TCP4 = 0x11
_TCP6 = 0x21
_FAMILIES = range(4)  # unspecified, IPv4, IPv6, Unix
_PROTOCOLS = range(3)  # unspecified, stream, datagram
_SIZES = {_TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Bytes of the addresses, by family and protocol."""

Source = tuple[str, int]
"""Whose the connection is: IP address and port."""


class ProxyHeaderError(Exception):
    """What came is no PROXY header."""


class ProxyHeader:
    """Reads one header, however it is cut.

    :ivar source: whose the connection is. None when the header does not tell; then it is whoever
        the socket says.
    """

    __slots__ = ("source", "_data")

    def __init__(self) -> None:
        self.source: Source | None = None
        self._data = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take in what arrived; return what is behind the header, None while that is not whole.

        :raises ProxyHeaderError: it is none, and nothing that may come can make it one.
        """
        have = self._data
        have += data
        if have.startswith(_WORD[: len(have)]):
            size = self._line()
        elif have.startswith(_SIGNATURE[: len(have)]):
            size = self._binary()
        else:
            raise ProxyHeaderError
        return None if size is None else bytes(have[size:])

    def _line(self) -> int | None:
        """Read version 1; return its size."""
        end = self._data.find(b"\r\n", 0, MOST_LINE)
        if end < 0:
            if len(self._data) >= MOST_LINE:
                raise ProxyHeaderError
            return None
        match = _LINE.fullmatch(self._data, 0, end)
        if match is None:
            raise ProxyHeaderError
        if match[1] is not None:
            kind = IPv4Address if match[1] == b"TCP4" else IPv6Address
            port = int(match[4])
            try:
                source, _destination = kind(match[2].decode()), kind(match[3].decode())
            except ValueError:
                raise ProxyHeaderError from None
            if max(port, int(match[5])) > MOST_PORT:
                raise ProxyHeaderError
            self.source = _host(source), port
        return end + len(b"\r\n")

    def _binary(self) -> int | None:
        """Read version 2; return its size."""
        have = self._data
        command, kind = have[12:13], have[13:14]
        if command and command[0] not in (_LOCAL, _PROXY):
            raise ProxyHeaderError
        isTold = command == bytes([_PROXY])
        if isTold and kind and not (kind[0] >> 4 in _FAMILIES and kind[0] & 15 in _PROTOCOLS):
            raise ProxyHeaderError
        if len(have) < _START:
            return None
        size = _START + int.from_bytes(have[14:_START])
        if size > MOST_HEADER or (isTold and size < _START + _SIZES.get(kind[0], 0)):
            raise ProxyHeaderError
        if len(have) < size:
            return None
        if isTold and kind[0] in (_TCP4, _TCP6):
            self.source = _source(bytes(have[_START : _START + _SIZES[kind[0]]]))
        return size


def _source(addresses: bytes) -> Source:
    """Return the source in the addresses of version 2: source, destination, and the ports."""
    width = (len(addresses) - 4) // 2
    address = (IPv4Address if width == 4 else IPv6Address)(addresses[:width])
    return _host(address), int.from_bytes(addresses[-4:-2])


def _host(address: IPv4Address | IPv6Address) -> str:
    """Return an address as text, one of IPv4 always in the same way."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # from a socket that takes both
    return str(address)
