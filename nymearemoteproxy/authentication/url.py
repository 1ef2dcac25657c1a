"""Where an authentication server is, or the keys of an issuer of tokens.

Owns which URLs can be asked, and the form in which the HTTP client gets them. Knows nothing of
requests and answers. A URL may hold secrets, so no text here repeats anything of one.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from hyperlink import EncodedURL

from nymearemoteproxy.common.loopback import isLoopback

_BROKEN = (
    "write the host and the port like http://HOST/ or http://HOST:PORT/; an IPv6 address stands in "
    "brackets, without a zone (%...)"
)


class _Uri(EncodedURL):
    """A URL in ASCII.

    treq makes one of whatever it is given, but hyperlink 21 takes every host for an international
    name, IPv6 addresses too.
    """

    def to_uri(self) -> EncodedURL:
        return self


def readUrl(text: str) -> EncodedURL:
    """Return the URL in ASCII, for treq.

    :raises ValueError: it cannot be asked; the text says in one line what is wrong.
    """
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("use a URL that begins with http:// or https://")
    if not text.isprintable() or " " in text:
        raise ValueError("a URL has no spaces or control characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        url = EncodedURL.from_text(text)
    except ValueError:
        raise ValueError(_BROKEN) from None
    if "@" in parts.netloc:
        raise ValueError("a user name and a password belong in clientId and clientSecretFile")
    if not host or port == 0 or ("[" in parts.netloc and ":" not in host):
        raise ValueError(_BROKEN)
    if "#" in text:
        raise ValueError("leave out the fragment (#...), which no server gets to see")
    return _Uri.from_text(_inAscii(url, host).to_text())


def isOnThisMachine(text: str) -> bool:
    """Tell whether what is sent to a URL does not leave this machine; one that `readUrl` takes."""
    host = urlsplit(text).hostname or ""
    return isLoopback(host) or host == "localhost"


def _inAscii(url: EncodedURL, host: str) -> EncodedURL:
    if ":" in host:
        return url.replace(host="localhost").to_uri().replace(host=host)
    try:
        return url.to_uri()
    except ValueError:
        raise ValueError("no host has such a name: too long, or with a character like _") from None
