"""What comes back over HTTP: a body of bounded size, or what went wrong.

Owns how much is read of an answer, and what is said of one that does not come. Knows nothing of
what was asked, nor of time limits.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from nymearemoteproxy.authentication.backend import BackendError

MAX_ANSWER = 64 * 1024
"""Bytes; an answer is a small JSON object, even with a verified token's claims in it, and with 32
keys of 8192 bits, too."""


def describe(error: BaseException | None) -> str:
    """Say what happened, without quoting anything that may hold the token."""
    reasons = getattr(error, "reasons", None)
    if reasons and isinstance(reasons[0], Failure):
        return describe(reasons[0].value)
    if isinstance(error, ConnectError | DNSLookupError):
        return f"it cannot be reached: {error}"
    return f"the request failed: {type(error).__name__}"


class _Collector(Protocol):
    """Collects a response's body up to `MAX_ANSWER`."""

    def __init__(self, done: Deferred[bytes]) -> None:
        self._done: Deferred[bytes] | None = done
        self._body = b""

    def dataReceived(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_ANSWER:
            self._finish(BackendError(f"its answer is larger than {MAX_ANSWER} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # An answer without a length ends with its connection; JSON tells whether it is whole.
        whole = reason.check(ResponseDone, PotentialDataLoss)
        self._finish(None if whole else reason.value)

    def _finish(self, error: BaseException | None) -> None:
        if self._done is None:
            return
        done, self._done = self._done, None
        if error is None:
            done.callback(self._body)
        else:
            assert self.transport is not None
            self.transport.loseConnection()
            done.errback(error)

    def cancelled(self, _done: Deferred[bytes]) -> None:
        """The asker gave up: drop the connection, since the rest of the answer is of no use."""
        self._done = None
        assert self.transport is not None
        self.transport.loseConnection()


async def collect(response: IResponse) -> bytes:
    """Return the body of a response.

    :raises BackendError: it is larger than `MAX_ANSWER`.
    :raises Exception: the connection was lost before its end.
    """
    done: Deferred[bytes] = Deferred(lambda deferred: collector.cancelled(deferred))
    collector = _Collector(done)
    response.deliverBody(collector)
    return await done


async def answered(asking: Awaitable[IResponse]) -> tuple[IResponse, bytes]:
    """Return an answer, whose status is 200, and its body.

    :param asking: the request, under way.
    :raises BackendError: there is none, or another one.
    """
    try:
        response = await asking
        body = await collect(response)
    except BackendError:
        raise
    except Exception as error:
        # Whatever goes wrong in the network, in TLS or in HTTP is the backend's failure.
        raise BackendError(describe(error)) from None
    if response.code != 200:
        raise BackendError(f"it answered with HTTP status {response.code}")
    return response, body
