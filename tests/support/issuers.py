"""Issuers of JSON Web Tokens, written from RFC 7515, 7517 and 7518, without PyJWT."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = 1_800_000_000.0
"""Unix time of the tests."""

ISSUER = "https://id.example/realms/home"

_HASHES: dict[str, Any] = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES: dict[str, tuple[str, Any]] = {
    "ES256": ("P-256", ec.SECP256R1),
    "ES384": ("P-384", ec.SECP384R1),
    "ES512": ("P-521", ec.SECP521R1),
}


def encoded(content: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """Return a number as the members of keys are written."""
    return encoded(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@cache
def rsaKey(bits: int, serial: int = 0) -> rsa.RSAPrivateKey:
    """Return an RSA key, the same for the same arguments: making one takes long."""
    return rsa.generate_private_key(65537, bits)


class IssuerKey:
    """A key of an issuer.

    :param algorithm: what it signs with.
    :param id: its ``kid``; None = it has none.
    """

    def __init__(self, algorithm: str, id: str | None = None, bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.id = id
        self.private: Any
        if algorithm[:2] in ("RS", "PS"):
            self.private = rsaKey(bits, hash(id))
        elif algorithm in _CURVES:
            self.private = ec.generate_private_key(_CURVES[algorithm][1]())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = ed448.Ed448PrivateKey.generate()

    def public(self, **more: Any) -> dict[str, Any]:
        """Return the public key as a member of a key set."""
        member: dict[str, Any] = {} if self.id is None else {"kid": self.id}
        key = self.private.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            member |= {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        elif isinstance(key, ec.EllipticCurvePublicKey):
            point, size = key.public_numbers(), (key.curve.key_size + 7) // 8
            curve = _CURVES[self.algorithm][0]
            member |= {"kty": "EC", "crv": curve}
            member |= {"x": number(point.x, size), "y": number(point.y, size)}
        else:
            curve = "Ed25519" if self.algorithm == "EdDSA" else "Ed448"
            member |= {"kty": "OKP", "crv": curve}
            member["x"] = encoded(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        return member | more

    def signature(self, signed: bytes) -> bytes:
        """Return a signature."""
        if self.algorithm.startswith("Ed"):
            return bytes(self.private.sign(signed))
        hash = _HASHES[self.algorithm[2:]]()
        if self.algorithm.startswith("RS"):
            return bytes(self.private.sign(signed, padding.PKCS1v15(), hash))
        if self.algorithm.startswith("PS"):
            pss = padding.PSS(padding.MGF1(hash), hash.digest_size)
            return bytes(self.private.sign(signed, pss, hash))
        size = (self.private.curve.key_size + 7) // 8
        r, s = utils.decode_dss_signature(self.private.sign(signed, ec.ECDSA(hash)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that is good for an hour; a claim that is None is left out.

        :param header: what is different in it; None leaves a parameter out.
        """
        algorithm = "EdDSA" if self.algorithm.startswith("Ed") else self.algorithm
        head = {"alg": algorithm, "typ": "JWT", "kid": self.id, **(header or {})}
        body = {"iss": ISSUER, "aud": "proxy", "sub": "anna", "exp": NOW + 3600, **claims}
        signed = ".".join(
            encoded(json.dumps({k: v for k, v in each.items() if v is not None}).encode())
            for each in (head, body)
        )
        return f"{signed}.{encoded(self.signature(signed.encode()))}"


def keySet(keys: Iterable[IssuerKey | dict[str, Any]]) -> bytes:
    """Return a key set."""
    members = [key.public() if isinstance(key, IssuerKey) else key for key in keys]
    return json.dumps({"keys": members}).encode()
