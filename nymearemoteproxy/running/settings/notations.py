"""How values are written: the kinds of values, and what to write instead of what is none.

Owns the reading of one value, and its bounds. Knows nothing of which setting it is for.
"""

from __future__ import annotations

import configparser
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from nymearemoteproxy.authentication.url import readUrl
from nymearemoteproxy.connections.limits import Network
from nymearemoteproxy.protocol.frontnames import parseName
from nymearemoteproxy.protocol.httphead import TOKEN

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=Enum)

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.-]+")

MAX_NAME = 255
"""Characters. The name is in every answer to Hello, which strangers may ask for."""

DAY = 24 * 3600 * 1000
"""Milliseconds; whoever has not come by then does not come any more. The reactor takes more, and so
does TCP_KEEPINTVL, which is a third of pingTimeout: 32,767 s."""

MONTH = 30 * DAY
"""Milliseconds; nobody's tunnel is up for so long without a restart or a change of networks."""

MIN_PATIENCE = 100
"""Milliseconds; less is not enough to hear from the other side of the world, and whoever writes it
counts in seconds."""

MAX_COUNT = 1 << 31
"""Counts are only compared; nothing that is counted becomes as many."""

MIN_SIZE, MAX_SIZE = 1 << 16, 1 << 31
"""Bytes; what one read of a socket brings has to fit, and so has all of it into memory."""

MAX_LEEWAY = 10 * 60 * 1000
"""Milliseconds; a clock that is wrong by more should be set, as certificates need it, too."""
MAX_BYTES = 1 << 50
"""Bytes that are only counted; a network card does not do so many in a day."""

MILLISECONDS_PER_SECOND = 1000


@dataclass(frozen=True)
class Range:
    """The whole numbers between two ends, both of which work where they are used.

    :ivar doubtful: what is less, and not 0, was hardly meant so.
    """

    lowest: int
    highest: int
    example: int
    unit: str = ""
    doubtful: int = 0

    def read(self, text: str) -> int:
        """Return the number.

        :raises ValueError: it is none of these.
        """
        isNumber = _NUMBER.fullmatch(text) is not None  # int() takes 1_000 and other digits, too
        if not isNumber or not self.lowest <= int(text) <= self.highest:
            unit = f"of {self.unit} " if self.unit else ""
            raise ValueError(
                f"use a whole number {unit}from {self.lowest} to {self.highest}, "
                f"such as {self.example}"
            )
        return int(text)


@dataclass(frozen=True)
class Notation(Generic[Value]):
    """How one kind of value is written.

    :ivar kind: what to write, for the documentation.
    :ivar parse: reads the text of the file; raises ValueError that says what to write instead.
    :ivar write: returns that text.
    :ivar range: of what is written as a number.
    """

    kind: str
    parse: Callable[[str], Value]
    write: Callable[[Value], str] = str
    range: Range | None = None


def number(range: Range, kind: str = "number") -> Notation[int]:
    """Return the notation of a number in this range."""
    return Notation(kind, range.read, str, range)


def milliseconds(
    lowest: int, highest: int, example: int, doubtful: int = 0, orZero: str = ""
) -> Notation[float]:
    """Return the notation of a time: milliseconds where it is written, seconds where it is used.

    :param orZero: what 0 means, if it may be written.
    """
    range = Range(lowest, highest, example, "milliseconds", doubtful)
    return Notation(
        f"milliseconds, 0 = {orZero}" if orZero else "milliseconds",
        lambda text: range.read(text) / MILLISECONDS_PER_SECOND,
        lambda seconds: str(round(seconds * MILLISECONDS_PER_SECOND)),
        range,
    )


def choice(choices: type[Choice]) -> Notation[Choice]:
    """Return the notation of one of a few words: the values of an enumeration."""
    words = _alternatives([each.value for each in choices])

    def parse(text: str) -> Choice:
        try:
            return choices(text)
        except ValueError:
            raise ValueError(f"use {words}") from None

    return Notation(words, parse, lambda value: str(value.value))


def word(words: Iterable[str]) -> Notation[str]:
    """Return the notation of one of these words."""
    known = list(words)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"use {_alternatives(known)}")
        return text

    return Notation(_alternatives(known), parse)


def _alternatives(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _parseText(text: str) -> str:
    return text


def _parseFlag(text: str) -> bool:
    values = configparser.ConfigParser.BOOLEAN_STATES
    if text.lower() not in values:
        raise ValueError("use true or false")
    return values[text.lower()]


def _parseUrl(text: str) -> str:
    if text:
        readUrl(text)
    return text


def isUrl(text: str) -> bool:
    """Tell whether what may be a path is a URL."""
    return "://" in text


def _parsePlace(text: str) -> str:
    return _parseUrl(text) if isUrl(text) else text


def _parseTexts(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",")]
    return tuple(part for part in parts if part)


def _parseMode(text: str) -> int:
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise ValueError("use an octal number from 0 to 0777, such as 0660")
    return value


def _parseNetworks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(map(ipaddress.ip_network, _parseTexts(text)))
    except ValueError as error:
        raise ValueError(f"{error}; use networks with commas, such as 10.0.0.0/8, ::1") from None


def _parseSubprotocols(text: str) -> tuple[str, ...]:
    names = _parseTexts(text)
    for name in names:
        if not TOKEN.fullmatch(name):
            raise ValueError(
                f"{name!r} is no subprotocol; use names with commas, such as mqtt, chat"
            )
    return names


def _parseName(text: str) -> str:
    if len(text) > MAX_NAME:
        raise ValueError(f"use at most {MAX_NAME} characters")
    return text


def _parseUser(text: str) -> str:
    if ":" in text:  # RFC 7617, section 2: a colon ends it
        raise ValueError("a user name for HTTP basic authentication has no colon")
    return text


def _parseDomain(text: str) -> str:
    return text and parseName(text)


def _parseHost(text: str) -> str:
    """Read an address to listen on; of a name, the system knows the address."""
    try:
        if text:
            ipaddress.ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise ValueError(
                "use an address of this machine without brackets and port, such as 127.0.0.1 or "
                "::1, or 0.0.0.0 or :: for all of them"
            ) from None
    return text


FLAG = Notation("true or false", _parseFlag, lambda value: str(value).lower())
NAME = Notation("text", _parseName)
USER = Notation("text", _parseUser)
PATH = Notation("path", _parseText)
ENDPOINT = Notation("endpoint", _parseText)
URL = Notation("URL", _parseUrl)
PLACE = Notation("URL or path", _parsePlace)
TEXTS = Notation("texts, with commas", _parseTexts, ", ".join)
DOMAIN = Notation("name", _parseDomain)
HOST = Notation("address", _parseHost)
PORT = number(Range(0, 65535, 2212), "port")
MODE = Notation("octal number", _parseMode, lambda value: f"{value:04o}")
NETWORKS = Notation(
    "networks, with commas", _parseNetworks, lambda value: ", ".join(map(str, value))
)
SUBPROTOCOLS = Notation("names, with commas", _parseSubprotocols, ", ".join)
COUNT = number(Range(0, MAX_COUNT, 1000), "number, 0 = none")
RATE = number(Range(0, MAX_BYTES, 1_000_000, "bytes a second"), "bytes a second, 0 = no limit")
BYTES = number(Range(0, MAX_BYTES, 1_000_000_000, "bytes"), "bytes, 0 = no limit")
SIZE = number(Range(MIN_SIZE, MAX_SIZE, 16 << 20, "bytes"), "bytes")
TIME = milliseconds(1, DAY, 8000, MIN_PATIENCE)
