"""Owns the checks of fair shares, against the plain way to find them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.tunnelproxy.shares import Shares
from tests.support.switchboards import PROPERTY


def made(sizes: dict[int, int]) -> Shares[int]:
    """Return shares of so much for each."""
    shares: Shares[int] = Shares()
    for owner, size in sizes.items():
        shares.change(owner, 0, size)
    return shares


def fairest(sizes: list[int], room: int) -> int:
    """Return the most that each may have: who has less leaves the rest to the others."""
    rest = sorted(sizes)
    while rest and rest[0] <= room // len(rest):
        room -= rest.pop(0)
    return room // len(rest)


class SharesTests(SynchronousTestCase):
    """Who has how much, and how much is fair."""

    def test_equal(self) -> None:
        """Those who all have much have equal shares."""
        self.assertEqual(made({1: 5000, 2: 6000, 3: 7000}).fair(9000), 3000)

    def test_little(self) -> None:
        """Who has little leaves the rest to the others, however many of them there are."""
        sizes = dict.fromkeys(range(100), 10)
        self.assertEqual(made({**sizes, 1000: 5000, 1001: 9000}).fair(9000), 4000)

    def test_largest(self) -> None:
        """It is the one with the most, also among those with nearly as much."""
        shares = made({1: 1025, 2: 2047, 3: 1026, 4: 10})
        self.assertEqual(shares.largest(), 2)
        shares.change(2, 2047, 0)
        self.assertEqual(shares.largest(), 3)
        shares.change(1, 1025, 1027)
        self.assertEqual(shares.largest(), 1)

    def test_nothing(self) -> None:
        """Who has nothing is forgotten; who had nothing and still has is no matter."""
        shares = made({1: 10, 2: 0})
        shares.change(1, 10, 0)
        self.assertEqual(shares.total, 0)
        self.assertRaises(ValueError, shares.largest)

    @PROPERTY
    @given(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5000)), max_size=60),
        st.integers(0, 20_000),
    )
    def test_property(self, changes: list[tuple[int, int]], room: int) -> None:
        """It is fair, or a little less, and somebody has more; and what is told is so."""
        shares: Shares[int] = Shares()
        sizes: dict[int, int] = {}
        for owner, size in changes:
            shares.change(owner, sizes.get(owner, 0), size)
            sizes[owner] = size
            total = sum(sizes.values())
            self.assertEqual(shares.total, total)
            if total:
                self.assertEqual(sizes[shares.largest()], max(sizes.values()))
            if total > room:
                several = [size for size in sizes.values() if size]
                share = shares.fair(room)
                self.assertLessEqual(share, fairest(several, room))
                self.assertGreaterEqual(share, room // len(several))
                self.assertGreater(max(several), share)
