"""The lines by which a link between two members is opened.

The promises: the lines, and what follows them, do not depend on how they are cut; no more is kept
than a line may have; a line is what it asks or answers, or a `LinkFault`; what is written is read.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.protocol.linkmessages import (
    LINE_SIZE,
    Answer,
    Ask,
    LineReader,
    isTellable,
    parseAnswer,
    parseAsk,
)
from nymearemoteproxy.protocol.linkrecords import LinkFault

_PARSERS: tuple[Callable[[bytes], Ask | Answer], ...] = (parseAsk, parseAnswer)


def check(data: bytes) -> None:
    how, data = taken(data)
    lines, rest = _read([data])
    assert (lines, rest) == _read(pieces(data, how)), "it depends on how it is cut"
    assert b"".join(line + b"\n" for line in lines) + rest == data, "something is lost"
    for line in (*lines, rest):
        _parse(line)


def _read(parts: list[bytes]) -> tuple[list[bytes], bytes]:
    reader = LineReader()
    lines = []
    for part in parts:
        reader.feed(part)
        while (line := reader.take()) is not None:
            lines.append(line)
    return lines, reader.rest()


def _parse(line: bytes) -> None:
    for parse in _PARSERS:
        try:
            said = parse(line)
        except LinkFault as fault:
            assert isLine(str(fault)), "a fault is no line"
            continue
        written = said.encode()
        assert written.endswith(b"\n") and written.count(b"\n") == 1, "no line"
        assert len(written) <= LINE_SIZE + 1
        assert parse(written[:-1]) == said, "what is written is not read"
        if (identity := getattr(said, "identity", None)) is not None:
            assert isTellable(identity), "it was told"


TARGET = Target(
    check,
    covers=("protocol.linkmessages", "protocol.linkfields"),
    planted=(
        Planted(
            "protocol/linkfields.py",
            "if type(value) is not int:  # True is an int, too",
            "if False:",
        ),
        Planted(
            "protocol/linkfields.py", 're.compile("[0-9a-f]{32}")', 're.compile("[0-9a-f]{31,32}")'
        ),
        Planted("protocol/linkmessages.py", "self._scanned = size\n", "self._scanned = size + 1\n"),
        Planted(
            "protocol/linkmessages.py", "del self._buffer[: end + 1]", "del self._buffer[: end + 2]"
        ),
    ),
    words=(
        *(b'"ask":"%b"' % kind for kind in (b"meet", b"visit", b"look", b"control")),
        *(b'"answer":"%b"' % kind for kind in (b"offer", b"denied", b"wait", b"not-here", b"met")),
        b'{"version":3,"compatible":1,',
        b'"member":"00112233445566778899aabbccddeeff"',
        b'"identity":{"name":"n","uuid":null}',
        b'"registration":{"name":"n","uuid":"1b9a8e44-0000-4000-8000-000000000001",',
        b'"subject":"s"',
        b'"isVisitor":true,"isNamed":true',
        b'"outcome":"tunnel-exists"',
        b"\\ud800",
    ),
)
