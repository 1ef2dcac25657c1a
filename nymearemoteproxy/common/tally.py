"""What may happen very often, in few lines of log.

Owns how often the log is told. Knows nothing of what happens.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.words import counted

log = ProxyLogger()

INTERVAL = 10.0
"""Seconds between two lines, so that a flood does not fill the disk."""


class Tally:
    """Tells the log of the first time, and then how often it happened since.

    :param first: the format of a line about one time.
    :param thing: what is counted, one of them, such as ``connection``.
    :param more: the format of a line about several times, with the fields interval, count and more;
        the last one is the count with its noun, ``1 more connection``.
    :param values: of further fields in that line.
    """

    def __init__(
        self, clock: IReactorTime, first: str, thing: str, more: str, **values: object
    ) -> None:
        self._clock = clock
        self._first = first
        self._thing = thing
        self._more = more
        self._values = values
        self._count = 0

    def add(self, **values: object) -> None:
        """It happened.

        :param values: of the fields in the line about one time.
        """
        if not self._count:
            log.warn(self._first, **values)
            self._clock.callLater(INTERVAL, self._sumUp)
        self._count += 1

    def _sumUp(self) -> None:
        more, self._count = self._count - 1, 0
        if more:
            log.warn(
                self._more,
                count=more,
                more=counted(more, f"more {self._thing}"),
                interval=INTERVAL,
                **self._values,
            )
