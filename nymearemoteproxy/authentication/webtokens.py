"""What a JSON Web Token must be to let somebody in (RFC 7519, signed as in RFC 7515).

Owns the reading of a token, and what is demanded of its claims. Knows no time and no keys but those
it is given.

Of PyJWT only the algorithms are used, in ``keysets``: its own checks look at a clock of their own,
and what they demand differs between the releases that we run with.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.authentication.backend import isSubject
from nymearemoteproxy.authentication.keysets import ALGORITHMS
from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject

MAX_TOKEN = 8 * 1024
"""Characters. Those with all groups of an account have some 4 KiB, and what they are made for, a
header of HTTP, takes 8 KiB. The costliest that fits, 1,500 numbers, is read in a millisecond."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class TokenRefused(Exception):
    """The token lets nobody in; the text says why, and repeats nothing of it."""


@dataclass(frozen=True)
class Demands:
    """What is demanded of a token besides the signature.

    :ivar issuer: who has to have made it (``iss``); "" = whoever has the keys.
    :ivar audience: for one of these it has to be made (``aud``); none = for nobody in particular.
    :ivar subjectClaim: which claim names the account.
    :ivar leeway: seconds by which the clocks of the issuer and this machine may differ.
    """

    issuer: str = ""
    audience: tuple[str, ...] = ()
    subjectClaim: str = "sub"
    leeway: float = 0.0

    def check(self, claims: Mapping[str, Any], now: float) -> None:
        """See that claims are as demanded.

        :param now: Unix time.
        :raises TokenRefused: they are not.
        """
        if "events" in claims:  # RFC 8417 section 2.2, such as the logout tokens of OpenID
            raise TokenRefused("it tells of an event, and lets nobody in")
        if self.issuer and claims.get("iss") != self.issuer:
            raise TokenRefused("it is of another issuer")
        self._checkAudience(claims)
        expires = _time(claims, "exp")
        if expires is None:
            raise TokenRefused("it would never expire")
        if expires <= now - self.leeway:
            raise TokenRefused("it has expired")
        begins = _time(claims, "nbf")
        if begins is not None and begins > now + self.leeway:
            raise TokenRefused("it is not valid yet")

    def _checkAudience(self, claims: Mapping[str, Any]) -> None:
        # Cognito's access tokens say only which client they were made for, and are to be checked by
        # that, as are those of RFC 9068.
        given = claims.get("aud", claims.get("client_id"))
        if not self.audience and "aud" not in claims:
            return
        audience = given if isinstance(given, list) else [given]
        if not any(each in self.audience for each in audience if isinstance(each, str)):
            raise TokenRefused("it is for another audience")

    def subject(self, claims: Mapping[str, Any]) -> str | None:
        """Return the account that claims name, if they do."""
        subject = claims.get(self.subjectClaim)
        return subject if isSubject(subject) else None


@dataclass(frozen=True)
class WebToken:
    """A token whose signature nobody has checked yet.

    :ivar algorithm: one of `ALGORITHMS`.
    :ivar keyId: of the key it was signed with, if it says so.
    :ivar signed: the bytes that are signed.
    """

    algorithm: str
    keyId: str | None
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def readWebToken(token: str) -> WebToken:
    """Read a token.

    :raises TokenRefused: it is none that could be let in.
    """
    parts = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN else None
    if parts is None:
        raise TokenRefused("it is no signed JWT")
    try:
        header, claims = (decodeObject(_decode(part)) for part in parts.groups()[:2])
        signature = _decode(parts[3])
    except (MessageError, binascii.Error):
        raise TokenRefused("it is a damaged JWT") from None
    algorithm, keyId = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("no public key makes signatures of its algorithm")
    if "crit" in header or not isinstance(keyId, str | None):
        raise TokenRefused("its header is not understood")
    signed = token.rpartition(".")[0].encode("ascii")
    return WebToken(algorithm, keyId, claims, signed, signature)


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a claim that is a Unix time.

    :raises TokenRefused: it is none.
    """
    time = claims.get(name)
    if isinstance(time, bool) or not isinstance(time, int | float | None):
        raise TokenRefused(f"its {name} is no time")
    return time
