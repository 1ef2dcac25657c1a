"""JSON Web Tokens, and what is demanded of them.

The promises: a token is read, or refused in one line that repeats nothing of it; what was read is
what is in it, by a plain reading of RFC 7515; who is let in can be named.
"""

from __future__ import annotations

import json

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.authentication.backend import MAX_SUBJECT
from nymearemoteproxy.authentication.keysets import ALGORITHMS
from nymearemoteproxy.authentication.webtokens import (
    MAX_TOKEN,
    Demands,
    TokenRefused,
    readWebToken,
)
from tests.support.issuers import ISSUER, NOW, encoded

_DEMANDS = (
    Demands(),
    Demands(issuer=ISSUER, audience=("here", "there"), leeway=30.0),
    Demands(subjectClaim="client_id"),
)


def check(data: bytes) -> None:
    _read(data.decode("latin-1"))
    header, _, rest = data.partition(b"\n")
    claims, _, signature = rest.partition(b"\n")
    _read(".".join(map(encoded, (header, claims, signature))))


def _read(text: str) -> None:
    try:
        token = readWebToken(text)
    except TokenRefused as refusal:
        assert isLine(str(refusal)) and refusal.__cause__ is None
        return
    assert len(text) <= MAX_TOKEN and token.algorithm in ALGORITHMS
    assert token.keyId is None or isinstance(token.keyId, str)
    parts = text.split(".")
    assert token.signed == ".".join(parts[:2]).encode(), "other bytes are signed"
    assert json.dumps(token.claims)  # they can be written
    for demands in _DEMANDS:
        try:
            demands.check(token.claims, NOW)
        except TokenRefused as refusal:
            assert isLine(str(refusal))
        else:
            expires = token.claims["exp"]
            assert expires > NOW - demands.leeway and not isinstance(expires, bool)
            assert not isinstance(token.claims.get("nbf"), bool), "it is no time"
            assert not demands.issuer or token.claims["iss"] == demands.issuer
        subject = demands.subject(token.claims)
        assert subject is None or 0 < len(subject) <= MAX_SUBJECT


TARGET = Target(
    check,
    covers=("authentication.webtokens", "authentication.backend"),
    planted=(
        Planted(
            "authentication/webtokens.py", "if expires <= now - self.leeway:", "if expires < 0:"
        ),
        Planted("authentication/webtokens.py", "if isinstance(time, bool) or not", "if not"),
        Planted(
            "authentication/webtokens.py",
            "except (MessageError, binascii.Error):",
            "except binascii.Error:",
        ),
        Planted(
            "authentication/webtokens.py",
            "if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:",
            "if algorithm is None:",
        ),
    ),
    words=(
        b'{"alg":"ES256","kid":"k"}\n',
        b'"iss":"%b"' % ISSUER.encode(),
        b'"aud":["here"]',
        b'"exp":1800000060',
        b'"nbf":1800000000',
        b'"sub":"somebody"',
        b'"exp":true',
        b'"crit":[]',
        b'"events":{}',
    ),
)
