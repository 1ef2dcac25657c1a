"""Who is let in: the tokens this server knows, and what it needs to ask for others.

Owns which ways of authentication go together. Knows nothing of how a token is judged.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nymearemoteproxy.authentication.tokens import parseTokens
from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.lists import parseSecret
from nymearemoteproxy.common.texts import isText
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.settings.errors import MissingError, SettingsError
from nymearemoteproxy.running.settings.sections import Pairing
from nymearemoteproxy.running.settings.values import Settings


@dataclass(frozen=True)
class Tokens:
    """The tokens that this server knows by itself.

    :ivar accepted: None = it knows none.
    :ivar generated: the one that was made because none was given.
    """

    accepted: Sequence[str] | None = field(default=None, repr=False)
    generated: str | None = field(default=None, repr=False)


def readTokens(
    settings: Settings,
    given: CommandLine,
    worksWithout: bool,
    parts: Parts,
    warn: Callable[[str], object],
) -> Tokens:
    """Return the tokens that are given, or else one that is made, if nothing else lets in.

    :param worksWithout: there is something to do without any.
    :raises SettingsError: it does not go together, or there is no authentication at all.
    :raises FileError: a file cannot be used.
    """
    named = settings.authentication.tokenFile
    judgesOthers = namesAccounts(settings)
    files = given.tokenFiles or ([named] if named else [])
    isGiven = bool(given.tokens or files)
    for token in given.tokens:
        if not token or not isText(token):
            raise SettingsError(
                "--token: the token is empty, or not UTF-8; give one as in --token SECRET, or a "
                "file of them with --token-file"
            )
    if given.acceptAnyToken and (isGiven or judgesOthers):
        raise SettingsError(
            "--accept-any-token lets everybody in, so it cannot go together with tokens, an "
            "authentication server or jwks"
        )
    if isGiven:
        accepted: Sequence[str] = parts.part(
            "the tokens stay as they were",
            lambda: [*given.tokens, *_readFiles(files, parts.read)],
            lambda previous: [*(previous.acceptedTokens or ())],
        )
        return Tokens(accepted)
    if judgesOthers or given.acceptAnyToken:
        return Tokens()
    if given.isOfService and worksWithout:
        warn(
            "no authentication is given, so nobody is let in to token tunnels; the tunnel proxy "
            "needs none"
        )
        return Tokens([])
    made = _generated(given, parts)
    return Tokens([made], made)


def _readFiles(paths: Sequence[str], read: Read) -> list[str]:
    tokens = []
    for path in paths:
        with readable("token file", path):
            tokens += parseTokens(read(path))
    return tokens


def _generated(given: CommandLine, parts: Parts) -> str:
    """Return a token that is made, once, to be shown."""
    previous, inherited = parts.previous, parts.inherited
    if previous is not None:
        if previous.generatedToken is None:
            raise MissingError("no authentication is given any more")
        return previous.generatedToken
    if given.isOfService:
        raise MissingError(
            "no authentication is given, and nobody would see a generated token: use --server, "
            "--token-file or --token, or set [Authentication] server, tokenFile or jwks"
        )
    if inherited is not None and inherited.token is not None:
        return inherited.token
    return secrets.token_urlsafe(24)


def namesAccounts(settings: Settings) -> bool:
    """Tell whether anything says which account a token belongs to."""
    return bool(settings.authentication.server or settings.authentication.jwks)


def checkPairing(settings: Settings, given: CommandLine, tokens: Tokens) -> None:
    """See that there are accounts to pair by.

    :raises SettingsError: there are none.
    """
    names = [settings.authentication.server, settings.authentication.jwks]
    areThere = sum(map(bool, names)) == 1 and tokens.accepted is None and not given.acceptAnyToken
    if settings.authentication.pairing is Pairing.SUBJECT and not areThere:
        raise MissingError(
            "[Authentication] pairing = subject needs either an authentication server or jwks, and "
            "nothing else: only these name the account that a token belongs to, and two of them "
            "may mean two accounts by one name"
        )


def readCredentials(settings: Settings, parts: Parts) -> tuple[str, str] | None:
    """Return client id and secret for the authentication server; None = it needs none.

    :raises SettingsError: one of them is missing.
    :raises FileError: the secret cannot be read.
    """
    return parts.part(
        "the client secret stays as it was",
        lambda: _readCredentials(settings, parts.read),
        lambda previous: _keepCredentials(previous, settings),
    )


def _readCredentials(settings: Settings, read: Read) -> tuple[str, str] | None:
    user, path = settings.authentication.clientId, settings.authentication.clientSecretFile
    if bool(path) != bool(user):
        given, missing = "clientId", "clientSecretFile"
        if path:
            given, missing = missing, given
        raise MissingError(f"[Authentication] {given} needs {missing}, too: they go together")
    if not path:
        return None
    with readable("client secret", path):
        return user, parseSecret(read(path))


def _keepCredentials(previous: Configuration, settings: Settings) -> tuple[str, str] | None:
    """Return what was there, but not for a server that it was never meant for."""
    if settings.authentication.server != previous.settings.authentication.server:
        raise SettingsError("a new authentication server needs a client secret that can be read")
    return previous.credentials
