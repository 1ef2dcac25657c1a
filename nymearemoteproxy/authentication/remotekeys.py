"""The keys of an issuer, from where it publishes them.

Owns when they are fetched, how long they are good for, and that nobody is let in without. Knows
nothing of tokens, nor of who waits how long.

Theory of operation
-------------------

The keys are fetched for the first one who needs them, and those who come meanwhile wait for the
same answer: there is one fetch at a time. Whoever comes when they have not been fetched for
`REFRESH` seconds has them fetched again, but does not wait. So a key that was withdrawn is soon
forgotten, and an issuer that does not answer keeps nobody out before the keys are `LIFETIME` old.
Then nobody gets in.

A token may name a key that is not known, since it is new. Anybody can write such a token, so for
these the keys are not fetched within `PAUSE` seconds of the last time. After a failure `RETRY`
seconds pass, within which everybody is told the same.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

from nymearemoteproxy.authentication.answers import answered
from nymearemoteproxy.authentication.backend import BackendError, IssuerError
from nymearemoteproxy.authentication.keysets import IKeys, KeySet, parseKeySet
from nymearemoteproxy.authentication.url import readUrl
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.turns import Turns

log = ProxyLogger()

FETCH_TIMEOUT = 5.0
"""Seconds that a fetch may take: less than a client may, so that the log gets to know why."""

REFRESH = 600.0
"""Seconds. Issuers show a new key long before they use it."""

LIFETIME = 3600.0
"""Seconds; as long as most tokens are good for, of which there are no new ones when the issuer is
not there."""

PAUSE = 60.0
RETRY = 5.0
"""Seconds, see above."""


@implementer(IKeys)
class RemoteKeys:
    """Fetches the keys, and keeps them.

    :param client: has a connection of its own for each question.
    :param url: where they are; one that `readUrl` takes.
    :param turns: in which those who wait are told.
    """

    def __init__(self, clock: IReactorTime, client: HTTPClient, url: str, turns: Turns) -> None:
        self._clock = clock
        self._client = client
        self._url = readUrl(url)
        self._turns = turns
        self._keys: KeySet | None = None
        self._fetched = -math.inf
        self._tried = -math.inf
        self._failure: str | None = None
        self._isFetching = False
        self._waiting: list[Deferred[None]] = []

    async def find(self, id: str | None) -> KeySet:
        if self._age() >= REFRESH:
            self._begin(RETRY)
        if self._age() >= LIFETIME:
            await self._end()
            if self._age() >= LIFETIME:
                raise self._cannotTell()
        assert self._keys is not None
        if id is not None and not self._keys.has(id):
            self._begin(PAUSE)
            await self._end()
            if self._failure is not None:  # it may be there by now
                raise self._cannotTell()
        return self._keys

    def _age(self) -> float:
        return self._clock.seconds() - self._fetched

    def _cannotTell(self) -> IssuerError:
        return IssuerError(f"its keys cannot be fetched: {self._failure}")

    def _begin(self, pause: float) -> None:
        """Fetch the keys, unless that is being done, or began less than `pause` seconds ago."""
        now = self._clock.seconds()
        if self._isFetching or now - self._tried < pause:
            return
        self._isFetching = True
        self._tried = now
        fetching = Deferred.fromCoroutine(self._fetch())
        fetching.addTimeout(FETCH_TIMEOUT, self._clock, _late)
        fetching.addCallbacks(self._succeeded, self._failed)

    def _end(self) -> Deferred[None]:
        """Return a Deferred that fires when no fetch is under way, whatever came of it."""
        if not self._isFetching:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    async def _fetch(self) -> KeySet:
        _response, body = await answered(self._get())
        try:
            return parseKeySet(body)
        except ValueError as error:
            raise BackendError(f"its answer is of no use: {error}") from None

    async def _get(self) -> IResponse:
        response: IResponse = await self._client.get(
            self._url,
            headers=Headers({"Accept": ["application/json, application/jwk-set+json"]}),
            allow_redirects=False,
            unbuffered=True,
        )
        return response

    def _succeeded(self, keys: KeySet) -> None:
        self._fetched = self._clock.seconds()
        before, self._keys = self._keys, keys
        if self._failure is not None or before is None or _ids(keys) != _ids(before):
            log.info(
                "the keys of tokens are fetched: {count} of use, {ignored} not",
                count=len(keys.keys),
                ignored=len(keys.ignored),
            )
        for reason in keys.ignored:
            log.debug("a key of tokens is of no use: {reason}", reason=reason)
        self._over(None)

    def _failed(self, failure: Failure) -> None:
        if failure.check(BackendError):
            reason = str(failure.value)
            if self._failure is None:
                log.error("the keys of tokens cannot be fetched: {reason}", reason=reason)
        else:
            reason = "internal error"
            log.failure("the keys of tokens cannot be fetched", failure)
        self._over(reason)

    def _over(self, failure: str | None) -> None:
        self._isFetching = False
        self._failure = failure
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._turns.run(_tell(waiting))


def _tell(waiting: list[Deferred[None]]) -> Generator[None, None, None]:
    for waiter in waiting:
        waiter.callback(None)
        yield


def _ids(keys: KeySet) -> list[str | None]:
    return [key.id for key in keys.keys]


def _late(_result: Any, timeout: float) -> Failure:
    return Failure(BackendError(f"it did not answer within {timeout:.0f} s"))
