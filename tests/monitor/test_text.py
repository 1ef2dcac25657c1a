"""How the monitor spells values, above all what strangers chose."""

from __future__ import annotations

import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.monitor.text import (
    MAX_TEXT,
    age,
    amount,
    cut,
    duration,
    fit,
    rate,
    safe,
    sparkline,
    width,
)

PROPERTY = settings(max_examples=300, deadline=None, database=None)

# With what json.loads returns for a lone surrogate.
TEXTS = st.text(st.characters(), max_size=40) | st.text(
    st.sampled_from("ab\x00\x07\x1b\x7f\x9b\u0301\u200d\u202e\ufe0f界👍\ud800\xa0\u3000"),
    max_size=40,
)


def dangers(text: str) -> list[str]:
    """Return what a terminal might obey, or cannot show."""
    allowed = ("L", "M", "N", "P", "S")
    return [c for c in text if c != " " and unicodedata.category(c)[0] not in allowed]


class SafeTests(SynchronousTestCase):
    @PROPERTY
    @given(TEXTS, st.booleans())
    @example("\x1b]0;owned\x07", True)
    def test_nothingToObey(self, text: str, isUnicode: bool) -> None:
        shown = safe(text, isUnicode)
        self.assertEqual(dangers(shown), [])
        shown.encode("utf-8" if isUnicode else "ascii")
        self.assertLessEqual(width(shown), MAX_TEXT)

    def test_eachCharacter(self) -> None:
        for code in range(0x110000):
            shown = safe(chr(code))
            if dangers(shown):
                self.fail(f"{code:x} is shown as {shown!r}")

    @PROPERTY
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=MAX_TEXT))
    def test_ordinaryTextIsLeftAlone(self, text: str) -> None:
        self.assertEqual(safe(text), text)
        self.assertEqual(safe(text, False), text)

    def test_escapes(self) -> None:
        for text, shown in (
            ("\x1b[2J", r"\x1b[2J"),
            ("a\nb\tc\r", r"a\nb\tc\r"),
            ("\x9b31m", r"\x9b31m"),
            ("\x7f", r"\x7f"),
            ("\u202eabc\u2066", r"\u202eabc\u2066"),  # changes the direction of all that follows
            ("a\u200db", r"a\u200db"),
            ("a\xa0b\u3000", r"a\xa0b\u3000"),  # looks like an ordinary space
            ("\ud800", r"\ud800"),
            ("\U0010ffff", r"\U0010ffff"),
            ("\u1160\u4dc0", r"\u1160\u4dc0"),
        ):
            self.assertEqual(safe(text), shown)

    def test_languages(self) -> None:
        for text in ("Wohnzimmer Süd", "客厅", "гостиная", "सामने", "ห้อง", "سلام", "👍"):
            self.assertEqual(safe(text), unicodedata.normalize("NFC", text))
        self.assertEqual(safe("u\u0308"), "ü")
        self.assertEqual(safe("❤\ufe0f"), "❤")

    def test_marks(self) -> None:
        """They stand on a letter, and not too many of them."""
        self.assertEqual(safe("\u0316a"), r"\u0316a")
        self.assertEqual(safe("x\u0316\u0317\u0318y\u0316"), "x\u0316\u0317\\u0318y\u0316")
        self.assertEqual(safe("\x1b\u0316"), r"\x1b" + "\u0316")
        self.assertEqual(safe("\u1160\u0316"), r"\u1160\u0316")

    def test_ascii(self) -> None:
        self.assertEqual(safe("Süd 客", False), r"S\xfcd \u5ba2")

    def test_long(self) -> None:
        self.assertEqual(safe("x" * 10_000), "x" * (MAX_TEXT - 1) + "…")
        self.assertEqual(safe("x" * 10_000, False), "x" * (MAX_TEXT - 1) + "~")
        self.assertEqual(width(safe("客" * 10_000)), MAX_TEXT - 1)
        self.assertEqual(len(safe("\x1b" * 10_000)), MAX_TEXT)


class WidthTests(SynchronousTestCase):
    def test_width(self) -> None:
        for text, columns in (
            ("", 0),
            ("abc", 3),
            ("客厅", 4),
            ("é", 1),
            ("x\u0316", 1),
            ("👍", 2),
        ):
            self.assertEqual(width(text), columns, text)

    @PROPERTY
    @given(TEXTS, st.integers(-1, 30), st.booleans(), st.booleans())
    def test_fit(self, text: str, columns: int, isRight: bool, isUnicode: bool) -> None:
        shown = fit(safe(text, isUnicode), columns, isRight, isUnicode)
        self.assertEqual(width(shown), max(columns, 0))
        self.assertEqual(dangers(shown), [])

    def test_sides(self) -> None:
        self.assertEqual(fit("ab", 4), "ab  ")
        self.assertEqual(fit("ab", 4, isRight=True), "  ab")
        self.assertEqual(fit("客厅", 3), "客…")
        self.assertEqual(fit("客厅", 2), "… ")

    def test_cut(self) -> None:
        self.assertEqual(cut("abcdef", 6), "abcdef")
        self.assertEqual(cut("abcdef", 5), "abcd…")
        self.assertEqual(cut("abcdef", 5, isUnicode=False), "abcd~")
        self.assertEqual(cut("a\u0316bc", 2), "a\u0316…")
        self.assertEqual(cut("abc", 1), "…")
        self.assertEqual(cut("abc", 0), "")


class NumbersTests(SynchronousTestCase):
    def test_amount(self) -> None:
        for count, shown in (
            (0, "0 B"),
            (0.4, "0 B"),
            (999, "999 B"),
            (999.6, "1.00 kB"),
            (1000, "1.00 kB"),
            (9994, "9.99 kB"),
            (9999, "10.0 kB"),
            (99_940, "99.9 kB"),
            (99_999, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (12_345_678, "12.3 MB"),
            (2**63, "9.22 EB"),
        ):
            self.assertEqual(amount(count), shown, count)

    @PROPERTY
    @given(st.floats(0, 2.0**63))
    def test_amountFits(self, count: float) -> None:
        self.assertLessEqual(len(amount(count)), 7)

    def test_rate(self) -> None:
        self.assertEqual(rate(1500.0), "1.50 kB")
        self.assertEqual(rate(None), "-")

    def test_duration(self) -> None:
        for seconds, shown in (
            (-5, "0s"),
            (0.9, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86399, "23h59m"),
            (86400, "1d00h"),
            (99 * 86400, "99d00h"),
            (100 * 86400, "100d"),
            (2**63, "99999d"),
        ):
            self.assertEqual(duration(seconds), shown, seconds)

    def test_age(self) -> None:
        self.assertEqual(age(1000, 1061.5), "1m01s")
        self.assertEqual(age(0, 1000.0), "-")


class SparklineTests(SynchronousTestCase):
    def test_bars(self) -> None:
        self.assertEqual(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█")
        self.assertEqual(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, isUnicode=False), "_.:-=+*#")

    def test_littleIsMoreThanNothing(self) -> None:
        self.assertEqual(sparkline([0, 1, 1_000_000], 3), "▁▂█")

    def test_newestAtTheRight(self) -> None:
        self.assertEqual(sparkline([7, 0], 4), "  █▁")
        self.assertEqual(sparkline([9, 9, 7, 0], 2), "█▁")
        self.assertEqual(sparkline([], 3), "   ")
        self.assertEqual(sparkline([0, 0], 2), "▁▁")

    @PROPERTY
    @given(st.lists(st.floats(0, 1e30)), st.integers(0, 50), st.booleans())
    def test_always(self, values: list[float], columns: int, isUnicode: bool) -> None:
        shown = sparkline(values, columns, isUnicode)
        self.assertEqual(width(shown), columns)
        positive = [value for value in values[len(values) - columns :] if value > 0]
        if positive and columns:
            self.assertIn("█" if isUnicode else "#", shown)
