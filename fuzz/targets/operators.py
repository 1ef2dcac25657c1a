"""What operators' programs ask: by HTTP of the admin endpoint, and by the monitor socket.

The promises: what is asked, and what is answered, does not depend on how it is cut; each answer is
a whole response; only a POST has something done; whatever is no request is refused in one line.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.protocol.jsonrpc import MessageError
from nymearemoteproxy.watching.admin.web import Question
from nymearemoteproxy.watching.monitorrequests import (
    ABOUT_ONE,
    ActionRequest,
    readRequest,
    writeError,
    writeResult,
)
from tests.support.admin import AdminInMemory
from tests.support.adminhttp import WebCase

_RESPONSE = re.compile(rb"HTTP/1\.[01] \d{3} [^\r\n]+\r\n(?:[^\r\n]+\r\n)*\r\n")

_ADMIN = AdminInMemory("unix:/run/admin:mode=600")  # where everybody may act


def check(data: bytes) -> None:
    how, data = taken(data)
    asked, said = _ask([data])
    assert (asked, said) == _ask(pieces(data, how)), "it depends on how it is cut"
    for question in asked:
        _answer(question)
    _checkRequest(data)


def _ask(parts: list[bytes]) -> tuple[list[Question], bytes]:
    web = WebCase()
    web.setUp()
    pipe = web.connect()
    for part in parts:
        if not pipe.disconnecting and not pipe.lost:
            pipe.receive(part)
    said = pipe.take()
    web.factory.closeAll()
    rest = said
    while rest:
        found = _RESPONSE.match(rest)
        assert found, "no whole response"
        size = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", found[0])
        rest = rest[found.end() :]
        rest = rest[int(size[1]) :] if size and rest.startswith(b"ok\n") else rest
    return web.asked, said


def _answer(question: Question) -> None:
    reloads, drains = _ADMIN.server.reloads, _ADMIN.server.drains
    answer = _ADMIN.answer(question)
    assert HTTPStatus(answer.status).phrase
    if answer.contentType.endswith("json"):
        json.loads(answer.body)
    if question.method != "POST":
        assert (reloads, drains) == (_ADMIN.server.reloads, _ADMIN.server.drains), "it acts"
    for name, value in answer.headers.items():
        assert isLine(name) and isLine(value), "a header has another line"


def _checkRequest(data: bytes) -> None:
    try:
        request = readRequest(data)
    except MessageError as error:
        assert isLine(error.text) and json.loads(writeError(error.text)) == {"error": error.text}
        return
    if isinstance(request, ActionRequest):
        assert bool(request.number) <= (request.action in ABOUT_ONE)
        written = writeResult(request, {})
        assert written.endswith(b"\n") and json.loads(written)


TARGET = Target(
    check,
    covers=(
        "watching.admin.access",
        "watching.admin.api",
        "watching.admin.routes",
        "watching.admin.web",
        "watching.monitorrequests",
    ),
    planted=(
        Planted(
            "watching/admin/api.py",
            'except (ValueError, RecursionError):\n            raise _BadError("the body',
            'except RecursionError:\n            raise _BadError("the body',
        ),
        Planted("watching/admin/routes.py", "if len(names) != len(parts):", "if False:"),
        Planted(
            "watching/monitorrequests.py",
            "isinstance(id, str) and _isNumber(id)",
            "isinstance(id, str)",
        ),
    ),
    words=(
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
        b"/api/v1/connections/7",
        b"/api/v1/tunnels?after=1&limit=2",
        b"/metrics",
        b"Accept: application/openmetrics-text\r\n",
        b"Authorization: Basic dTpw\r\n",
        b"Content-Length: 2\r\n\r\n{}",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b'{"method":"refresh","params":{"printAll":true}}',
        b'{"method":"endConnection","params":{"id":"17"}}',
        b'{"method":"reload"}',
        b'"instance"',
    ),
)
