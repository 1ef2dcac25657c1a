"""What an authentication backend is, and what it answers.

Owns the answer, and how two backends are one. Knows nothing of clients, sessions or time limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer


class BackendError(Exception):
    """The backend could not tell whether a token is valid, so nobody is let in.

    The text says what the backend did, for the log; it never holds a token.
    """


@dataclass(frozen=True)
class Verdict:
    """What a backend says of a token.

    :ivar subject: the account the token belongs to, where the backend knows it.
    """

    accepted: bool
    subject: str | None = None


class IAuthenticator(Interface):
    """An authentication backend."""

    def authenticate(token: str) -> Deferred[Verdict]:
        """Judge a token.

        :returns: a Deferred that fires with the verdict, or fails with `BackendError`.
            Cancelling it gives up the request.
        """


@implementer(IAuthenticator)
class FirstOf:
    """Asks one backend, and a second one about the tokens that the first does not accept."""

    def __init__(self, first: IAuthenticator, second: IAuthenticator) -> None:
        self._first = first
        self._second = second

    async def _ask(self, token: str) -> Verdict:
        verdict = await self._first.authenticate(token)
        return verdict if verdict.accepted else await self._second.authenticate(token)

    def authenticate(self, token: str) -> Deferred[Verdict]:
        return Deferred.fromCoroutine(self._ask(token))
