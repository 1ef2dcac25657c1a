"""What an authentication backend is, and what it answers.

Owns the answer, and how several backends are one. Knows nothing of clients, sessions or time
limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

MAX_SUBJECT = 1024
"""Characters; longer than any account name or e-mail address."""


def isSubject(subject: object) -> TypeGuard[str]:
    """Tell whether what a backend was told can name an account."""
    return isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT


class BackendError(Exception):
    """The backend could not tell whether a token is valid, so nobody is let in.

    The text says what the backend did, for the log; it never holds a token.

    :cvar by: who that is.
    """

    by = "the authentication server"


class IssuerError(BackendError):
    """The keys of JSON Web Tokens cannot be had."""

    by = "the issuer of tokens"


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
    """Asks one backend after the other, until one accepts the token.

    One that could not tell keeps nobody out whom a later one accepts; if none does, its failure is
    the answer, since it might have.
    """

    def __init__(self, *backends: IAuthenticator) -> None:
        self._backends = backends

    async def _ask(self, token: str) -> Verdict:
        failure: BackendError | None = None
        for backend in self._backends:
            try:
                verdict = await backend.authenticate(token)
            except BackendError as error:
                failure = failure or error
            else:
                if verdict.accepted:
                    return verdict
        if failure is not None:
            raise failure
        return Verdict(False)

    def authenticate(self, token: str) -> Deferred[Verdict]:
        return Deferred.fromCoroutine(self._ask(token))
