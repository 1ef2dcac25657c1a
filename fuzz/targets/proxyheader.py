"""The PROXY header, versions 1 and 2.

The promises: whether it is one, whose the connection is, and what is behind it do not depend on how
it is cut; a header that was refused, or is whole, stays so whatever follows; no more is waited for
than a header may have; and headers as written by a plain reading of the specification are read.
"""

from __future__ import annotations

from ipaddress import ip_address

from fuzz.target import Planted, Target, behind, pieces, taken
from nymearemoteproxy.protocol.proxyheader import (
    MOST_HEADER,
    MOST_LINE,
    ProxyHeader,
    ProxyHeaderError,
    Source,
)

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

Read = tuple[str, Source | None, bytes]


def check(data: bytes) -> None:
    how, data = taken(data)
    read = _read([data])
    assert read == _read(pieces(data, how)), "it depends on how it is cut"
    outcome, source, rest = read
    if outcome == "whole":
        assert data.endswith(rest)
        begin = data[: len(data) - len(rest)]
        assert begin.startswith(_SIGNATURE) or begin.find(b"\r\n") == len(begin) - 2
        assert _read([data[: len(data) - len(rest)]]) == ("whole", source, b"")
        assert len(data) - len(rest) <= (MOST_LINE if data.startswith(b"PROXY") else MOST_HEADER)
    elif outcome == "waits":
        assert len(data) < (MOST_LINE if data.startswith(b"PROXY") else MOST_HEADER)
    _checkWritten(how, data)


def _read(parts: list[bytes]) -> Read:
    header = ProxyHeader()
    try:
        rest = behind(header.feed, parts)
    except ProxyHeaderError:
        return "refused", None, b""
    if header.source is not None:
        host, port = header.source
        assert str(ip_address(host)) == host and 0 <= port <= 65535, "no address"
    return ("waits", None, b"") if rest is None else ("whole", header.source, rest)


def _checkWritten(how: int, data: bytes) -> None:
    width = 16 if how & 1 else 4
    if len(data) < 2 * width + 4:
        return
    addresses, rest = data[: 2 * width + 4], data[2 * width + 4 :]
    more = how >> 1  # bytes of what may follow the addresses
    size = len(addresses) + more
    kind = b"\x21" if how & 1 else b"\x11"
    begin = _SIGNATURE + b"\x21" + kind + size.to_bytes(2, "big")
    source, destination = (ip_address(addresses[at : at + width]) for at in (0, width))
    ports = [int.from_bytes(addresses[-4:-2], "big"), int.from_bytes(addresses[-2:], "big")]
    mapped = getattr(source, "ipv4_mapped", None)
    expected = ("whole", (str(mapped or source), ports[0]), rest)
    assert _read([begin + addresses + bytes(more) + rest]) == expected, "version 2 is not read"
    line = f"PROXY TCP{6 if how & 1 else 4} {source} {destination} {ports[0]} {ports[1]}\r\n"
    assert _read([line.encode() + rest]) == expected, "version 1 is not read"


TARGET = Target(
    check,
    covers=("protocol.proxyheader",),
    planted=(
        Planted(
            "protocol/proxyheader.py",
            'self._data.find(b"\\r\\n", 0, MOST_LINE)',
            'self._data.find(b"\\n", 0, MOST_LINE) - 1',
        ),
        Planted(
            "protocol/proxyheader.py", "if max(port, int(match[5])) > MOST_PORT:", "if port < 0:"
        ),
        Planted("protocol/proxyheader.py", "if len(have) < size:", "if len(have) < _START:"),
    ),
    words=(
        _SIGNATURE,
        b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
        b"PROXY UNKNOWN\r\n",
        b"TCP6",
        b"65536",
    ),
)
