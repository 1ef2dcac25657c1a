"""Why there is no tunnel, in one line.

Owns the error that says so, how the words of strangers become part of it, and which of HTTP's
refusals may pass. Knows nothing of what else can go wrong.
"""

from __future__ import annotations

_MAX_LINE = 240

# What a reverse proxy or an HTTP proxy answers while what is behind it is away or busy.
_TRANSIENT_HTTP_STATUS = {str(status) for status in (408, 425, 429, *range(500, 600))}


class TunnelError(Exception):
    """A tunnel could not be had; ``str()`` is one readable line that says why.

    :ivar isTransient: the same attempt may succeed later, although nobody corrects a mistake.
    """

    def __init__(self, text: str, isTransient: bool = False) -> None:
        super().__init__(text)
        self.isTransient = isTransient


def oneLine(text: object) -> str:
    """Return `text` as one line that is safe on a terminal: escaped, and cut when long."""
    flat = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in flat)
    return shown if len(shown) <= _MAX_LINE else shown[: _MAX_LINE - 1] + "…"


def isTransientStatus(status: str) -> bool:
    """Tell whether an HTTP request that got this status code may succeed later."""
    return status in _TRANSIENT_HTTP_STATUS


def stranger(why: object, isTransient: bool = False) -> TunnelError:
    """Return the error for a server that behaves like no nymea-remoteproxy."""
    return TunnelError(f"not a nymea-remoteproxy: {oneLine(why)}", isTransient)
