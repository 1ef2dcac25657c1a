"""Endpoint strings of the client, argument by argument.

The promises: there is an endpoint, or a `ValueError` in one line in which no token stands.
"""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.client.endpointstrings import TunnelParser

_NAMES = (
    *("host", "port", "transport", "resource", "serverUuid", "nonce", "name", "uuid"),
    *("fingerprint", "httpProxy", "endFingerprint", "endName"),
)
"""Of the arguments that read no file, in the order of an input's lines."""

_TOKEN = "secret-token"


def check(data: bytes) -> None:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    given = {name: line for name, line in zip(_NAMES, lines, strict=False) if line}
    host = given.pop("host", "")
    try:
        TunnelParser().parseStreamClient(MemoryReactorClock(), host, token=_TOKEN, **given)
    except ValueError as mistake:
        assert isLine(str(mistake)) and _TOKEN not in str(mistake), "no text to be shown"


TARGET = Target(
    check,
    covers=("client.endpointstrings", "client.endpoints"),
    planted=(
        Planted(
            "client/connecting/trust.py",
            'raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")',
            "raise KeyError(digits)",
        ),
    ),
    words=(
        b"home.example\n443\n",
        b"::1\n1\ntls\n\n",
        b"1b9a8e44-0000-4000-8000-000000000001",
        b"ab" * 32,
        b"http://u:p@h:1",
    ),
)
