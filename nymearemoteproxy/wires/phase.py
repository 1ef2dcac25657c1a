"""What the phases of a connection before its tunnel have in common.

Owns their deadline, and how one hands the connection to the next. Knows nothing of what a phase is
for.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.delays import Delay
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import CONNECTING, IClient, Record
from nymearemoteproxy.protocol.outcomes import Outcome


@implementer(IClient)
class Phase:
    """One phase of a connection: has one deadline, and closes when it passes.

    To be mixed into a Twisted protocol.
    """

    transport: Any
    stage = CONNECTING

    def __init__(self, proxy: Proxy, record: Record) -> None:
        self.proxy = proxy
        self.record = record
        self._deadline: Delay | None = None
        record.client = self

    def setDeadline(self, seconds: float) -> None:
        """Have `deadlinePassed` called; replaces an earlier deadline."""
        self.clearDeadline()
        self._deadline = self.proxy.delays.start(seconds, self.deadlinePassed)

    def clearDeadline(self) -> None:
        """No deadline any more."""
        if self._deadline is not None:
            self._deadline.remove(self.deadlinePassed)
            self._deadline = None

    def deadlinePassed(self) -> None:
        """The time for this phase is over."""
        raise NotImplementedError

    def end(self, outcome: Outcome) -> None:
        """Close at once, for this reason."""
        self.clearDeadline()
        self.record.endsWith(outcome)
        self.transport.abortConnection()

    def next(self, phase: Any) -> None:
        """Hand the connection to its next phase."""
        self.clearDeadline()
        self.transport.switchProtocol(phase)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.clearDeadline()
        self.proxy.registry.ended(self.record)

    def dismiss(self, outcome: Outcome) -> None:
        self.end(outcome)

    def shutDown(self) -> None:
        self.end(Outcome.SHUTDOWN_WAITING)

    def abort(self) -> None:
        self.transport.abortConnection()
