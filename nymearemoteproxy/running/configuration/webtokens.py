"""Whose JSON Web Tokens let in: the issuer's keys, and what is demanded of a token.

Owns what has to be given for that. Knows nothing of how a token is judged, nor of how keys are
fetched.
"""

from __future__ import annotations

from collections.abc import Callable

from nymearemoteproxy.authentication.keysets import KeySet, parseKeySet
from nymearemoteproxy.authentication.url import isOnThisMachine
from nymearemoteproxy.authentication.webtokens import Demands
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.configuration.result import Configuration, WebTokens
from nymearemoteproxy.running.settings.errors import MissingError, SettingsError
from nymearemoteproxy.running.settings.notations import isUrl
from nymearemoteproxy.running.settings.values import Settings

_OF_NO_USE_ALONE = ("issuer", "audience")


def readWebTokens(
    settings: Settings, parts: Parts, warn: Callable[[str], object]
) -> WebTokens | None:
    """Return how JSON Web Tokens are judged; None = not at all.

    :raises SettingsError: something is missing.
    :raises FileError: the keys cannot be read.
    """
    given = settings.authentication
    if not given.jwks:
        for key in _OF_NO_USE_ALONE:
            if getattr(given, key):
                raise MissingError(f"[Authentication] {key} is of no use without jwks")
        return None
    if not given.subjectClaim:
        raise SettingsError("[Authentication] subjectClaim is empty; the usual one is sub")
    if not given.issuer:
        warn(
            "[Authentication] issuer is not set, so that a token of any issuer is accepted that "
            "uses the keys of jwks"
        )
    if not given.audience:
        warn(
            "[Authentication] audience is not set, so that tokens without one are accepted, "
            "whatever service they were issued for, and no others"
        )
    demands = Demands(given.issuer, given.audience, given.subjectClaim, given.leeway)
    if not isUrl(given.jwks):
        return WebTokens(demands, "", _readKeys(given.jwks, parts))
    if not (given.jwks.lower().startswith("https:") or isOnThisMachine(given.jwks)):
        warn(
            "[Authentication] jwks is fetched without TLS: whoever is on the way can put keys of "
            "his own there, and let himself in"
        )
    return WebTokens(demands, given.jwks, None)


def _readKeys(path: str, parts: Parts) -> KeySet:
    def read() -> KeySet:
        with readable("key set", path):
            return parseKeySet(parts.read(path))

    return parts.part("the keys of tokens stay as they were", read, lambda old: _keep(old, path))


def _keep(previous: Configuration, path: str) -> KeySet:
    """Return what was there, but not instead of the keys of somebody else."""
    if previous.webTokens is None or previous.settings.authentication.jwks != path:
        raise SettingsError("[Authentication] jwks is new, and cannot be read")
    assert previous.webTokens.keys is not None
    return previous.webTokens.keys
