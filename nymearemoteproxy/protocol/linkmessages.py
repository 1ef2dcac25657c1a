"""The opening of a link between two members: what one asks, and what the other answers.

Owns the lines of JSON that are sent each way before records follow, and what versions may meet.
Knows nothing of transports, time or what becomes of an answer.

Theory of operation
-------------------

Each line is a JSON object, of which the version comes first. `Meet` and `Visit` are answered by an
`Offer` if there is somebody to be connected to. It is nothing but an offer: the place is kept until
the asker says `Here`, and what follows the home's `Met` are records (`linkrecords`), both ways. So
asking again is always safe, and a lost answer harms nobody. Instead of an offer there may be
`Denied`, `Wait` or `NotHere`. A `Look` is answered by `Here` or `NotHere`, and on a `ControlLink`
each `Here` is answered by one.

Members of different versions live together while a system is upgraded. Each line says its version,
and the oldest one that understands it: a newer line with further keys can be read, as long as it
says so. Reading is strict all the same: what is missing, or of another type, is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject
from nymearemoteproxy.protocol.linkrecords import LinkError, outcomeOf
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration, parseUuid
from nymearemoteproxy.protocol.session import Identity

VERSION = 1
"""Of the lines and records that are spoken here."""

COMPATIBLE = 1
"""The oldest version that understands them, and the oldest that is understood."""

LINE_SIZE = 64 << 10
"""The most bytes of a line, without its end. A name and a uuid may be as long as the message of a
client that they came in, maxControlMessageSize, of which the default is 10 KiB; all else is some
hundred bytes."""

_LINE_END = b"\n"
_HIGHEST = 1 << 63  # of numbers; they only count
_MEMBER = re.compile(r"[0-9a-f]{32}", re.ASCII)


class _Fields:
    """The members of one JSON object, read strictly by type."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def _get(self, key: str, kind: type, what: str) -> Any:
        value = self._values.get(key)
        if type(value) is not kind:
            raise LinkError(f"{key} is no {what}")
        return value

    def text(self, key: str) -> str:
        value: str = self._get(key, str, "string")
        return value

    def textOrNone(self, key: str) -> str | None:
        if key in self._values and self._values[key] is None:
            return None
        return self.text(key)

    def flag(self, key: str) -> bool:
        value: bool = self._get(key, bool, "boolean")
        return value

    def number(self, key: str) -> int:
        value: int = self._get(key, int, "number")
        if not 0 <= value < _HIGHEST:
            raise LinkError(f"{key} is out of range")
        return value

    def uuid(self, key: str) -> UUID:
        value = parseUuid(self.text(key))
        if value is None:
            raise LinkError(f"{key} is no uuid")
        return value

    def member(self, key: str) -> bytes:
        value = self.text(key)
        if not _MEMBER.fullmatch(value):
            raise LinkError(f"{key} is no id of a member")
        return bytes.fromhex(value)

    def fields(self, key: str) -> _Fields:
        return _Fields(self._get(key, dict, "object"))

    def identity(self, key: str) -> Identity:
        fields = self.fields(key)
        return Identity(fields.text("name"), fields.textOrNone("uuid"))

    def registration(self, key: str) -> ClientRegistration:
        fields = self.fields(key)
        return ClientRegistration(
            fields.text("name"), fields.uuid("uuid"), fields.uuid("serverUuid")
        )

    def far(self, key: str) -> Far:
        fields = self.fields(key)
        return Far(
            number=fields.number("number"),
            transport=fields.text("transport"),
            secure=fields.flag("secure"),
            address=fields.text("address"),
            peer=fields.text("peer"),
            name=fields.text("name"),
            uuid=fields.text("uuid"),
        )


def _encode(values: Mapping[str, Any]) -> bytes:
    # Not as ASCII: a name must not grow to six bytes for each two.
    line = json.dumps(
        {"version": VERSION, "compatible": COMPATIBLE, **values},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode("utf-8")
    if len(line) > LINE_SIZE:
        raise LinkError("line too long")
    return line + _LINE_END


@dataclass(frozen=True)
class Far:
    """The client at the other end of a link, for those who watch.

    :ivar number: of its connection, in its own member.
    :ivar transport: WebSocket, TCP or unix.
    :ivar secure: True when TLS is between the client and its member.
    :ivar address: its address and port, for those who watch the server.
    :ivar peer: its address as it may be written down.
    :ivar name: as it is shown.
    :ivar uuid: as it is shown; empty if it has none.
    """

    number: int
    transport: str
    secure: bool
    address: str
    peer: str
    name: str
    uuid: str

    def values(self) -> dict[str, Any]:
        """Return what a line says of it."""
        return dict(vars(self))


@dataclass(frozen=True)
class Meet:
    """Ask: join this client with the one that waits at a place.

    :ivar member: who asks.
    :ivar place: as in the directory.
    :ivar claim: the one by which the other member holds the place.
    :ivar identity: how the client is shown to its partner.
    :ivar far: the client, for those who watch.
    """

    KIND: ClassVar = "meet"

    member: bytes
    place: str
    claim: int
    identity: Identity
    far: Far

    def encode(self) -> bytes:
        """Return the line.

        :raises LinkError: it would be too long.
        """
        return _encodeAsk(
            self,
            place=self.place,
            claim=self.claim,
            identity={"name": self.identity.name, "uuid": self.identity.uuid},
            far=self.far.values(),
        )


@dataclass(frozen=True)
class Visit:
    """Ask: connect this client to the server that is registered at a place.

    :ivar member: who asks.
    :ivar place: as in the directory.
    :ivar claim: the one by which the other member holds the place.
    :ivar registration: what the client called RegisterClient with.
    :ivar host: the client's IP address, empty if it has none.
    :ivar far: the client, for those who watch.
    """

    KIND: ClassVar = "visit"

    member: bytes
    place: str
    claim: int
    registration: ClientRegistration
    host: str
    far: Far

    def encode(self) -> bytes:
        """Return the line.

        :raises LinkError: it would be too long.
        """
        return _encodeAsk(
            self,
            place=self.place,
            claim=self.claim,
            registration={
                "name": self.registration.name,
                "uuid": str(self.registration.uuid),
                "serverUuid": str(self.registration.serverUuid),
            },
            host=self.host,
            far=self.far.values(),
        )


@dataclass(frozen=True)
class Look:
    """Ask: is the one who holds this place there?

    :ivar member: who asks.
    :ivar place: as in the directory.
    :ivar claim: the one by which the other member holds the place.
    """

    KIND: ClassVar = "look"

    member: bytes
    place: str
    claim: int

    def encode(self) -> bytes:
        """Return the line."""
        return _encodeAsk(self, place=self.place, claim=self.claim)


@dataclass(frozen=True)
class ControlLink:
    """Ask: show from time to time that the other member is there.

    :ivar member: who asks.
    """

    KIND: ClassVar = "control"

    member: bytes

    def encode(self) -> bytes:
        """Return the line."""
        return _encodeAsk(self)


Ask = Meet | Visit | Look | ControlLink


def _encodeAsk(ask: Ask, **values: Any) -> bytes:
    return _encode({"ask": ask.KIND, "member": ask.member.hex(), **values})


@dataclass(frozen=True)
class Offer:
    """Answer: this one is there, for one that says `Here`.

    :ivar identity: how it is shown to its partner.
    :ivar far: the same one, for those who watch.
    """

    KIND: ClassVar = "offer"

    identity: Identity
    far: Far

    def encode(self) -> bytes:
        """Return the line.

        :raises LinkError: it would be too long.
        """
        return _encode(
            {
                "answer": self.KIND,
                "identity": {"name": self.identity.name, "uuid": self.identity.uuid},
                "far": self.far.values(),
            }
        )


@dataclass(frozen=True)
class Denied:
    """Answer: there is no place for this client.

    :ivar outcome: how its connection ends; INTERNAL_ERROR if another version has one more.
    """

    KIND: ClassVar = "denied"

    outcome: Outcome

    def encode(self) -> bytes:
        """Return the line."""
        return _encode({"answer": self.KIND, "outcome": self.outcome.label})


class _Plain:
    """An answer that says nothing but what it is."""

    KIND: ClassVar[str]

    def encode(self) -> bytes:
        """Return the line."""
        return _encode({"answer": self.KIND})


@dataclass(frozen=True)
class Wait(_Plain):
    """Answer: the home's own claim is under way; ask again."""

    KIND: ClassVar = "wait"


@dataclass(frozen=True)
class NotHere(_Plain):
    """Answer: nobody holds the place here."""

    KIND: ClassVar = "not here"


@dataclass(frozen=True)
class Here(_Plain):
    """Answer: the one who holds the place is there; or, to an offer, the asker's client."""

    KIND: ClassVar = "here"


@dataclass(frozen=True)
class Met(_Plain):
    """The home's last word: records follow, both ways."""

    KIND: ClassVar = "met"


Answer = Offer | Denied | Wait | NotHere | Here | Met

_PLAIN: dict[str, Answer] = {answer.KIND: answer for answer in (Wait(), NotHere(), Here(), Met())}


def _parse(line: bytes) -> _Fields:
    try:
        fields = _Fields(decodeObject(line))
    except MessageError:
        raise LinkError("no line of JSON") from None
    version, compatible = fields.number("version"), fields.number("compatible")
    if compatible > version:
        raise LinkError("version that is newer than itself")
    if version < COMPATIBLE or compatible > VERSION:
        raise LinkError(f"version {version}, which does not go with {VERSION}")
    return fields


def parseAsk(line: bytes) -> Ask:
    """Read what a member asks for.

    :raises LinkError: it asks for nothing that this version knows.
    """
    fields = _parse(line)
    kind, member = fields.text("ask"), fields.member("member")
    if kind == ControlLink.KIND:
        return ControlLink(member)
    place, claim = fields.text("place"), fields.number("claim")
    if kind == Meet.KIND:
        return Meet(member, place, claim, fields.identity("identity"), fields.far("far"))
    if kind == Visit.KIND:
        registration = fields.registration("registration")
        return Visit(member, place, claim, registration, fields.text("host"), fields.far("far"))
    if kind == Look.KIND:
        return Look(member, place, claim)
    raise LinkError("unknown ask")


def parseAnswer(line: bytes) -> Answer:
    """Read what a member answers.

    :raises LinkError: it is no answer that this version knows.
    """
    fields = _parse(line)
    kind = fields.text("answer")
    if kind == Offer.KIND:
        return Offer(fields.identity("identity"), fields.far("far"))
    if kind == Denied.KIND:
        return Denied(outcomeOf(fields.text("outcome")))
    try:
        return _PLAIN[kind]
    except KeyError:
        raise LinkError("unknown answer") from None


class LineReader:
    """Finds the lines in what the other side sends, however it is cut; what follows is left."""

    __slots__ = ("_buffer", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> None:
        """Add bytes; `take` then returns the lines that they completed."""
        self._buffer += data

    def take(self) -> bytes | None:
        """Return the next line without its end, None when there is none yet.

        :raises LinkError: it is too long.
        """
        end = self._buffer.find(_LINE_END, self._scanned)
        size = len(self._buffer) if end < 0 else end
        if size > LINE_SIZE:
            raise LinkError("line too long")
        if end < 0:
            self._scanned = size
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def rest(self) -> bytes:
        """Return, once, what arrived behind the lines that were taken: records."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest
