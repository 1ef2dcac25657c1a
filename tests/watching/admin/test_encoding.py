"""JSON in pieces."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.watching.admin.encoding import ROWS_A_TURN, Row, encode

TEXTS = st.text(st.characters())  # halves of characters, too
VALUES = st.none() | st.booleans() | st.integers() | TEXTS | st.dictionaries(TEXTS, TEXTS)
MEMBERS = st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=3 * ROWS_A_TURN))


def made(members: Row) -> tuple[bytes, int]:
    """Return what they become, and between how many pieces others had their turn."""
    work = encode(members)
    for pauses in range(1 << 20):
        try:
            next(work)
        except StopIteration as end:
            return end.value, pauses
    raise AssertionError("there is no end to it")


class EncodingTests(SynchronousTestCase):
    """The bytes, and how many at a time."""

    @given(MEMBERS)
    def test_same(self, members: Row) -> None:
        """It is what it would be in one piece, in ASCII."""
        encoded, _pauses = made(members)
        self.assertEqual(json.loads(encoded), members)
        self.assertEqual(encoded.decode("ascii"), json.dumps(members, separators=(",", ":")))

    @given(st.integers(min_value=0, max_value=10 * ROWS_A_TURN))
    def test_pieces(self, rows: int) -> None:
        """After so many rows others have their turn."""
        _encoded, pauses = made({"rows": [None] * rows, "all": rows})
        self.assertEqual(pauses, -(-rows // ROWS_A_TURN))
