"""Asks an authentication server over HTTP.

Owns the request, and which answers count as what. Knows nothing of clients or of time limits:
whoever asks cancels when it took too long.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a lookup imports it, and hangs when no file can be opened
from collections.abc import Mapping
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import platformTrust
from twisted.web.client import (  # type: ignore[attr-defined]  # RequestNotSent is not in __all__
    Agent,
    HTTPConnectionPool,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.iweb import IResponse
from zope.interface import implementer

from nymearemoteproxy.authentication.answers import answered
from nymearemoteproxy.authentication.backend import (
    BackendError,
    IAuthenticator,
    Verdict,
    isSubject,
)
from nymearemoteproxy.authentication.url import readUrl
from nymearemoteproxy.authentication.verification import VerifiedHttps
from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject


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
        response, body = await answered(self._post(options))
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
    # As bytes: Twisted would raise UnicodeDecodeError for what is no UTF-8.
    for value in response.headers.getRawHeaders(b"Content-Type", []):
        kind = value.partition(b";")[0].strip().lower()
        if kind != b"application/json" and not kind.endswith(b"+json"):
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
        if isSubject(subject):
            return subject
    return None
