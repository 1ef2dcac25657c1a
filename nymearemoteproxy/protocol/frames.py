"""WebSocket frames as a server sees them (RFC 6455 section 5): reading, writing, cutting.

Owns the byte layout and every rule about frames. Knows nothing of transports, sessions or time:
bytes go in, frames for the partner come out, and the other way round. Nothing is collected: what
has arrived of a frame is passed on at once as a fragment of its own.
"""

from __future__ import annotations

from struct import Struct

from nymearemoteproxy.protocol.masking import unmask

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

PROTOCOL_ERROR = 1002
INVALID_PAYLOAD = 1007

MAX_CONTROL_PAYLOAD = 125  # RFC 6455 section 5.5

FRAMES_AT_ONCE = 384
"""Messages of one frame that are read at a time: what one read of the transport brings when they
have 256 bytes. They take less than a microsecond each."""

PARTS_AT_ONCE = 64
"""Other frames that are read at a time, or parts of such. They take some microseconds each."""

FIN = 0x80  # the bit of a message's last frame
_MASKED = 0x80
_CONTROL = 0x08  # the bit that all control opcodes have
_LENGTH_16 = 126  # instead of a length: it follows in 16 bits
_LENGTH_64 = 127  # instead of a length: it follows in 64 bits
_MASK_SIZE = 4
_FRAMES = range(FRAMES_AT_ONCE)  # made once: most reads need one turn of these loops
_PARTS = range(PARTS_AT_ONCE)

_WHOLE_TEXT = FIN | TEXT  # how a message of one frame begins
_WHOLE_BINARY = FIN | BINARY
_MASKED_16 = _MASKED | _LENGTH_16
_SMALLEST = 2 + _MASK_SIZE  # bytes of a masked frame
_SHORT_HEADER = Struct(">BB")
_HEADER_16 = Struct(">BBH")

Frames = list[bytes]
"""Whole unmasked frames, each as two items: its header and its payload."""

_KNOWN_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))

# RFC 6455 section 7.4 and the IANA registry it founded: what may stand in a close frame
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))


class FrameError(Exception):
    """The client broke the protocol.

    :ivar code: the close code it is told.
    :ivar reason: the reason it is told.
    """

    def __init__(self, reason: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def header(opcode: int, fin: bool, size: int) -> bytes:
    """Return the header of an unmasked frame with `size` bytes of payload."""
    first = opcode | FIN if fin else opcode
    if size < _LENGTH_16:
        return _SHORT_HEADER.pack(first, size)
    if size < 65536:
        return _HEADER_16.pack(first, _LENGTH_16, size)
    return _SHORT_HEADER.pack(first, _LENGTH_64) + size.to_bytes(8, "big")


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """Return one whole unmasked frame."""
    return header(opcode, fin, len(payload)) + payload


def closeFrame(code: int, reason: str = "") -> bytes:
    """Return a close frame.

    :param reason: at most 123 bytes of UTF-8.
    """
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def checkClose(payload: bytes) -> int:
    """Return the code in a close frame's payload, 1000 when it has none.

    :raises FrameError: the payload is malformed.
    """
    if not payload:
        return 1000
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in _CLOSE_CODES:
        raise FrameError("invalid close code")
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise FrameError("close reason is not UTF-8", INVALID_PAYLOAD) from None
    return code


class FrameReader:
    """Reads the masked frames of one client, however the stream is cut.

    :ivar controls: whole control frames, (opcode, payload), in the order they came; the caller
        empties it.
    :ivar error: set once the client broke the protocol. From then on, as from a close frame on,
        everything is ignored.
    :ivar hasMore: more has arrived than was read at a time; `receive` goes on, given anything or
        nothing.
    """

    __slots__ = (
        "controls",
        "error",
        "hasMore",
        "_closed",
        "_fin",
        "_header",
        "_inMessage",
        "_mask",
        "_opcode",
        "_remaining",
    )

    def __init__(self) -> None:
        self.controls: list[tuple[int, bytes]] = []
        self.error: FrameError | None = None
        self.hasMore = False
        self._closed = False
        self._header = b""  # a header, or a control frame, that has not arrived whole; or more
        self._remaining = 0  # bytes of payload still to come of the data frame at hand
        self._mask = b""
        self._fin = True
        self._opcode = CONTINUATION  # for the next frame
        self._inMessage = False

    @property
    def inMessage(self) -> bool:
        """True when a part of a data message has arrived, be it one byte of its header."""
        return (
            self._inMessage
            or self._remaining > 0
            or (self._header != b"" and not self._header[0] & _CONTROL)
        )

    def receive(self, data: bytes) -> Frames:
        """Read what arrived; return frames with the payload of data messages, in order.

        It reads so much at a time that others need not wait, and keeps the rest. Control frames
        are put into `controls`, a breach of the protocol into `error`; the frames before either
        are returned all the same.
        """
        frames: Frames = []
        if self._closed:
            return frames
        if self._header:
            data = self._header + data
            self._header = b""
            self.hasMore = False
        position = 0
        try:
            for _ in _PARTS:
                if position == len(data):
                    break
                if self._remaining:
                    position = self._readPayload(data, position, frames)
                    continue
                if not self._inMessage:
                    position = _readWholeMessages(data, position, frames)
                    if position == len(data):
                        break
                    if len(frames) >= 2 * FRAMES_AT_ONCE:
                        self._keep(data[position:])
                        break
                behind = self._readHeader(data, position, frames)
                if self._closed:
                    break
                if behind == position:
                    self._header = data[position:]
                    break
                position = behind
            else:
                self._keep(data[position:])
        except FrameError as error:
            self.error = error.with_traceback(None)  # which refers to this very frame
            self._closed = True
        return frames

    def _keep(self, rest: bytes) -> None:
        self._header = rest
        self.hasMore = rest != b""

    def _readPayload(self, data: bytes, position: int, frames: Frames) -> int:
        # Such payload may be large: it is not copied once more for being cut out.
        payload = memoryview(data)[position : position + self._remaining]
        size = len(payload)
        self._remaining -= size
        frames += (
            header(self._opcode, self._fin and not self._remaining, size),
            unmask(payload, self._mask),
        )
        self._opcode = CONTINUATION
        turn = size % _MASK_SIZE
        self._mask = self._mask[turn:] + self._mask[:turn]
        return position + size

    def _readHeader(self, data: bytes, position: int, frames: Frames) -> int:
        """Read one header, with its payload if it is a control frame.

        Return the position behind it; the same position when it has not arrived whole.
        """
        first = data[position]
        opcode = first & 0x0F
        fin = first >= FIN
        self._checkFirst(first, opcode, fin)
        if len(data) < position + 2:
            return position
        second = data[position + 1]
        size = second & 0x7F
        if second < _MASKED:
            raise FrameError("client frame is not masked")
        if opcode & _CONTROL and size > MAX_CONTROL_PAYLOAD:
            raise FrameError("control frame too long")
        behind = position + 2
        if size == _LENGTH_16:
            behind += 2
        elif size == _LENGTH_64:
            behind += 8
        if len(data) < behind + _MASK_SIZE:
            return position
        if size > MAX_CONTROL_PAYLOAD:
            size = self._readLongSize(data[position + 2 : behind])
        mask = data[behind : behind + _MASK_SIZE]
        behind += _MASK_SIZE
        if opcode & _CONTROL:
            if len(data) < behind + size:
                return position
            self._controlReceived(opcode, unmask(data[behind : behind + size], mask))
            return behind + size
        if opcode:
            self._opcode = opcode
        self._inMessage = not fin
        self._fin = fin
        self._mask = mask
        self._remaining = size
        if not size:
            frames += (header(self._opcode, fin, 0), b"")
            self._opcode = CONTINUATION
        return behind

    def _checkFirst(self, first: int, opcode: int, fin: bool) -> None:
        if first & 0x70:
            raise FrameError("reserved bit set")
        if opcode not in _KNOWN_OPCODES:
            raise FrameError("unknown opcode")
        if opcode & _CONTROL:
            if not fin:
                raise FrameError("fragmented control frame")
        elif bool(opcode) is self._inMessage:
            raise FrameError(
                "new message inside a message" if opcode else "nothing to be continued"
            )

    def _readLongSize(self, encoded: bytes) -> int:
        size = int.from_bytes(encoded, "big")
        if size < (126 if len(encoded) == 2 else 65536):
            raise FrameError("payload length not in the shortest form")
        if size >= 1 << 63:
            raise FrameError("payload length out of range")
        return size

    def _controlReceived(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            checkClose(payload)
            self._closed = True
        self.controls.append((opcode, payload))


def _readWholeMessages(data: bytes, position: int, frames: Frames) -> int:
    """Read messages of one frame that have arrived whole, which nearly all small ones have.

    Everything else, also every fault, is left where it is. It is here that a server of small
    messages spends its time, hence the few calls.

    :return: the position behind them.
    """
    end = len(data)
    readHeader, writeHeader, xor = _HEADER_16.unpack_from, _HEADER_16.pack, unmask
    for _ in _FRAMES:
        if position + _SMALLEST > end:
            break
        first, second, size = readHeader(data, position)
        if first != _WHOLE_TEXT and first != _WHOLE_BINARY:
            break
        if second == _MASKED_16 and size >= _LENGTH_16:
            payload = position + 8
            head = writeHeader(first, _LENGTH_16, size)
        elif _MASKED <= second < _MASKED_16:
            payload = position + 6
            size = second - _MASKED
            head = _SHORT_HEADER.pack(first, size)
        else:
            break
        behind = payload + size
        if behind > end:
            break
        frames += head, xor(data[payload:behind], data[payload - 4 : payload])
        position = behind
    return position


class StreamFramer:
    """Turns a byte stream into WebSocket messages of one type.

    Text is cut only between characters; bytes that are no UTF-8 go out as binary messages.

    :param opcode: TEXT or BINARY, the type the receiving client uses itself.
    """

    __slots__ = ("_opcode", "_tail")

    def __init__(self, opcode: int) -> None:
        self._opcode = opcode
        self._tail = b""

    @property
    def holdsBack(self) -> bool:
        """True while the beginning of a character waits for its rest."""
        return self._tail != b""

    def encode(self, data: bytes) -> bytes:
        """Return the frames for `data`; the beginning of a character may be held back."""
        if self._opcode == BINARY or (not self._tail and data.isascii()):
            return frame(self._opcode, data)
        data = self._tail + data
        self._tail = b""
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return frame(BINARY, data)
            self._tail = data[error.start :]
            data = data[: error.start]
        return frame(TEXT, data) if data else b""

    def flush(self) -> bytes:
        """Return the frames for what was held back: the rest of the character did not come."""
        if not self._tail:
            return b""
        tail, self._tail = self._tail, b""
        return frame(BINARY, tail)
