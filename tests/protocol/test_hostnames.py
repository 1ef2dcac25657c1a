"""Owns the checks of what is the name of a host, and how names are compared."""

from __future__ import annotations

import string

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.hostnames import canonical, inAscii, isHostName

PROPERTY = settings(max_examples=300, deadline=None, database=None)

GOOD = (
    *(
        "h",
        "h.",
        "A-b--c.example",
        "ab--c",
        "127.0.0.1",
        "1.a",
        "xn--kche-0ra.example",
        "XN--KCHE-0RA",
    ),
    *("a" * 63, "a." * 126 + "a", "a." * 126 + "a."),
)

BAD = (
    *("", ".", "..", "a..b", ".a", "a..", "-a", "a-.b", "h_x", "h ", " h", "h\n", "h\0"),
    *("*", "*.a", "{a}", "h:1", "[::1]", "::1", "a/b", "a@b", "a%41", "a,b", "a" * 64),
    *(
        "a." * 126 + "ab",
        "a." * 127 + "a",
        "ü",
        "a\N{IDEOGRAPHIC FULL STOP}b",
        "\N{FULLWIDTH LATIN SMALL LETTER A}",
    ),
    # What Python takes for an ASCII letter when the case does not matter
    *("\N{KELVIN SIGN}", "\N{LATIN SMALL LETTER LONG S}", "\N{LATIN SMALL LETTER DOTLESS I}"),
    *("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}", "\N{FULLWIDTH DIGIT ONE}"),
)


def isName(text: str) -> bool:
    """Tell whether it is a host's name, in the words of RFC 1123 and RFC 1035."""
    labels = text[:-1].split(".") if text.endswith(".") else text.split(".")
    if sum(map(len, labels)) + len(labels) - 1 > 253:
        return False
    for label in labels:
        if not 1 <= len(label) <= 63 or label[0] == "-" or label[-1] == "-":
            return False
        if not set(label) <= {*string.ascii_letters, *string.digits, "-"}:
            return False
    return True


class HostNameTests(SynchronousTestCase):
    def test_good(self) -> None:
        for name in GOOD:
            self.assertTrue(isHostName(name), name)

    def test_bad(self) -> None:
        for name in BAD:
            self.assertFalse(isHostName(name), name)

    @PROPERTY
    @given(
        st.one_of(
            st.text("aZx0n-._*ſK\n", max_size=12),
            st.text(max_size=12),
            st.lists(st.text("ab-", min_size=55, max_size=65), max_size=5).map(".".join),
        )
    )
    def test_model(self, text: str) -> None:
        self.assertEqual(isHostName(text), isName(text))


class AsciiTests(SynchronousTestCase):
    """Names in the letters of all languages."""

    def test_written(self) -> None:
        """As browsers write them (UTS #46, not transitional)."""
        for name, written in {
            "Bücher.example": "xn--bcher-kva.example",
            "BÜCHER.EXAMPLE": "xn--bcher-kva.example",
            "bu\N{COMBINING DIAERESIS}cher.example": "xn--bcher-kva.example",
            "straße.example.": "xn--strae-oqa.example.",
            "例え。テスト": "xn--r8jz45g.xn--zckzah",
            "\N{FULLWIDTH LATIN SMALL LETTER A}.example": "a.example",
            "\N{KELVIN SIGN}.example": "k.example",
            "βόλος.example": "xn--nxasmm1c.example",
        }.items():
            self.assertEqual(inAscii(name), written)

    def test_asTheyAre(self) -> None:
        """What is ASCII already, encoded or not, and what is no name."""
        for name in (
            *("xn--bcher-kva.example", "XN--BCHER-KVA.Example.", "a_b", "", "."),
            *("ü..a", "ü_", "-ü", "ab--ü", "\ud800", "ü" * 300, "ı" * 63, "*.ü"),
            "a" + "\N{SOFT HYPHEN}" * 253,  # all of which IDNA drops; it may take long over them
        ):
            self.assertEqual(inAscii(name), name)

    @PROPERTY
    @given(st.text(max_size=20))
    @example("ı" * 63)
    def test_any(self, text: str) -> None:
        """What is written for a name is in ASCII, however else it may be wrong."""
        written = inAscii(text)
        self.assertTrue(written == text or written.isascii())
        self.assertEqual(inAscii(written), written)
        if isHostName(written):
            self.assertTrue(written.isascii())


class ComparingTests(SynchronousTestCase):
    def test_same(self) -> None:
        """RFC 4343: capitals do not count; and a dot may stand for the root."""
        for name in ("house7.example", "HOUSE7.Example", "house7.example.", "House7.EXAMPLE."):
            self.assertEqual(canonical(name), "house7.example")

    def test_others(self) -> None:
        """One dot, and at the end."""
        for name in (".a", "a..b", "a"):
            self.assertEqual(canonical(name), name)
        self.assertEqual(canonical("a.."), "a.")

    @PROPERTY
    @given(st.text("aB.-", max_size=10).filter(isHostName))
    def test_stays(self, text: str) -> None:
        """It is the name of a host still, and compared as itself."""
        name = canonical(text)
        self.assertTrue(isHostName(name))
        self.assertEqual(canonical(name), name)
