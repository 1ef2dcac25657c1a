"""Tokens known beforehand: from the command line, from a file, or any at all.

Owns the comparison. Knows nothing of clients.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from nymearemoteproxy.authentication.backend import IAuthenticator, Verdict
from nymearemoteproxy.common.lists import parseList


def parseTokens(content: bytes) -> list[str]:
    """Return the tokens that a token file holds.

    :raises ValueError: it is not UTF-8, no list, or holds no token.
    """
    tokens = parseList(content)
    if not tokens:
        raise ValueError("it holds no token; write one per line")
    return tokens


@implementer(IAuthenticator)
class TokenList:
    """Accepts the tokens it was given.

    Tokens are looked up by a keyed hash: the time it takes depends neither on how many there are
    nor on how much of a guess is right, since who guesses does not know the key.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._secret = secrets.token_bytes(32)
        self._digests = frozenset(self._digest(token) for token in tokens)

    def authenticate(self, token: str) -> Deferred[Verdict]:
        return succeed(Verdict(self._digest(token) in self._digests))

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self._secret, digest_size=32).digest()


@implementer(IAuthenticator)
class AnyToken:
    """Accepts every token: for tests on one machine."""

    def authenticate(self, token: str) -> Deferred[Verdict]:
        return succeed(Verdict(True))
