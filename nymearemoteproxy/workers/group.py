"""The workers, all of them: each is started, replaced when it has ended, and given its share.

Owns who gets a connection, and when a worker is started anew. Knows nothing of what workers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.common.words import counted
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.watching.company import WorkerState
from nymearemoteproxy.workers.accepting import Acceptor
from nymearemoteproxy.workers.channel import Message
from nymearemoteproxy.workers.desk import Desk
from nymearemoteproxy.workers.handing import Handed
from nymearemoteproxy.workers.linkdoor import LinkDoor
from nymearemoteproxy.workers.logpassing import LOG, LOST, publish, publishLoss
from nymearemoteproxy.workers.process import WorkerProcess
from nymearemoteproxy.workers.reporting import Send

log = ProxyLogger()

FIRST_DELAY = 0.5
"""Seconds until a worker that has ended is replaced."""

LONGEST_DELAY = 30.0
"""The same when it ends again and again; each time it is twice as long as before."""

STEADY = 60.0
"""Seconds that a worker has to live for its end to be an accident rather than a habit."""

LOOP = 3
"""Ends in a row, none of a steady worker, from which on it is a habit, and told only once."""

HEARTBEAT = 1.0
"""Seconds between two words of a worker that has nothing to say."""

MEMBER = "isMember"
"""Message of a worker: its id, by which links are for it."""

EXTRA = 2.0
"""Seconds that a worker may take to end besides those that its clients have to leave."""

MakeDesk = Callable[[int, Send], Desk]
"""Makes what answers a worker process, from its index and a way to tell it something."""


class _Seat:
    """One worker and those who come after it.

    :ivar member: its id, when it has said so.
    :ivar ended: how often it ended in a row without having been steady.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: WorkerProcess | None = None
        self.desk: Desk | None = None
        self.member: bytes | None = None
        self.started = 0.0
        self.ended = 0
        self.restart: IDelayedCall | None = None

    @property
    def takes(self) -> bool:
        return self.process is not None and self.process.takes

    @property
    def serves(self) -> bool:
        return self.process is not None and self.process.serves


@dataclass(frozen=True)
class Plan:
    """What the workers are.

    :ivar count: how many.
    :ivar module: what each runs.
    :ivar messages: returns what a new one is told first; they may hold secrets.
    :ivar makeDesk: makes what answers each worker.
    :ivar served: is called when one serves, and with later changes while one does.
    :ivar gone: is given the id of one that is gone.
    """

    count: int
    module: str
    messages: Callable[[int], Sequence[Message]]
    makeDesk: MakeDesk
    served: Callable[[], object]
    gone: Callable[[bytes], object]


class WorkerGroup:
    """The workers.

    :param registry: admits connections.
    :ivar restarts: how often one has ended and had to be replaced.
    """

    def __init__(self, reactor: Any, registry: Registry, plan: Plan) -> None:
        self._reactor = reactor
        self._registry = registry
        self._plan = plan
        self._seats = [_Seat(index) for index in range(1, plan.count + 1)]
        self._last = -1
        self.restarts = 0
        self._acceptors: list[Acceptor] = []
        self._door: LinkDoor | None = None
        self._stopped: dict[int, Deferred[None]] = {}
        self._isStopping = False
        self._pulse = Periodic(
            reactor, HEARTBEAT, self._lookForLife, "nobody looks whether workers are stuck"
        )

    def accept(self, listeners: Sequence[Listener], ports: Sequence[Any]) -> None:
        """Take over the accepting at ports that listen already; it begins with the first worker."""
        for index, (listener, port) in enumerate(zip(listeners, ports, strict=True)):
            acceptor = Acceptor(self._reactor, port, listener, index, self._registry, self._hand)
            self._acceptors.append(acceptor)

    def acceptLinks(self, port: Any, place: str, timeout: float) -> None:
        """Hand the links that come in at a port to the workers that they are for."""
        self._door = LinkDoor(self._reactor, port, place, self._handTo, timeout)

    def _handTo(self, id: bytes, handed: Handed, descriptor: int) -> bool | None:
        for seat in self._seats:
            if seat.member == id and seat.process is not None and seat.process.serves:
                handing = seat.process.handing
                return not handing.isFull and handing.hand(handed, descriptor)
        return None

    @property
    def strangers(self) -> int:
        """How many connections that came for a worker from other machines were no links."""
        return 0 if self._door is None else self._door.refused

    @property
    def serves(self) -> bool:
        """True while there is a worker that takes connections."""
        return any(seat.serves for seat in self._seats)

    def states(self) -> list[WorkerState]:
        """Return what each worker is doing."""
        return [
            WorkerState(
                seat.index,
                seat.serves,
                0 if seat.desk is None else _connections(seat),
                None if seat.process is None else seat.process.pid,
            )
            for seat in self._seats
        ]

    def start(self) -> None:
        """Start the workers; the reactor runs."""
        if self._door is not None:
            self._door.resume()
        for seat in self._seats:
            self._start(seat)
        self._pulse.start()

    def tell(self, message: Message) -> None:
        """Tell all workers something; those that come later are told by `Plan.messages`.

        Who comes from now on gets to one that has done it.
        """
        for seat in self._seats:
            if seat.process is not None:
                seat.process.tell(message)
        self._changed()

    def stopAccepting(self) -> None:
        """Let nobody in any more; to be called before the ports are closed."""
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            acceptor.close()

    def stop(self, grace: float) -> Deferred[Any]:
        """Have all workers say goodbye to their clients and end.

        :param grace: seconds that clients have to leave.
        :returns: a Deferred that fires when all workers are gone.
        """
        self._isStopping = True
        self._pulse.stop()
        self.stopAccepting()
        for seat in self._seats:
            if seat.restart is not None:
                seat.restart.cancel()
                seat.restart = None
            if seat.process is not None:
                self._stopped[seat.index] = Deferred()
                seat.process.stop()
        cutOff = self._reactor.callLater(grace + EXTRA, self._killAll)
        gone = DeferredList(list(self._stopped.values()))

        def done(_result: object) -> None:
            if cutOff.active():
                cutOff.cancel()
            # Not before: members elsewhere are answered at once that a worker is not here.
            if self._door is not None:
                self._door.close()

        return gone.addCallback(done)

    def _killAll(self) -> None:
        for seat in self._seats:
            if seat.process is not None:
                log.warn("worker {number} did not stop in time: it is killed", number=seat.index)
                seat.process.kill("it did not stop in time")

    # Who gets a connection

    def _choose(self) -> _Seat | None:
        """Return the one with the fewest connections; among equals, they take turns."""
        count = len(self._seats)
        order = [self._seats[(self._last + step) % count] for step in range(1, count + 1)]
        able = [seat for seat in order if seat.takes]
        if not able:
            return None
        chosen = min(able, key=_connections)
        self._last = chosen.index - 1
        return chosen

    def _hand(self, record: Record, handed: Handed, descriptor: int) -> bool:
        while True:
            seat = self._choose()
            if seat is None:
                return False
            assert seat.process is not None and seat.desk is not None
            if seat.process.handing.hand(handed, descriptor):
                seat.desk.mirror.take(record)
                return True

    def _changed(self) -> None:
        """A worker takes connections again, or no longer."""
        isPossible = any(seat.takes for seat in self._seats)
        for acceptor in self._acceptors:
            if isPossible:
                acceptor.resume()
            else:
                acceptor.pause()
        if self._door is not None:
            self._door.roomAgain()
        if self.serves:
            self._plan.served()

    # Their lives

    def _start(self, seat: _Seat) -> None:
        seat.restart = None
        seat.started = self._reactor.seconds()
        process = WorkerProcess(
            self._reactor,
            seat.index,
            self._plan.module,
            partial(self._heard, seat),
            self._changed,
            lambda: self._gone(seat),
        )
        try:
            process.start(self._plan.messages(seat.index))
        except OSError as error:
            process.how = f"it cannot be started: {error.strerror}"
            self._ended(seat, process, 0)
            return
        seat.desk = self._plan.makeDesk(seat.index, process.channel.send)
        seat.process = process

    def _heard(self, seat: _Seat, message: Message) -> None:
        try:
            self._heed(seat, message)
        except Exception:
            # It costs what this message is about: without its channel all of the worker would end.
            log.failure("what worker {number} tells cannot be heeded", number=seat.index)

    def _heed(self, seat: _Seat, message: Message) -> None:
        assert seat.desk is not None
        if message[0] == LOG:
            publish(message[1], seat.index)
        elif message[0] == LOST:
            publishLoss(message[1], seat.index)
        elif message[0] == MEMBER:
            seat.member = bytes.fromhex(message[1])
        else:
            seat.desk.handlers[message[0]](*message[1:])

    def _gone(self, seat: _Seat) -> None:
        process, desk, member = seat.process, seat.desk, seat.member
        assert process is not None and desk is not None
        seat.process = seat.desk = seat.member = None
        connections = desk.mirror.connections
        desk.lost()
        if member is not None:
            self._plan.gone(member)
        if self._isStopping:
            self._stopped[seat.index].callback(None)
        else:
            self._ended(seat, process, connections)

    def _ended(self, seat: _Seat, process: WorkerProcess, connections: int) -> None:
        """Have another one take the place of one that has ended."""
        self.restarts += 1
        if process.hasServed and self._reactor.seconds() - seat.started >= STEADY:
            seat.ended = 0
        seat.ended += 1
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (seat.ended - 1))
        if seat.ended < LOOP:
            log.error(
                "worker {number} is gone with {lost}: {how}; the next one starts in {delay:g} s",
                event="worker-ended",
                number=seat.index,
                lost=counted(connections, "connection"),
                connections=connections,
                how=process.how,
                delay=delay,
            )
        elif seat.ended == LOOP:
            log.error(
                "worker {number} does not stay: it has ended {count} times soon after its start, "
                "now because {how}; it is tried again, up to {longest:g} s later each time, which "
                "is not told any more",
                event="worker-does-not-stay",
                number=seat.index,
                count=seat.ended,
                how=process.how,
                longest=LONGEST_DELAY,
            )
        seat.restart = self._reactor.callLater(delay, self._start, seat)

    def _lookForLife(self) -> None:
        for seat in self._seats:
            if seat.process is not None:
                seat.process.lookForLife()


def _connections(seat: _Seat) -> int:
    assert seat.desk is not None
    return seat.desk.mirror.connections
