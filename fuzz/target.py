"""What a fuzzer is given: a check of any bytes, and the faults by which the check is checked.

Owns the form of a target, and how it is told that something cannot be done. Knows nothing of
how inputs are made, kept or run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


class Mistake(Exception):
    """What was asked for cannot be done; the text says why, in one line."""


@dataclass(frozen=True)
class Planted:
    """A fault that is put into a copy of the program, where its target has to find it.

    :ivar path: of the module, below ``nymearemoteproxy/``.
    :ivar text: what stands there once.
    :ivar fault: what stands there instead.
    """

    path: str
    text: str
    fault: str


@dataclass(frozen=True)
class Target:
    """One kind of input.

    :ivar check: takes any bytes, and raises if what was promised of them is not kept.
    :ivar covers: the modules that read such input, below ``nymearemoteproxy``, with dots.
    :ivar planted: faults, each of which the check can find.
    :ivar words: pieces that inputs are made of, and that are not found by chance.
    """

    check: Callable[[bytes], None]
    covers: tuple[str, ...]
    planted: tuple[Planted, ...]
    words: tuple[bytes, ...] = ()


def taken(data: bytes) -> tuple[int, bytes]:
    """Return a number from 0 to 255, and the rest: the first byte says how a check goes about it.

    The number is 0 where there is no byte.
    """
    return (data[0], data[1:]) if data else (0, b"")


def behind(receive: Callable[[bytes], bytes | None], parts: list[bytes]) -> bytes | None:
    """Have a header read in parts; return what is behind it, None if it has no end."""
    rest: bytes | None = None
    for part in parts:
        rest = receive(part) if rest is None else rest + part
    return rest


def pieces(data: bytes, how: int) -> list[bytes]:
    """Cut bytes as reads of a socket may.

    :param how: 0 = one by one; each other number is another way.
    """
    if not how:
        return [data[at : at + 1] for at in range(len(data))]
    dice = Random(how)
    cut, at = [], 0
    while at < len(data):
        size = dice.choice(_SIZES)
        cut.append(data[at : at + size])
        at += size
    return cut


_SIZES = (1, 2, 3, 5, 8, 13, 40, 200)
"""Bytes of a piece: mostly such that headers are cut."""


def isLine(text: str) -> bool:
    """Tell whether a text may be shown: one line that cannot do anything to a terminal."""
    return bool(text) and text.isprintable()
