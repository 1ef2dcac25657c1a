"""What tunnels carry: bytes that only one side of one tunnel has.

Owns how they are made and compared. Knows nothing of connections.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random

_LETTERS = (string.ascii_letters + string.digits + "+-").encode()
_AS_TEXT = _LETTERS * 4
"""Each byte becomes a letter."""
_SHOWN = 24
"""Bytes that a problem shows."""


class WrongBytesError(Exception):
    """What came is not what was sent."""


def content(seed: str, index: int, side: str, size: int, isText: bool) -> bytes:
    """Return so many bytes, about: those of this side of this tunnel.

    :param isText: they are UTF-8, of which some characters are longer than a byte.
    """
    data = Random(f"{seed}:{index}:{side}:content").randbytes(size)
    return data.translate(_AS_TEXT).replace(b"q", "€".encode()) if isText else data


class Receiving:
    """Compares what comes with what was sent, piece by piece.

    :ivar count: bytes that have come.
    :ivar problem: what was wrong first; nothing more is compared then.
    """

    def __init__(self, expected: bytes, changed: Callable[[], object] = lambda: None) -> None:
        self.count = 0
        self.problem: str | None = None
        self._expected = expected
        self._changed = changed

    def __str__(self) -> str:
        return f"{self.count} of {len(self._expected)} bytes"

    @property
    def isComplete(self) -> bool:
        return self.problem is None and self.count == len(self._expected)

    def take(self, data: bytes) -> None:
        """This has come."""
        end = self.count + len(data)
        if self.problem is None and self._expected[self.count : end] != data:
            self.problem = self._difference(data)
        self.count = end
        self._changed()

    def check(self) -> None:
        """All that came so far was sent, by the right one.

        :raises WrongBytesError: it was not.
        """
        if self.problem is not None:
            raise WrongBytesError(self.problem)

    def _difference(self, data: bytes) -> str:
        rest = self._expected[self.count : self.count + len(data)]
        same = next((at for at, (a, b) in enumerate(zip(rest, data, strict=False)) if a != b), None)
        at = len(rest) if same is None else same
        came, sent = data[at : at + _SHOWN], rest[at : at + _SHOWN]
        return (
            f"byte {self.count + at} of {len(self._expected)}: {came.hex()} came, "
            f"{sent.hex() or 'nothing'} was sent"
        )
