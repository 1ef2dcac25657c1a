"""Owns the checks of by which names homes are found."""

from __future__ import annotations

from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.frontnames import FrontNames, Home, parseName, parseNames

PROPERTY = settings(max_examples=300, deadline=None, database=None)

ONE, TWO, THREE, FOUR = (UUID(int=number) for number in range(1, 5))

UNNAMED = UUID("c3b5e6ea-8d04-4f5a-9b3c-0e7d0f6a1b2c")


def read(*lines: str) -> dict[str, UUID]:
    """Return what is in the lines of a list."""
    return dict(parseNames(enumerate(lines, 1)))


class NameCase(SynchronousTestCase):
    def assertFinds(self, names: FrontNames, found: dict[str, UUID | None]) -> None:
        """Each name stands for this home; None = for none."""
        for name, uuid in found.items():
            home = names.find(name)
            self.assertEqual(home and home.uuid, uuid, name)


class ListTests(NameCase):
    """Lines of a list."""

    def test_read(self) -> None:
        self.assertEqual(
            read(
                f"House7.Example.com. {ONE}",
                f"bücher.example\t \t{{{TWO}}}",
                f"*.Straße.example   {str(ONE).upper()}",
                f"xn--zckzah {THREE}",
                f"a {ONE}",  # several names of one home
                f"*.a {TWO}",
            ),
            {
                "house7.example.com": ONE,
                "xn--bcher-kva.example": TWO,
                "*.xn--strae-oqa.example": ONE,
                "xn--zckzah": THREE,
                "a": ONE,
                "*.a": TWO,
            },
        )
        self.assertEqual(read(), {})

    def test_mistakes(self) -> None:
        """Each is told in one line, which says where."""
        noPair, noName = "line 2 is not a name and a uuid", "line 2: no host has such a name; "
        for line, words in {
            "": noPair,
            "name": noPair,
            f"{ONE}": noPair,
            f"{ONE} name": noPair,
            f"name {UUID(int=0)}": noPair,
            f"name {ONE} {TWO}": noPair,
            f"name {ONE} # comment": noPair,
            f"name,{ONE}": noPair,
            f"name\N{NO-BREAK SPACE}{ONE}": noPair,
            f" {ONE}": noName,
            f"*. {ONE}": noName,
            f"* {ONE}": noName,
            f"*.*.a {ONE}": noName,
            f"a.*.b {ONE}": noName,
            f"a* {ONE}": noName,
            f"*a.b {ONE}": noName,
            f". {ONE}": noName,
            f".a {ONE}": noName,
            f"a..b {ONE}": noName,
            f"a_b {ONE}": noName,
            f"a:443 {ONE}": noName,
            f"https://a {ONE}": noName,
            f"{'a' * 64} {ONE}": noName,
            f"{'ı' * 63} {ONE}": noName,
            f"ü_ {ONE}": noName,
        }.items():
            error = self.assertRaises(ValueError, read, f"good {ONE}", line)
            self.assertTrue(str(error).startswith(words), (line, error))
            self.assertTrue(str(error).isprintable())

    def test_twice(self) -> None:
        """However it is written, a name has one home; the same one, too, is told of."""
        for first, second in (
            ("a.b", "a.b"),
            ("a.b", "A.B."),
            ("*.a", "*.A"),
            ("bücher.example", "xn--bcher-kva.EXAMPLE"),
            ("bücher.example", "BU\N{COMBINING DIAERESIS}CHER。example"),
        ):
            for uuid in (ONE, TWO):
                error = self.assertRaises(ValueError, read, f"{first} {ONE}", f"{second} {uuid}")
                self.assertEqual(str(error), "line 2 gives a second home to a name")

    def test_domain(self) -> None:
        """A name by itself, as the domain is."""
        self.assertEqual(parseName("Homes.Bücher.example."), "homes.xn--bcher-kva.example")
        for text in ("", ".", "*.a", "a b", "a_b", "ı" * 63):
            self.assertRaises(ValueError, parseName, text)


class NamedTests(NameCase):
    """Names that are in the list."""

    def test_exact(self) -> None:
        """As DNS compares them, and nothing above or below."""
        self.assertFinds(
            FrontNames(read(f"house7.example.com {ONE}", f"bücher.example {TWO}")),
            {
                "house7.example.com": ONE,
                "HOUSE7.EXAMPLE.COM": ONE,
                "House7.Example.com.": ONE,
                "xn--bcher-kva.example": TWO,
                "XN--BCHER-KVA.Example.": TWO,
                "a.house7.example.com": None,
                "example.com": None,
                "com": None,
                "house7.example.com..": None,
                ".house7.example.com": None,
                "xhouse7.example.com": None,
                "": None,
                ".": None,
            },
        )

    def test_wildcards(self) -> None:
        """They stand for all below, however far; the closest counts, and a name of its own most."""
        names = FrontNames(
            read(
                f"*.example {ONE}",
                f"*.b.example {TWO}",
                f"c.b.example {THREE}",
                f"*.d.c.b.example {FOUR}",
            )
        )
        self.assertFinds(
            names,
            {
                "example": None,
                "x.example": ONE,
                "x.y.example": ONE,
                "b.example": ONE,
                "x.b.example": TWO,
                "X.Y.B.EXAMPLE.": TWO,
                "c.b.example": THREE,
                "x.c.b.example": TWO,
                "d.c.b.example": TWO,
                "x.d.c.b.example": FOUR,
                "x.y.d.c.b.example": FOUR,
                "xb.example": ONE,
                "b.example.org": None,
            },
        )
        for name in ("x.example", "c.b.example"):
            self.assertEqual(names.find(name), Home(names.find(name).uuid, isNamed=True))

    def test_noNames(self) -> None:
        """What is no name of a host is below nothing; nor is what homes may make of it."""
        names = FrontNames(read(f"*.example {ONE}"), "homes.example")
        self.assertFinds(
            names,
            {
                "ab--c.example": ONE,
                "*.example": None,
                ".example": None,
                "..example": None,
                "a..example": None,
                "../etc.example": None,
                "a/b.example": None,
                "a b.example": None,
                "a\0.example": None,
                "a\n.example": None,
                "\ufffd.example": None,
                "-a.example": None,
                f"{'a' * 64}.example": None,
                f"{'a.' * 123}example": ONE,
                f"{'a.' * 124}example": None,
                f"{{{UNNAMED}}}.homes.example": None,
                f"a..{UNNAMED}.homes.example": None,
            },
        )

    def test_long(self) -> None:
        """Not every one of its labels is looked up, which would take the square of the length."""

        class Counting(dict[str, UUID]):
            asked = 0

            def get(self, *arguments: str) -> None:  # type: ignore[override]
                self.asked += 1

        names = Counting(a=ONE)
        self.assertIsNone(FrontNames(names).find("a." * 8000 + "a"))
        self.assertEqual(names.asked, 0)
        self.assertIsNone(FrontNames(names).find("a." * 126 + "a"))
        self.assertLessEqual(names.asked, 127)

    def test_count(self) -> None:
        self.assertEqual(len(FrontNames(read(f"a {ONE}", f"*.a {ONE}"))), 2)
        self.assertFalse(FrontNames())


class UnnamedTests(NameCase):
    """Names that have a home's uuid in them."""

    def test_uuid(self) -> None:
        """It is the first label below the domain; all below that is the home's, too."""
        names = FrontNames({}, "homes.example")
        self.assertFinds(
            names,
            {
                f"{UNNAMED}.homes.example": UNNAMED,
                f"{str(UNNAMED).upper()}.Homes.Example.": UNNAMED,
                f"www.{UNNAMED}.homes.example": UNNAMED,
                f"a.b.{UNNAMED}.homes.example": UNNAMED,
                f"{ONE}.{UNNAMED}.homes.example": UNNAMED,
                "homes.example": None,
                "www.homes.example": None,
                f"{UNNAMED}.www.homes.example": None,
                f"{UNNAMED}.example": None,
                f"{UNNAMED}": None,
                f"{UNNAMED}homes.example": None,
                f"{UNNAMED}.xhomes.example": None,
                f"{UNNAMED}.homes.example.org": None,
                f"{UUID(int=0)}.homes.example": None,
                f"{UNNAMED.hex}.homes.example": None,
            },
        )
        self.assertEqual(names.find(f"{UNNAMED}.homes.example"), Home(UNNAMED, isNamed=False))

    def test_noDomain(self) -> None:
        for name in (f"{UNNAMED}", f"{UNNAMED}.", f"a.{UNNAMED}", f"{UNNAMED}.example"):
            self.assertIsNone(FrontNames().find(name))

    def test_beside(self) -> None:
        """What the list says of the very name counts more, and what it says of all above less."""
        names = FrontNames(
            read(
                f"*.example {ONE}",
                f"*.homes.example {TWO}",
                f"{UNNAMED}.homes.example {THREE}",
                f"*.{FOUR}.homes.example {THREE}",
            ),
            "homes.example",
        )
        self.assertFinds(
            names,
            {
                "homes.example": ONE,
                "x.homes.example": TWO,
                f"{UNNAMED}.homes.example": THREE,
                f"x.{UNNAMED}.homes.example": UNNAMED,
                f"{FOUR}.homes.example": FOUR,
                f"x.{FOUR}.homes.example": THREE,
                f"x.{ONE}.homes.example": ONE,
            },
        )
        self.assertEqual(names.find(f"{FOUR}.homes.example"), Home(FOUR, isNamed=False))


def asDnsFinds(names: dict[str, UUID], domain: list[str], name: list[str]) -> UUID | None:
    """Return the home of a name, by whatever is closest to it; names are lists of labels."""
    written = ".".join(name)
    found = [(len(name) + 1, names[written])] if written in names else []
    for count in range(1, len(name)):
        above = ".".join(name[-count:])
        if f"*.{above}" in names:
            found.append((count, names[f"*.{above}"]))
    if domain and len(name) > len(domain) and name[-len(domain) :] == domain:
        label = name[-len(domain) - 1]
        if len(label) == 36:
            found.append((len(domain) + 1, UUID(label)))
    return max(found)[1] if found else None


labels = st.sampled_from(["a", "b", "xn--bcher-kva", str(ONE), str(TWO)])
somewhere = st.lists(labels, min_size=1, max_size=4)


class ModelTests(SynchronousTestCase):
    @PROPERTY
    @given(
        st.dictionaries(
            st.builds(
                lambda below, name: below + ".".join(name), st.sampled_from(["", "*."]), somewhere
            ),
            st.sampled_from([THREE, FOUR]),
            max_size=8,
        ),
        st.lists(labels, max_size=2),
        somewhere,
        st.sampled_from([str.lower, str.upper, "{}.".format]),
    )
    @example({"*.a": THREE}, ["a"], [str(ONE), "a"], str.lower)
    def test_find(self, names, domain, name, write) -> None:  # type: ignore[no-untyped-def]
        home = FrontNames(names, ".".join(domain)).find(write(".".join(name)))
        self.assertEqual(home and home.uuid, asDnsFinds(names, domain, name))
