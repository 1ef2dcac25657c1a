"""Judges a token by itself: a JSON Web Token that is signed with a key of its issuer.

Owns in which order a token is looked at, and that many at a time keep nobody waiting. Knows nothing
of clients, or of where the keys come from.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from nymearemoteproxy.authentication.backend import IAuthenticator, Verdict
from nymearemoteproxy.authentication.keysets import IKeys, Key, KeySet
from nymearemoteproxy.authentication.webtokens import (
    Demands,
    TokenRefused,
    WebToken,
    readWebToken,
)
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.turns import Turns

log = ProxyLogger()


@implementer(IKeys)
class GivenKeys:
    """Those of a file."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def find(self, id: str | None) -> KeySet:
        return self._keys


@implementer(IAuthenticator)
class JwtAuthenticator:
    """Accepts tokens that are as demanded, and signed with one of the keys.

    :param turns: in which signatures are checked.
    :param unixTime: returns the Unix time.
    """

    def __init__(
        self, demands: Demands, keys: IKeys, turns: Turns, unixTime: Callable[[], float]
    ) -> None:
        self._demands = demands
        self._keys = keys
        self._turns = turns
        self._unixTime = unixTime

    def authenticate(self, token: str) -> Deferred[Verdict]:
        return Deferred.fromCoroutine(self._judge(token))

    async def _judge(self, token: str) -> Verdict:
        try:
            read = readWebToken(token)
            # The claims come first: what is not meant for us costs no key and no signature.
            self._demands.check(read.claims, self._unixTime())
            keys = await self._keys.find(read.keyId)
            if await self._turns.run(_isSigned(read, keys.candidates(read.algorithm, read.keyId))):
                return Verdict(True, self._demands.subject(read.claims))
            raise TokenRefused("no key has made its signature")
        except TokenRefused as refused:
            log.debug("a token is not accepted as a JWT: {reason}", reason=str(refused))
            return Verdict(False)


def _isSigned(token: WebToken, keys: Sequence[Key]) -> Generator[None, None, bool]:
    """Tell whether one of the keys has made the signature; one key a turn."""
    for key in keys:
        if key.verifies(token.algorithm, token.signed, token.signature):
            return True
        yield
    return False
