"""What a JSON Web Token must be."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.authentication.webtokens import (
    MAX_TOKEN,
    Demands,
    TokenRefused,
    readWebToken,
)
from tests.support.issuers import ISSUER, NOW, IssuerKey, encoded

PROPERTY = settings(max_examples=200, deadline=None, database=None)

KEY = IssuerKey("ES256", "one")
DEMANDS = Demands(ISSUER, ("proxy", "other"), "sub", 30.0)


class ReadingTests(SynchronousTestCase):
    """What is a token at all."""

    def assertRefused(self, token: str, word: str) -> None:
        """It is not read; the text repeats nothing of it."""
        said = str(self.assertRaises(TokenRefused, readWebToken, token))
        self.assertIn(word, said)
        self.assertNotIn("secret", said)

    def test_read(self) -> None:
        """What is in it, and what is signed."""
        token = KEY.token(sub="zoë")
        read = readWebToken(token)
        self.assertEqual((read.algorithm, read.keyId), ("ES256", "one"))
        self.assertEqual(read.claims["sub"], "zoë")
        self.assertEqual(read.signed.decode(), token[: token.rindex(".")])
        self.assertEqual(encoded(read.signature), token[token.rindex(".") + 1 :])
        self.assertIsNone(readWebToken(KEY.token({"kid": None})).keyId)

    def test_noToken(self) -> None:
        """Other tokens, which other backends may know."""
        head, body, signature = KEY.token().split(".")
        for token in (
            "",
            "secret",
            "..",
            f"{head}.{body}",
            f"{head}.{body}.",
            f"{head}..{signature}",
            f"{head}.{body}.{signature}.{signature}",
            f"{head}.{body}.{signature}=",
            f"{head}.{body}.{signature}\n",
            f" {head}.{body}.{signature}",
            f"{head}.{body}+.{signature}",
            f"{head}.{body}ä.{signature}",
            f"{head}.{body}.{signature}.a.b",
            '{"payload":"","signatures":[]}',
        ):
            self.assertRefused(token, "no signed JWT")

    def test_size(self) -> None:
        """A long one is not even looked at."""
        self.assertRefused(KEY.token(more="x" * MAX_TOKEN), "no signed JWT")

    def test_damaged(self) -> None:
        """Parts that are no base64, no JSON, or no objects."""
        head, body, signature = KEY.token().split(".")
        for wrong in ("a", encoded(b"secret"), encoded(b"[1]"), encoded(b"[" * 3000), "_w"):
            self.assertRefused(f"{wrong}.{body}.{signature}", "damaged")
            self.assertRefused(f"{head}.{wrong}.{signature}", "damaged")
        self.assertRefused(f"{head}.{body}.a", "damaged")
        infinite = encoded(b'{"exp": Infinity}')
        self.assertRefused(f"{head}.{infinite}.{signature}", "damaged")

    def test_algorithms(self) -> None:
        """None, or an HMAC, never count, however they are written."""
        for algorithm in ("none", "None", "HS256", "HS512", "", "ES256K", "dir", 5, ["ES256"], {}):
            self.assertRefused(KEY.token({"alg": algorithm}), "algorithm")
        self.assertRefused(KEY.token({"alg": None}), "algorithm")

    def test_header(self) -> None:
        """What the token says has to be understood is not ignored (RFC 7515 section 4.1.11)."""
        for header in ({"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}):
            self.assertRefused(KEY.token(header), "not understood")
        for kid in (5, ["one"], {}, True):
            self.assertRefused(KEY.token({"kid": kid}), "not understood")

    @PROPERTY
    @given(st.text(st.sampled_from("abeyJ0_-.=\x00é{}"), max_size=40))
    def test_anything(self, token: str) -> None:
        """Whatever a client shows is read or refused."""
        self.assertRaises(TokenRefused, readWebToken, token)


class DemandTests(SynchronousTestCase):
    """What its claims must be."""

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return good claims, but for these; None leaves one out."""
        all = {"iss": ISSUER, "aud": "proxy", "sub": "anna", "exp": NOW + 60, **claims}
        return {name: claim for name, claim in all.items() if claim is not None}

    def assertAccepted(self, demands: Demands = DEMANDS, **claims: Any) -> None:
        demands.check(self.claims(**claims), NOW)

    def assertRefused(self, word: str, demands: Demands = DEMANDS, **claims: Any) -> None:
        with self.assertRaises(TokenRefused) as caught:
            demands.check(self.claims(**claims), NOW)
        self.assertIn(word, str(caught.exception))

    def test_issuer(self) -> None:
        """To the letter, or any."""
        self.assertAccepted()
        for other in (None, "", f"{ISSUER}/", ISSUER.upper(), [ISSUER], 5):
            self.assertRefused("issuer", iss=other)
            self.assertAccepted(Demands(audience=("proxy",)), iss=other)

    def test_audience(self) -> None:
        """One of those that are demanded, alone or among others."""
        for audience in ("proxy", "other", ["x", "other"], ["proxy", 5, None]):
            self.assertAccepted(aud=audience)
        for audience in (None, "", "prox", "proxy ", [], ["x"], [["proxy"]], {"proxy": 1}, 5):
            self.assertRefused("audience", aud=audience)
        self.assertRefused("audience", aud=None, azp="proxy")

    def test_noAudience(self) -> None:
        """Whoever does not know its own name is not meant (RFC 7519 section 4.1.3)."""
        demands = Demands(ISSUER)
        self.assertAccepted(demands, aud=None)
        self.assertAccepted(demands, aud=None, client_id="any")
        for audience in ("proxy", ["proxy"], [], ""):
            self.assertRefused("audience", demands, aud=audience)
        with self.assertRaises(TokenRefused):
            demands.check({**self.claims(), "aud": None}, NOW)

    def test_clientId(self) -> None:
        """Cognito's access tokens have no audience but the client they were issued to."""
        self.assertAccepted(aud=None, client_id="proxy")
        self.assertRefused("audience", aud=None, client_id="stranger")
        self.assertRefused("audience", aud=None, client_id=5)
        self.assertRefused("audience", aud="stranger", client_id="proxy")

    def test_expiry(self) -> None:
        """There has to be one, and it must not be over."""
        self.assertAccepted(exp=NOW - 29)
        self.assertAccepted(exp=NOW + 0.5)
        self.assertAccepted(exp=10**300)
        self.assertRefused("expired", exp=NOW - 30)
        self.assertRefused("expired", exp=0)
        self.assertRefused("expired", exp=-(10**300))
        self.assertRefused("expired", Demands(ISSUER, ("proxy",)), exp=NOW)
        self.assertRefused("never expire", exp=None)
        for wrong in ("1900000000", True, [NOW + 60], {}):
            self.assertRefused("exp", exp=wrong)
        with self.assertRaises(TokenRefused):
            DEMANDS.check({**self.claims(), "exp": None}, NOW)

    def test_events(self) -> None:
        """What tells an OpenID client that somebody has logged out lets nobody in."""
        event = "http://schemas.openid.net/event/backchannel-logout"
        self.assertRefused("tells of an event", events={event: {}})

    def test_beginning(self) -> None:
        """If it has one, it must be there."""
        self.assertAccepted(nbf=NOW + 30)
        self.assertAccepted(nbf=0)
        self.assertRefused("not valid yet", nbf=NOW + 31)
        for wrong in ("0", True, [0]):
            self.assertRefused("nbf", nbf=wrong)

    def test_subject(self) -> None:
        """The account: a text of some length, from the claim that is named."""
        self.assertEqual(DEMANDS.subject(self.claims()), "anna")
        for nothing in (None, "", 5, ["anna"], "x" * 1025):
            self.assertIsNone(DEMANDS.subject(self.claims(sub=nothing)))
        other = Demands(subjectClaim="cognito:username")
        self.assertEqual(other.subject({"sub": "x", "cognito:username": "bert"}), "bert")
        self.assertIsNone(other.subject(self.claims()))

    def test_numbersOfJson(self) -> None:
        """Those that JSON can write can be compared."""
        for text in ("1e308", "1e-300", str(10**308), "-0.0"):
            claims = {**self.claims(), "exp": json.loads(text)}
            try:
                DEMANDS.check(claims, NOW)
            except TokenRefused as refused:
                self.assertIn("expired", str(refused))
