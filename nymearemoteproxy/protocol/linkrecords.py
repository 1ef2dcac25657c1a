"""What a link between two members carries once it is open: records, both ways.

Owns the byte layout of records and every rule about them. Knows nothing of transports, members or
time: bytes go in, what the partner is to get comes out, and the other way round.

Theory of operation
-------------------

A record is laid out as an unmasked WebSocket frame (RFC 6455 section 5.2), so that the frames of a
WebSocket client pass as they are: text, binary, continuation. What else there is to say has opcodes
that the RFC leaves free. `BYTES` is what the client of a stream sent, in pieces that mean nothing.
The rest are notices, which are control frames: `END`, the client there sends nothing more; `LOST`,
it can take nothing more, ever; `CUT`, what it sent is lost in part. An END or a CUT has the label
of an outcome as its payload, an END may do without, a LOST has none.

Nothing is collected: what has arrived of a frame is passed on at once as a fragment of its own.

The rules. A length is in its shortest form and below 2^63. No record is masked or has a reserved
bit. A BYTES is not empty and no fragment. A notice is no fragment and has at most 125 bytes. There
is a continuation only within a message, and within a message nothing else but notices. Each notice
comes at most once, in any order, and behind any of them come only the others. Whoever breaks one of
these is of another version, or broken, and the link is cut: behind a fault no record begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from nymearemoteproxy.protocol.frames import (
    BINARY,
    CONTINUATION,
    FIN,
    FRAMES_AT_ONCE,
    MAX_CONTROL_PAYLOAD,
    PARTS_AT_ONCE,
    TEXT,
    Frames,
    frame,
    header,
)
from nymearemoteproxy.protocol.outcomes import Outcome

BYTES = 0x3  # the first opcode that is reserved for further data
END = 0xB  # those that are reserved for further control frames
LOST = 0xC
CUT = 0xD

_CONTROL = 0x08  # the bit that all control opcodes have
_MASKED = 0x80
_LENGTH_16 = 126  # instead of a length: it follows in 16 bits
_LENGTH_64 = 127  # instead of a length: it follows in 64 bits
_WHOLE_TEXT = FIN | TEXT
_WHOLE_BINARY = FIN | BINARY
_WHOLE_BYTES = FIN | BYTES
_SMALLEST = 4  # bytes that are read at a time: of no smaller record the quick way is worth it
_HEADER_16 = Struct(">BBH")
_FRAMES = range(FRAMES_AT_ONCE)  # made once: most reads need one turn of these loops
_PARTS = range(PARTS_AT_ONCE)

_OUTCOMES = {outcome.label: outcome for outcome in Outcome}


class LinkFault(Exception):
    """The other side of a link does not keep to the rules: another version, or broken."""


def outcomeOf(label: str) -> Outcome:
    """Return the outcome with this label; INTERNAL_ERROR for one of another version."""
    return _OUTCOMES.get(label, Outcome.INTERNAL_ERROR)


@dataclass(frozen=True)
class Notice:
    """Something is over.

    :ivar kind: END, LOST or CUT.
    :ivar label: of an outcome, maybe one of another version; empty if there is none.
    """

    kind: int
    label: str = ""


Item = Frames | bytes | Notice
"""What a link brings: frames of a WebSocket client, bytes of a stream, or that one is over."""


def encodeBytes(data: bytes) -> bytes:
    """Return the record for bytes of a stream, which is none if there are none."""
    return header(BYTES, True, len(data)) + data if data else b""


def encodeNotice(kind: int, label: str = "") -> bytes:
    """Return the record for a notice.

    :param kind: END, LOST or CUT.
    :param label: of an outcome; at most 125 characters.
    """
    return frame(kind, label.encode("ascii"))


class RecordReader:
    """Reads the records of the other side, however the stream is cut.

    :ivar error: set once the other side broke a rule. From then on everything is ignored.
    :ivar hasMore: more has arrived than was read at a time; `receive` goes on, given anything or
        nothing.
    """

    __slots__ = (
        "error",
        "hasMore",
        "_fin",
        "_held",
        "_inMessage",
        "_opcode",
        "_over",
        "_remaining",
    )

    def __init__(self) -> None:
        self.error: LinkFault | None = None
        self.hasMore = False
        self._held = b""  # a header or a notice that has not arrived whole; or more
        self._remaining = 0  # bytes of payload still to come of the frame or bytes at hand
        self._opcode = CONTINUATION  # for the next fragment
        self._fin = True
        self._inMessage = False
        self._over: tuple[int, ...] = ()  # the notices that came

    def receive(self, data: bytes) -> list[Item]:
        """Read what arrived; return it in order.

        It reads so much at a time that others need not wait, and keeps the rest. Frames that follow
        each other are one item, and so are bytes. What came before a breach of the rules, which is
        put into `error`, is returned all the same.
        """
        items: list[Item] = []
        if self.error is not None:
            return items
        if self._held:
            data = self._held + data
            self._held = b""
            self.hasMore = False
        position, end = 0, len(data)
        read = 0
        try:
            for _ in _PARTS:
                if position == end:
                    break
                if self._remaining:
                    position = self._readPayload(data, position, items)
                    continue
                if not self._inMessage and not self._over:
                    position, count = _readWhole(data, position, items)
                    if position == end:
                        break
                    read += count
                    if read >= FRAMES_AT_ONCE:
                        self._keep(data[position:])
                        break
                behind = self._readHeader(data, position, items)
                if behind == position:
                    self._held = data[position:]
                    break
                position = behind
            else:
                self._keep(data[position:])
        except LinkFault as error:
            self.error = error.with_traceback(None)  # which refers to this very frame
        return items

    def _keep(self, rest: bytes) -> None:
        self._held = rest
        self.hasMore = rest != b""

    def _readPayload(self, data: bytes, position: int, items: list[Item]) -> int:
        # Not as a memoryview: not all that takes it can do with one, for which a copy of 64 KiB,
        # 1.6 µs, is a small price. Of a read that is nothing but payload there is none anyway.
        payload = data[position : position + self._remaining]
        size = len(payload)
        self._remaining -= size
        if self._opcode == BYTES:
            _addBytes(items, payload)
        else:
            head = header(self._opcode, self._fin and not self._remaining, size)
            _addFrames(items, [head, payload])
            self._opcode = CONTINUATION
        return position + size

    def _readHeader(self, data: bytes, position: int, items: list[Item]) -> int:
        """Read one header, with its payload if it is a notice.

        Return the position behind it; the same position when it has not arrived whole.
        """
        first = data[position]
        opcode = first & 0x0F
        fin = first >= FIN
        self._checkFirst(first, opcode, fin)
        if len(data) < position + 2:
            return position
        size = data[position + 1]
        if size >= _MASKED:
            raise LinkFault("masked record")
        if opcode & _CONTROL and size > MAX_CONTROL_PAYLOAD:
            raise LinkFault("notice too long")
        behind = position + 2
        if size >= _LENGTH_16:
            behind += 2 if size == _LENGTH_16 else 8
            if len(data) < behind:
                return position
            size = _readLongSize(data[position + 2 : behind])
        if opcode & _CONTROL:
            if len(data) < behind + size:
                return position
            items.append(self._noticeReceived(opcode, data[behind : behind + size]))
            return behind + size
        if opcode:
            self._opcode = opcode
        self._inMessage = not fin
        self._fin = fin
        self._remaining = size
        if not size:
            if opcode == BYTES:
                raise LinkFault("no bytes")
            _addFrames(items, [header(self._opcode, fin, 0), b""])
            self._opcode = CONTINUATION
        return behind

    def _checkFirst(self, first: int, opcode: int, fin: bool) -> None:
        if first & 0x70:
            raise LinkFault("reserved bit set")
        if opcode & _CONTROL:
            if opcode not in (END, LOST, CUT):
                raise LinkFault("unknown notice")
            if not fin:
                raise LinkFault("notice in parts")
            if opcode in self._over:
                raise LinkFault("notice given twice")
        elif opcode > BYTES:
            raise LinkFault("unknown record")
        elif self._over:
            raise LinkFault("record behind the end")
        elif bool(opcode) is self._inMessage:
            raise LinkFault("new record inside a message" if opcode else "nothing to be continued")
        elif opcode == BYTES and not fin:
            raise LinkFault("bytes in parts")

    def _noticeReceived(self, kind: int, payload: bytes) -> Notice:
        try:
            label = payload.decode("ascii")
        except UnicodeDecodeError:
            raise LinkFault("label is not ASCII") from None
        if bool(label) is not (kind == CUT) and kind != END:
            raise LinkFault("cut without a label" if kind == CUT else "loss with a label")
        self._over += (kind,)
        return Notice(kind, label)


def _readLongSize(encoded: bytes) -> int:
    size = int.from_bytes(encoded, "big")
    if size < (_LENGTH_16 if len(encoded) == 2 else 65536):
        raise LinkFault("length not in the shortest form")
    if size >= 1 << 63:
        raise LinkFault("length out of range")
    return size


def _readLargeSize(data: bytes, position: int) -> int:
    """Return the length in 64 bits of a record; 0 if it is a fault.

    What of it has not arrived does not matter: then the record has not arrived whole either.
    """
    size = int.from_bytes(data[position + 2 : position + 10], "big")
    return size if size >= 1 << 16 else 0


def _addFrames(items: list[Item], frames: Frames) -> None:
    last = items[-1] if items else None
    if isinstance(last, list):
        last += frames
    else:
        items.append(frames)


def _addBytes(items: list[Item], data: bytes) -> None:
    last = items[-1] if items else None
    if isinstance(last, bytes):
        items[-1] = last + data  # a copy of 64 KiB takes a tenth of the time of another send
    else:
        items.append(data)


def _readWhole(data: bytes, position: int, items: list[Item]) -> tuple[int, int]:
    """Read messages of one frame, or bytes, that have arrived whole, as nearly all small ones have.

    Everything else, also every fault, is left where it is. It is here that links with small
    messages spend their time, hence the few calls, and two loops that are nearly the same.

    :return: the position behind them, and how many it were.
    """
    end = len(data)
    last = end - _SMALLEST
    readHeader = _HEADER_16.unpack_from
    found: list[bytes] = []
    add = found.append
    if data[position] == _WHOLE_BYTES:
        for _ in _FRAMES:
            if position > last:
                break
            first, second, size = readHeader(data, position)
            if first != _WHOLE_BYTES:
                break
            if second == _LENGTH_16 and size >= _LENGTH_16:
                payload = position + 4
            elif 0 < second < _LENGTH_16:
                payload = position + 2
                size = second
            elif second == _LENGTH_64 and (size := _readLargeSize(data, position)):
                payload = position + 10
            else:
                break
            behind = payload + size
            if behind > end:
                break
            add(data[payload:behind])
            position = behind
        if found:
            _addBytes(items, b"".join(found))  # which of a single one is that one
        return position, len(found)
    for _ in _FRAMES:
        if position > last:
            break
        first, second, size = readHeader(data, position)
        if first != _WHOLE_BINARY and first != _WHOLE_TEXT:
            break
        if second == _LENGTH_16 and size >= _LENGTH_16:
            payload = position + 4
        elif second < _LENGTH_16:
            payload = position + 2
            size = second
        elif second == _LENGTH_64 and (size := _readLargeSize(data, position)):
            payload = position + 10
        else:
            break
        behind = payload + size
        if behind > end:
            break
        add(data[position:payload])
        add(data[payload:behind])
        position = behind
    if found:
        _addFrames(items, found)
    return position, len(found) >> 1
