"""What a dataclass says, as a JSON object, read strictly by the types of its fields.

Owns what each type is in JSON; the names are the fields'. Knows nothing of what is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from functools import cache, partial
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


_ADDED = "added"


def added(default: T) -> T:
    """Return a field that not all versions write; where it is missing, it is `default`."""
    made: T = field(default=default, metadata={_ADDED: True})
    return made


def plain(value: Any) -> Any:
    """Return what JSON has for a value of a field that is none of JSON's own.

    :raises TypeError: it is of none of the types that a field may have.
    """
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Outcome):
        return value.label
    return str(value) if isinstance(value, UUID) else vars(value)


def make(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass of what was written for one; further keys are ignored.

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
    if type(value) is not str:
        raise _wrongType(key)
    return value


def number(key: str, value: Any) -> int:
    """Read a number that counts something.

    :raises LinkFault: it is none.
    """
    if type(value) is not int:  # True is an int, too
        raise _wrongType(key)
    if not 0 <= value < _END_OF_NUMBERS:
        raise LinkFault(f"{key} is out of range")
    return value


def _make(kind: Any, values: Mapping[str, Any]) -> Any:
    try:
        return kind(
            **{
                key: read(key, values[key])
                for key, read, isAdded in _readersOf(kind)
                if not isAdded or key in values
            }
        )
    except KeyError as error:
        raise LinkFault(f"{error.args[0]} is missing") from None


@cache
def _readersOf(kind: Any) -> list[tuple[str, Reader[Any], bool]]:
    hints = get_type_hints(kind)
    return [
        (each.name, _readerOf(hints[each.name]), _ADDED in each.metadata) for each in fields(kind)
    ]


def _readerOf(hint: Any) -> Reader[Any]:
    return _READERS.get(hint) or partial(_nested, hint)


def _nested(kind: Any, key: str, value: Any) -> Any:
    if type(value) is not dict:
        raise _wrongType(key)
    return _make(kind, value)


def _wrongType(key: str) -> LinkFault:
    return LinkFault(f"{key} is of the wrong type")


def _textOrNone(key: str, value: Any) -> str | None:
    return None if value is None else text(key, value)


def _flag(key: str, value: Any) -> bool:
    if type(value) is not bool:
        raise _wrongType(key)
    return value


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
