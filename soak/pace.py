"""How many scenarios are played at once: as many as the machine plays in good time.

Owns that number. Knows nothing of what is played. Where others need the processor too, more would
only wait for each other, until the server's time limits are over.
"""

from __future__ import annotations

import asyncio

MOST = 50
"""Enough that the server always has something to do while some wait."""
LEAST = 3
GOOD_TIME = 1.0
"""Seconds that a scenario without a fault takes at most; the server's time limits are of ten."""
LESS = 0.7
"""What is left of the number when one takes longer."""


class Pace:
    """Lets scenarios begin.

    :ivar now: how many are played.
    :ivar most: how many may be.
    """

    def __init__(self) -> None:
        self.now = 0
        self.most: float = LEAST
        self._changed = asyncio.Event()

    async def begin(self) -> None:
        """Wait until one more may begin."""
        while self.now >= int(self.most):
            self._changed.clear()
            await self._changed.wait()
        self.now += 1

    def took(self, seconds: float) -> None:
        """One that waits for nothing took so long."""
        if seconds > GOOD_TIME:
            self.most = max(LEAST, self.most * LESS)
        else:
            self.most = min(MOST, self.most + 1)

    def end(self) -> None:
        """One is over."""
        self.now -= 1
        self._changed.set()
