"""The opening of a link between two members: what one asks, and what the other answers.

Owns the lines of JSON that are sent each way before records follow, and what versions may meet.
Knows nothing of transports, time or what becomes of an answer.

Theory of operation
-------------------

Each line is a JSON object, of which the version comes first. `Meet` is answered by an `Offer` if
there is somebody to be connected to. It is nothing but an offer: the place is kept until the asker
says `Here`, and what follows the home's `Met` are records (`linkrecords`), both ways. So asking
again is always safe, and a lost answer harms nobody. `Visit` is answered by `Met` at once. Instead
there may be `Denied` or `NotHere`, and any number of `Wait` before either. A `Look` is answered by
`Here` or `NotHere`, and on a `ControlLink` each `Here` is answered by one.

Members of different versions live together while a system is upgraded. Each line says its version,
and the oldest one that understands it: a newer line with further keys can be read, as long as it
says so. Reading is strict all the same: what is missing, or of another type, is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from nymearemoteproxy.protocol.jsonrpc import MessageError, decodeObject
from nymearemoteproxy.protocol.linkfields import added, get, make, number, plain, text
from nymearemoteproxy.protocol.linkrecords import LinkFault
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity

T = TypeVar("T")

VERSION = 3
"""Of the lines and records that are spoken here."""

COMPATIBLE = 1
"""The oldest version that understands most of them, and the oldest that is understood."""

_SUBJECTS = 2
"""The first version that heeds the subject of a `Visit`: an older one would let its client in."""

_VISITORS = 3
"""The first version that asks a home whether it wants visitors by the front door."""

LINE_SIZE = (1 << 20) + (16 << 10)
"""The most bytes of a line, without its end. A name and a uuid may be as long as the message of a
client that they came in, for which a MiB is the highest limit that can be set; all else is some
hundred characters. Whoever has no limit and a longer name is refused, see `isTellable`."""

_ALL_ELSE = 8 << 10
"""Bytes, in a line, of all but an identity: at most a `Far`, in which a character may take six."""

_LINE_END = b"\n"

# Not as ASCII: a name must not grow to six bytes for each two.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=plain)


@dataclass(frozen=True)
class Far:
    """The client at the other end of a link, for those who watch.

    :ivar number: of its connection, in its own member.
    :ivar transport: what is spoken on it, such as WebSocket.
    :ivar secure: True when TLS is between the client and its member.
    :ivar address: its address and port, for those who watch the server.
    :ivar peer: its address as it may be written down.
    :ivar name: as it is shown, or the beginning of that.
    :ivar uuid: the same; empty if it has none.
    """

    number: int
    transport: str
    secure: bool
    address: str
    peer: str
    name: str
    uuid: str


class _Line:
    """A line; a subclass is a dataclass whose fields are what it says."""

    WHAT: ClassVar[str]
    KIND: ClassVar[str]

    @property
    def compatible(self) -> int:
        """The oldest version that understands this line."""
        return COMPATIBLE

    def encode(self) -> bytes:
        """Return the line, with its end.

        :raises LinkFault: it would be too long.
        """
        start = {"version": VERSION, "compatible": self.compatible, self.WHAT: self.KIND}
        values = {**start, **vars(self)}
        line = _ENCODER.encode(values).encode("utf-8")
        if len(line) > LINE_SIZE:
            raise LinkFault("line too long")
        return line + _LINE_END


class _Ask(_Line):
    """A line of the one who asks."""

    WHAT: ClassVar = "ask"


@dataclass(frozen=True)
class Meet(_Ask):
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


@dataclass(frozen=True)
class Visit(_Ask):
    """Ask: connect this client to the server that is registered at a place.

    :ivar member: who asks.
    :ivar place: as in the directory.
    :ivar claim: the one by which the other member holds the place.
    :ivar registration: what the client called RegisterClient with.
    :ivar host: the client's IP address, empty if it has none.
    :ivar far: the client, for those who watch.
    :ivar subject: the account whose servers it can reach; None = any.
    :ivar isVisitor: it came by the front door.
    :ivar isNamed: by a name that the operator has given the server.
    """

    KIND: ClassVar = "visit"

    member: bytes
    place: str
    claim: int
    registration: ClientRegistration
    host: str
    far: Far
    subject: str | None = added(None)
    isVisitor: bool = added(False)
    isNamed: bool = added(False)

    @property
    def compatible(self) -> int:
        if self.isVisitor:
            return _VISITORS
        return COMPATIBLE if self.subject is None else _SUBJECTS


@dataclass(frozen=True)
class Look(_Ask):
    """Ask: is the one who holds this place there?

    :ivar member: who asks.
    :ivar place: as in the directory.
    :ivar claim: the one by which the other member holds the place.
    """

    KIND: ClassVar = "look"

    member: bytes
    place: str
    claim: int


@dataclass(frozen=True)
class ControlLink(_Ask):
    """Ask: show from time to time that the other member is there.

    :ivar member: who asks.
    """

    KIND: ClassVar = "control"

    member: bytes


Ask = Meet | Visit | Look | ControlLink


class _Answer(_Line):
    """A line of the one who was asked, but for `Here`, which both may say."""

    WHAT: ClassVar = "answer"


@dataclass(frozen=True)
class Offer(_Answer):
    """Answer: this one is there, for one that says `Here`.

    :ivar identity: how it is shown to its partner.
    :ivar far: the same one, for those who watch.
    """

    KIND: ClassVar = "offer"

    identity: Identity
    far: Far


@dataclass(frozen=True)
class Denied(_Answer):
    """Answer: there is no place for this client.

    :ivar outcome: how its connection ends; INTERNAL_ERROR if another version has one more.
    """

    KIND: ClassVar = "denied"

    outcome: Outcome


@dataclass(frozen=True)
class Wait(_Answer):
    """The home is still at it, and does not want to be given up."""

    KIND: ClassVar = "wait"


@dataclass(frozen=True)
class NotHere(_Answer):
    """Answer: nobody holds the place here."""

    KIND: ClassVar = "not-here"


@dataclass(frozen=True)
class Here(_Answer):
    """Answer: the one who holds the place is there; or, to an offer, the asker's client."""

    KIND: ClassVar = "here"


@dataclass(frozen=True)
class Met(_Answer):
    """The home's last word: records follow, both ways."""

    KIND: ClassVar = "met"


Answer = Offer | Denied | Wait | NotHere | Here | Met

_ASKS: Mapping[str, type[Ask]] = {kind.KIND: kind for kind in (Meet, Visit, Look, ControlLink)}
_ANSWERS: Mapping[str, type[Answer]] = {
    kind.KIND: kind for kind in (Offer, Denied, Wait, NotHere, Here, Met)
}


def parseAsk(line: bytes) -> Ask:
    """Read what a member asks for.

    :raises LinkFault: it asks for nothing that this version knows.
    """
    return _parse(_Ask.WHAT, _ASKS, line)


def parseAnswer(line: bytes) -> Answer:
    """Read what a member answers.

    :raises LinkFault: it is no answer that this version knows.
    """
    return _parse(_Answer.WHAT, _ANSWERS, line)


def _parse(what: str, kinds: Mapping[str, type[T]], line: bytes) -> T:
    try:
        values = decodeObject(line)
    except MessageError:
        raise LinkFault("no line of JSON") from None
    version, compatible = get(values, "version", number), get(values, "compatible", number)
    if version < COMPATIBLE or compatible > VERSION:
        raise LinkFault(f"version {version}, which does not go with {VERSION}")
    kind = kinds.get(get(values, what, text))
    if kind is None:
        raise LinkFault(f"unknown {what}")
    return make(kind, values)


def isTellable(identity: Identity) -> bool:
    """Tell whether there is room in a line for how a client is shown to its partner."""
    text = json.dumps(plain(identity), ensure_ascii=False)
    return len(text.encode("utf-8")) <= LINE_SIZE - _ALL_ELSE


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

        :raises LinkFault: it is too long.
        """
        end = self._buffer.find(_LINE_END, self._scanned)
        size = len(self._buffer) if end < 0 else end
        if size > LINE_SIZE:
            raise LinkFault("line too long")
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
