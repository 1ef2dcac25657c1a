"""The calls of strangers: JSON-RPC, and what the declared API takes of it.

The promises: whatever comes, it is a call as declared or a `MessageError`, whose text repeats no
value; what is taken for JSON is the same for Python's own decoder; and what is written can be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from fuzz.target import Planted, Target, pieces, taken
from nymearemoteproxy.protocol.jsonrpc import (
    UNKNOWN_ID,
    MessageError,
    MessageSplitter,
    Request,
    decodeObject,
    encode,
    encodeParams,
    encodeSuccess,
    failure,
    success,
)
from nymearemoteproxy.protocol.registration import (
    REGISTER_CLIENT,
    REGISTER_SERVER,
    parseUuid,
    readRegistration,
    takeToken,
)
from nymearemoteproxy.protocol.session import TOKEN_TUNNEL_API, TUNNEL_PROXY_API

LIMIT = 1000
"""Bytes of a message."""

_TYPES: Mapping[str, type] = {"String": str, "Uuid": str, "UInt": int, "Int": int, "Bool": bool}

Answered = list[tuple[object, ...]]


def check(data: bytes) -> None:
    how, data = taken(data)
    answered = _converse(pieces(data, how))
    assert answered == _converse([data]), "it depends on how it is cut"
    _checkDecoding(data)


def _converse(parts: list[bytes]) -> Answered:
    splitter = MessageSplitter(LIMIT)
    answered: Answered = []
    for part in parts:
        splitter.feed(part)
        while True:
            try:
                message = splitter.take()
                if message is None:
                    break
                answered.append(_call(message))
            except MessageError as error:
                answered.append((error.requestId, error.text, error.outcome))
                _checkRefusal(error)
                return answered
    return answered


def _call(message: bytes) -> tuple[object, ...]:
    for api in (TUNNEL_PROXY_API, TOKEN_TUNNEL_API):
        request = api.parse(message)  # the first one knows all that the second one does
        declared = {name.removeprefix("o:"): kind for name, kind in request.method.params.items()}
        for name, value in request.params.items():
            assert declared[name] != "UInt" or value >= 0, "a param is not as declared"
            assert type(value) is _TYPES[declared[name]], "a param is not as declared"
        needed = {name for name in request.method.params if not name.startswith("o:")}
        assert needed <= set(request.params), "a param is missing"
        params = encodeParams(dict(request.params))
        answer = encodeSuccess(request.id, params)
        assert answer == encode(success(request.id, request.params)), "two ways to write the same"
        assert decodeObject(answer)["params"] == request.params, "what is written is not read"
        if request.method in (REGISTER_SERVER, REGISTER_CLIENT):
            _register(request)
            break  # no method of the other one
    return request.id, request.method.name, dict(request.params)


def _register(request: Request) -> None:
    registration = readRegistration(request)
    bare, _token = takeToken(request)
    assert "token" not in bare.params
    if registration is not None:
        assert readRegistration(bare) == registration
        assert parseUuid(f"{{{registration.uuid}}}") == registration.uuid


def _checkRefusal(error: MessageError) -> None:
    answer = encode(failure(error.requestId, error.text))
    assert answer.isascii() and answer.find(b"\n") == len(answer) - 1, "a refusal is no line"
    assert decodeObject(answer) == {"id": error.requestId, "status": "error", "error": error.text}


def _checkDecoding(data: bytes) -> None:
    try:
        message = decodeObject(data)
    except MessageError as error:
        assert error.requestId == UNKNOWN_ID
        return
    assert message == json.loads(data), "Python reads something else"
    json.dumps(message, ensure_ascii=False).encode()  # which is not possible of all that JSON has
    assert decodeObject(encode(message)) == message, "what is written is not read"


TARGET = Target(
    check,
    covers=("protocol.jsonrpc", "protocol.registration"),
    planted=(
        Planted(
            "protocol/jsonrpc.py", "if not _CHECKS[declared[name]](value):", "if value is None:"
        ),
        Planted(
            "protocol/jsonrpc.py",
            "except ValueError:",
            "except LookupError:",
        ),
        Planted("protocol/jsonrpc.py", 'if "\\\\u" in text:', 'if "\\\\U" in text:'),
        Planted("protocol/registration.py", 'params.pop("token", None)', 'params.get("token")'),
    ),
    words=(
        b'{"id":1,"method":"RemoteProxy.Hello"}',
        b'{"id":1,"method":"RemoteProxy.Introspect"}',
        b'"params":{',
        b'"Authentication.Authenticate"',
        b'"TunnelProxy.RegisterServer"',
        b'"TunnelProxy.RegisterClient"',
        b'"TunnelProxy.DisconnectClient","params":{"socketAddress":1}',
        b'"TunnelProxy.Ping","params":{"timestamp":1}',
        b'"uuid":"{1b9a8e44-0000-4000-8000-000000000001}"',
        *(b'"%b":' % name for name in (b"token", b"nonce", b"name", b"serverName", b"serverUuid")),
        *(b'"%b":' % name for name in (b"clientName", b"clientUuid", b"flowControl", b"id")),
        b"\\ud800",
        b"1e999",
        b"NaN",
    ),
)
