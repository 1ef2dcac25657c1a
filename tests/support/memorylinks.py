"""Links in memory that hold as much as real ones, and clients that see what comes of them.

Nothing that is sent is heard before whoever sent it has done what it is at, as in a reactor: `run`
of the network delivers, and clients and the clock call it.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.base import DelayedCall
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from nymearemoteproxy.common.periodic import Periodic
from tests.support.memory import CONNECTED, Pipe

WINDOW = 256 << 10
"""Bytes that a link holds which nobody has read."""

STEP = 0.5
"""Seconds that pass at a time, at most: less than any answer of another member may take."""

HUNG_UP = socket.socketpair()
"""The first stands for every link in memory whose other end is closed."""

HUNG_UP[1].close()


class Network:
    """What is under way."""

    def __init__(self) -> None:
        self._events: deque[Callable[[], object]] = deque()
        self._isBusy = False

    def later(self, act: Callable[[], object]) -> None:
        """Do it when everybody has done what they are at."""
        self._events.append(act)

    def act(self, act: Callable[..., object], *arguments: Any) -> None:
        """Somebody does something; let its consequences arrive, then, and not earlier."""
        wasBusy, self._isBusy = self._isBusy, True
        try:
            act(*arguments)
        finally:
            self._isBusy = wasBusy
        self.run()

    def run(self) -> None:
        """Let everything arrive, unless that is so already."""
        if self._isBusy:
            return
        self._isBusy = True
        try:
            while self._events:
                self._events.popleft()()
        finally:
            self._isBusy = False


class NetworkClock(Clock):
    """A clock; as it goes on, what is under way arrives."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def advance(self, amount: float) -> None:
        """Let time pass in steps, or those who wait for each other would all be late."""
        self._network.run()
        until = self.seconds() + amount
        while until - self.seconds() > STEP:
            self._network.act(super().advance, STEP)
        self._network.act(super().advance, max(0.0, until - self.seconds()))

    def getDelayedCalls(self) -> list[DelayedCall]:
        """Return those that are not the members' own, which never end."""
        calls = super().getDelayedCalls()
        return [call for call in calls if not isinstance(_owner(call), Periodic)]


def _owner(call: DelayedCall) -> object:
    return getattr(call.func, "__self__", None)


def _afterAll(name: str) -> Any:
    """Return an attribute that is looked at when everything has arrived."""

    def get(pipe: ClientPipe) -> Any:
        pipe.network.run()
        return pipe.state.get(name, False)

    def set(pipe: ClientPipe, value: Any) -> None:
        pipe.state[name] = value

    return property(get, set)


class ClientPipe(Pipe):
    """A client's connection; whatever it does, its consequences follow."""

    disconnecting = _afterAll("disconnecting")
    halfClosed = _afterAll("halfClosed")
    lost = _afterAll("lost")
    producerState = _afterAll("producerState")

    def __init__(self, peer: IAddress, network: Network) -> None:
        self.network = network
        self.state: dict[str, Any] = {}
        super().__init__(peer)
        self.producerState = "producing"

    def receive(self, data: bytes) -> None:
        self.network.act(super().receive, data)

    def lose(self, reason: Exception) -> None:
        self.network.act(super().lose, reason)

    def stall(self) -> None:
        self.network.act(super().stall)

    def drain(self) -> None:
        self.network.act(super().drain)

    def clear(self) -> None:
        self.network.run()
        super().clear()

    def value(self) -> bytes:
        self.network.run()
        return super().value()


class LinkPipe(Pipe):
    """One end of a link, as a socket and the reactor are: what is read and written takes turns.

    :param node: the member whose end it is: its `network`, and all its `pipes`.
    :ivar other: the other end.
    :ivar inbox: what has arrived and was not read.
    :ivar isEnded: behind what is in the inbox nothing more comes.
    :ivar isReset: the other end was closed, and had not read everything.
    """

    other: LinkPipe
    bufferSize: int

    def __init__(self, node: Any) -> None:
        super().__init__(UNIXAddress(None))
        self.node = node
        self.network = node.network
        node.pipes.append(self)
        self.inbox = bytearray()
        self.isEnded = False
        self.isReset = False

    def fileno(self) -> int:
        return (HUNG_UP if self.isEnded or self.isReset else CONNECTED)[0].fileno()

    @property
    def held(self) -> int:
        """How many bytes wait in this end to be sent, because the link is full."""
        return sum(map(len, self._unsent))

    def send(self, data: bytes) -> int:
        if self.isReset or self.isEnded:
            raise BrokenPipeError
        room = WINDOW - len(self.other.inbox)
        if room <= 0:
            raise BlockingIOError
        self.other.inbox += data[:room]
        self.network.later(self.other.read)
        return min(room, len(data))

    def write(self, data: bytes) -> None:
        super().write(data)
        self.network.later(self.flush)

    def flush(self) -> None:
        """There may be room: send what waits."""
        try:
            while self._unsent and not self.lost:
                data = self._unsent[0]
                sent = self.send(data)
                self._unsent[:1] = [data[sent:]] if sent < len(data) else []
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.lose(ConnectionLost())
            return
        if self.producer is not None:
            self.producer.resumeProducing()
        if self.disconnecting:
            self.close(ConnectionDone())

    def read(self) -> None:
        """Read once, if somebody wants to."""
        isRead = self.producerState == "producing" and not self.disconnecting
        if self.lost or not isRead:
            return
        if self.isReset:
            self.lose(ConnectionLost())
        elif self.inbox:
            data = bytes(self.inbox[: self.bufferSize])
            del self.inbox[: self.bufferSize]
            self.network.later(self.other.flush)
            self.network.later(self.read)
            self.protocol.dataReceived(data)
        elif self.isEnded:
            self.lose(ConnectionDone())

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.network.later(self.read)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.network.later(self.flush)

    def abortConnection(self) -> None:
        self.network.later(lambda: self.close(ConnectionAborted()))

    def close(self, reason: Exception) -> None:
        """Close the socket; the other end notices when it reads or writes, and only then."""
        if not self.lost:
            self._end()
            self.lose(reason)

    def vanish(self) -> None:
        """The same, as the system does it for a process that is killed."""
        if not self.lost:
            self._end()
            self.lost = True

    def _end(self) -> None:
        self.other.isEnded = True
        if self.inbox:
            self.other.isReset = True
            self.other.inbox.clear()
        self.network.later(self.other.read)
