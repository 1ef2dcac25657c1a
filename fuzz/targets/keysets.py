"""The keys of an issuer of tokens: a JSON Web Key Set.

The promises: a set is read, or it is a `ValueError` in one line; each key is one of the kinds that
are allowed, and of a size that is; each of the others is told in a line; and whatever is no
signature is none for any key.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.authentication.keysets import ALGORITHMS, MAX_ID, MAX_KEYS, parseKeySet


def check(data: bytes) -> None:
    try:
        found = parseKeySet(data)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        return
    assert 0 < len(found.keys) + len(found.ignored) <= MAX_KEYS
    assert all(map(isLine, found.ignored)), "no text to be shown"
    for key in found.keys:
        assert key.id is None or (len(key.id) <= MAX_ID and found.has(key.id))
        assert key.algorithms and key.algorithms <= ALGORITHMS
        for algorithm in key.algorithms:
            assert key in found.candidates(algorithm, key.id)
            assert not key.verifies(algorithm, b"content", data[:64])


TARGET = Target(
    check,
    covers=("authentication.keysets",),
    planted=(
        Planted(
            "authentication/keysets.py",
            "except Exception:  # its releases",
            "except LookupError:  # its releases",
        ),
        Planted(
            "authentication/keysets.py", "if not isinstance(members, list):", "if members is None:"
        ),
        Planted("authentication/keysets.py", "isinstance(operations, list) and ", ""),
    ),
    words=(
        b'{"keys":[{',
        b'"kty":"EC","crv":"P-256"',
        b'"kty":"OKP","crv":"Ed25519"',
        b'"kty":"RSA","n":"',
        b'"e":"AQAB"',
        b'"use":"sig"',
        b'"key_ops":["verify"]',
        b'"kid":"k"',
        b'"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"',
    ),
)
