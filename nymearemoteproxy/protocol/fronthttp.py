"""What the front door answers without TLS: a challenge is for a home, for all else there is https.

Owns which requests reach a home, how they are written anew, and where all others are sent. Knows
nothing of which homes there are, of transports or time.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from string import punctuation
from typing import NamedTuple
from urllib.parse import quote

from nymearemoteproxy.protocol.httphead import Refusal, Request, bad
from nymearemoteproxy.protocol.outcomes import Outcome

# RFC 8555 sections 8.1 and 8.3: behind this there is a token, of base64url's alphabet, and nothing
# else. So a home is never asked in clear for what it may take for another path, be it by dots,
# percent signs or slashes, nor anything by a query.
_CHALLENGE = re.compile(rb"/\.well-known/acme-challenge/[0-9A-Za-z_-]+")

_ABSOLUTE = re.compile(rb"[A-Za-z]+://([^/?]*)(.*)")  # RFC 9112 section 3.2.2

# What a name can have in DNS, or an address; nothing in it ends the host of a URL, or is the user
# that stands before one.
_AUTHORITY = re.compile(rb"([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")

_REQUEST = b"%s %s HTTP/1.%d\r\nHost: %s\r\nConnection: close\r\n\r\n"


class Challenge(NamedTuple):
    """A certificate authority asks a home for proof that it has its name.

    :ivar host: the home's name as it was written, without a port.
    :ivar request: what the home is asked, with nothing of the visitor's but the token and the name.
        Who it is the home is told by a notification; for many servers X-Forwarded-For is an error.
    """

    method: bytes
    host: str
    request: bytes

    def unknown(self) -> Refusal:
        """Return what answers it if there is no such home, or none that can be known of."""
        return Refusal(HTTPStatus.NOT_FOUND, _text(self.method, "There is no such home"))

    def unreachable(self) -> Refusal:
        """Return what answers it if the home cannot be reached for now."""
        text = _text(self.method, "The home cannot be reached now")
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, text)


def readChallenge(request: Request) -> Challenge:
    """Return what a home is to be asked.

    :raises Refusal: it is answered here: that there is https, or that it breaks a rule.
    """
    request.checkTarget()
    authority, path = _asked(request)
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise bad("The host is neither a name nor an address")
    method, host = request.method, match[1]
    if method not in (b"GET", b"HEAD") or not _CHALLENGE.fullmatch(path):
        raise _redirect(method, host, path)
    request.checkNoContent()
    minor = min(request.version[1], 1)  # which says whether the answer may come in chunks
    return Challenge(method, host.decode("ascii"), _REQUEST % (method, path, minor, host))


def _asked(request: Request) -> tuple[bytes, bytes]:
    """Return the host, perhaps with a port, and the path of what is asked for.

    RFC 9112 section 3.2.2: a host in the target counts, and not the header.
    """
    host = request.host()
    match = _ABSOLUTE.fullmatch(request.target)
    if match is None:
        return host, request.target
    authority, path = match.groups()
    return authority, path if path.startswith(b"/") else b"/" + path


def _redirect(method: bytes, host: bytes, path: bytes) -> Refusal:
    location = f"Location: https://{host.decode('ascii')}{quote(path, safe=punctuation)}"
    return Refusal(
        HTTPStatus.MOVED_PERMANENTLY,
        _text(method, "There is nothing without TLS"),
        location,
        outcome=Outcome.REDIRECTED,
    )


def _text(method: bytes, text: str) -> str:
    """RFC 9110 section 9.3.2: there is none in an answer to HEAD."""
    return "" if method == b"HEAD" else text
