"""JSON-RPC as this server speaks it: requests, responses, and the declared API.

Owns what is valid JSON here, and the one declaration of each method that both validates requests
and answers Introspect. Where a message ends in a byte stream is for ``jsonobjects``. Knows nothing
of sessions, connections or Twisted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from nymearemoteproxy.protocol.jsonobjects import Fault, ObjectSplitter
from nymearemoteproxy.protocol.outcomes import Outcome

FIRST_NOTIFICATION = 1
"""The id of a connection's first notification, from which they count up. Never 0: the field's C++
library numbers all of its requests 0, and takes whatever comes with that id for the answer."""

UNKNOWN_ID = -1
"""The id of an error response when the request's own id could not be read."""

CALLS_A_TURN = 4
"""Calls that are answered before others get their turn, as many as a client needs to have a tunnel:
one read may hold a hundred, and one packet of a registered server a hundred thousand."""

_ALWAYS_FINITE = sys.float_info.max_10_exp
"""Digits of an integer that is in the range for certain; the largest one has one more."""

_METHOD = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_]+")

BASIC_TYPES = ("Uuid", "String", "Int", "UInt", "Double", "Bool", "Variant", "Object")


class MessageError(Exception):
    """A message that is answered with an error, after which the connection is closed.

    :ivar requestId: the id to answer with.
    :ivar text: what the client is told; never holds a value the client sent, only param names.
    :ivar outcome: how the connection ends.
    """

    def __init__(self, requestId: int, text: str, outcome: Outcome) -> None:
        super().__init__(text)
        self.requestId = requestId
        self.text = text
        self.outcome = outcome


def tooLarge(limit: int) -> MessageError:
    """The error for a message of more than `limit` bytes."""
    return MessageError(
        UNKNOWN_ID, f"Message larger than {limit} bytes.", Outcome.MESSAGE_TOO_LARGE
    )


def _invalid(text: str) -> MessageError:
    return MessageError(UNKNOWN_ID, text, Outcome.INVALID_JSON)


class MessageSplitter(ObjectSplitter):
    """Finds messages in a byte stream: `take` raises `MessageError` where there can be none."""

    __slots__ = ()

    def refusal(self, fault: Fault) -> MessageError:
        if fault is Fault.TOO_LARGE:
            return tooLarge(self._limit)
        return _invalid(f"Invalid JSON: {fault.value}.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return number


def _integer(text: str) -> int:
    if len(text) > _ALWAYS_FINITE:
        _finite(text)  # the range of numbers is that of IEEE 754 doubles (RFC 8259 section 6)
    return int(text)


def _noConstant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=_noConstant)


def decodeObject(raw: bytes) -> dict[str, Any]:
    """Decode one JSON object.

    Of a key given twice the last counts. Strings with lone surrogates are refused, since they
    cannot be written as UTF-8 again (RFC 7493 section 2.1).

    :raises MessageError: it is no JSON, or no object.
    """
    try:
        text = raw.decode("utf-8")
        message = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(message, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("Invalid JSON: not UTF-8.") from None
    except UnicodeEncodeError:
        raise _invalid("Invalid JSON: a string has a lone surrogate.") from None
    except json.JSONDecodeError as error:
        raise _invalid(f"Invalid JSON: {error.msg} at position {error.pos}.") from None
    except ValueError:
        raise _invalid("Invalid JSON: a number is out of range or none.") from None
    except RecursionError:
        raise _invalid("Invalid JSON: nested too deeply.") from None
    if not isinstance(message, dict):
        raise _invalid("Invalid JSON: the message is not an object.")
    return message


_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""Kept, for `json.dumps` makes one for each message that is not encoded in the usual way."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Encode one message, ended by a line feed as field clients expect it."""
    return _ENCODER.encode(message).encode("ascii") + b"\n"


def encodeParams(params: Mapping[str, Any]) -> bytes:
    """Encode the params of a message that is sent often; see `encodeSuccess`, `encodeNotice`."""
    return encode(params).rstrip()


def encodeString(text: str) -> bytes:
    """Encode a string that such params have in them, which takes a tenth of the time for both."""
    return _ENCODER.encode(text).encode("ascii")


def encodeSuccess(requestId: int, params: bytes) -> bytes:
    """Encode what `success` returns, the params of which are encoded already."""
    return b'{"id":%d,"status":"success","params":%b}\n' % (requestId, params)


def success(requestId: int, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A response that says the call was carried out."""
    message: dict[str, Any] = {"id": requestId, "status": "success"}
    if params is not None:
        message["params"] = params
    return message


def failure(requestId: int, text: str) -> dict[str, Any]:
    """A response that says why the call was not carried out."""
    return {"id": requestId, "status": "error", "error": text}


def encodeNotice(number: int, notification: Notification, params: bytes) -> bytes:
    """Encode one notification, the params of which are encoded already.

    :param number: its id; see `FIRST_NOTIFICATION`.
    """
    name = notification.name.encode("ascii")
    return b'{"id":%d,"notification":"%b","params":%b}\n' % (number, name, params)


def _isInteger(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "String": lambda value: isinstance(value, str),
    "Uuid": lambda value: isinstance(value, str),
    "UInt": lambda value: _isInteger(value) and value >= 0,
    "Int": _isInteger,
    "Bool": lambda value: isinstance(value, bool),
}


@dataclass(frozen=True, eq=False)
class Method:
    """The declaration of one method, of which there is one: it is known by its identity.

    :ivar params: type by param name; the name of an optional one starts with ``o:``.
    :ivar together: names of optional params that are given together or not at all.
    """

    name: str
    description: str
    params: Mapping[str, str] = field(default_factory=dict)
    returns: Mapping[str, str] = field(default_factory=dict)
    together: Sequence[str] = ()

    def check(self, requestId: int, params: Mapping[str, Any]) -> None:
        """Hold `params` against the declaration.

        :raises MessageError: a param is missing, unknown or of the wrong type; the text names it.
        """
        isTogether = any(name in params for name in self.together)
        for name in self._orTogether if isTogether else self._required:
            if name not in params:
                raise self._refusal(requestId, f'Missing param "{name}"')
        declared = self._declared
        for name, value in params.items():
            if name not in declared:
                raise self._refusal(requestId, f'Unknown param "{name}"')
            if not _CHECKS[declared[name]](value):
                raise self._refusal(requestId, f'Param "{name}" is no {declared[name]}')

    # What is looked up for each call; the names in the order they are declared in, and told of.

    @cached_property
    def _declared(self) -> Mapping[str, str]:
        return {name.removeprefix("o:"): kind for name, kind in self.params.items()}

    @cached_property
    def _required(self) -> Sequence[str]:
        return [name for name in self.params if not name.startswith("o:")]

    @cached_property
    def _orTogether(self) -> Sequence[str]:
        return [name for name in self._declared if name in {*self._required, *self.together}]

    def _refusal(self, requestId: int, text: str) -> MessageError:
        return MessageError(requestId, f"{text} in call of {self.name}.", Outcome.INVALID_REQUEST)


@dataclass(frozen=True)
class Notification:
    """The declaration of one notification."""

    name: str
    description: str
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A valid call of a declared method."""

    id: int
    method: Method
    params: Mapping[str, Any] = field(repr=False)


class Api:
    """The methods, notifications and types that one kind of connection offers."""

    def __init__(
        self,
        methods: Sequence[Method],
        notifications: Sequence[Notification],
        enums: Mapping[str, Sequence[str]],
    ) -> None:
        self._methods = {method.name: method for method in methods}
        self._namespaces = {name.partition(".")[0] for name in self._methods}
        self.introspection: Mapping[str, Any] = {
            "methods": {
                method.name: {
                    "description": method.description,
                    "params": dict(method.params),
                    "returns": dict(method.returns),
                }
                for method in methods
            },
            "notifications": {
                notification.name: {
                    "description": notification.description,
                    "params": dict(notification.params),
                }
                for notification in notifications
            },
            "types": {
                "BasicType": list(BASIC_TYPES),
                **{name: list(values) for name, values in enums.items()},
            },
        }
        self.encodedIntrospection = encodeParams(self.introspection)

    def parse(self, raw: bytes) -> Request:
        """Read one request.

        :raises MessageError: it is no valid call of a declared method.
        """
        message = decodeObject(raw)
        requestId = message.get("id")
        if not _isInteger(requestId):
            raise MessageError(
                UNKNOWN_ID, "The id is missing or no integer.", Outcome.INVALID_REQUEST
            )
        assert isinstance(requestId, int)

        def refusal(text: str) -> MessageError:
            return MessageError(requestId, text, Outcome.INVALID_REQUEST)

        name = message.get("method")
        if not isinstance(name, str) or not _METHOD.fullmatch(name):
            raise refusal('The method is missing or not of the form "Namespace.Method".')
        method = self._methods.get(name)
        if method is None:
            known = name.partition(".")[0] in self._namespaces
            raise refusal("Unknown method." if known else "Unknown namespace.")
        params = message.get("params", {})
        if not isinstance(params, dict):
            raise refusal("The params are not an object.")
        method.check(requestId, params)
        return Request(requestId, method, params)
