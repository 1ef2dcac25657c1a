"""WebSocket frames of a client: what reads and translates them, and what makes messages of bytes.

The promises: what is read does not depend on how it is cut; what goes out are whole frames, in an
order that RFC 6455 allows; and what is taken for a message, or refused, is so by `websockets` as
well.
"""

from __future__ import annotations

from collections.abc import Generator

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    TEXT,
    FrameReader,
    StreamFramer,
    header,
)
from nymearemoteproxy.protocol.masking import implementations

_MASK = b"\x01\x80\xff\x00"

Read = tuple[list[tuple[int, bytes, bool]], list[tuple[int, bytes]], str | None]
"""Messages, each with its opcode and whether it has ended; control frames; the reason of an error.
"""


def check(data: bytes) -> None:
    how, data = taken(data)
    whole = _read([data])
    assert whole == _read(pieces(data, how)), "it depends on how it is cut"
    _compare(whole, data)
    for opcode in (TEXT, BINARY):
        _checkFramer(opcode, data, how)
    unmasked = {unmask(data, _MASK) for unmask in implementations().values()}
    assert len(unmasked) == 1, "implementations of unmasking differ"


def _read(parts: list[bytes]) -> Read:
    reader = FrameReader()
    frames: list[bytes] = []
    for part in parts:
        frames += reader.receive(part)
        while reader.hasMore:
            frames += reader.receive(b"")
    error = None if reader.error is None else reader.error.reason
    messages = _messages(frames)
    if error is None and not any(opcode == CLOSE for opcode, _payload in reader.controls):
        isWithin = bool(messages) and not messages[-1][2]
        assert not isWithin or reader.inMessage, "it does not know that a message has begun"
    return messages, reader.controls, error


def _messages(frames: list[bytes]) -> list[tuple[int, bytes, bool]]:
    """Put whole frames together to messages, and see that they are whole."""
    messages: list[tuple[int, bytes, bool]] = []
    isWithin = False
    for head, payload in zip(frames[::2], frames[1::2], strict=True):
        opcode, isLast = head[0] & 0x0F, head[0] >= FIN
        assert head == header(opcode, isLast, len(payload)), "no whole frame"
        assert (opcode == CONTINUATION) is isWithin, "fragments of different messages"
        if isWithin:
            opcode, before, _isLast = messages.pop()
            payload = before + payload
        messages.append((opcode, payload, isLast))
        isWithin = not isLast
    return messages


def _compare(read: Read, data: bytes) -> None:
    """See that another implementation reads the same, and stops where ours refuses to go on."""
    messages, controls, error = read
    theirs: list[tuple[int, bytes]] = []
    theirControls: list[tuple[int, bytes]] = []
    isOver = isWithin = False
    start = position = 0

    def readExact(size: int) -> Generator[None, None, bytes]:
        nonlocal position
        if position + size > len(data):
            raise EOFError
        position += size
        return data[position - size : position]
        yield  # never: all is there

    while not isOver:
        start = position
        try:
            next(Frame.parse(readExact, mask=True))
        except StopIteration as end:
            frame: Frame = end.value
        except (EOFError, ProtocolError):
            break
        size = len(frame.data)
        if position - start > len(header(int(frame.opcode), frame.fin, size)) + len(_MASK) + size:
            break  # RFC 6455 section 5.2: lengths have the shortest form, which it leaves to others
        if frame.opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
            try:
                if frame.opcode is Opcode.CLOSE:
                    Close.parse(frame.data)
                    isOver = True
            except (ProtocolError, UnicodeDecodeError):
                break
            theirControls.append((int(frame.opcode), bytes(frame.data)))
            continue
        if (frame.opcode is Opcode.CONT) is not isWithin:  # which it leaves to others
            break
        opcode, before = theirs.pop() if isWithin else (int(frame.opcode), b"")
        theirs.append((opcode, before + bytes(frame.data)))
        isWithin = not frame.fin
    assert controls == theirControls, "other control frames"
    ended = [(opcode, payload) for opcode, payload, isLast in messages if isLast]
    assert ended == theirs[: len(ended)], "other messages"
    if error is None:  # we pass on what there is of a frame, it reads whole frames only
        assert len(messages) >= len(theirs), "a message is missing"
    else:  # we do at the first byte that is wrong, it at the end of the frame
        assert [message[:2] for message in messages] == theirs, "it refuses another frame"
        assert start < len(data) and not isOver, "it refuses what is in order"


def _checkFramer(opcode: int, data: bytes, how: int) -> None:
    framer = StreamFramer(opcode)
    sent = b""
    for part in pieces(data, how):
        sent += framer.encode(part)
    sent += framer.flush()
    position, arrived = 0, b""
    while position < len(sent):
        kind, size = sent[position] & 0x0F, sent[position + 1]
        position += 2
        assert size < 126 or size == 126, "pieces are small"
        if size == 126:
            size = int.from_bytes(sent[position : position + 2], "big")
            position += 2
        payload = sent[position : position + size]
        assert len(payload) == size, "no whole frame"
        if kind == TEXT:
            payload.decode("utf-8")
        arrived += payload
        position += size
    assert arrived == data, "what was sent is not what arrives"


TARGET = Target(
    check,
    covers=("protocol.frames", "protocol.masking"),
    planted=(
        Planted("protocol/frames.py", "if first & 0x70:", "if first & 0x60:"),
        Planted("protocol/frames.py", "self._mask[turn:] + self._mask[:turn]", "self._mask"),
        Planted("protocol/frames.py", "checkClose(payload)\n            self", "self"),
        Planted(
            "protocol/frames.py",
            "            if not fin:",
            "            if not fin or opcode == PING:",
        ),
        Planted("protocol/frames.py", "self._tail = data[error.start :]", "self._tail = data[:0]"),
    ),
)
