"""The real server process and JSON Web Tokens, whose issuer is in this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.web.server import Request

from tests.endtoend.test_authentication import BackendCase
from tests.support.endtoend import (
    DIALECTS,
    ESTABLISHED_FIRST,
    FIRST,
    SIGHUP,
    STREAM,
    SharedServer,
    Stream,
    accepted,
    authenticate,
    connect,
    inThread,
    refused,
    secret,
)
from tests.support.issuers import ISSUER, IssuerKey, keySet

KEYS = [IssuerKey("RS256", "rsa"), IssuerKey("ES256", "ec"), IssuerKey("EdDSA", "edwards")]


def token(key: IssuerKey, **claims: Any) -> str:
    """Return a token that is good now."""
    return key.token(**{"sub": secret("anna"), "exp": time.time() + 3600, **claims})


def demands(jwks: str) -> list[str]:
    """Return the options for these keys."""
    return [
        *("--websocket", STREAM, "-vv", "--set", f"Authentication.jwks={jwks}"),
        *("--set", f"Authentication.issuer={ISSUER}", "--set", "Authentication.audience=proxy"),
    ]


class FetchedKeysTests(BackendCase):
    """Keys that an issuer publishes; accounts are paired."""

    def arguments(self) -> list[str]:
        url = f"http://127.0.0.1:{self.shared().port}/keys"
        return [*demands(url), "--set", "Authentication.pairing=subject"]

    def setUp(self) -> Any:
        ready = super().setUp()
        self.shared().answer = lambda request: keySet(KEYS)
        return ready

    @inThread
    def testPairing(self) -> None:
        """Two tokens of one account meet, whatever they are signed with, and others do not."""
        anna = secret("anna")
        one = self.ask(token(KEYS[0], sub=anna), FIRST)
        self.assertEqual(one.message(), accepted(FIRST))
        other = self.ask(token(KEYS[1]), FIRST)
        self.assertEqual(other.message(), accepted(FIRST))
        two = self.ask(token(KEYS[2], sub=anna), FIRST)
        self.assertEqual(two.message(), accepted(FIRST))
        self.assertEqual(one.message(), ESTABLISHED_FIRST)
        self.assertEqual(two.message(), ESTABLISHED_FIRST)
        one.sendMessage(b"hello")
        self.assertEqual(two.message(), b"hello")

    @inThread
    def testRefused(self) -> None:
        """Expired, for others, forged, or no such token at all."""
        good = token(KEYS[1])
        for wrong in (
            token(KEYS[1], exp=time.time() - 60),
            token(KEYS[1], aud="stranger"),
            token(KEYS[1], iss=f"{ISSUER}/"),
            token(IssuerKey("ES256", "ec")),
            token(IssuerKey("ES256", "unknown")),
            KEYS[1].token({"alg": "none"}),
            f"{good[:-6]}AAAAAA",
            secret(),
        ):
            for dialect in DIALECTS:
                client = self.ask(wrong, dialect)
                self.assertEqual(client.goodbye(), (refused(dialect), 1008))
                self.assertEqual(self.ended(client), "token-refused")
        self.server.waitFor("not accepted as a JWT: it has expired", self.since)

    @inThread
    def testNoAccount(self) -> None:
        """An account without a name would pair with every other such: it is a failure."""
        client = self.ask(token(KEYS[1], sub=None), FIRST)
        client.goodbye()
        self.assertEqual(self.ended(client), "authentication-error")


class NoKeysTests(BackendCase):
    """The issuer answers, but not with keys."""

    backendsName = "the issuer of tokens"

    def arguments(self) -> list[str]:
        return demands(f"http://127.0.0.1:{self.shared().port}/keys")

    def ask(self, token: str, dialect: dict[str, str], **more: str) -> Stream:
        return super().ask(KEYS[0].token(exp=time.time() + 60), dialect, **more)

    @inThread
    def testNobody(self) -> None:
        """Nobody gets in; the log says why, and the issuer is not asked by each."""

        def answer(request: Request) -> bytes:
            request.setResponseCode(503)
            return keySet(KEYS)

        self.backend.answer = answer
        self.assertFails("its keys cannot be fetched: it answered with HTTP status 503")
        self.server.waitFor("the keys of tokens cannot be fetched: .*503", self.since)
        self.assertEqual(len(self.backend.asked), 1)


class KeyFileTests(SharedServer):
    """Keys of a file, which is read again with SIGHUP; a token list besides."""

    def arguments(self) -> list[str]:
        self.file = Path(self.mktemp()).absolute()
        self.file.write_bytes(keySet(KEYS[:1]))
        return [*demands(str(self.file)), "--token", "listed"]

    def outcome(self, token: str) -> bytes:
        """Return what a client with this token is told."""
        client = connect(self.server.urls[0])
        self.keep(client)
        client.sendMessage(authenticate(token, FIRST))
        return client.message()

    @inThread
    def testReload(self) -> None:
        """New keys take the place of the old ones; a broken file leaves them."""
        self.assertEqual(self.outcome("listed"), accepted(FIRST))
        self.assertEqual(self.outcome(token(KEYS[0])), accepted(FIRST))
        self.assertEqual(self.outcome(token(KEYS[1])), refused(FIRST))
        self.file.write_bytes(keySet(KEYS[1:]))
        for _time in range(2):
            self.server.signal(SIGHUP)
            self.server.waitFor("reloaded", self.since)
            self.assertEqual(self.outcome(token(KEYS[1])), accepted(FIRST))
            self.assertEqual(self.outcome(token(KEYS[0])), refused(FIRST))
            self.since = self.server.mark()
            self.file.write_bytes(b"{")
        self.server.waitFor("the keys of tokens stay as they were: cannot use the key set", 0)
