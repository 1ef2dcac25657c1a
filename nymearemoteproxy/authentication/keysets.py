"""The public keys by which a token's signature is checked: a JSON Web Key Set (RFC 7517).

Owns which keys are of use, and which signatures each is good for. Knows nothing of tokens, or of
how one gets the keys.

What a signature may be is said by the key and never by the token (RFC 8725 section 3.1), so there
is neither ``none``, nor an HMAC whose secret would be a public key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jwt.algorithms import get_default_algorithms
from zope.interface import Interface

from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject

MAX_KEYS = 32
"""Those of several kinds, before, during and after a change, are a dozen."""

MIN_RSA, MAX_RSA = 2048, 8192
"""Bits: the least that RFC 7518 (section 3.3) allows, and the most whose check, which takes 0.3 ms,
is a small piece of work."""

MAX_EXPONENT = 1 << 32
"""All known issuers take 65537; what is larger only makes the check slow."""

MAX_NUMBER = 2000
"""Characters of a number in base64: 8192 bits are 1366."""

MAX_ID = 1024
"""Characters of a key's id."""

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Mapping[tuple[str, object], tuple[str, ...]] = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}

ALGORITHMS = frozenset(_RSA).union(*_BY_CURVE.values())
"""Every one that a token may be signed with, by the names of RFC 7518 and RFC 8037."""

_IMPLEMENTED = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in ALGORITHMS
}
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")
"""What a public key consists of."""


@dataclass(frozen=True)
class Key:
    """A public key.

    :ivar id: by which a token names it (``kid``); None = it has none.
    :ivar algorithms: with which it may have been used.
    """

    id: str | None
    algorithms: frozenset[str]
    _key: Any = field(repr=False)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Tell whether this is a signature of these bytes; takes up to a millisecond.

        :param algorithm: one of the key's.
        """
        assert algorithm in self.algorithms
        return bool(_IMPLEMENTED[algorithm].verify(signed, self._key, signature))


@dataclass(frozen=True)
class KeySet:
    """Some public keys.

    :ivar ignored: why others that were there are of no use, one line each.
    """

    keys: tuple[Key, ...]
    ignored: tuple[str, ...] = ()

    def has(self, id: str) -> bool:
        """Tell whether there is a key of this id."""
        return any(key.id == id for key in self.keys)

    def candidates(self, algorithm: str, id: str | None) -> list[Key]:
        """Return the keys by which a token may have been signed.

        :param id: of the key, as the token says. If none has it, those without an id are meant. A
            token may name none; then any is.
        """
        keys = [key for key in self.keys if id is None or key.id == id]
        if not keys:
            keys = [key for key in self.keys if key.id is None]
        return [key for key in keys if algorithm in key.algorithms]


class IKeys(Interface):
    """Where the keys come from."""

    async def find(id: str | None) -> KeySet:
        """Return the keys that are good now.

        :param id: of one that should be among them, if it exists; None = it does not matter.
        :raises BackendError: nobody knows them.
        """


def parseKeySet(content: bytes) -> KeySet:
    """Return the keys of a key set. Those that are not for signatures, or no good, are left out.

    :raises ValueError: there is none, or it is no key set; the text is one line.
    """
    try:
        members = decodeObject(content.removeprefix(b"\xef\xbb\xbf")).get("keys")
    except MessageError as error:
        raise ValueError(f"it is no key set: {error.text}") from None
    if not isinstance(members, list):
        raise ValueError("it is no key set: there is no list named keys")
    if len(members) > MAX_KEYS:
        raise ValueError(f"there are more than {MAX_KEYS} keys")
    keys, ignored = [], []
    for number, member in enumerate(members, 1):
        try:
            keys.append(_parseKey(member))
        except ValueError as error:
            ignored.append(f"key {number}: {error}")
    if not keys:
        raise ValueError("no key is of use" + "".join(f"; {reason}" for reason in ignored[:1]))
    return KeySet(tuple(keys), tuple(ignored))


def _parseKey(member: object) -> Key:
    """Return the public key that a member of a set is.

    :raises ValueError: it is of no use; the text says why, and repeats nothing of it.
    """
    if not isinstance(member, dict):
        raise ValueError("it is no object")
    id = member.get("kid")
    if id is not None and not (isinstance(id, str) and len(id) <= MAX_ID):
        raise ValueError("its kid is no short text")
    operations = member.get("key_ops", ["verify"])
    mayVerify = isinstance(operations, list) and "verify" in operations
    if not mayVerify or member.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures")
    if "d" in member or "k" in member:
        raise ValueError("it is a secret and not a public key")
    public = {name: member[name] for name in _PUBLIC if name in member}
    if not all(isinstance(value, str) and len(value) <= MAX_NUMBER for value in public.values()):
        raise ValueError("it is damaged")
    possible = _RSA if public.get("kty") == "RSA" else _BY_CURVE.get(_kind(public), ())
    algorithms = [name for name in possible if member.get("alg", name) == name]
    if not algorithms:
        raise ValueError("there is no such kind of signature here")
    make: Callable[[Any], Any] = _IMPLEMENTED[algorithms[0]].from_jwk
    try:
        key = make(public)
    except Exception:  # its releases raise many kinds, none of which is for us to tell apart
        raise ValueError("it is damaged") from None
    if possible is _RSA:
        _checkSize(key)
    return Key(id, frozenset(algorithms), key)


def _kind(public: Mapping[str, Any]) -> tuple[str, object]:
    return public.get("kty", ""), public.get("crv")


def _checkSize(key: Any) -> None:
    if not MIN_RSA <= key.key_size <= MAX_RSA:
        raise ValueError(f"it has not {MIN_RSA} to {MAX_RSA} bits")
    exponent = key.public_numbers().e
    if not 2 < exponent < MAX_EXPONENT or exponent % 2 == 0:
        raise ValueError("it has an unusual exponent")
