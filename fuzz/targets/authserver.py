"""What an authentication server answers over HTTP, and the URL at which it is.

The promises: each answer is a verdict or a `BackendError` in one line, however it is cut, and
whenever the connection ends; nobody is let in by an answer that does not say so in JSON; a URL that
is taken can be asked.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from hyperlink import EncodedURL
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import Agent

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.authentication.backend import BackendError, Verdict
from nymearemoteproxy.authentication.http import HttpAuthenticator, judge
from nymearemoteproxy.authentication.url import isOnThisMachine, readUrl
from tests.support.nearby import Endpoint

_URL = "http://127.0.0.1/"
_TOKEN = "secret-token"


def check(data: bytes) -> None:
    how, data = taken(data)
    answer = _ask([data])
    assert answer == _ask(pieces(data, how)), "it depends on how it is cut"
    _judge(data)
    _checkUrl(data.decode("utf-8", "surrogateescape"))


class _Client:
    """Stands for treq's client, which would send the question by the real reactor.

    :ivar endpoint: of all its connections.
    """

    def __init__(self) -> None:
        self.endpoint = Endpoint()
        self._agent = Agent.usingEndpointFactory(Clock(), self)

    def endpointForURI(self, _uri: object) -> Endpoint:
        """Return what connects."""
        return self.endpoint

    def post(self, url: EncodedURL, **_options: object) -> Any:
        """Ask."""
        return self._agent.request(b"POST", url.to_text().encode())


def _ask(parts: list[bytes]) -> Verdict | str:
    """Return what comes of an answer in these pieces, behind which the connection ends."""
    client: Any = _Client()
    asked = HttpAuthenticator(client, _URL, 1).authenticate(_TOKEN)
    said: list[Verdict | Failure] = []
    asked.addBoth(said.append)
    # There is another one if the first one turned out to be dead.
    for number, _attempt in enumerate(client.endpoint.attempts):
        line = client.endpoint.succeed(number)
        for part in parts:
            if not line.disconnecting and not line.isLost:
                line.protocol.dataReceived(part)
        line.lose()
    (answer,) = said
    if isinstance(answer, Failure):
        answer.trap(BackendError)
        words = answer.getErrorMessage()
        assert isLine(words) and _TOKEN not in words, "no text to be shown"
        return words
    assert not answer.accepted or b" 200" in b"".join(parts), "somebody is let in"
    return answer


def _judge(body: bytes) -> None:
    try:
        verdict = judge(body)
    except BackendError as error:
        assert isLine(str(error)), "no text to be shown"
        return
    said = json.loads(body)
    told = [said[name] for name in ("isValid", "active") if name in said]
    assert verdict.accepted is all(told) and told, "another verdict"
    assert verdict.subject is None or verdict.subject.encode()


def _checkUrl(text: str) -> None:
    try:
        url = readUrl(text)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        return
    isOnThisMachine(text)
    written = url.to_text()
    assert written.isascii() and isLine(written), "it stands in a request"
    assert urlsplit(written).hostname and readUrl(written).to_text() == written


TARGET = Target(
    check,
    covers=("authentication.answers", "authentication.http", "authentication.url"),
    planted=(
        Planted(
            "authentication/http.py",
            "return Verdict(all(verdicts), _subject(answer))",
            "return Verdict(any(verdicts), _subject(answer))",
        ),
        Planted(
            "authentication/answers.py",
            "    if response.code != 200:",
            "    if response.code == 500:",
        ),
        Planted(
            "authentication/http.py",
            "except MessageError as error:",
            "except LookupError as error:",
        ),
        Planted("authentication/url.py", "if not host or port == 0", "if port == 0"),
    ),
    words=(
        b"HTTP/1.1 200 OK\r\n",
        b"Content-Type: application/json\r\n",
        b"Content-Length: 16\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b'{"isValid":true}',
        b'{"active":true,"sub":"s"}',
        b'"isValid":false',
        b"http://[::1]:80/x?y",
        b"https://m\xc3\xbcnchen.example/",
    ),
)
