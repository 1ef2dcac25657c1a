"""How a value is spelled on a terminal: strangers' texts, bytes, times, sparklines.

Owns that everything returned is one line without control characters, and takes as many columns as
`width` says. Knows nothing of what the values mean.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence

MAX_TEXT = 256
"""Characters of a stranger's text that are shown: no column is wider, and names may have 10 KiB."""

# Marks on one letter; there are languages with two, and more would grow over other lines.
_MAX_MARKS = 2

_MARKS = ("Mn", "Me")

# Invisible, and only some terminals change the width of the character before them.
_VARIATIONS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))

# Terminals do not agree how wide these are: parts of Hangul syllables, and signs in squares.
_DISPUTED = (
    range(0x1160, 0x1200),
    range(0xD7B0, 0xD800),
    range(0x3248, 0x3250),
    range(0x4DC0, 0x4E00),
)

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.:-=+*#"

UNKNOWN = "-"
"""Stands for what is not known."""


def safe(text: str, isUnicode: bool = True) -> str:
    """Return a stranger's `text` as one that a terminal shows and does not obey.

    What it could obey, what is invisible, and what terminals show at different widths becomes a
    visible escape such as ``\\x1b``.

    :param isUnicode: the terminal shows more than ASCII.
    """
    if len(text) <= MAX_TEXT and text.isascii() and text.isprintable():
        return text
    if not isUnicode:
        return cut("".join(_escaped(c) for c in text[: MAX_TEXT + 1]), MAX_TEXT, isUnicode)
    shown = []
    marks = _MAX_MARKS  # a mark in front has no letter to stand on
    for character in unicodedata.normalize("NFC", text[: MAX_TEXT + 1]):
        if _isIn(character, _VARIATIONS):
            continue
        if unicodedata.category(character) in _MARKS:
            marks += 1
            shown.append(character if marks <= _MAX_MARKS else _escaped(character))
        elif _isIn(character, _DISPUTED):
            shown.append(_escaped(character))
            marks = _MAX_MARKS
        else:
            shown.append(character if character.isprintable() else _escaped(character))
            marks = 0
    return cut("".join(shown), MAX_TEXT, isUnicode)


def _escaped(character: str) -> str:
    """Return `character`, or its escape when it is no printable ASCII."""
    if character.isascii() and character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _isIn(character: str, ranges: Sequence[range]) -> bool:
    code = ord(character)
    return any(code in one for one in ranges)


def width(text: str) -> int:
    """Return how many columns of a terminal a safe `text` takes."""
    if text.isascii():
        return len(text)
    return sum(map(_widthOf, text))


def _widthOf(character: str) -> int:
    if unicodedata.category(character) in _MARKS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int, isUnicode: bool = True) -> str:
    """Return `text`, shortened to `columns` when it takes more; then its end shows that."""
    if width(text) <= columns:
        return text
    if columns < 1:
        return ""
    ellipsis = "…" if isUnicode else "~"
    # Where each character ends. They end in order, so those that still fit are the first ones.
    ends = itertools.accumulate(map(_widthOf, text))
    fitting = sum(1 for end in ends if end <= columns - len(ellipsis))
    return text[:fitting] + ellipsis


def fit(text: str, columns: int, isRight: bool = False, isUnicode: bool = True) -> str:
    """Return `text` in exactly `columns` columns, cut or filled, at the left or the right."""
    text = cut(text, columns, isUnicode)
    space = " " * (columns - width(text))
    return space + text if isRight else text + space


def amount(count: float) -> str:
    """Return a number of bytes with three digits and its unit, in at most 7 columns."""
    value, unit = float(count), 0
    # What would be rounded up to 1000 is the next unit's.
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if not unit or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {_UNITS[unit]}"


def rate(perSecond: float | None) -> str:
    """Return bytes per second; the column says that it is a rate."""
    return UNKNOWN if perSecond is None else amount(perSecond)


def duration(seconds: float) -> str:
    """Return a time span in at most 6 columns, in its two largest units."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    days = whole // 86400
    if days < 100:
        return f"{days}d{whole % 86400 // 3600:02}h"
    return f"{min(days, 99_999)}d"


def age(since: int, now: float) -> str:
    """Return how long ago `since` was, both in Unix time; 0 is not known."""
    return duration(now - since) if since else UNKNOWN


def sparkline(values: Sequence[float], columns: int, isUnicode: bool = True) -> str:
    """Return the last `columns` of `values` as bars, the newest at the right.

    The largest one has full height, and 0 has the lowest bar to itself.
    """
    blocks = _BLOCKS if isUnicode else _ASCII_BLOCKS
    shown = values[max(len(values) - columns, 0) :]
    most = max(shown, default=0)
    steps = len(blocks) - 1
    # Upwards: little is still more than nothing.
    bars = (blocks[math.ceil(value / most * steps)] if value > 0 else blocks[0] for value in shown)
    return "".join(bars).rjust(columns)
