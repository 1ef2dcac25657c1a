"""Whether what is given to be used once is used once.

Owns which numbers of which series have been used. Knows nothing of what is numbered, nor of who may
use it.

Whoever gives the numbers of a series gives them in their order, and they arrive about so. It is
what IPsec has against replays (RFC 4303 section 3.4.3), and unlike a time limit it needs no clocks
that agree.
"""

from __future__ import annotations

from collections import OrderedDict

WINDOW = 8192
"""Numbers behind the highest one of a series that are told apart; older ones count as used. A
member makes 2,500 links a second, to all others, and each has two seconds: 5,000 are under way."""

MOST_SERIES = 1024
"""Series that are remembered, with 1 KiB each; the longest unused goes first. Clusters have fewer
members, of which each begins one when it starts."""

_MASK = (1 << WINDOW) - 1


class _Series:
    """One of them."""

    __slots__ = ("_highest", "_used")

    def __init__(self) -> None:
        self._highest = -1
        self._used = 0  # as bits, the lowest for the highest number

    def use(self, number: int) -> bool:
        ahead = number - self._highest
        if ahead > 0:
            self._highest = number
            self._used = self._used << min(ahead, WINDOW) & _MASK | 1
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self._used & bit:
            return False
        self._used |= bit
        return True


class Replays:
    """All that is remembered."""

    def __init__(self) -> None:
        self._series: OrderedDict[bytes, _Series] = OrderedDict()

    def use(self, name: bytes, number: int) -> bool:
        """Use a number, from 0 on, of a series; return False if that was done before."""
        series = self._series.setdefault(name, _Series())
        self._series.move_to_end(name)
        if len(self._series) > MOST_SERIES:
            self._series.popitem(last=False)
        return series.use(number)
