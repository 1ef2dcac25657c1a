"""Each number of a series is good once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.replays import MOST_SERIES, WINDOW, Replays

FAR = 1 << 63
NUMBERS = st.one_of(
    st.integers(0, 20), st.integers(WINDOW - 3, WINDOW + 3), st.integers(FAR - WINDOW, FAR)
)


class ReplaysTests(SynchronousTestCase):
    """What has been used, in whatever order."""

    @given(st.lists(NUMBERS, max_size=40))
    def test_once(self, numbers: list[int]) -> None:
        """None is good twice; all are good once, but for those that are far behind another."""
        replays, used, highest = Replays(), set[int](), -1
        for number in numbers:
            isNew = number not in used and number > highest - WINDOW
            self.assertEqual(replays.use(b"one", number), isNew)
            used.add(number)
            highest = max(highest, number)

    def test_others(self) -> None:
        """Those of another series are other ones."""
        replays = Replays()
        for name in (b"one", b"two"):
            self.assertTrue(replays.use(name, 7))
        for name in (b"one", b"two"):
            self.assertFalse(replays.use(name, 7))

    def test_bound(self) -> None:
        """The longest unused series is forgotten."""
        replays = Replays()
        for number in range(MOST_SERIES):
            replays.use(number.to_bytes(2, "big"), 0)
        self.assertFalse(replays.use(b"\0\0", 0))
        self.assertTrue(replays.use(b"new", 0))
        self.assertEqual(len(replays._series), MOST_SERIES)
        self.assertFalse(replays.use(b"\0\0", 0))
        self.assertTrue(replays.use(b"\0\1", 0))
