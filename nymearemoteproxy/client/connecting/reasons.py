"""Why a connection does not come about, and why it ended, in words.

Owns these words, and the guess at the URL that was meant. Knows nothing of what was connected.
"""

from __future__ import annotations

import os

from twisted.internet import error
from twisted.python.failure import Failure

from nymearemoteproxy.client.connecting.heartbeat import HEARTBEAT_INTERVAL
from nymearemoteproxy.client.rules.errors import oneLine

# What a server's first bytes are when it speaks something else than we do.
_HTTP = "HTTP"
_JSON = "JSON"
_TLS = "TLS"
_NO_TLS = "no TLS"
_NOTHING = "nothing"

# An alert, of version 3.x.
_TLS_RECORD = b"\x15\x03"

FIRST_WORDS = 8
"""Bytes that are enough to tell them apart."""

# What the URL should begin with, by how it does begin and by what the server speaks. A server that
# closed without a word may have understood none.
_MEANT = {
    ("ws", _JSON): ("tcp",),
    ("ws", _TLS): ("wss", "tls"),
    ("ws", _NOTHING): ("wss", "tls"),
    ("wss", _JSON): ("tls",),
    ("wss", _NO_TLS): ("ws", "tcp"),
    ("tcp", _HTTP): ("ws",),
    ("tcp", _TLS): ("tls", "wss"),
    ("tcp", _NOTHING): ("tls", "wss", "ws"),
    ("tls", _HTTP): ("wss",),
    ("tls", _NO_TLS): ("tcp", "ws"),
    ("tls", _NOTHING): ("wss",),
}

SILENT = f"the proxy has been silent for {HEARTBEAT_INTERVAL:g} s"
"""The end of a proxy that its heartbeat found dead."""


def whyNotConnected(failure: Failure) -> str:
    """Return in a few words why an endpoint could not connect."""
    cause = failure.value
    if isinstance(cause, error.ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, error.DNSLookupError):
        return "the host name is not known"
    if isinstance(cause, error.TimeoutError):
        return "timed out"
    if isinstance(cause, error.ConnectError) and isinstance(cause.osError, int):
        return os.strerror(cause.osError)
    return oneLine(cause)


def whyLost(reason: Failure) -> str:
    """Return in a few words why a tunnel's connection ended."""
    if reason.check(error.ConnectionDone):
        return "the proxy closed it"
    words = next(iter(getattr(reason.value, "args", ())), "")
    # Twisted's own words say no more.
    return "it broke off" if words in ("", "Connection lost") else oneLine(words)


def meantScheme(scheme: str, said: bytes, isTls: bool) -> str:
    """Return the question whether another URL is meant, to be put behind what went wrong.

    :param scheme: what the URL begins with.
    :param said: the first bytes that came, inside of TLS where there should be TLS.
    :param isTls: the server speaks TLS, as far as is known.
    :returns: nothing if there is no other that would explain it.
    """
    if scheme in ("wss", "tls") and not isTls:
        spoken = _NO_TLS
    elif said.startswith(b"HTTP/"):
        spoken = _HTTP
    elif said.startswith(b"{"):
        spoken = _JSON
    elif said.startswith(_TLS_RECORD):
        spoken = _TLS
    else:
        spoken = "" if said else _NOTHING
    if scheme == "unix" and spoken in (_HTTP, _NOTHING):
        return "; is it a socket for WebSocket? unix: is for streams"
    meant = [f"{other}://" for other in _MEANT.get((scheme, spoken), ())]
    if len(meant) > 1:
        meant[-2:] = [f"{meant[-2]} or {meant[-1]}"]
    return f"; is it {', '.join(meant)}?" if meant else ""
