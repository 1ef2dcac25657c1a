"""The way to the server.

Owns connecting, asking in time, connecting again, passing on orders, and the words for what went
wrong. Knows nothing of what is done with an answer, nor of what kind of endpoint it uses.
"""

from __future__ import annotations

import errno
import grp
import json
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.monitor import orders
from nymearemoteproxy.monitor.orders import Order, Reply
from nymearemoteproxy.monitor.sample import NonsenseError, Sample, decode, read
from nymearemoteproxy.monitor.text import safe
from nymearemoteproxy.protocol.jsonobjects import Fault, ObjectError, ObjectSplitter

RETRY_DELAY = 1.0
"""Seconds between attempts to connect: on the same machine they cost nothing."""

ANSWER_PATIENCE = 10.0
"""Seconds that an answer may take, from the request to its last byte: with ten thousand clients it
is 3 MB, which the server makes in well under a second."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of the largest message. A client takes 300, with the longest name and user name 120 KiB."""

_FAULTS = {
    Fault.NO_BRACE: "no JSON object begins where one must",
    Fault.CONTROL_CHARACTER: "a message that is no JSON",
    Fault.TOO_LARGE: f"a message of more than {MAX_MESSAGE} bytes",
}

Answered = Callable[[Mapping[str, Any], Sample], None]


class Poller:
    """Asks a server again and again, for as long as it is not stopped.

    :param clock: an `IReactorTime`.
    :param interval: seconds from one request to the next.
    :param onAnswer: is called with each message, and what it says.
    :param onTrouble: is called with one line of text when there is no connection any more; another
        attempt follows.
    :param onConnected: is called before the first request of each connection.
    :param isPrintingAll: ask for servers without clients too; may be changed at any time.
    """

    def __init__(
        self,
        clock: Any,
        endpoint: IStreamClientEndpoint,
        interval: float,
        onAnswer: Answered,
        onTrouble: Callable[[str], None],
        onConnected: Callable[[], None] = lambda: None,
        isPrintingAll: bool = False,
        explain: Callable[[BaseException], str] = str,
    ) -> None:
        self.isPrintingAll = isPrintingAll
        self._clock = clock
        self._endpoint = endpoint
        self._interval = interval
        self._onAnswer = onAnswer
        self._onTrouble = onTrouble
        self._onConnected = onConnected
        self._explain = explain
        self._isStopped = False
        self._connecting: Deferred[Any] | None = None
        self._connection: _MonitorConnection | None = None
        self._next: Any = None  # the delayed call of the next request or attempt
        self._deadline: Any = None  # the delayed call that gives up waiting for an answer
        self._order: tuple[Order, Callable[[Reply], None]] | None = None
        self._orderDeadline: Any = None  # the same of an order

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._next = None
        factory = Factory.forProtocol(lambda: _MonitorConnection(self))
        self._connecting = self._endpoint.connect(factory)
        self._connecting.addErrback(self._notConnected)

    def stop(self) -> None:
        """Be silent from now on."""
        self._isStopped = True
        self._order = None
        self._cancelCalls()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort()

    def ask(self) -> None:
        """Send a request now, unless one has no answer yet."""
        if self._connection is None or self._deadline is not None or self._isStopped:
            return
        if self._next is not None:
            self._next.cancel()
        self._next = self._clock.callLater(self._interval, self._askAgain)
        self._deadline = self._clock.callLater(ANSWER_PATIENCE, self._tooLate)
        self._connection.send({"method": "refresh", "params": {"printAll": self.isPrintingAll}})

    def give(self, order: Order, onReply: Callable[[Reply], None]) -> None:
        """Send an order.

        :param onReply: is told what came of it, once, unless this is stopped before.
        """
        if self._connection is None:
            onReply(Reply(False, "there is no connection to the server"))
        elif self._order is not None:
            onReply(Reply(False, "the server has not answered to the last one yet"))
        else:
            self._order = order, onReply
            self._orderDeadline = self._clock.callLater(ANSWER_PATIENCE, self._orderTooLate)
            self._connection.send(order.request)

    def connected(self, connection: _MonitorConnection) -> None:
        """A connection is there."""
        self._connecting = None
        self._connection = connection
        self._onConnected()
        self.ask()

    def received(self, data: bytes) -> None:
        """An answer is there, or a message that nobody asked for.

        :raises NonsenseError: it is none.
        """
        message = decode(data)
        if self._order is not None and orders.isReply(message):
            self._concludeOrder(orders.read(self._order[0], message))
            return
        sample = read(message)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._onAnswer(message, sample)
        # When the answer took longer than the interval.
        if self._next is None:
            self.ask()

    def lost(self, reason: str) -> None:
        """The connection, or the attempt, is over."""
        self._connecting = self._connection = None
        self._cancelCalls()
        if self._isStopped:
            return
        self._next = self._clock.callLater(RETRY_DELAY, self.start)
        if self._order is not None:
            self._concludeOrder(Reply(False, f"it is not known whether it was done: {reason}"))
        if not self._isStopped:
            self._onTrouble(reason)

    def _concludeOrder(self, reply: Reply) -> None:
        assert self._order is not None
        (_order, onReply), self._order = self._order, None
        if self._orderDeadline is not None:
            self._orderDeadline.cancel()
            self._orderDeadline = None
        onReply(reply)

    def _orderTooLate(self) -> None:
        self._orderDeadline = None
        self._giveUp()

    def _askAgain(self) -> None:
        self._next = None
        self.ask()

    def _tooLate(self) -> None:
        self._deadline = None
        self._giveUp()

    def _giveUp(self) -> None:
        assert self._connection is not None, "with it the delayed calls end"
        self._connection.abort(f"the server did not answer within {ANSWER_PATIENCE:.0f} s")

    def _notConnected(self, failure: Failure) -> None:
        assert failure.value is not None, "only a failure that was cleaned up has none"
        self.lost(self._explain(failure.value))

    def _cancelCalls(self) -> None:
        for call in (self._next, self._deadline, self._orderDeadline):
            if call is not None:
                call.cancel()
        self._next = self._deadline = self._orderDeadline = None


class _MonitorConnection(Protocol):
    """One connection, for one `Poller`."""

    transport: Any

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._splitter = ObjectSplitter(MAX_MESSAGE)
        self._reason = "the server has closed the connection"
        self._isAborted = False

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request."""
        self.transport.write(json.dumps(request).encode("ascii") + b"\n")

    def abort(self, reason: str = "") -> None:
        """End it at once; nothing is received any more."""
        self._reason = reason
        self._isAborted = True
        self.transport.abortConnection()

    def connectionMade(self) -> None:
        self._poller.connected(self)

    def dataReceived(self, data: bytes) -> None:
        self._splitter.feed(data)
        try:
            while not self._isAborted and (message := self._splitter.take()) is not None:
                self._poller.received(message)
        except ObjectError as error:
            self._stranger(_FAULTS[error.fault])
        except NonsenseError as problem:
            self._stranger(problem)

    def _stranger(self, sent: object) -> None:
        self.abort(f"this is no monitor socket of a nymea-remoteproxy: it sent {sent}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._poller.lost(self._reason)


def explain(problem: BaseException, path: str) -> str:
    """Return in one line why the Unix socket at `path` could not be connected to."""
    number = getattr(problem, "osError", None)
    place = safe(path)
    if number == errno.ENOENT:
        return (
            f"there is no {place}; does the server run, and with "
            f"--set ProxyServer.monitorSocket={place}? If that is elsewhere, give it as --socket"
        )
    if number == errno.ECONNREFUSED:
        return f"nobody listens on {place}; does the server run?"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission for {place}; {_whoMay(path)}"
    words = os.strerror(number) if isinstance(number, int) else " ".join(str(problem).split())
    return f"cannot connect to {place}: {safe(words)}"


def _whoMay(path: str) -> str:
    """Return who has the permission, as far as this can be seen."""
    place, needed = os.path.abspath(path), stat.S_IWGRP
    while True:
        try:
            status = os.stat(place)
            break
        except OSError:
            # Not even its directory may be looked into: then that one's group counts.
            place, needed = os.path.dirname(place), stat.S_IXGRP
    owner, group = _nameOf(pwd.getpwuid, status.st_uid), _nameOf(grp.getgrgid, status.st_gid)
    if status.st_mode & needed:
        return (
            f"be the user {owner} or in the group {group} (sudo adduser YOU {group}, log in anew)"
        )
    return f"be the user {owner} or root"


def _nameOf(find: Callable[[int], Any], number: int) -> str:
    try:
        return safe(str(find(number)[0]))
    except KeyError:
        return str(number)
