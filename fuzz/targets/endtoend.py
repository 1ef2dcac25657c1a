"""How the far end of a tunnel begins, where it is encrypted from end to end.

The promises: nothing raises; what is said of a beginning is a line; who is still waited for may
become what is wanted; and once it is clear what the far end speaks, more of it changes nothing.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.client.rules.endtoend import (
    FIRST_WORDS,
    REFUSAL,
    agreedName,
    asksForEncryption,
    isRefused,
    isUnfinished,
    misfit,
)


def check(data: bytes) -> None:
    wasAsking = False
    for end in range(len(data) + 1):
        first = data[:end]
        assert not wasAsking or asksForEncryption(first), "who asked for encryption does no more"
        wasAsking = asksForEncryption(first)
        assert not isUnfinished(first) or end < FIRST_WORDS
        assert not isUnfinished(first) or misfit(first, isCalling=False) is None
        for isCalling in (False, True):
            said = misfit(first, isCalling)
            assert said is None or isLine(said), "no text to be shown"
    assert isRefused(data, REFUSAL) is not data.startswith(b"\x16\x03")
    nonce = data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    assert len(agreedName(None, nonce)) <= 255, "RFC 7301 has one byte for the length"


TARGET = Target(
    check,
    covers=("client.rules.endtoend",),
    planted=(
        Planted("client/rules/endtoend.py", " and not isUnfinished(heard)", ""),
        Planted(
            "client/rules/endtoend.py", "return heard == REFUSAL and", "return heard != said and"
        ),
    ),
    words=(b"\x16\x03\x01\x01\x00", REFUSAL, b"nymea-end-to-end/1"),
)
