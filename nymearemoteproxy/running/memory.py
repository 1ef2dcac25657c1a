"""The memory of this process: how little is done about it, and when what is free is given back.

Owns how often the garbage collector runs, and when the C library is asked to return what it keeps.
Knows nothing of what connections are, only how many there are.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.periodic import Periodic

GC_THRESHOLD = 10_000
"""Objects made, less those freed, between two runs of the garbage collector. With Python's 700 it
is busy for a seventh of the time in which connections are set up, and it finds next to nothing."""

FEWER = 500
"""Connections that must have gone, since there were most, for memory to be returned: with TLS they
leave 12 MiB or more. As long as others come in their place, they can have it, and it stays."""

INTERVAL = 1.0
"""Seconds between two looks. As many connections as can end meanwhile leave some 200 MiB, and to
return them takes 10 ms, in which nothing else is done."""


def returnFree() -> None:
    """Have the C library return to the system all pages that are free.

    By itself glibc returns only what is at the end of its heap, where there is always something
    that stays: after 6,000 tunnels with TLS, which OpenSSL had 440 MiB for, it kept 250.
    MALLOC_ARENA_MAX and MALLOC_TRIM_THRESHOLD_ change nothing about that. Other C libraries have no
    such function, and need none.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


class Memory:
    """That of this process.

    :param connections: returns how many there are.
    :param returnFree: see there.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connections: Callable[[], int],
        returnFree: Callable[[], object] = returnFree,
    ) -> None:
        self._connections = connections
        self._returnFree = returnFree
        self._most = 0
        self._thresholds = gc.get_threshold()
        self._looks = Periodic(clock, INTERVAL, self._look, "free memory is not returned")

    def start(self) -> None:
        """Spare the garbage collector what lives for ever, and most of its runs."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *self._thresholds[1:])
        self._looks.start()

    def stop(self) -> None:
        """Have it as it was."""
        self._looks.stop()
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _look(self) -> None:
        connections = self._connections()
        if connections <= self._most - FEWER:
            self._returnFree()
            self._most = connections
        else:
            self._most = max(self._most, connections)
