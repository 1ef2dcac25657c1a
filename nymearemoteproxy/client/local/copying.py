"""Standard input and output at the end of a tunnel.

Owns the copying between them, and how it comes to its end. Knows nothing of how the tunnel is made,
nor of what the run of the command is besides.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import typing
from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.local.farend import SILENCE, FarEnd
from nymearemoteproxy.client.rules.errors import oneLine

STDIN = 0
STDOUT = 1


class SharedFiles:
    """Leaves standard input and output as they were, to all who have them besides us.

    Whether reading and writing block is a property of the open file: for the shell that started us,
    too, and for whoever reads the same pipe after us.
    """

    def __init__(self) -> None:
        self._blocking = _blocking()

    def restore(self) -> None:
        """Make them as they were."""
        _setBlocking(self._blocking)

    def handOver(self, number: int, _: object) -> None:
        """Handle a signal that ends or stops us without more ado: others go on with the files."""
        ours = _blocking()
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Continued.
        signal.signal(number, self.handOver)
        _setBlocking(ours)


def _blocking() -> dict[int, bool]:
    return {fd: os.get_blocking(fd) for fd in (STDIN, STDOUT)}


def _setBlocking(blocking: dict[int, bool]) -> None:
    for fd, isBlocking in blocking.items():
        os.set_blocking(fd, isBlocking)


def _ownFile(fd: int, access: int) -> int:
    """Return a descriptor of a terminal that nobody shares, else `fd` itself.

    Files have a position, and a FIFO opened anew may never tell its end. A terminal has neither,
    but it may belong to somebody else.
    """
    if os.isatty(fd):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", access | os.O_NOCTTY | os.O_NONBLOCK)
    return fd


class CommandRun(typing.Protocol):
    """The run of the command, as its copying knows it.

    :ivar reactor: the reactor to copy with.
    :ivar status: the exit status.
    :ivar reason: the line to say at the end, if any.
    :ivar isOver: the reactor is being stopped; what it closes meanwhile is no news.
    """

    reactor: Any
    status: int
    reason: str | None
    isOver: bool

    def say(self, text: str) -> None:
        """Write one line to standard error."""

    def stop(self, status: int | None = None, reason: str | None = None) -> None:
        """End the run, with another `status` and `reason` if `status` is given."""


class CopyingEnd(FarEnd):
    """The tunnel's end: starts the copying and brings it to an end, once.

    Whoever ends the input at a terminal leaves at once. From elsewhere, whoever has sent something
    leaves when the partner has been silent for a while, and whoever has nothing to send waits until
    the partner leaves.

    :param run: the run of the command.
    :param isService: the partner is a service; it may be down, which nobody but us can tell.
    """

    def __init__(self, run: CommandRun, isService: bool) -> None:
        super().__init__(run.reactor)
        self.run = run
        self._isService = isService
        self._isAnswered = False
        self._isLeaving = False
        self.stdio: _Stdio | None = None
        self._isTerminal = os.isatty(STDIN)
        self._hasSent = False
        self._inputEnded = False

    def connectionMade(self) -> None:
        self.run.say(f"tunnel established with {self.transport.partner.shown}")
        self.stdio = _Stdio(self)
        # mypy takes the signature of Windows.
        standardIO: Any = StandardIO
        standardIO(
            self.stdio,
            stdin=_ownFile(STDIN, os.O_RDONLY),
            stdout=_ownFile(STDOUT, os.O_WRONLY),
            reactor=self.run.reactor,
        )

    def deliver(self, data: bytes) -> None:
        """Write what the partner sent to standard output."""
        assert self.stdio is not None
        self._isAnswered = True
        self.stdio.write(data)

    def leave(self) -> None:
        """The partner has nothing to add."""
        self._isLeaving = True
        self.transport.loseWriteConnection()
        self._timer = self._clock.callLater(SILENCE, self._sayWaiting)

    def send(self, data: bytes) -> None:
        """Standard input brought this."""
        self._hasSent = True
        super().send(data)

    def inputEnded(self) -> None:
        """Standard input is at its end."""
        self._inputEnded = True
        self.transport.unregisterProducer()
        if self._isTerminal:
            self._isLeaving = True
            self.transport.loseConnection()
        elif self._hasSent:
            self.awaitSilence()
        else:
            self._sayWaiting()

    def _sayWaiting(self) -> None:
        self._timer = None
        self.run.say("end of standard input; waiting for the partner to leave")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        assert self.stdio is not None
        if self.run.isOver:
            return
        if self.unencrypted is not None:
            self.run.status, self.run.reason = 1, self.unencrypted
        elif not reason.check(error.ConnectionDone):
            lost: Any = reason.value
            words = oneLine(lost.args[0] if lost.args else "the connection broke off")
            self.run.status, self.run.reason = 1, f"the tunnel was lost: {words}"
        elif self._isService and not (self._isAnswered or self._isLeaving):
            self.run.status = 1
            self.run.reason = "the service closed the connection without a word; does it run?"
        elif not self.transport.disconnecting:
            unsent = self._hasSent and not self._inputEnded
            self.run.say(
                "partner left before the end of standard input" if unsent else "partner left"
            )
        self.stdio.finish()


@implementer(IHalfCloseableProtocol)
class _Stdio(Protocol):
    """Standard input and output's end."""

    transport: Any

    def __init__(self, end: CopyingEnd) -> None:
        self._end = end
        self._isFinishing = False

    def connectionMade(self) -> None:
        self._end.transport.registerProducer(self.transport, True)
        self.transport.registerProducer(self._end, True)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self) -> None:
        """The tunnel is gone: end when everything it brought has been written."""
        self._isFinishing = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._end.send(data)

    def readConnectionLost(self) -> None:
        if not self._isFinishing:
            self._end.inputEnded()

    def writeConnectionLost(self) -> None:
        self._outputLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Twisted 22.4 reports a lost output here, later ones do so only after loseConnection.
        if reason.check(error.ConnectionDone):
            self._end.run.stop()
        else:
            self._outputLost()

    def _outputLost(self) -> None:
        # Who closed a pipe knows about it; a full disk is news.
        reason = None if _isPipe(STDOUT) else "cannot write to standard output"
        self._end.run.stop(1, reason)


def _isPipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
