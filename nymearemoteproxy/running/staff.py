"""Those who serve in the place of this process: its workers.

Owns how they become what this process would be. Knows nothing of how they are started and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.running.heritage import Heritage
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.tunnelproxy.counts import SourceCounts
from nymearemoteproxy.workers.desk import Desk
from nymearemoteproxy.workers.group import Plan, WorkerGroup
from nymearemoteproxy.workers.groupcounts import CountsDesk
from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.reporting import Send

MODULE = "nymearemoteproxy.running.worker"


class Staff:
    """The workers of a server.

    :param options: what they are to do, and its changes.
    :param proxy: whose connections theirs are.
    """

    def __init__(self, reactor: Any, options: ServerOptions, proxy: Proxy) -> None:
        self._heritage = Heritage(options)
        self._proxy = proxy
        self._counts = SourceCounts()
        plan = Plan(options.configuration.workers, MODULE, self._heritage.messages, self._makeDesk)
        self._group = WorkerGroup(reactor, proxy.registry, plan)
        self.start = self._group.start
        self.stopAccepting = self._group.stopAccepting

    def _makeDesk(self, index: int, send: Send) -> Desk:
        """Return who answers a new worker process."""
        mirror = Mirror(self._proxy.registry, self._proxy.turns, index, send)
        return Desk(mirror, CountsDesk(self._counts, send))

    def accept(self, listeners: Sequence[Listener], ports: Sequence[IListeningPort]) -> None:
        """Have them serve whoever comes at these ports."""
        self._group.accept(listeners, ports)

    def reload(self, hasProblems: bool) -> None:
        """The files were read anew.

        :param hasProblems: something stayed as it was.
        """
        self._group.tell(self._heritage.reloaded(hasProblems))

    def stop(self, grace: float) -> Deferred[Any]:
        """Stop them.

        :param grace: seconds that clients have to leave.
        :returns: a Deferred that fires when they are gone.
        """
        return self._group.stop(grace)
