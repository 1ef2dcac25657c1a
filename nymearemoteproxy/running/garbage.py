"""Python's garbage collector, which has little to do here and would take much time for it.

Owns how often it runs. Knows nothing of what there is.
"""

from __future__ import annotations

import gc

GC_THRESHOLD = 10_000
"""Objects made, less those freed, between two runs of the garbage collector. With Python's 700 it
is busy for a seventh of the time in which connections are set up, and it finds next to nothing."""


class GarbageCollection:
    """That of this process."""

    def __init__(self) -> None:
        self._thresholds = gc.get_threshold()

    def makeRare(self) -> None:
        """Spare the garbage collector what lives for ever, and most of its runs."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *self._thresholds[1:])

    def restore(self) -> None:
        """Have it as it was."""
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
