"""Owns the checks of the lines that open a link."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.far import MOST_TOLD
from nymearemoteproxy.protocol.linkmessages import (
    COMPATIBLE,
    LINE_SIZE,
    VERSION,
    Answer,
    Ask,
    ControlLink,
    Denied,
    Far,
    Here,
    LineReader,
    Look,
    Meet,
    Met,
    NotHere,
    Offer,
    Visit,
    Wait,
    isTellable,
    parseAnswer,
    parseAsk,
)
from nymearemoteproxy.protocol.linkrecords import LinkFault
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity
from tests.protocol.test_frames import cut
from tests.support.jsonvalues import VALUES

PROPERTY = settings(max_examples=200, deadline=None, database=None)

MEMBER = bytes(range(16))
FAR = Far(7, "WebSocket", True, "192.0.2.1:443", "192.0.2.0", "app", "{1}")
NAMED = Identity("app", "{1}")
CLIENT = ClientRegistration("app", UUID(int=1), UUID(int=2))
START = '{"version":3,"compatible":1,'
FAR_TEXT = (
    '"far":{"number":7,"transport":"WebSocket","secure":true,"address":"192.0.2.1:443",'
    '"peer":"192.0.2.0","name":"app","uuid":"{1}"}'
)
BY = '"member":"000102030405060708090a0b0c0d0e0f"'

ASKS: dict[Ask, str] = {
    Meet(MEMBER, "key:ab", 3, NAMED, FAR): f'"ask":"meet",{BY},"place":"key:ab","claim":3,'
    '"identity":{"name":"app","uuid":"{1}"},' + FAR_TEXT,
    Visit(MEMBER, "server:cd", 4, CLIENT, "192.0.2.1", FAR): f'"ask":"visit",{BY},'
    '"place":"server:cd","claim":4,"registration":{"name":"app",'
    '"uuid":"00000000-0000-0000-0000-000000000001",'
    '"serverUuid":"00000000-0000-0000-0000-000000000002"},"host":"192.0.2.1",'
    + FAR_TEXT
    + ',"subject":null,"isVisitor":false,"isNamed":false',
    Look(MEMBER, "key:ab", 0): f'"ask":"look",{BY},"place":"key:ab","claim":0',
    ControlLink(MEMBER): f'"ask":"control",{BY}',
}
ANSWERS: dict[Answer, str] = {
    Offer(Identity("é\n"), FAR): '"answer":"offer","identity":{"name":"é\\n","uuid":null},'
    + FAR_TEXT,
    Denied(Outcome.TUNNEL_EXISTS): '"answer":"denied","outcome":"tunnel-exists"',
    Wait(): '"answer":"wait"',
    NotHere(): '"answer":"not-here"',
    Here(): '"answer":"here"',
    Met(): '"answer":"met"',
}
"""What the members of all versions have to understand: a change of these lines is a new version."""

ADDED = ("subject", "isVisitor", "isNamed")
"""What the first version does not know."""

TEXTS = st.text(max_size=20)
COUNTS = st.integers(0, 2**63 - 1)
MEMBERS = st.binary(min_size=16, max_size=16)
UUIDS = st.uuids()
FARS = st.builds(Far, COUNTS, TEXTS, st.booleans(), TEXTS, TEXTS, TEXTS, TEXTS)
IDENTITIES = st.builds(Identity, TEXTS, st.none() | TEXTS)
REGISTRATIONS = st.builds(ClientRegistration, TEXTS, UUIDS, UUIDS)
ANY_ASK: st.SearchStrategy[Ask] = st.one_of(
    st.builds(Meet, MEMBERS, TEXTS, COUNTS, IDENTITIES, FARS),
    st.builds(
        Visit,
        *(MEMBERS, TEXTS, COUNTS, REGISTRATIONS, TEXTS, FARS, st.none() | TEXTS),
        *(st.booleans(), st.booleans()),
    ),
    st.builds(Look, MEMBERS, TEXTS, COUNTS),
    st.builds(ControlLink, MEMBERS),
)
ANY_ANSWER: st.SearchStrategy[Answer] = st.one_of(
    st.builds(Offer, IDENTITIES, FARS),
    st.builds(Denied, st.sampled_from(Outcome)),
    st.sampled_from([Wait(), NotHere(), Here(), Met()]),
)


def isRefused(line: bytes) -> bool:
    """Return whether nothing can be read from a line; all but a `LinkFault` is a failure."""
    count = 0
    for parse in (parseAsk, parseAnswer):
        try:
            parse(line)
        except LinkFault as error:
            assert 0 < len(str(error)) < 100 and "\n" not in str(error)
            count += 1
    return count == 2


class LineTests(SynchronousTestCase):
    """Lines as they are sent and read."""

    def test_asTheyAreWritten(self) -> None:
        """Byte by byte, the version first."""
        for message, text in (*ASKS.items(), *ANSWERS.items()):
            self.assertEqual(message.encode(), f"{START}{text}}}\n".encode())

    def test_read(self) -> None:
        """Each is what it was."""
        for ask in ASKS:
            self.assertEqual(parseAsk(ask.encode()), ask)
        for answer in ANSWERS:
            self.assertEqual(parseAnswer(answer.encode()), answer)

    @PROPERTY
    @given(ANY_ASK)
    def test_anyAsk(self, ask: Ask) -> None:
        """Whatever it says comes out again, from one line."""
        line = ask.encode()
        self.assertEqual(line.index(b"\n"), len(line) - 1)
        self.assertEqual(parseAsk(line[:-1]), ask)

    @PROPERTY
    @given(ANY_ANSWER)
    def test_anyAnswer(self, answer: Answer) -> None:
        """Whatever it says comes out again, from one line."""
        line = answer.encode()
        self.assertEqual(line.index(b"\n"), len(line) - 1)
        self.assertEqual(parseAnswer(line[:-1]), answer)

    def test_asksAreNoAnswers(self) -> None:
        """Nor the other way round."""
        for ask in ASKS:
            self.assertRaises(LinkFault, parseAnswer, ask.encode())
        for answer in ANSWERS:
            self.assertRaises(LinkFault, parseAsk, answer.encode())

    def test_unknown(self) -> None:
        """What only a newer version can ask for or answer."""
        for text in (f'"ask":"dance",{BY}', '"answer":"maybe"'):
            line = f"{START}{text}}}".encode()
            with self.assertRaisesRegex(LinkFault, "unknown (ask|answer)"):
                (parseAsk if b"ask" in line else parseAnswer)(line)

    def test_longNames(self) -> None:
        """What clients can say fits, in the longest of its forms, whatever limit is set."""
        for letter in ("a", "é", "\U0001f310", "\\u0001"):
            name = json.loads(f'"{letter * ((1 << 20) // len(letter.encode()))}"')
            shown = name[:500]
            far = replace(FAR, name=shown, uuid=shown)
            ask = Meet(MEMBER, "key:ab", 3, Identity(name, None), far)
            self.assertEqual(parseAsk(ask.encode()), ask)

    def test_tellable(self) -> None:
        """Whatever fits does so with any record."""
        far = replace(FAR, name="\0" * MOST_TOLD, uuid="\0" * MOST_TOLD)
        for letter in ("a", "\0", "ä", "\U0001f600"):
            size = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
            fitting = Identity(letter * ((LINE_SIZE - (8 << 10) - 30) // size))
            self.assertTrue(isTellable(fitting))
            self.assertLessEqual(len(Offer(fitting, far).encode()), LINE_SIZE + 1)
            self.assertFalse(isTellable(Identity(fitting.name + "a" * 30)))

    def test_tooLongNames(self) -> None:
        """Where more is allowed it may be more than a line has room for."""
        line = Offer(Identity(""), FAR).encode()
        room = LINE_SIZE - len(line) + 1
        self.assertEqual(len(Offer(Identity("a" * room), FAR).encode()), LINE_SIZE + 1)
        self.assertRaises(LinkFault, Offer(Identity("a" * (room + 1)), FAR).encode)

    def test_unknownOutcome(self) -> None:
        """A newer version may have one more reason."""
        line = f'{START}"answer":"denied","outcome":"moon-in-the-way"}}'.encode()
        self.assertEqual(parseAnswer(line), Denied(Outcome.INTERNAL_ERROR))

    def test_everyOutcome(self) -> None:
        """All of ours are told."""
        for outcome in Outcome:
            self.assertEqual(parseAnswer(Denied(outcome).encode()), Denied(outcome))


class VersionTests(SynchronousTestCase):
    """Members of different versions."""

    def line(self, version: object, compatible: object) -> bytes:
        """Return a line of another version, which has keys that this one does not know."""
        values = {"version": version, "compatible": compatible, "mood": {"good": [True]}}
        return json.dumps({**values, "ask": "look", "member": MEMBER.hex(), "place": "key:ab",
            "claim": 1, "answer": "here"}).encode()  # fmt: skip

    def test_newer(self) -> None:
        """One that this version understands is read, but for what it does not know."""
        for version in (VERSION, VERSION + 1, VERSION + 1000):
            for compatible in (COMPATIBLE, VERSION):
                line = self.line(version, compatible)
                self.assertEqual(parseAsk(line), Look(MEMBER, "key:ab", 1))
                self.assertEqual(parseAnswer(line), Here())

    def test_firstVersion(self) -> None:
        """It says of a visit neither a subject nor the way, and need not know of the usual ones."""
        visit = Visit(MEMBER, "server:cd", 4, CLIENT, "192.0.2.1", FAR)
        values = json.loads(visit.encode())
        self.assertEqual(values["compatible"], 1)
        for name in ADDED:
            del values[name]
        self.assertEqual(parseAsk(json.dumps({**values, "version": 1}).encode()), visit)

    def test_subject(self) -> None:
        """A version that would let the client in must not understand this."""
        visit = Visit(MEMBER, "server:cd", 4, CLIENT, "192.0.2.1", FAR, "anna")
        self.assertEqual(json.loads(visit.encode())["compatible"], 2)
        self.assertEqual(parseAsk(visit.encode()), visit)

    def test_visitor(self) -> None:
        """Nor one that would not ask the server whether it wants visitors."""
        for subject in (None, "anna"):
            for isNamed in (False, True):
                visit = Visit(
                    MEMBER, "server:cd", 4, CLIENT, "192.0.2.1", FAR, subject, True, isNamed
                )
                values = json.loads(visit.encode())
                self.assertEqual(values["compatible"], 3)
                self.assertEqual((values["isVisitor"], values["isNamed"]), (True, isNamed))
                self.assertEqual(parseAsk(visit.encode()), visit)

    def test_secondVersion(self) -> None:
        """It knows the subject, and says nothing of the way."""
        visit = Visit(MEMBER, "server:cd", 4, CLIENT, "192.0.2.1", FAR, "anna")
        values = {**json.loads(visit.encode()), "version": 2}
        del values["isVisitor"], values["isNamed"]
        self.assertEqual(parseAsk(json.dumps(values).encode()), visit)

    def test_tooNew(self) -> None:
        """One that says that it cannot be understood."""
        self.assertTrue(isRefused(self.line(VERSION + 1, VERSION + 1)))
        with self.assertRaisesRegex(LinkFault, f"version {VERSION + 7}"):
            parseAsk(self.line(VERSION + 7, VERSION + 1))

    def test_tooOld(self) -> None:
        """One that is not spoken any more."""
        self.assertTrue(isRefused(self.line(COMPATIBLE - 1, COMPATIBLE - 1)))

    def test_none(self) -> None:
        """A version is a number."""
        for version in ("1", 1.0, True, None, [1], -1, 2**63, 10**400):
            self.assertTrue(isRefused(self.line(version, COMPATIBLE)))
            self.assertTrue(isRefused(self.line(VERSION, version)))


def places(value: Any) -> list[tuple[Any, str]]:
    """Return each object in a JSON value with each of its keys."""
    found = []
    if isinstance(value, dict):
        for key, each in value.items():
            found += [(value, key), *places(each)]
    return found


class StrictnessTests(SynchronousTestCase):
    """What is not as it should be is refused with a `LinkFault`, and nothing else ever happens."""

    def variants(self, line: bytes, key: int, new: Any = None, isLess: bool = False) -> bytes:
        """Return a line with one value of it, at any depth, changed or left out."""
        message = json.loads(line)
        holder, name = places(message)[key]
        if isLess:
            del holder[name]
        else:
            holder[name] = new
        return json.dumps(message).encode()

    def test_missing(self) -> None:
        """Nothing may be left out, but for what the first version does not know."""
        for message in (*ASKS, *ANSWERS):
            line = message.encode()
            for key, (_holder, name) in enumerate(places(json.loads(line))):
                if name not in ADDED:
                    self.assertTrue(isRefused(self.variants(line, key, isLess=True)), (line, key))

    def test_otherTypes(self) -> None:
        """Each value has one type; an identity's uuid and a subject may be missing, as null."""
        for message in (*ASKS, *ANSWERS):
            line = message.encode()
            for key, (holder, name) in enumerate(places(json.loads(line))):
                for wrong in (None, False, 1, 1.0, "x", [], {}, ["x"], {"name": "x"}):
                    value = holder[name]
                    isIdentity = "serverUuid" not in holder and len(holder) == 2
                    mayBeNone = name == "subject" or (name == "uuid" and isIdentity)
                    if type(wrong) is type(value) or (wrong is None and mayBeNone):
                        continue
                    if isinstance(wrong, str) and mayBeNone:
                        continue
                    self.assertTrue(isRefused(self.variants(line, key, wrong)), (line, name, wrong))

    def test_named(self) -> None:
        """Whoever reads the log sees which value it is."""
        for parse, messages in ((parseAsk, ASKS), (parseAnswer, ANSWERS)):
            for line in (message.encode() for message in messages):
                for key, (_holder, name) in enumerate(places(json.loads(line))):
                    with self.assertRaises(LinkFault) as caught:
                        parse(self.variants(line, key, []))
                    self.assertEqual(str(caught.exception), f"{name} is of the wrong type")
                    if name not in ADDED:
                        with self.assertRaises(LinkFault) as caught:
                            parse(self.variants(line, key, isLess=True))
                        self.assertEqual(str(caught.exception), f"{name} is missing")

    def test_members(self) -> None:
        """Ids are written in one way."""
        text = MEMBER.hex()
        for wrong in ("", text[:-1], text + "0", text.upper(), " " + text[1:], "٠" * 32, text[:-2]):
            line = json.dumps({"version": 1, "compatible": 1, "ask": "control", "member": wrong})
            self.assertTrue(isRefused(line.encode()), wrong)

    def test_uuids(self) -> None:
        """Those of registrations are some, and not null."""
        line = next(iter(ask.encode() for ask in ASKS if isinstance(ask, Visit)))
        for wrong in ("", "x", str(UUID(int=0)), str(UUID(int=1))[:-1]):
            for key, (holder, name) in enumerate(places(json.loads(line))):
                if name in ("uuid", "serverUuid") and "serverUuid" in holder:
                    self.assertTrue(isRefused(self.variants(line, key, wrong)))

    def test_noJson(self) -> None:
        """All that is no object."""
        for line in (b"", b"{", b"[]", b"1", b"null", b"\xff", b"{}", b"{}{}", b"[" * 60000):
            self.assertTrue(isRefused(line))
        self.assertTrue(isRefused(b'{"a":' * 10000 + b"1" + b"}" * 10000))
        line = Meet(MEMBER, "key:ab", 3, NAMED, FAR).encode()
        for wrong in (b"\\ud800", b"\x00", b"\xff", b'"'):
            self.assertTrue(isRefused(line.replace(b"key:ab", wrong)))
        for wrong in (b"NaN", b"1e400", b"-1", b"9" * 5000, b"Infinity"):
            self.assertTrue(isRefused(line.replace(b'"claim":3', b'"claim":' + wrong)))

    @PROPERTY
    @given(st.binary(max_size=60))
    def test_anyBytes(self, line: bytes) -> None:
        """No bytes do anything else."""
        isRefused(line)

    @PROPERTY
    @given(st.dictionaries(TEXTS, VALUES, max_size=5))
    def test_anyObject(self, values: dict[str, Any]) -> None:
        """No object does anything else."""
        isRefused(json.dumps({"version": 1, "compatible": 1, **values}).encode())

    @PROPERTY
    @given(ANY_ASK | ANY_ANSWER, st.integers(0, 1000), VALUES)
    def test_anyValue(self, message: Ask | Answer, key: int, new: Any) -> None:
        """No value in a good line does anything else."""
        line = message.encode()
        isRefused(self.variants(line, key % len(places(json.loads(line))), new))

    @PROPERTY
    @given(ANY_ASK | ANY_ANSWER, st.integers(0, 1000), st.binary(max_size=3), st.integers(0, 3))
    def test_anyChange(self, message: Ask | Answer, place: int, new: bytes, less: int) -> None:
        """No damage to a good line does anything else."""
        line = message.encode()
        place %= len(line)
        isRefused(line[:place] + new + line[place + less :])


class LineReaderTests(SynchronousTestCase):
    """Lines in a stream, and what follows them."""

    def read(self, chunks: list[bytes], most: int) -> tuple[list[bytes], bytes]:
        """Return at most so many lines, and what follows them."""
        reader = LineReader()
        lines: list[bytes] = []
        for number, chunk in enumerate(chunks):
            reader.feed(chunk)
            while len(lines) < most and (line := reader.take()) is not None:
                lines.append(line)
            if len(lines) == most:
                return lines, reader.rest() + b"".join(chunks[number + 1 :])
        return lines, reader.rest()

    @PROPERTY
    @given(
        st.lists(st.binary(max_size=20), max_size=6),
        st.lists(st.integers(0, 1000), max_size=8),
        st.integers(0, 4),
    )
    def test_anySplit(self, parts: list[bytes], places: list[int], most: int) -> None:
        """Nothing depends on how the stream is cut, and no byte behind the lines is touched."""
        data = b"\n".join(parts)
        count = min(most, data.count(b"\n"))
        split = data.split(b"\n", count)
        lines, rest = self.read(cut(data, places), most)
        self.assertEqual(lines, split[:count])
        self.assertEqual(rest, split[count])

    def test_restOnce(self) -> None:
        """What was returned is not held any longer."""
        reader = LineReader()
        reader.feed(b"{}\n\x81\x01a\nb")
        self.assertEqual(reader.take(), b"{}")
        self.assertEqual(reader.rest(), b"\x81\x01a\nb")
        self.assertEqual(reader.rest(), b"")
        reader.feed(b"c\n")
        self.assertEqual(reader.take(), b"c")

    def test_restOfALine(self) -> None:
        """It is returned as well, and what comes then is searched from its beginning."""
        reader = LineReader()
        reader.feed(b"abc")
        self.assertIsNone(reader.take())
        self.assertEqual(reader.rest(), b"abc")
        reader.feed(b"\n")
        self.assertEqual(reader.take(), b"")

    def test_bound(self) -> None:
        """A line may be so long and no longer, whether its end has come or not."""
        line = b"a" * LINE_SIZE
        for chunks in ([line + b"\n"], [line, b"\n"]):
            self.assertEqual(self.read(chunks, 1), ([line], b""))
        for chunks in ([line + b"a\n"], [line, b"a\n"], [line + b"a"], [b"{}\n" + line + b"a"]):
            self.assertRaises(LinkFault, self.read, chunks, 2)

    def test_muchBehindALine(self) -> None:
        """Records are not lines, and may be as many as one read brings."""
        records = b"x" * (2 * LINE_SIZE)
        for line in (b"{}", b""):
            self.assertEqual(self.read([line + b"\n" + records], 1), ([line], records))

    def test_searchedOnce(self) -> None:
        """A long line that comes byte by byte takes no more work than its length."""
        searched = 0

        class Counting(bytearray):
            """Counts the bytes that are searched."""

            def find(self, sub: Any, start: Any = 0, *further: Any) -> int:
                nonlocal searched
                searched += len(self) - start
                return super().find(sub, start, *further)

        reader = LineReader()
        reader._buffer = Counting()
        for _ in range(1000):
            reader.feed(b"a")
            self.assertIsNone(reader.take())
        self.assertEqual(searched, 1000)
