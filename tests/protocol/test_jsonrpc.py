"""Owns the checks of the JSON-RPC rules: what is valid JSON, and the declared API."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.jsonrpc import (
    UNKNOWN_ID,
    Api,
    MessageError,
    MessageSplitter,
    Method,
    Notification,
    Request,
    decodeObject,
    encode,
    encodeNotice,
    encodeString,
    encodeSuccess,
    failure,
    success,
    tooLarge,
)
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.jsonvalues import OBJECTS, VALUES

PROPERTY = settings(max_examples=150, deadline=None, database=None)


class MessageSplitterTests(SynchronousTestCase):
    """What is said of bytes in which no message can be found."""

    def test_refusals(self) -> None:
        for data, text, outcome in (
            (b"x", "Invalid JSON: an object must start with a brace.", Outcome.INVALID_JSON),
            (b'{"\n', "Invalid JSON: a control character in a string.", Outcome.INVALID_JSON),
            (b"{" * 11, "Message larger than 10 bytes.", Outcome.MESSAGE_TOO_LARGE),
        ):
            splitter = MessageSplitter(10)
            splitter.feed(b"{}" + data)
            self.assertEqual(splitter.take(), b"{}")
            error = self.assertRaises(MessageError, splitter.take)
            self.assertEqual(
                (error.requestId, error.text, error.outcome), (UNKNOWN_ID, text, outcome)
            )


class DecodeObjectTests(SynchronousTestCase):
    """What is valid JSON here."""

    def assertInvalid(self, raw: bytes) -> str:
        """`raw` is refused as invalid JSON; return the text."""
        with self.assertRaises(MessageError) as caught:
            decodeObject(raw)
        error = caught.exception
        self.assertEqual(error.requestId, UNKNOWN_ID)
        self.assertIs(error.outcome, Outcome.INVALID_JSON)
        self.assertTrue(error.text.startswith("Invalid JSON: "), error.text)
        self.assertNotIn("\n", error.text)
        self.assertLess(len(error.text), 200)
        return error.text

    def test_valid(self) -> None:
        """Everything JSON has, arrives."""
        raw = '{"a":[1,-2.5e3,true,false,null,"é\\u20ac\\ud83d\\ude00"],"b":{"c":""}}'
        self.assertEqual(
            decodeObject(raw.encode()),
            {"a": [1, -2500.0, True, False, None, "é€😀"], "b": {"c": ""}},
        )

    def test_surroundingWhiteSpace(self) -> None:
        """A WebSocket message may end with a newline."""
        self.assertEqual(decodeObject(b' \t{"a":1}\r\n'), {"a": 1})

    def test_numbersOutOfRange(self) -> None:
        """NaN, infinities, and numbers no double can hold are no JSON, wherever they stand."""
        numbers = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "-" + "9" * 400)
        for number in (*numbers, "1" + "0" * 5000, "1e99999999999", "1.0e309"):
            for form in ('{"id":%s}', '{"a":[{"b":%s}]}', '{"a":%s,"a":1}'):
                self.assertInvalid((form % number).encode())

    def test_numbersInRange(self) -> None:
        """The largest integers and doubles that have their place are taken as they are."""
        for number in (10**300, 2**64, -(2**63), 1.7976931348623157e308, 5e-324, -0.0):
            self.assertEqual(decodeObject(b'{"a":%s}' % repr(number).encode()), {"a": number})
        self.assertEqual(decodeObject(b'{"a":1e-400}'), {"a": 0.0})

    def test_duplicateKeys(self) -> None:
        """Of a key given twice the last counts."""
        self.assertEqual(decodeObject(b'{"a":1,"b":2,"a":3}'), {"a": 3, "b": 2})

    def test_loneSurrogates(self) -> None:
        """They could not be written as UTF-8 again, in keys no more than in values."""
        for raw in (rb'{"a":"\ud800"}', rb'{"\udfff":1}', rb'{"a":["\ude00\ud83d"]}'):
            self.assertInvalid(raw)

    def test_encodedSurrogates(self) -> None:
        """Surrogates in the bytes are no UTF-8."""
        self.assertInvalid(b'{"a":"\xed\xa0\x80"}')

    def test_nul(self) -> None:
        """NUL is taken when escaped, refused when raw."""
        self.assertEqual(decodeObject(rb'{"a":"\u0000"}'), {"a": "\0"})
        self.assertInvalid(b'{"a":"\0"}')
        self.assertInvalid(b'{"a":1}\0')

    def test_otherEncodings(self) -> None:
        """Only UTF-8 without a byte order mark is JSON (RFC 8259 section 8.1)."""
        text = '{"a":"é"}'
        for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"):
            self.assertInvalid(text.encode(encoding))

    def test_deepNesting(self) -> None:
        """10,000 brackets are an error message, no crash."""
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            inner = opening * 10_000 + b"1" + closing * 10_000
            self.assertInvalid(b'{"a":' + inner + b"}")
            self.assertInvalid(rb'{"u":"\u0041","a":' + inner + b"}")
            self.assertInvalid(opening * 10_000)

    def test_notAnObject(self) -> None:
        """Other JSON values are no message."""
        for raw in (b"[]", b"1", b'"{}"', b"null", b"true", b"[{}]"):
            self.assertIn("object", self.assertInvalid(raw))

    def test_broken(self) -> None:
        """The position of the fault is told."""
        for raw in (b"", b"{", b"{}{}", b'{"a":1,}', b"{'a':1}", b"{a:1}", b'{"a":01}', b"{}x"):
            self.assertInvalid(raw)
        self.assertIn("position 7", self.assertInvalid(b'{"a":1 2}'))

    def test_textHoldsNoValues(self) -> None:
        """The text of an error does not quote what the client sent: it may be a token."""
        for raw in (b'{"token":"sesame" x}', b'{"token":sesame}', b'{"token":"sesame', b"sesame"):
            self.assertNotIn("sesame", self.assertInvalid(raw))

    @PROPERTY
    @given(st.binary(max_size=40))
    @example(b'{"\\u')
    def test_anyBytes(self, raw: bytes) -> None:
        """Whatever arrives, it is an object or a MessageError."""
        try:
            self.assertIsInstance(decodeObject(raw), dict)
        except MessageError as error:
            self.assertIs(error.outcome, Outcome.INVALID_JSON)

    @PROPERTY
    @given(OBJECTS, st.booleans())
    def test_roundTrip(self, message: dict[str, Any], ascii: bool) -> None:
        """What was encoded elsewhere arrives unchanged, escaped or not."""
        self.assertEqual(decodeObject(json.dumps(message, ensure_ascii=ascii).encode()), message)


class EncodeTests(SynchronousTestCase):
    """What the server writes."""

    @PROPERTY
    @given(OBJECTS)
    def test_oneLine(self, message: dict[str, Any]) -> None:
        """A message is one line ended by the only line feed, and says what it was made of."""
        raw = encode(message)
        self.assertTrue(raw.endswith(b"}\n"))
        self.assertEqual(raw.count(b"\n"), 1)
        self.assertEqual(json.loads(raw), message)

    def test_responses(self) -> None:
        """Params and error appear only where there are any."""
        self.assertEqual(encode(success(7)), b'{"id":7,"status":"success"}\n')
        self.assertEqual(encode(success(7, {})), b'{"id":7,"status":"success","params":{}}\n')
        self.assertEqual(encode(failure(-1, "No.")), b'{"id":-1,"status":"error","error":"No."}\n')

    def test_tooLarge(self) -> None:
        """The text names the limit."""
        error = tooLarge(10240)
        self.assertEqual(
            (error.requestId, error.text, str(error)),
            (-1, "Message larger than 10240 bytes.", "Message larger than 10240 bytes."),
        )


PLAIN = Method("Test.Plain", "Takes nothing.", returns={"answer": "$ref:Mood"})
MIXED = Method(
    "Test.Mixed",
    "Takes one of each.",
    params={
        "text": "String",
        "uuid": "Uuid",
        "number": "Int",
        "o:count": "UInt",
        "o:left": "String",
        "o:right": "String",
    },
    together=("left", "right"),
)
HAPPENED = Notification("Test.Happened", "Something did.", {"mood": "$ref:Mood"})
SILENT = Notification("Other.Silent", "Nothing did.")
API = Api((PLAIN, MIXED), (HAPPENED, SILENT), {"Mood": ("MoodGood", "MoodBad")})
COMPLETE: dict[str, Any] = {"text": "", "uuid": "u", "number": -1}


def call(method: Any = "Test.Mixed", **changes: Any) -> bytes:
    """Return a request of id 5, valid but for `changes` to its params."""
    return json.dumps({"id": 5, "method": method, "params": {**COMPLETE, **changes}}).encode()


class ParseTests(SynchronousTestCase):
    """Requests are held against the declarations."""

    def assertRefused(self, raw: bytes | dict[str, Any], requestId: int, *words: str) -> str:
        """The request is refused with this id, in a text with these words."""
        if isinstance(raw, dict):
            raw = json.dumps(raw).encode()
        with self.assertRaises(MessageError) as caught:
            API.parse(raw)
        error = caught.exception
        self.assertEqual(error.requestId, requestId)
        self.assertIs(error.outcome, Outcome.INVALID_REQUEST)
        for word in words:
            self.assertIn(word, error.text)
        return error.text

    def test_valid(self) -> None:
        """A valid call comes out as it is; params may be left out when none is required."""
        self.assertEqual(API.parse(call()), Request(5, MIXED, COMPLETE))
        self.assertEqual(API.parse(b'{"method":"Test.Plain","id":0}'), Request(0, PLAIN, {}))
        full = {"count": 0, "left": "l", "right": "r"}
        self.assertEqual(API.parse(call(**full)), Request(5, MIXED, {**COMPLETE, **full}))

    def test_anyIntegerIsAnId(self) -> None:
        """Negative and large ones, too."""
        for requestId in (-1, -(2**40), 2**70, 0):
            raw = json.dumps({"id": requestId, "method": "Test.Plain", "params": {}}).encode()
            self.assertEqual(API.parse(raw).id, requestId)

    def test_unknownTopLevelKeys(self) -> None:
        """They are ignored."""
        raw = b'{"jsonrpc":"2.0","id":1,"x":[],"method":"Test.Plain","token":null}'
        self.assertEqual(API.parse(raw), Request(1, PLAIN, {}))

    def test_invalidJson(self) -> None:
        """It is refused as such, with an unknown id."""
        for raw in (b"x", b"[]", b'{"id":5,"method":"Test.Plain"'):
            with self.assertRaises(MessageError) as caught:
                API.parse(raw)
            self.assertEqual(caught.exception.requestId, -1)
            self.assertIs(caught.exception.outcome, Outcome.INVALID_JSON)

    def test_id(self) -> None:
        """A missing id, or one that is no integer, is answered with -1."""
        self.assertRefused({"method": "Test.Plain"}, -1, "id")
        for requestId in (None, "5", 1.0, 5.5, True, False, [], {}, "1e3"):
            self.assertRefused({"id": requestId, "method": "Test.Plain"}, -1, "id")
        self.assertRefused(b'{"id":1e2,"method":"Test.Plain"}', -1, "id")

    def test_idBeforeMethod(self) -> None:
        """A bad method of a request without id is answered with -1."""
        self.assertRefused({"method": "Nobody.Knows"}, -1, "id")

    def test_method(self) -> None:
        """A method is missing or misspelled: the id is known already."""
        self.assertRefused({"id": 5}, 5, "method")
        spelled = ("", "Plain", ".Plain", "Test.", "Test.Plain.", "Test.Plain\n", " Test.Plain")
        for method in (*spelled, "Test..Plain", "A.B.C", "Tést.Plain", 1, None, ["Test.Plain"]):
            self.assertRefused({"id": 5, "method": method}, 5, "Namespace.Method")

    def test_unknownMethod(self) -> None:
        """Method and namespace are told apart; names are case-sensitive; a notification is none."""
        for method in ("Test.Unknown", "Test.plain", "Test.Happened"):
            self.assertEqual(self.assertRefused({"id": 5, "method": method}, 5), "Unknown method.")
        for method in ("Nobody.Plain", "test.Plain", "Other.Silent"):
            self.assertEqual(
                self.assertRefused({"id": 5, "method": method}, 5), "Unknown namespace."
            )

    def test_paramsNotAnObject(self) -> None:
        """Whatever else they are."""
        for params in (None, [], 1, "", True):
            self.assertRefused({"id": 5, "method": "Test.Plain", "params": params}, 5, "params")

    def test_missingParam(self) -> None:
        """Every required one is missed, by name."""
        for name in COMPLETE:
            params = {key: value for key, value in COMPLETE.items() if key != name}
            request = {"id": 5, "method": "Test.Mixed", "params": params}
            self.assertRefused(request, 5, f'"{name}"', "Missing", "Test.Mixed")
        self.assertRefused({"id": 5, "method": "Test.Mixed"}, 5, "Missing")

    def test_unknownParam(self) -> None:
        """A param that is not declared is refused, by name."""
        self.assertRefused(call(more=1), 5, '"more"', "Unknown", "Test.Mixed")
        self.assertRefused(call("Test.Plain"), 5, "Unknown", "Test.Plain")
        self.assertRefused(call(**{"o:count": 1}), 5, '"o:count"', "Unknown")

    def test_wrongType(self) -> None:
        """A value of another type is refused, by the param's name; the value is not quoted."""
        wrong: dict[str, tuple[str, tuple[Any, ...]]] = {
            "text": ("String", (None, 1, True, [], {})),
            "uuid": ("Uuid", (None, 987654, False, [], {})),
            "number": ("Int", (None, "987654", True, 1.0, [], {})),
            "count": ("UInt", (None, "987654", False, 0.0, -1, [], {})),
            "left": ("String", (None, 987654)),
        }
        for name, (kind, values) in wrong.items():
            for value in values:
                changes = {"left": "", "right": "", name: value}
                text = self.assertRefused(call(**changes), 5, f'"{name}"', kind, "Test.Mixed")
                self.assertNotIn("987654", text)

    def test_together(self) -> None:
        """Params that belong together are missed when only one is there."""
        self.assertRefused(call(left=""), 5, 'Missing param "right"')
        self.assertRefused(call(right=""), 5, 'Missing param "left"')

    @PROPERTY
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "id": VALUES,
                "method": st.sampled_from(["Test.Mixed", "Test.Plain"]) | VALUES,
                "params": st.dictionaries(st.sampled_from([*COMPLETE, "left", "x"]), VALUES)
                | VALUES,
            },
        )
    )
    def test_anyMessage(self, message: dict[str, Any]) -> None:
        """Whatever is asked, it is a request, or an error with the id it must carry."""
        requestId = message.get("id")
        known = isinstance(requestId, int) and not isinstance(requestId, bool)
        try:
            request = API.parse(json.dumps(message).encode())
        except MessageError as error:
            self.assertEqual(error.requestId, requestId if known else -1)
        else:
            self.assertEqual(request.id, requestId)
            self.assertEqual(request.params, message.get("params", {}))


class IntrospectionTests(SynchronousTestCase):
    """Introspect tells what was declared."""

    def test_complete(self) -> None:
        """Methods, notifications and types appear as they were declared."""
        self.assertEqual(
            API.introspection,
            {
                "methods": {
                    "Test.Plain": {
                        "description": "Takes nothing.",
                        "params": {},
                        "returns": {"answer": "$ref:Mood"},
                    },
                    "Test.Mixed": {
                        "description": "Takes one of each.",
                        "params": {
                            "text": "String",
                            "uuid": "Uuid",
                            "number": "Int",
                            "o:count": "UInt",
                            "o:left": "String",
                            "o:right": "String",
                        },
                        "returns": {},
                    },
                },
                "notifications": {
                    "Test.Happened": {
                        "description": "Something did.",
                        "params": {"mood": "$ref:Mood"},
                    },
                    "Other.Silent": {"description": "Nothing did.", "params": {}},
                },
                "types": {
                    "BasicType": [
                        "Uuid",
                        "String",
                        "Int",
                        "UInt",
                        "Double",
                        "Bool",
                        "Variant",
                        "Object",
                    ],
                    "Mood": ["MoodGood", "MoodBad"],
                },
            },
        )

    def test_canBeEncoded(self) -> None:
        """It goes over the wire as it is."""
        self.assertEqual(json.loads(encode(API.introspection)), API.introspection)

    def test_encodedOnce(self) -> None:
        """What is prepared is what `success` would make of it, with any id."""
        for number in (0, -1, 42, 2**70):
            self.assertEqual(
                encodeSuccess(number, API.encodedIntrospection),
                encode(success(number, API.introspection)),
            )

    @PROPERTY
    @given(st.integers(), st.text(), st.text())
    def test_noticeInParts(self, number: int, name: str, uuid: str) -> None:
        """A notification is the same, however it is put together."""
        notification = Notification("A.Happened", "It did.", {"name": "String", "uuid": "String"})
        params = b'{"name":%b,"uuid":%b}' % (encodeString(name), encodeString(uuid))
        whole = {"name": name, "uuid": uuid}
        made = encodeNotice(number, notification, params)
        message = {"id": number, "notification": "A.Happened", "params": whole}
        self.assertEqual(made, encode(message))
