"""What a dataclass says, as a JSON object, read strictly by the types of its fields.

Owns what each type is in JSON; the names are the fields'. Knows nothing of what is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints
from uuid import UUID

from nymearemoteproxy.protocol.linkrecords import LinkFault, outcomeOf
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import parseUuid

T = TypeVar("T")

Reader = Callable[[str, Any], T]
"""(key, value) → what it stands for; the key is for the text of a `LinkFault`."""

_END_OF_NUMBERS = 1 << 63  # they count connections and claims
_MEMBER = re.compile("[0-9a-f]{32}")


def plain(value: Any) -> Any:
    """Return what JSON has for a dataclass, or for the value of a field."""
    if is_dataclass(value):
        return {name: plain(each) for name, each in vars(value).items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Outcome):
        return value.label
    return str(value) if isinstance(value, UUID) else value


def make(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass of what `plain` returned for one; further keys are ignored.

    :raises LinkFault: something is missing, or not what it should be.
    """
    made: T = _make(kind, values)
    return made


def get(values: Mapping[str, Any], key: str, read: Reader[T]) -> T:
    """Return one value.

    :raises LinkFault: it is missing, or not what it should be.
    """
    if key not in values:
        raise LinkFault(f"{key} is missing")
    return read(key, values[key])


def text(key: str, value: Any) -> str:
    """Read a string.

    :raises LinkFault: it is none.
    """
    return _check(key, value, str)


def number(key: str, value: Any) -> int:
    """Read a number that counts something.

    :raises LinkFault: it is none.
    """
    if not 0 <= _check(key, value, int) < _END_OF_NUMBERS:
        raise LinkFault(f"{key} is out of range")
    return int(value)


def _make(kind: Any, values: Mapping[str, Any]) -> Any:
    return kind(**{key: get(values, key, read) for key, read in _readersOf(kind)})


@cache
def _readersOf(kind: Any) -> list[tuple[str, Reader[Any]]]:
    hints = get_type_hints(kind)
    return [(field.name, _readerOf(hints[field.name])) for field in fields(kind)]


def _readerOf(hint: Any) -> Reader[Any]:
    return _READERS.get(hint) or (lambda key, value: _make(hint, _check(key, value, dict)))


def _check(key: str, value: Any, kind: type[T]) -> T:
    if type(value) is not kind:  # True is an int, too
        raise LinkFault(f"{key} is of the wrong type")
    return value


def _textOrNone(key: str, value: Any) -> str | None:
    return None if value is None else text(key, value)


def _flag(key: str, value: Any) -> bool:
    return _check(key, value, bool)


def _member(key: str, value: Any) -> bytes:
    if not _MEMBER.fullmatch(text(key, value)):
        raise LinkFault(f"{key} is no id of a member")
    return bytes.fromhex(value)


def _uuid(key: str, value: Any) -> UUID:
    uuid = parseUuid(text(key, value))
    if uuid is None:
        raise LinkFault(f"{key} is no uuid")
    return uuid


def _outcome(key: str, value: Any) -> Outcome:
    return outcomeOf(text(key, value))


_READERS: Mapping[Any, Reader[Any]] = {
    str: text,
    str | None: _textOrNone,
    bool: _flag,
    int: number,
    bytes: _member,
    UUID: _uuid,
    Outcome: _outcome,
}
