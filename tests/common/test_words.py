"""Numbers with what they count, and things in a row."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.words import counted, joined


class WordsTests(SynchronousTestCase):
    """Texts for people."""

    def test_counted(self) -> None:
        """Only one is in the singular."""
        self.assertEqual(
            [counted(number, "token") for number in (0, 1, 2, 1000)],
            ["0 tokens", "1 token", "2 tokens", "1000 tokens"],
        )

    def test_joined(self) -> None:
        """The last one comes behind an ``and``."""
        self.assertEqual(
            [joined([]), joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"])],
            ["", "a", "a and b", "a, b and c"],
        )
