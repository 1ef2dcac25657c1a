"""Addresses as an operator writes them: of a proxy, of a service, of an own port.

The promises: an address that is taken is taken again as it is shown, and is one that can be
connected to; one that is not is a `ValueError` in one line.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.client.rules.urls import (
    Address,
    ProxyUrl,
    parseListen,
    parseRemote,
    parseService,
)

_ADDRESSES: tuple[Callable[[str], Address], ...] = (parseRemote, parseService, parseListen)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for parse in _ADDRESSES:
        _checkAddress(parse, text)
    try:
        url = ProxyUrl.parse(text)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        return
    assert isLine(url.where)
    if url.scheme != "unix":
        assert url.host.isascii() and 0 < url.port <= 65535, "nothing to connect to"
        # It stands in a request's first line.
        assert url.resource.startswith("/") and url.resource.isascii() and isLine(url.resource)
        assert " " not in url.resource, "the line has a word more"
        path = url.resource if url.isWebSocket else ""
        assert ProxyUrl.parse(f"{url.scheme}://{url.where}{path}") == url


def _checkAddress(parse: Callable[[str], Address], text: str) -> None:
    try:
        address = parse(text)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        return
    assert isLine(address.where)
    if not address.path:
        assert parse(address.where) == address, "it is not taken as it is shown"
        assert 0 <= address.port <= 65535 and address.host.isascii()


TARGET = Target(
    check,
    covers=("client.rules.urls",),
    planted=(
        Planted("client/rules/urls.py", "if not address.port:", "if address.port < 0:"),
        Planted(
            "client/rules/urls.py", 're.compile(r"[!#-;=?-\\[\\]_a-z~]*"', 're.compile(r"[ -~]*"'
        ),
        Planted(
            "client/rules/urls.py",
            'if ":" in self.host else',
            'if "." in self.host else',
        ),
    ),
    words=(
        *(scheme + b"://" for scheme in (b"ws", b"wss", b"tcp", b"tls")),
        b"unix:/run/x",
        b"[2001:db8::1]:443",
        b"m\xc3\xbcnchen.example",
        b"xn--",
        b"%25eth0",
        "٣".encode(),
        b"?a=b#c",
    ),
)
