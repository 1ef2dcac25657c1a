"""Owns the checks of the whole judgement: token, claims, keys, signature, and its turns."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.authentication.backend import BackendError, IAuthenticator, Verdict
from nymearemoteproxy.authentication.jwtbackend import GivenKeys, JwtAuthenticator
from nymearemoteproxy.authentication.keysets import IKeys, Key, KeySet, parseKeySet
from nymearemoteproxy.authentication.webtokens import Demands
from nymearemoteproxy.common.logs import setVerbose
from nymearemoteproxy.common.turns import Turns
from tests.support.issuers import ISSUER, NOW, IssuerKey, encoded, keySet
from tests.support.loglines import logged

DEMANDS = Demands(ISSUER, ("proxy",), "sub", 30.0)

MADE = {
    algorithm: IssuerKey(algorithm, algorithm)
    for algorithm in ("RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA", "Ed448")
}


@implementer(IKeys)
class AskedKeys:
    """Keys that come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.answer: Deferred[KeySet] = Deferred()

    async def find(self, id: str | None) -> KeySet:
        self.asked.append(id)
        return await self.answer


class JwtTests(SynchronousTestCase):
    """Who gets in."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.now = NOW
        self.use(GivenKeys(parseKeySet(keySet(MADE.values()))))

    def use(self, keys: Any, demands: Demands = DEMANDS) -> None:
        """Judge by these keys."""
        self.backend = JwtAuthenticator(demands, keys, Turns(self.clock), lambda: self.now)

    def verdict(self, token: str) -> Verdict:
        """Return the verdict."""
        asked = self.backend.authenticate(token)
        self.clock.pump([0] * 10)
        verdict = self.successResultOf(asked)
        assert isinstance(verdict, Verdict)
        return verdict

    def assertRefused(self, token: str) -> None:
        self.assertEqual(self.verdict(token), Verdict(False))

    def test_interface(self) -> None:
        """It is a backend, and a file's keys are keys."""
        self.assertTrue(verifyObject(IAuthenticator, self.backend))
        self.assertTrue(verifyObject(IKeys, GivenKeys(KeySet(()))))

    def test_accepted(self) -> None:
        """Every kind of signature, with the account it is for."""
        for algorithm, key in MADE.items():
            self.assertEqual(self.verdict(key.token(sub="bert")), Verdict(True, "bert"), algorithm)

    def test_noAccount(self) -> None:
        """A token that names none is good; whether that is enough is not decided here."""
        self.assertEqual(self.verdict(MADE["ES256"].token(sub=None)), Verdict(True))

    def test_time(self) -> None:
        """It is looked at when the token is shown."""
        token = MADE["ES256"].token(exp=NOW + 100)
        self.assertTrue(self.verdict(token).accepted)
        self.now = NOW + 131
        self.assertRefused(token)

    def test_forged(self) -> None:
        """Claims, header or signature of somebody else's making."""
        key = MADE["ES256"]
        head, body, signature = key.token().split(".")
        _head, other, _signature = key.token(sub="mallory").split(".")
        self.assertRefused(f"{head}.{other}.{signature}")
        stranger = IssuerKey("ES256", "ES256")
        self.assertRefused(stranger.token())
        self.assertRefused(f"{head}.{body}.{encoded(bytes(64))}")
        self.assertRefused(MADE["RS256"].token({"kid": "ES256"}))
        self.assertRefused(key.token({"kid": "RS256"}))
        self.assertRefused(stranger.token({"kid": "unknown"}))

    def test_algorithmOfTheToken(self) -> None:
        """RFC 8725 section 2.1: neither none, nor an HMAC with the public key."""
        head = encoded(b'{"alg":"none"}')
        _head, body, signature = MADE["RS256"].token().split(".")
        self.assertRefused(f"{head}.{body}.{signature}")
        self.assertRefused(f"{head}.{body}.")
        for algorithm in ("HS256", "RS512", "PS256", "ES256"):
            self.assertRefused(MADE["RS256"].token({"alg": algorithm}))

    def test_withoutIds(self) -> None:
        """Several keys without an id: each is tried, one in each turn."""
        keys = [IssuerKey("ES256") for _ in range(4)]
        self.use(GivenKeys(parseKeySet(keySet(keys))))
        for key in keys:
            self.assertTrue(self.verdict(key.token()).accepted)
            self.assertTrue(self.verdict(key.token({"kid": "of-no-meaning"})).accepted)
        self.assertRefused(IssuerKey("ES256").token())
        self.use(GivenKeys(parseKeySet(keySet(MADE.values()))))
        self.assertTrue(self.verdict(MADE["ES384"].token({"kid": None})).accepted)

    def test_notForUs(self) -> None:
        """What is no token of this issuer for us needs no keys."""
        keys = AskedKeys()
        self.use(keys)
        key = MADE["ES256"]
        for token in ("secret", key.token(iss="x"), key.token(aud="x"), key.token(exp=NOW - 60)):
            self.assertRefused(token)
        self.assertEqual(keys.asked, [])

    def test_noKeys(self) -> None:
        """Nobody gets in, and the token is not to blame."""
        keys = AskedKeys()
        self.use(keys)
        asked = self.backend.authenticate(MADE["ES256"].token())
        self.assertNoResult(asked)
        self.assertEqual(keys.asked, ["ES256"])
        keys.answer.errback(BackendError("there are none"))
        self.failureResultOf(asked, BackendError)

    def test_cancelled(self) -> None:
        """Whoever gives up while the keys are fetched, or stands in line, is gone."""
        keys = AskedKeys()
        self.use(keys)
        token = MADE["ES256"].token()
        asked = self.backend.authenticate(token)
        asked.cancel()
        self.failureResultOf(asked)
        self.use(GivenKeys(parseKeySet(keySet(MADE.values()))))
        asked = self.backend.authenticate(token)
        self.assertNoResult(asked)
        asked.cancel()
        self.failureResultOf(asked)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_turns(self) -> None:
        """However many come at once, a turn checks signatures for two milliseconds, and one."""
        checked = [0]
        verifies = Key.verifies

        def slow(key: Key, *what: Any) -> bool:
            checked[-1] += 1
            self.clock.rightNow += 0.0007  # as long as the slowest takes
            return verifies(key, *what)

        serve = Turns._serve

        def serveOnce(turns: Turns) -> None:
            checked.append(0)
            serve(turns)

        self.patch(Key, "verifies", slow)
        self.patch(Turns, "_serve", serveOnce)
        token = MADE["ES256"].token()
        asked = [self.backend.authenticate(token) for _ in range(30)]
        self.assertEqual(checked, [0])
        self.clock.advance(0)
        for each in asked:
            self.assertTrue(self.successResultOf(each).accepted)
        self.assertEqual((sum(checked), max(checked)), (30, 3))

    def test_discreet(self) -> None:
        """What the log is told says why, and nothing of the token."""
        setVerbose(True)
        self.addCleanup(setVerbose, False)
        lines = logged(self)
        key = MADE["ES256"]
        for token in ("s3cr3t", key.token(iss="s3cr3t"), key.token({"kid": "s3cr3t"})):
            self.assertRefused(token)
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertIn("not accepted as a JWT: ", line)
            self.assertNotIn("s3cr3t", line)
