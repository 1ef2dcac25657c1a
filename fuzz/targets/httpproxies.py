"""HTTP proxies on the way to a proxy: how they are written, and what they answer.

The promises: what an answer means, and what follows it, does not depend on how it is cut; no more
of it is kept than the limit; refusals are a line; requests cannot be made to have one more.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, behind, isLine, pieces, taken
from nymearemoteproxy.client.rules.errors import TunnelError
from nymearemoteproxy.client.rules.httpproxies import (
    MAX_HEAD,
    ConnectAnswer,
    HttpProxy,
    ofEnvironment,
)
from nymearemoteproxy.client.rules.urls import ProxyUrl

_PROXY = HttpProxy("proxy", 80, "user:password-of-it")
_URLS = tuple(map(ProxyUrl.parse, ("wss://home.example", "tcp://[2001:db8::1]:1", "ws://10.1.2.3")))

_CONSENT = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n"


def check(data: bytes) -> None:
    how, data = taken(data)
    answer = _answer([data])
    assert answer == _answer(pieces(data, how)), "it depends on how it is cut"
    assert answer is not None or len(data) <= MAX_HEAD
    assert not isinstance(answer, bytes) or data.endswith(answer)
    assert _answer(pieces(_CONSENT + data, how)) == data, "what follows is not what was sent"
    _parse(data.decode("utf-8", "surrogateescape"))


def _answer(parts: list[bytes]) -> bytes | str | None:
    """Return what follows, or why nothing does."""
    try:
        return behind(ConnectAnswer(_PROXY).receive, parts)
    except TunnelError as error:
        assert isLine(str(error)) and "password-of-it" not in str(error)
        return str(error)


def _parse(text: str) -> None:
    try:
        proxy = HttpProxy.parse(text)
    except ValueError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
    else:
        assert isLine(proxy.where) and HttpProxy.parse(proxy.where).where == proxy.where
        request = proxy.request("home.example:443")
        assert request.endswith(b"\r\n\r\n") and request.isascii()
        assert request.count(b"\n") == 4 - (proxy.credentials is None), "another line"
    for url in _URLS:
        for name in ("https_proxy", "no_proxy"):
            environment = {"https_proxy": "http://proxy", name: text}
            try:
                ofEnvironment(environment, url)
            except ValueError as mistake:
                assert name == "https_proxy" and isLine(str(mistake)), "no text to be shown"


TARGET = Target(
    check,
    covers=("client.rules.httpproxies", "common.loopback"),
    planted=(
        Planted(
            "client/rules/httpproxies.py", "self._data[end.end() :]", "self._data[end.start() :]"
        ),
        Planted(
            "client/rules/httpproxies.py",
            'oneLine(f"it answered {status} {reason}")',
            'f"it answered {status} {reason}"',
        ),
        Planted(
            "client/rules/httpproxies.py",
            "    except ValueError:  # a name\n",
            "    except TypeError:  # a name\n",
        ),
    ),
    words=(
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 407 ",
        b"HTTP/1.1 503 \x1b[1m\r\n",
        b"http://user:pass%20word@host:8080/",
        b"10.0.0.0/8",
        b"[::1]",
        b".example",
    ),
)
