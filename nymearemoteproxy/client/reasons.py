"""Owns the words for why a connection does not come about, and why it ended.

It must not know what was connected.
"""

from __future__ import annotations

import os

from twisted.internet import error
from twisted.python.failure import Failure

from nymearemoteproxy.client.control import oneLine
from nymearemoteproxy.client.heartbeat import INTERVAL

# The end of a proxy that its heartbeat found dead.
SILENT = f"the proxy has been silent for {INTERVAL:g} s"


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
