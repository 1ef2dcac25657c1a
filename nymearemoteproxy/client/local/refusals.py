"""What is said of clients that are turned away, however many there are.

Owns that they cannot fill a log. Knows nothing of why a client is turned away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

QUIET = 60.0
"""Seconds after a line in which others that are turned away are only counted."""


class Refusals:
    """Tells of one client at once, and of how many followed with the next line.

    :param clock: measures time.
    :param say: takes one line.
    """

    def __init__(self, clock: Any, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._quietUntil = 0.0
        self._untold = 0

    def tell(self, why: str) -> None:
        """A client is turned away."""
        if self._clock.seconds() < self._quietUntil:
            self._untold += 1
            return
        self._quietUntil = self._clock.seconds() + QUIET
        others = f" ({self._untold} others before)" if self._untold else ""
        self._untold = 0
        self._say(f"a client was turned away: {why}{others}")
