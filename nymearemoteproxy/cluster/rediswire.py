"""One connection to a Redis: a command, its answer, and a deadline.

Owns what is made of errors and of nonsense, so that neither ends anything but this connection.
Knows nothing of what is asked, and of other connections.

txredisapi reads the answers. What it does besides is not used: it has no
deadline while unconnected, gives up for ever when its own AUTH or SELECT is late, and takes ten
seconds to connect again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import txredisapi
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionClosed, ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.directory import DirectoryError

LONGEST_ANSWER = 1 << 16
"""Bytes. The longest, to `CLAIMS_AT_ONCE` claims, has a quarter of that."""

ASLEEP = 5.0
"""Seconds by which a deadline comes too late when this process was frozen, and more than when it is
busy: the answer may be there and not be read yet. A third of a lease, so that whoever wakes up
without one can still ask whether it has its places."""

MEANINGS = {
    "OOM": "its memory is full",
    "READONLY": "it is a read-only replica",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few of its replicas are there",
    "MASTERDOWN": "it is a replica that has lost its master",
    "WRONGPASS": "it refuses user and password",
    "NOAUTH": "it wants a password",
    "NOPERM": "its user may not do what is needed",
    "LOADING": "it is still loading its data",
    "BUSY": "it is busy with somebody's script",
    "DENIED": "it is in protected mode",
    "NOPASSWORD": "it has no password, and was given one",
    "WRONGTYPE": "there is something else than a text at the key",
    "MOVED": "it is a node of a Redis Cluster, and has to be a Redis of its own",
}

_WITHOUT_CODE = {
    "without any password": "NOPASSWORD",
    "executing the script can": "NOPERM",
    "CROSSSLOT": "MOVED",
    "CLUSTERDOWN": "MOVED",
    "non local key in a cluster": "MOVED",
    "not allowed in cluster mode": "MOVED",
}

# Within a script, an error's own code stands somewhere behind the script's.
_CODE = re.compile(rf"\b({'|'.join(MEANINGS)}|NOSCRIPT)\b")

Reply = Any
"""Bytes, an integer, None, or a list of such."""


class RedisRefusal(DirectoryError):
    """An error that Redis answers.

    :ivar code: its first word, such as ``OOM``; or ``ERR``.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(MEANINGS.get(code) or f"it answers {code}{detail and ' ' + detail}")
        self.code = code


def spell(words: Sequence[bytes]) -> bytes:
    """Return a command as Redis is sent it."""
    lengths = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), lengths)


def refusal(text: str) -> RedisRefusal:
    """Return what an error's text means; what it quotes may be a secret, and is left out."""
    found = _CODE.search(text)
    if found:
        return RedisRefusal(found[1])
    for words, code in _WITHOUT_CODE.items():
        if words in text:
            return RedisRefusal(code)
    words = re.sub(r"['\"`].*", "…", text.strip(), flags=re.DOTALL).removeprefix("ERR").strip()
    return RedisRefusal("ERR", re.sub(r"[^ -~…]", "?", words)[:100])


def checked(reply: Reply) -> Reply:
    """Return an answer, unless there is an error in it: that is raised, however deep it is.

    txredisapi leaves those within lists where they are, as if they were values.

    :raises RecursionError: lists have lists without end, which no Redis answers.
    """
    if isinstance(reply, Exception):
        raise reply
    if isinstance(reply, list):
        for each in reply:
            checked(each)
    return reply


class RedisWire(txredisapi.RedisProtocol):  # type: ignore[misc]  # it has no types
    """A connection.

    :ivar whenLost: fires with None when it is lost.
    :ivar trouble: why it is, or is about to be.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.whenLost: Deferred[None] = Deferred()
        self.trouble = ""
        self._clock = clock
        self._sinceAnswer = 0

    @property
    def localHost(self) -> str:
        """Our own address as this connection has it; empty for a Unix socket."""
        host: str = getattr(self.transport.getHost(), "host", "")
        return host

    def connectionMade(self) -> object:
        if self.localHost:  # Debian 12's Twisted says of Unix sockets that they are TCP's, too
            self.transport.setTcpNoDelay(True)  # a command must not wait for the last one's ACK
        return super().connectionMade()

    def ask(self, timeout: float, *words: bytes) -> Deferred[Reply]:
        """Send a command.

        :param timeout: seconds until the connection is given up: what comes late then is nobody's.
        :returns: fires with the answer, or fails with a `DirectoryError`.
        """
        if self.trouble:
            return fail(DirectoryError(self.trouble))
        # As execute_command does, which takes three times as long for a command.
        self.transport.write(spell(words))
        answered: Deferred[Reply] = self.replyQueue.get().addCallback(checked)
        self._limit(answered, max(timeout, 0))
        answered.addErrback(self._explain)
        return answered

    def _limit(self, answered: Deferred[Reply], timeout: float) -> None:
        due = self._clock.seconds() + timeout
        timers = [self._clock.callLater(timeout, lambda: isOver())]

        def isOver() -> None:
            if self._clock.seconds() - due > ASLEEP and len(timers) == 1:
                timers.append(self._clock.callLater(timeout, isOver))
            else:
                self.giveUp("it did not answer in time")
                answered.cancel()

        def ended(result: Reply) -> Reply:
            if timers[-1].active():
                timers[-1].cancel()
            return result

        answered.addBoth(ended)

    def giveUp(self, reason: str) -> None:
        """Cut the connection."""
        self.trouble = self.trouble or reason
        self.transport.abortConnection()

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        if self.trouble:  # txredisapi may come back to what it has put off
            return
        if not unpause:  # or it was here before
            self._sinceAnswer += len(data)
        try:
            super().dataReceived(data, unpause)
        except Exception:  # such as an answer that is no text; what it is does not matter
            self.giveUp("it does not speak Redis' protocol")
        if self._sinceAnswer > LONGEST_ANSWER:
            self.giveUp("its answer has no end")

    def replyReceived(self, reply: object) -> None:
        self._sinceAnswer = 0
        if not self.replyQueue.waiting:
            # It would be taken for the next command's.
            isError = isinstance(reply, Exception)
            self.giveUp(str(refusal(str(reply))) if isError else "it answers what nobody asked")
            return
        super().replyReceived(reply)

    def connectionLost(self, why: Failure) -> None:
        self.trouble = self.trouble or describe(why)
        super().connectionLost(why)
        self.whenLost.callback(None)

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, CancelledError) and not self.trouble:
            return failure  # whoever asked has lost interest
        if isinstance(error, txredisapi.ResponseError):
            return Failure(refusal(str(error)))
        if not isinstance(error, CancelledError | txredisapi.ConnectionError):
            self.giveUp("it does not speak Redis' protocol")
        return Failure(DirectoryError(self.trouble))


def describe(failure: Failure) -> str:
    """Return in a line why a connection is lost or was not made."""
    error = failure.value
    if isinstance(error, SSL.Error):
        details = error.args[0] if error.args else ()
        words = "; ".join(str(each[-1]) for each in details) if details else "it was cut off"
        return f"TLS failed: {words}"
    if isinstance(error, ConnectionClosed):
        return "it closed the connection"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return " ".join(failure.getErrorMessage().split()).rstrip(".")[:200]
