"""Asks an authentication server over HTTP.

Owns the request, and which answers count as what. Knows nothing of clients or of time limits:
whoever asks cancels when it took too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import platformTrust
from twisted.python.failure import Failure
from twisted.web.client import (  # type: ignore[attr-defined]  # RequestNotSent is not in __all__
    Agent,
    HTTPConnectionPool,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse
from zope.interface import implementer

from nymearemoteproxy.authentication.backend import BackendError, IAuthenticator, Verdict
from nymearemoteproxy.authentication.url import readUrl
from nymearemoteproxy.authentication.verification import VerifiedHttps
from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject

MAX_ANSWER = 64 * 1024
"""Bytes; an answer is a small JSON object, even with a verified token's claims in it."""

MAX_SUBJECT = 1024
"""Characters; longer than any account name or e-mail address."""


def makeHttpClient(reactor: IReactorTime, connections: int) -> HTTPClient:
    """Return a client that keeps and reuses up to `connections` connections, TLS verified.

    With 0 connections every question has one of its own.
    """
    pool = HTTPConnectionPool(reactor, persistent=connections > 0)
    pool.maxPersistentPerHost = connections
    return HTTPClient(Agent(reactor, VerifiedHttps(platformTrust()), pool=pool))


@implementer(IAuthenticator)
class HttpAuthenticator:
    """Posts the token and reads the verdict.

    :param client: reuses connections.
    :param url: where to; one that `readUrl` takes.
    :param connections: the most requests at once; further ones wait for their turn.
    :param form: send RFC 7662's form instead of nymea's JSON.
    :param credentials: client id and secret for HTTP basic authentication.
    :param freshClient: reuses none; for asking again when a connection turned out to be dead.
    """

    def __init__(
        self,
        client: HTTPClient,
        url: str,
        connections: int,
        form: bool = False,
        credentials: tuple[str, str] | None = None,
        freshClient: HTTPClient | None = None,
    ) -> None:
        self._client = client
        self._freshClient = freshClient or client
        self._url = readUrl(url)
        self._turns = DeferredSemaphore(connections)
        self._form = form
        self._credentials = credentials

    def authenticate(self, token: str) -> Deferred[Verdict]:
        asked: Deferred[Verdict] = self._turns.run(lambda: Deferred.fromCoroutine(self._ask(token)))
        return asked

    async def _ask(self, token: str) -> Verdict:
        options: dict[str, Any] = {"allow_redirects": False, "unbuffered": True}
        if self._credentials:
            options["auth"] = self._credentials
        if self._form:
            options["data"] = {"token": token, "token_type_hint": "access_token"}
        else:
            options["json"] = {"token": token}
        try:
            response = await self._post(options)
            body = await _collect(response)
        except BackendError:
            raise
        except Exception as error:
            # Whatever goes wrong in the network, in TLS or in HTTP is the backend's failure.
            raise BackendError(_describe(error)) from None
        if response.code != 200:
            raise BackendError(f"it answered with HTTP status {response.code}")
        _checkType(response)
        return judge(body)

    async def _post(self, options: Mapping[str, Any]) -> IResponse:
        try:
            return await self._client.post(self._url, **options)
        except (RequestNotSent, RequestTransmissionFailed, ResponseNeverReceived) as error:
            if not _isDeadConnection(error):
                raise
            # A connection from the pool may just have been closed at the other end. Twisted
            # repeats no POST by itself, but asking about a token twice does no harm.
            return await self._freshClient.post(self._url, **options)


def _isDeadConnection(error: Any) -> bool:
    """Tell whether a request failed since its connection was closed, not by us and not by TLS."""
    reasons = getattr(error, "reasons", ())
    if any(reason.check(CancelledError) for reason in reasons):
        return False
    return not reasons or any(reason.check(ConnectionDone, ConnectionLost) for reason in reasons)


def _checkType(response: IResponse) -> None:
    """Accept an answer that says it is JSON, or says nothing of its type."""
    for value in response.headers.getRawHeaders("Content-Type", []):
        kind = value.partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise BackendError("its answer is not of the type application/json")


def judge(body: bytes) -> Verdict:
    """Read an answer.

    :raises BackendError: it is no verdict.
    """
    try:
        answer = decodeObject(body)
    except MessageError as error:
        raise BackendError(f"its answer is of no use: {error.text}") from None
    verdicts = [answer[name] for name in ("isValid", "active") if name in answer]
    if not verdicts or not all(isinstance(verdict, bool) for verdict in verdicts):
        raise BackendError("its answer has no boolean isValid or active")
    return Verdict(all(verdicts), _subject(answer))


def _subject(answer: Mapping[str, Any]) -> str | None:
    verified = answer.get("verifiedData")
    parsed = verified.get("verifiedParsedToken") if isinstance(verified, dict) else None
    username = parsed.get("cognito:username") if isinstance(parsed, dict) else None
    for subject in (answer.get("sub"), answer.get("username"), username):
        if isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT:
            return subject
    return None


def _describe(error: BaseException | None) -> str:
    """Say what happened, without quoting anything that may hold the token."""
    reasons = getattr(error, "reasons", None)
    if reasons and isinstance(reasons[0], Failure):
        return _describe(reasons[0].value)
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


async def _collect(response: IResponse) -> bytes:
    done: Deferred[bytes] = Deferred(lambda deferred: collector.cancelled(deferred))
    collector = _Collector(done)
    response.deliverBody(collector)
    return await done
