"""Owns standard input and output at the end of a tunnel.

It must not know how the tunnel is made, nor what the run of the command is besides.
"""

from __future__ import annotations

import os
import stat
import typing
from typing import Any

from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.control import oneLine
from nymearemoteproxy.client.farend import FarEnd

STDIN = 0
STDOUT = 1


class Run(typing.Protocol):
    """The run of the command, as its copying knows it.

    Attributes:
        reactor: the reactor to copy with.
        status: the exit status.
        reason: the line to say at the end, if any.
        isOver: the reactor is being stopped; what it closes meanwhile is no news.
    """

    reactor: Any
    status: int
    reason: str | None
    isOver: bool

    def say(self, text: str) -> None:
        """Write one line to standard error."""

    def stop(self, status: int | None = None, reason: str | None = None) -> None:
        """End the run, with another ``status`` and ``reason`` if ``status`` is given."""


class Relay(FarEnd):
    """The tunnel's end: starts the copying and brings it to an end, once.

    Whoever has sent something leaves when the partner has been silent for a while, and whoever has
    nothing to send waits until the partner leaves.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run.reactor)
        self.run = run
        self.stdio: _Stdio | None = None
        self._hasSent = False
        self._inputEnded = False

    def connectionMade(self) -> None:
        self.run.say(f"tunnel established with {self.transport.partner.shown}")
        self.stdio = _Stdio(self)
        # mypy takes the signature of Windows.
        standardIO: Any = StandardIO
        standardIO(self.stdio, stdin=STDIN, stdout=STDOUT, reactor=self.run.reactor)

    def deliver(self, data: bytes) -> None:
        """Write what the partner sent to standard output."""
        assert self.stdio is not None
        self.stdio.write(data)

    def leave(self) -> None:
        """The partner has nothing to add."""
        self.transport.loseWriteConnection()

    def send(self, data: bytes) -> None:
        """Standard input brought this."""
        self._hasSent = True
        self.transport.write(data)

    def inputEnded(self) -> None:
        """Standard input is at its end."""
        self._inputEnded = True
        self.transport.unregisterProducer()
        if self._hasSent:
            self.awaitSilence()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        assert self.stdio is not None
        if self.run.isOver:
            return
        if not reason.check(error.ConnectionDone):
            lost: Any = reason.value
            words = oneLine(lost.args[0] if lost.args else "the connection broke off")
            self.run.status, self.run.reason = 1, f"the tunnel was lost: {words}"
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

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._isFinishing = False

    def connectionMade(self) -> None:
        self._relay.transport.registerProducer(self.transport, True)
        self.transport.registerProducer(self._relay, True)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self) -> None:
        """The tunnel is gone: end when everything it brought has been written."""
        self._isFinishing = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._relay.send(data)

    def readConnectionLost(self) -> None:
        if not self._isFinishing:
            self._relay.inputEnded()

    def writeConnectionLost(self) -> None:
        self._outputLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Twisted 22.4 reports a lost output here, later ones do so only after loseConnection.
        if reason.check(error.ConnectionDone):
            self._relay.run.stop()
        else:
            self._outputLost()

    def _outputLost(self) -> None:
        # Who closed a pipe knows about it; a full disk is news.
        reason = None if _isPipe(STDOUT) else "cannot write to standard output"
        self._relay.run.stop(1, reason)


def _isPipe(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
