"""Which public keys are of use, and for what."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.authentication.keysets import ALGORITHMS, MAX_KEYS, parseKeySet
from tests.support.issuers import IssuerKey, keySet, number, rsaKey

PROPERTY = settings(max_examples=100, deadline=None, database=None)

RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


class KeyTests(SynchronousTestCase):
    """What a key is good for."""

    def algorithms(self, member: Any) -> set[str]:
        """Return what the only key of a set may be used with."""
        (key,) = parseKeySet(keySet([member])).keys
        return set(key.algorithms)

    def assertIgnored(self, member: Any, word: str) -> None:
        """The key is of no use, and one that stands behind it still is."""
        found = parseKeySet(keySet([member, GOOD]))
        self.assertEqual([key.id for key in found.keys], ["good"])
        (reason,) = found.ignored
        self.assertIn(word, reason)
        self.assertTrue(reason.startswith("key 1: "))
        alone = self.assertRaises(ValueError, parseKeySet, keySet([member]))
        self.assertIn(word, str(alone))

    def test_kinds(self) -> None:
        """The kind of the key says it, and nothing else."""
        self.assertEqual(self.algorithms(IssuerKey("RS256")), RSA)
        for algorithm in ("ES256", "ES384", "ES512", "EdDSA"):
            self.assertEqual(self.algorithms(IssuerKey(algorithm)), {algorithm})
        self.assertEqual(self.algorithms(IssuerKey("Ed448")), {"EdDSA"})
        self.assertEqual(ALGORITHMS, RSA | {"ES256", "ES384", "ES512", "EdDSA"})

    def test_oneAlgorithm(self) -> None:
        """A key that says for which it is, is for no other."""
        self.assertEqual(self.algorithms(IssuerKey("RS256").public(alg="PS512")), {"PS512"})
        self.assertIgnored(IssuerKey("ES256").public(alg="ES384"), "kind")
        for other in ("RSA-OAEP", "HS256", "none", "", 5, None, ["RS256"]):
            self.assertIgnored(IssuerKey("RS256").public(alg=other), "kind")

    def test_signatures(self) -> None:
        """Each algorithm knows its signatures, and no other ones."""
        for algorithm in (*RSA, "ES256", "ES384", "ES512", "EdDSA", "Ed448"):
            made, other = IssuerKey(algorithm, "one"), IssuerKey(algorithm, "two")
            used = "EdDSA" if algorithm == "Ed448" else algorithm
            (key,) = parseKeySet(keySet([made])).keys
            signature = made.signature(b"signed")
            self.assertTrue(key.verifies(used, b"signed", signature), algorithm)
            size = len(signature)
            forged = (other.signature(b"signed"), bytes(size), b"\xff" * size)
            for wrong in (*forged, b"", b"x" * 8000, signature[:-1], signature + b"\0"):
                self.assertFalse(key.verifies(used, b"signed", wrong), algorithm)
            self.assertFalse(key.verifies(used, b"signed by others", signature), algorithm)

    def test_otherPurposes(self) -> None:
        """Keycloak's set has one for encryption, too."""
        key = IssuerKey("RS256")
        self.assertEqual(self.algorithms(key.public(use="sig", key_ops=["verify"])), RSA)
        self.assertIgnored(key.public(use="enc"), "not for signatures")
        self.assertIgnored(key.public(key_ops=["encrypt"]), "not for signatures")

    def test_secrets(self) -> None:
        """A secret in a set that others can read proves nothing."""
        self.assertIgnored({"kty": "oct", "k": "c2VjcmV0"}, "secret")
        for algorithm in ("RS256", "ES256", "EdDSA"):
            self.assertIgnored(IssuerKey(algorithm).public(d="AQAB"), "secret")

    def test_sizes(self) -> None:
        """RSA keys that are too small to be safe, or so large that they hold others up."""
        self.assertIgnored(IssuerKey("RS256", bits=1024), "bits")
        self.assertIgnored(IssuerKey("RS256", bits=2047), "bits")
        modulus = rsaKey(2048).public_key().public_numbers().n
        for n, word in (
            (modulus << 6145 | 1, "bits"),
            (modulus << 20000 | 1, "damaged"),
            (3, ""),
        ):
            self.assertIgnored({"kty": "RSA", "n": number(n), "e": "AQAB"}, word)
        for e in (1, 2, 65536, (1 << 32) + 1, modulus):
            self.assertIgnored({"kty": "RSA", "n": number(modulus), "e": number(e)}, "")
        self.assertEqual(self.algorithms({"kty": "RSA", "n": number(modulus), "e": "Aw"}), RSA)

    def test_otherKinds(self) -> None:
        """What nobody here can check."""
        for member in (
            {},
            {"kty": "XYZ"},
            {"kty": "EC"},
            {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
            {"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"},
        ):
            self.assertIgnored(member, "kind")

    def test_damaged(self) -> None:
        """Keys that are none."""
        point = IssuerKey("ES256").public()
        far = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
        for member in (
            5,
            None,
            [],
            {**point, "x": point["y"]},
            {**point, "x": number(far.x)},
            {**point, "x": "!"},
            {**point, "x": "ä"},
            {**point, "x": 5},
            {**point, "crv": ["P-256"]},
            {"kty": ["RSA"]},
            {"kty": "EC", "crv": "P-256"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
            {"kty": "RSA", "n": "AAAA"},
            {"kty": "RSA", "n": "", "e": ""},
            {**point, "kid": 5},
            {**point, "kid": "x" * 1025},
            {**point, "key_ops": 5},
        ):
            self.assertIgnored(member, "")


GOOD = IssuerKey("ES256", "good")


class KeySetTests(SynchronousTestCase):
    """Several keys."""

    def test_candidates(self) -> None:
        """By id, or else those without one; a token without an id may be of any."""
        members = [
            IssuerKey("ES256", "one"),
            IssuerKey("ES256", "two"),
            IssuerKey("ES256"),
            IssuerKey("RS256", "one"),
            IssuerKey("EdDSA"),
        ]
        found = parseKeySet(keySet(members))
        self.assertEqual(len(found.keys), 5)
        one, two, without, other, _edwards = found.keys
        self.assertEqual(found.candidates("ES256", "one"), [one])
        self.assertEqual(found.candidates("PS256", "one"), [other])
        self.assertEqual(found.candidates("PS256", "two"), [])
        self.assertEqual(found.candidates("ES256", "new"), [without])
        self.assertEqual(found.candidates("ES256", None), [one, two, without])
        self.assertTrue(found.has("one"))
        self.assertFalse(found.has("new"))

    def test_none(self) -> None:
        """What is no key set, in one line that repeats nothing of it."""
        for content, word in (
            (b"", "JSON"),
            (b"secret", "JSON"),
            (b"\xff", "UTF-8"),
            (b"[]", "object"),
            (b"[" * 60000, "nested"),
            (b"{}", "keys"),
            (b'{"keys": {"secret": 1}}', "keys"),
            (b'{"keys": []}', "no key is of use"),
            (keySet([GOOD] * (MAX_KEYS + 1)), str(MAX_KEYS)),
            (b"-----BEGIN PUBLIC KEY-----\n", "JSON"),
        ):
            said = str(self.assertRaises(ValueError, parseKeySet, content))
            self.assertIn(word, said)
            self.assertNotIn("secret", said)
            self.assertNotIn("\n", said)
        self.assertEqual(len(parseKeySet(keySet([GOOD] * MAX_KEYS)).keys), MAX_KEYS)

    def test_byteOrderMark(self) -> None:
        """A mark that an editor put at the beginning does no harm."""
        self.assertEqual(len(parseKeySet(b"\xef\xbb\xbf" + keySet([GOOD])).keys), 1)

    @PROPERTY
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["kty", "crv", "n", "e", "x", "y", "kid", "alg", "use", "key_ops"]
                    ),
                    inner | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB"]),
                    max_size=6,
                )
            ),
            max_leaves=12,
        )
    )
    def test_anything(self, member: Any) -> None:
        """Whatever an issuer writes, it is a key or is told in one line."""
        content = json.dumps({"keys": [member]}).encode()
        try:
            parseKeySet(content)
        except ValueError as error:
            self.assertNotIn("\n", str(error))
