"""Why there is no tunnel, in one line.

Owns the error that says so, and how the words of strangers become part of it. Knows nothing of what
can go wrong.
"""

from __future__ import annotations

_MAX_LINE = 240


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


def stranger(why: object, isTransient: bool = False) -> TunnelError:
    """Return the error for a server that behaves like no nymea-remoteproxy."""
    return TunnelError(f"not a nymea-remoteproxy: {oneLine(why)}", isTransient)
