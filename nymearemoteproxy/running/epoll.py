"""A reactor that loses little time between a socket and its protocol.

For each event Twisted's makes a context for its older log and asks who is to be named there, and
between two turns it looks twice at what is due. For a small message that is a third of all that the
process does. Owns the main loop: the shorter way for events that say nothing but "there is
something to read", and for turns with nothing else to do. All else is Twisted's. Knows nothing of
what is read. Everything works on any other reactor, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.main import installReactor
from twisted.logger import Logger

log = Logger()

NEEDED = (
    "_poller",
    "_selectables",
    "_doReadOrWrite",
    "_disconnectSelectable",
    "_started",
    "_justStopped",
    "_pendingTimedCalls",
    "_newTimedCalls",
    "threadCallQueue",
)
"""What has to be there of Twisted's own. There is no public way to who is behind a descriptor, nor
to what is due next. Without one of them Twisted's reactor is used as it is."""

LONGEST_PAUSE = 3600.0
"""Seconds. Twisted minds that the kernel cannot be told more than 24 days."""


class DirectEPollReactor(EPollReactor):
    """Twisted's epoll reactor, with a main loop of its own."""

    def mainLoop(self) -> None:
        """Take turns until the reactor is stopped, whatever may go wrong in one of them."""
        while self._started:
            try:
                self._takeTurns()
            except BaseException:
                log.failure("internal error in the main loop")

    def _takeTurns(self) -> None:
        # One function, for in a turn with one small message each call is a hundredth of it.
        poll, selectables = self._poller.poll, self._selectables
        while self._started:
            calls = self._pendingTimedCalls
            pause: Any = calls[0].time - self.seconds() if calls else 0.0
            if (
                not 0 < pause < LONGEST_PAUSE
                or self._newTimedCalls
                or self.threadCallQueue
                or self._justStopped
            ):
                self.runUntilCurrent()
                pause = self.timeout() if self.running else 0.0  # None = for ever
            for descriptor, event in poll(pause, len(selectables)):
                selectable = selectables.get(descriptor)
                if selectable is None:
                    continue  # an earlier event of this turn was its end
                if event != EPOLLIN:
                    self._guard(self._doReadOrWrite, selectable, descriptor, event)
                    continue
                try:
                    why = selectable.doRead()
                except BaseException as error:  # whatever it is, it is this one's alone
                    log.failure("internal error while reading from {who}", who=selectable)
                    self._guard(self._disconnectSelectable, selectable, error, False)
                else:
                    if why:
                        self._guard(self._disconnectSelectable, selectable, why, True)

    def _guard(self, do: Callable[..., object], selectable: Any, *more: Any) -> None:
        """Do something about one descriptor; whatever goes wrong is this one's alone."""
        try:
            do(selectable, *more)
        except BaseException:
            log.failure("internal error about {who}", who=selectable)


def install() -> None:
    """Make it the reactor of this process, as those that Twisted has are.

    :raises ReactorAlreadyInstalledError: there is one.
    """
    reactor = DirectEPollReactor()
    isFitting = all(hasattr(reactor, name) for name in NEEDED)
    installReactor(reactor if isFitting else EPollReactor())


def takeReactor() -> Any:
    """Return the reactor of this process: ours, unless somebody has chosen another one."""
    with contextlib.suppress(ReactorAlreadyInstalledError):
        install()
    from twisted.internet import reactor

    return reactor
