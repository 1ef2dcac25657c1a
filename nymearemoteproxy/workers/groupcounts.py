"""How many servers and clients are registered from each address, with all workers together.

Owns how a worker asks, and that what it has counted goes with it. Knows nothing of registrations,
nor of how messages get to the other side.

The parent counts, since only it sees all of them, and a worker asks with each registration. Were
the worker told the counts instead, each could let in one too many at the same moment.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.tunnelproxy.counts import ICounts, Release, SourceCounts
from nymearemoteproxy.workers.questions import NoAnswer, Questions, answering
from nymearemoteproxy.workers.reporting import Handlers, Send


@implementer(ICounts)
class AskedCounts:
    """A worker's; while the parent does not answer, nobody is refused.

    :param send: sends a message to the parent.
    """

    def __init__(self, questions: Questions, send: Send) -> None:
        self._questions = questions
        self._send = send
        self._number = 0

    def take(self, role: Role, source: str | None, limit: int) -> Deferred[Release | None]:
        if source is None:
            return succeed(_nothing)
        self._number += 1
        number = self._number
        counted = self._questions.ask("count", number, role.name, source, limit)

        def release() -> None:
            self._send(("discount", number))

        def answered(isCounted: bool) -> Release | None:
            return release if isCounted else None

        def unanswered(failure: Failure) -> Release:
            failure.trap(NoAnswer)
            return release  # it may have been counted all the same

        counted.addCallbacks(answered, unanswered)
        # Without a limit nobody has to wait for the answer.
        return counted if limit else succeed(release)


def _nothing() -> None:
    """It was not counted."""


class CountsDesk:
    """The parent's, for one worker.

    :param counts: of all workers.
    :param send: sends a message to the worker.
    :ivar handlers: take its messages.
    """

    def __init__(self, counts: SourceCounts, send: Send) -> None:
        self.handlers: Handlers = {
            **answering(send, {"count": self._count}),
            "discount": self._discount,
        }
        self._counts = counts
        self._releases: dict[int, Release] = {}

    def lost(self) -> None:
        """The worker is gone, and with it all that it has registered."""
        releases, self._releases = self._releases, {}
        for release in releases.values():
            release()

    def _count(self, number: int, role: str, source: str, limit: int) -> Any:
        release = self._counts.count(Role[role], source, limit)
        if release is None:
            return False
        self._releases[number] = release
        return True

    def _discount(self, number: int) -> None:
        release = self._releases.pop(number, None)
        if release is not None:  # or it was refused when nobody waited for the answer any more
            release()
