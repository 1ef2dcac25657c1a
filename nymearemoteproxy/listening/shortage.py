"""Tells that connections cannot be accepted, as the system has no descriptor or no memory for them.

Twisted's ports close them then, and say so in a line for each. Owns what the log has in the place
of that. Knows nothing of who listens.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver
from zope.interface import implementer

from nymearemoteproxy.common.logs import NOT_ACCEPTED
from nymearemoteproxy.common.tally import Tally


@implementer(ILogObserver)
class Shortage:
    """Listens to what ports say, and sums it up."""

    def __init__(self, clock: IReactorTime) -> None:
        self._troubles = Tally(
            clock,
            "no connection can be accepted: {reason}",
            "connection",
            "{more} could not be accepted in the last {interval:.0f} s",
        )

    def __call__(self, event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith(NOT_ACCEPTED):
            code = event.get("acceptError", "EMFILE")
            self._troubles.add(reason=os.strerror(getattr(errno, code)))
