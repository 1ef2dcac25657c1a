"""A group of workers and their parent, in one process and joined by function calls.

Messages pass as JSON, as they do between processes. Knows nothing of what is checked.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IAddress

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.reporting import Handlers, ReportingRegistry


class Wire:
    """One direction: each message is taken as soon as the one before it has been.

    :ivar handlers: of the other side.
    :ivar isHeld: messages wait until `flush` is called.
    :ivar kinds: of all messages that were sent.
    :ivar size: bytes of all messages.
    """

    def __init__(self) -> None:
        self.handlers: Handlers = {}
        self.isHeld = False
        self.kinds: list[str] = []
        self.size = 0
        self._waiting: deque[str] = deque()
        self._isBusy = False

    def send(self, message: Sequence[Any]) -> None:
        """Send a message."""
        text = json.dumps(message)
        self.kinds.append(message[0])
        self.size += len(text) + 1
        self._waiting.append(text)
        if not self.isHeld:
            self.flush()

    def flush(self, most: int = sys.maxsize) -> None:
        """Let what waits arrive, up to so many messages."""
        if self._isBusy:
            return
        self._isBusy = True
        try:
            while self._waiting and most:
                most -= 1
                kind, *arguments = json.loads(self._waiting.popleft())
                self.handlers[kind](*arguments)
        finally:
            self._isBusy = False

    def hold(self) -> None:
        """Let nothing arrive from now on."""
        self.isHeld = True

    def release(self) -> None:
        """Let what waits arrive, and what comes."""
        self.isHeld = False
        self.flush()

    def cut(self) -> None:
        """What waits is lost, as is all that is sent from now on."""
        self._waiting.clear()
        self.isHeld = True


class AtOnce(Turns):
    """Gives everybody a turn now, one after the other, so that it is seen what comes of it."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self._line: deque[Callable[[], object]] = deque()

    def wait(self, work: Any, *_more: Any, **_names: Any) -> None:
        self._line.append(work)
        if len(self._line) == 1:
            while self._line:
                self._line[0]()
                self._line.popleft()


class Member:
    """A worker, as it is seen from both sides.

    :ivar registry: the worker's.
    :ivar mirror: the parent's.
    :ivar up: from the worker to the parent.
    :ivar down: from the parent to the worker.
    """

    def __init__(self, clock: Any, turns: Turns, parent: Registry, worker: int) -> None:
        self.up, self.down = Wire(), Wire()
        self._parent = parent
        self.registry = ReportingRegistry(clock, turns, worker, self.up.send)
        self.mirror = Mirror(parent, Turns(clock), worker, self.down.send)
        self.up.handlers.update(self.mirror.handlers)
        self.down.handlers.update(self.registry.handlers)

    def admit(self, address: IAddress, transport: str, secure: bool = False) -> Record | None:
        """Let a connection come to the parent that is for this worker."""
        admitted = self._parent.admit(address, transport, secure)
        if admitted is not None:
            self.mirror.take(admitted)
        return admitted

    def accept(self, address: IAddress, transport: str, secure: bool = False) -> Record | None:
        """Let a connection come to this worker; return its record there."""
        admitted = self.admit(address, transport, secure)
        if admitted is None:
            return None
        self.registry.expect(admitted.number, admitted.ticket.source)
        return self.registry.admit(address, transport, secure)

    def ended(self, record: Record) -> None:
        """A connection of it is closed; an answer comes when that is done, as between processes."""
        wasHeld, self.down.isHeld = self.down.isHeld, True
        self.registry.ended(record)
        self.down.isHeld = wasHeld
        if not wasHeld:
            self.down.flush()

    def die(self) -> Any:
        """Be killed."""
        self.up.cut()
        self.down.cut()
        self.registry.stop()
        return self.mirror.lost()


class Together:
    """A registry to tests that know of one: connections go to the workers in turn.

    What is told of a connection is told to its worker, and what is asked is answered by the parent.

    :ivar parent: the registry of the group.
    """

    def __init__(
        self, clock: Any, bounds: Bounds | None = None, workers: int = 2, turns: Turns | None = None
    ) -> None:
        self.parent = Registry(clock, turns or Turns(clock), Gate(clock, bounds or Bounds()))
        self.workers = [
            Member(clock, turns or AtOnce(clock), self.parent, number)
            for number in range(1, workers + 1)
        ]
        self._next = itertools.cycle(self.workers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parent, name)

    def _member(self, record: Record) -> Member:
        return self.workers[record.worker - 1]

    def _of(self, record: Record) -> ReportingRegistry:
        return self._member(record).registry

    @property
    def gate(self) -> Gate:
        """The parent's."""
        return self.parent.gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self.parent.gate = gate

    @property
    def presence(self) -> Any:
        """Asks a connection where it is."""
        return self

    def look(self, record: Record) -> Any:
        """See `Presence.look`."""
        worker = self._of(record)
        here = worker.find(record.number)
        return worker.presence.look(record if here is None else here)

    def admit(self, address: IAddress, transport: str, secure: bool) -> Record | None:
        return next(self._next).accept(address, transport, secure)

    def identified(self, record: Record, address: IAddress) -> Outcome | None:
        return self._of(record).identified(record, address)

    def limit(self, bounds: Bounds, *others: Any) -> None:
        """See `Registry.limit`: as with a reload, of all."""
        self.parent.limit(bounds, *others)
        for worker in self.workers:
            worker.registry.limit(bounds, *others)

    def named(self, record: Record, role: Role) -> Outcome | None:
        return self._of(record).named(record, role)

    def authenticated(self, record: Record) -> None:
        self._of(record).authenticated(record)

    def joined(self, record: Record, partner: Record | None) -> None:
        self._of(record).joined(record, partner)

    def ended(self, record: Record) -> None:
        self._member(record).ended(record)

    def report(self) -> None:
        """Have the workers report traffic now."""
        for worker in self.workers:
            worker.registry._report()
