"""What the parent does for one worker: its connections' records, its directory, its counts.

Owns which of them a message is for. Knows nothing of processes.
"""

from __future__ import annotations

from zope.interface import implementer

from nymearemoteproxy.cluster.memorydirectory import Table
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.tunnelproxy.counts import Counts
from nymearemoteproxy.workers.channel import Message
from nymearemoteproxy.workers.groupcounts import CountsDesk
from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.mirrored import IMirror
from nymearemoteproxy.workers.parentdirectory import DirectoryDesk
from nymearemoteproxy.workers.reporting import Handlers, Send


@implementer(IMirror)
class Desk:
    """The parent's, for one worker process.

    :param registry: of all workers.
    :param table: of the places of all workers.
    :param counts: of all workers' registrations.
    :param worker: its number, from 1 on.
    :param send: sends it a message.
    """

    def __init__(
        self,
        registry: Registry,
        turns: Turns,
        table: Table,
        counts: Counts,
        worker: int,
        send: Send,
    ) -> None:
        self._mirror = Mirror(registry, turns, worker, send)
        self._directory = DirectoryDesk(table, send)
        self._counts = CountsDesk(counts, send)
        self._handlers: Handlers = {
            **self._mirror.handlers,
            **self._directory.handlers,
            **self._counts.handlers,
        }

    @property
    def connections(self) -> int:
        return self._mirror.connections

    def handed(self, record: Record) -> None:
        self._mirror.handed(record)

    def received(self, message: Message) -> None:
        kind, *items = message
        self._handlers[kind](*items)

    def lost(self) -> None:
        self._mirror.lost()
        self._directory.lost()
        self._counts.lost()
