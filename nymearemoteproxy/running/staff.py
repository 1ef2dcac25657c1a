"""Those who serve in the place of this process: its workers.

Owns how they become what this process would be. Knows nothing of how they are started and kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from nymearemoteproxy.cluster.accepting import ELSEWHERE
from nymearemoteproxy.cluster.lease import LEASE
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.listening.listeners import Listener, close
from nymearemoteproxy.running.heritage import Heritage
from nymearemoteproxy.running.linkplace import listenForLinks, placeOf
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.tunnelproxy.counts import SourceCounts
from nymearemoteproxy.watching.company import Company
from nymearemoteproxy.workers.channel import Message
from nymearemoteproxy.workers.desk import Desk
from nymearemoteproxy.workers.figuring import FiguresDesk, FiguresSum
from nymearemoteproxy.workers.group import Plan, WorkerGroup
from nymearemoteproxy.workers.groupcounts import CountsDesk
from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.parentdirectory import DirectoryDesk
from nymearemoteproxy.workers.placetable import PlaceTable
from nymearemoteproxy.workers.reporting import Send
from nymearemoteproxy.workers.socketdirectory import SocketDirectory

MODULE = "nymearemoteproxy.running.worker"

SOCKET_LIFETIME = 2 * LEASE
"""Seconds that the socket of a worker is left there when the worker is gone."""


class Staff:
    """The workers of a server.

    :param options: what they are to do, and its changes.
    :param proxy: whose connections theirs are.
    :param served: is called when one of them serves, and with later changes while one does.
    """

    def __init__(
        self, reactor: Any, options: ServerOptions, proxy: Proxy, served: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._table, self._counts = PlaceTable(), SourceCounts()
        self._figures = FiguresSum()
        self._proxy = proxy
        self._sockets = SocketDirectory()
        self._linkPort: IListeningPort | None = None
        workers = options.configuration.workers
        plan = Plan(workers, MODULE, self._messages, self._makeDesk, served, self._gone)
        self._group = WorkerGroup(reactor, proxy.registry, plan)
        self.stopAccepting = self._group.stopAccepting

    def _messages(self, index: int) -> Sequence[Message]:
        return self._heritage.messages(index)

    def _makeDesk(self, index: int, send: Send) -> Desk:
        """Return who answers a new worker process."""
        return Desk(
            Mirror(self._proxy.registry, self._proxy.turns, index, send),
            DirectoryDesk(self._table, send),
            CountsDesk(self._counts, send),
            FiguresDesk(self._figures),
        )

    def _gone(self, member: bytes) -> None:
        """A worker is gone: remove the socket that it may have left, but not at once.

        As long as its entry is in the directory others try its socket, which refuses them: so they
        know that it is gone.
        """
        self._reactor.callLater(SOCKET_LIFETIME, self._sockets.remove, member.hex())

    @property
    def serves(self) -> bool:
        """True while there is somebody who serves newcomers."""
        return self._group.serves

    def company(self) -> Company:
        """Return what goes on with them."""
        figures, strangers = self._figures.now, Counter({ELSEWHERE: self._group.strangers})
        return Company(
            replace(figures, strangers=figures.strangers + strangers),
            self._group.states(),
            self._group.restarts,
            self._options.configuration.cluster is not None,
        )

    def listen(self) -> None:
        """Look where workers may have their sockets; if there is a cluster, let its links come in.

        :raises ListenerError: that cannot be.
        """
        self._sockets.check()
        plan = self._options.configuration.cluster
        if plan is not None:
            self._linkPort = listenForLinks(self._reactor, plan.listener, Factory())
            self._group.acceptLinks(self._linkPort, plan.listener.description, plan.linkTimeout)

    def start(self) -> None:
        """Start them; this process has the user by now that it is to have.

        :raises ListenerError: that user may not make a directory for their sockets.
        """
        self._sockets.make()
        linksAt = None if self._linkPort is None else placeOf(self._linkPort)
        self._heritage = Heritage(self._options, self._sockets.path, self._table.secret, linksAt)
        self._group.start()

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
        return self._group.stop(grace).addCallback(self._cleanUp)

    def _cleanUp(self, _result: object) -> Any:
        self._sockets.close()
        return None if self._linkPort is None else close(self._linkPort)
