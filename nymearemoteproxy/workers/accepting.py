"""Clients' connections: each is admitted by the parent, and taken by a worker.

Owns what becomes of a connection that nobody can take at once. Knows nothing of who is chosen to
take a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.records import TCP, UNIX, Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.workers.handing import Handed, addressOf
from nymearemoteproxy.workers.portreader import PortReader

log = ProxyLogger()

Hand = Callable[[Record, Handed, int], bool]
"""Has somebody take a connection; tells whether there was anybody."""


class Acceptor(PortReader):
    """Accepts at one port, and has each connection taken by somebody.

    :param index: of the listener, for whoever takes a connection.
    :param hand: returns False when nobody can take a connection now: then nothing is accepted until
        `resume`.
    """

    def __init__(
        self,
        reactor: Any,
        port: Any,
        listener: Listener,
        index: int,
        registry: Registry,
        hand: Hand,
    ) -> None:
        super().__init__(reactor, port, listener.description)
        self._transport = listener.transport
        self._secure = listener.secure
        self._index = index
        self._registry = registry
        self._hand = hand
        self._pending: tuple[Record, Handed, socket.socket] | None = None

    def resume(self) -> None:
        if self._pending is None or self._tryPending():
            super().resume()

    def close(self) -> None:
        super().close()
        if self._pending is not None:
            self._dropPending(Outcome.SHUTDOWN)

    def accepted(self, accepted: socket.socket, name: Any) -> bool:
        address = addressOf(self.family, name)
        transport = self._transport
        if transport == TCP and isinstance(address, UNIXAddress):
            transport = UNIX
        record = self._registry.admit(address, transport, self._secure)
        if record is None:
            accepted.close()
            return True
        handed = Handed(record.number, self._index, self.family, address, record.ticket.source)
        self._pending = record, handed, accepted
        return self._tryPending()

    def _tryPending(self) -> bool:
        assert self._pending is not None
        record, handed, accepted = self._pending
        try:
            if not self._hand(record, handed, accepted.fileno()):
                return False
        except Exception:
            log.failure("connection {number} cannot be handed over", number=record.number)
            self._dropPending(Outcome.INTERNAL_ERROR)
            return True
        self._pending = None
        accepted.close()
        return True

    def _dropPending(self, outcome: Outcome) -> None:
        assert self._pending is not None
        (record, _handed, accepted), self._pending = self._pending, None
        accepted.close()
        record.endsWith(outcome)
        self._registry.ended(record)
