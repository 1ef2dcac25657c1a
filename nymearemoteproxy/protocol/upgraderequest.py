"""The HTTP request that opens a WebSocket.

Owns the rules of RFC 6455 section 4 about it, for a server that serves nothing but WebSocket. What
comes out is a head written anew from what was checked, so that whoever reads it next cannot
understand the client's bytes in another way. Knows nothing of transports or time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus

from nymearemoteproxy.protocol.httphead import Refusal, Request, bad

VERSIONS = (b"13", b"8")
"""Of the WebSocket protocol; 8 is the last draft before RFC 6455, with the same frames."""

_KEY = re.compile(rb"[0-9A-Za-z+/]{22}==")  # 16 bytes, RFC 6455 section 4.1

_CANONICAL = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: %s\r\nSec-WebSocket-Key: %s%s\r\n\r\n"
)

_UPGRADE = "Upgrade: websocket"  # RFC 9110 section 15.5.22
_SUPPORTED = "Sec-WebSocket-Version: 13, 8"  # RFC 6455 section 4.2.2
_WHAT_THIS_IS = (
    "This is nymea-remoteproxy. It is for programs that speak WebSocket, not for browsers"
)


def _upgradeRequired(text: str) -> Refusal:
    return Refusal(HTTPStatus.UPGRADE_REQUIRED, text, _UPGRADE, _SUPPORTED)


def canonical(request: Request, subprotocols: Collection[bytes]) -> bytes:
    """Check a request; write anew what counts of its head.

    Of the subprotocols it offers that is the first one that is accepted, if there is one.

    Not in it: the host and the target, for all are the same here; the origin, since tokens say who
    may in and not the page a script came from; extensions, of which none is accepted.

    :raises Refusal: it asks for no WebSocket, or not in the right way.
    """
    _checkMethod(request.method)
    request.checkTarget()
    if request.version < (1, 1):  # it knows no Upgrade: RFC 9110 section 7.8
        raise _upgradeRequired(f"{_WHAT_THIS_IS}. The version has to be HTTP/1.1")
    request.host()
    request.checkNoContent()  # what follows are frames: RFC 9112 section 11.2
    _checkUpgrade(request)
    return _CANONICAL % (_version(request), _key(request), _subprotocol(request, subprotocols))


def _checkMethod(method: bytes) -> None:
    if method != b"GET":
        # RFC 9110 sections 8.6 and 9.3.2: an answer to HEAD has no content, and no length unless it
        # is that of the answer to GET.
        text = "" if method == b"HEAD" else _WHAT_THIS_IS
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, text, "Allow: GET")


def _checkUpgrade(request: Request) -> None:
    """RFC 6455 section 4.2.1, items 3 and 4; without either it is an ordinary request."""
    if b"websocket" not in _words(request, "Upgrade"):
        raise _upgradeRequired(f"{_WHAT_THIS_IS}. There is no Upgrade: websocket header")
    if b"upgrade" not in _words(request, "Connection"):
        raise _upgradeRequired(f"{_WHAT_THIS_IS}. There is no Connection: Upgrade header")


def _words(request: Request, name: str) -> list[bytes]:
    """Return the members of a list in lower case, for that of their letters does not matter."""
    return [member.lower() for member in request.members(name)]


def _version(request: Request) -> bytes:
    """RFC 6455 section 4.2.2, item 4."""
    version = request.only("Sec-WebSocket-Version")
    if version not in VERSIONS:
        raise _upgradeRequired("The Sec-WebSocket-Version has to be 13")
    return version


def _key(request: Request) -> bytes:
    """RFC 6455 section 4.2.1, item 5."""
    key = request.only("Sec-WebSocket-Key")
    if key is None or not _KEY.fullmatch(key):
        raise bad("The Sec-WebSocket-Key is not 16 bytes in base64")
    return key


def _subprotocol(request: Request, accepted: Collection[bytes]) -> bytes:
    """Return a header line with the first offered one that is accepted, or nothing."""
    for offered in request.members("Sec-WebSocket-Protocol"):
        if offered in accepted:
            return b"\r\nSec-WebSocket-Protocol: " + offered
    return b""
