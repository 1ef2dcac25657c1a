"""One worker process, as its parent sees it.

Owns how it is started, how it is found out that it is stuck, and when it is gone. Knows nothing of
what it does, nor of what comes after it.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.python.failure import Failure

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.workers.channel import Message, MessageChannel
from nymearemoteproxy.workers.handing import Handing

log = ProxyLogger()

CHANNEL, HANDING = 3, 4
"""The descriptors that a worker is born with, besides the standard ones."""

ALIVE = "alive"
"""Message of a worker, each second, and whenever it has nothing else to say: it is not stuck."""
SERVES = "serves"
"""Message of a worker: it takes connections."""
LEAVES = "leaves"
"""Message of a worker: it takes no more connections, and ends when it has those on their way."""
CONFIRM = "confirm"
"""Message to a worker: say so when what you were told before is done."""
CONFIRMED = "confirmed"
"""Message of a worker: it is."""
STOP = "stop"
"""Message to a worker: say goodbye to everybody and end."""

SILENCE = 10
"""Seconds without a word after which a worker is taken for stuck."""

SUSPECT = 3
"""Seconds without a word after which a worker is given no connections until it says something."""

START_SILENCE = 60
"""The same before its first word: it has to be loaded, which a small machine takes its time for."""

_PATH = os.pathsep.join(os.path.abspath(each) for each in sys.path)
"""Where this process finds its modules. With -P Python adds nothing to it, neither the directory
that it is started in."""


class WorkerProcess(ProcessProtocol):
    """A worker process.

    :param index: which of the workers it is, from 1 on.
    :param module: that is run.
    :param received: is given each message but those about its life.
    :param changed: is called when it can be handed connections again, and when it no longer can.
    :param gone: is called when it has ended and all that it said is heard.
    :ivar serves: it takes connections.
    :ivar hasServed: it did, at least once.
    :ivar pid: None = it does not run.
    :ivar how: in which way it ended.
    """

    def __init__(
        self,
        reactor: Any,
        index: int,
        module: str,
        received: Callable[[Message], object],
        changed: Callable[[], object],
        gone: Callable[[], object],
    ) -> None:
        self.index = index
        self.serves = self.hasServed = False
        self.how = ""
        self._reactor = reactor
        self._module = module
        self._received = received
        self._changed = changed
        self._gone = gone
        self._open = 2  # the channel and the process
        self._silence = 0
        self._unconfirmed = 0
        self._patience = START_SILENCE
        self._reason = ""
        self.pid: int | None = None

    def start(self, messages: Sequence[Message]) -> None:
        """Start it.

        :param messages: that it is told first.
        :raises OSError: the system does not allow it.
        """
        hand, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.handing = Handing(self._reactor, hand, self._changed)
        try:
            with take:
                self._spawn(take)
        except OSError:
            self.handing.close()
            raise
        for message in messages:
            self.channel.send(message)

    def _spawn(self, take: socket.socket) -> None:
        """Make the process, and the channel before it: nobody runs whom we cannot hear."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs, open(os.devnull, "rb") as nothing:
            self.channel = MessageChannel(self._reactor, self._heard, self._channelLost)
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(
                ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: self.channel)
            )
            try:
                process = self._reactor.spawnProcess(
                    self,
                    sys.executable,
                    [sys.executable, "-P", "-m", self._module],
                    {**os.environ, "PYTHONPATH": _PATH},
                    childFDs={
                        0: nothing.fileno(),
                        1: nothing.fileno() if sys.__stdout__ is None else 1,
                        2: nothing.fileno() if sys.__stderr__ is None else 2,
                        CHANNEL: theirs.fileno(),
                        HANDING: take.fileno(),
                    },
                )
            except OSError:
                self.channel.transport.abortConnection()
                raise
            self.pid = process.pid

    @property
    def takes(self) -> bool:
        """True when it can be handed a connection now."""
        isReady = self.serves and not self._unconfirmed
        return isReady and not self.handing.isFull and self._silence <= SUSPECT

    def tell(self, message: Message) -> None:
        """Tell it something that is to be done before it is handed the next connection."""
        self.channel.send(message)
        self.channel.send([CONFIRM])
        self._unconfirmed += 1

    def stop(self) -> None:
        """Have it say goodbye to everybody and end."""
        self._handNoMore()
        self.channel.send([STOP])

    def kill(self, reason: str) -> None:
        """End it at once.

        :param reason: why, for the log.
        """
        self._reason = self._reason or reason
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def lookForLife(self) -> None:
        """A second has passed; one in which we did nothing ourselves does not count."""
        self._silence += 1
        if self._silence > self._patience:
            self.kill(f"it was stuck: nothing was heard of it for {self._patience} s")

    def _handNoMore(self) -> None:
        self.serves = False
        self.handing.close()
        self._changed()

    def _heard(self, message: Message) -> None:
        wasSilent, self._silence = self._silence, 0
        self._patience = SILENCE
        if wasSilent > SUSPECT:
            self._changed()
        kind = message[0]
        if kind == SERVES:
            self.serves = self.hasServed = True
            log.info("worker {number} serves, it is process {pid}", number=self.index, pid=self.pid)
            self._changed()
        elif kind == CONFIRMED:
            self._unconfirmed -= 1
            self._changed()
        elif kind == LEAVES:
            self._handNoMore()
        elif kind != ALIVE:
            self._received(message)

    def _channelLost(self) -> None:
        self._handNoMore()
        self._lessOpen()

    def processEnded(self, reason: Failure) -> None:
        self.pid = None
        self.how = self._reason or _describe(reason.value)
        self._lessOpen()

    def _lessOpen(self) -> None:
        self._open -= 1
        if not self._open:
            self._gone()


def _describe(end: BaseException | None) -> str:
    if isinstance(end, ProcessDone):
        return "it ended by itself"
    assert isinstance(end, ProcessTerminated)
    if end.signal is not None:
        return f"it was ended by {_nameOf(end.signal)}"
    return f"it ended with status {end.exitCode}"


def _nameOf(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have none
        return f"signal {number}"
