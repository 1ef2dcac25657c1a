"""Where a Redis is, from a URL.

Owns how such a URL is spelled, and that its password is never shown. Knows nothing of connections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from nymearemoteproxy.common.loopback import isLoopback

PORT = 6379
"""Redis' own."""

_TCP = ("redis", "rediss")
_UNIX = "redis+unix"


@dataclass(frozen=True)
class RedisUrl:
    """Where a Redis is. ``str()`` is its URL, without user and password.

    :ivar host: a name or an address, without brackets; empty for a Unix socket.
    :ivar path: of a Unix socket, or empty.
    :ivar user: None = Redis' user ``default``.
    :ivar password: None = none.
    """

    host: str = ""
    port: int = PORT
    path: str = ""
    isTls: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0

    @property
    def isLocal(self) -> bool:
        """Whether it is on this machine, as far as the URL shows."""
        return bool(self.path) or self.host == "localhost" or isLoopback(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}:{self.path}" + (f"?db={self.database}" if self.database else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_TCP[self.isTls]}://{host}:{self.port}/{self.database}"


def readRedisUrl(text: str, password: str | None = None) -> RedisUrl:
    """Read a URL.

    ``redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]``, the same with ``rediss`` for TLS, or
    ``redis+unix:PATH[?db=DATABASE]``.

    :param password: from a file; the line's end is not of it.
    :raises ValueError: the text says why in a line, and never what the URL holds.
    """
    if re.search(r"[\s\x00-\x20\x7f]", text):
        raise ValueError("it has blanks in it")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(
            "it has no valid host and port; in a password ':', '/', '?', '#' and '@' are %3A, "
            "%2F, %3F, %23 and %40"
        ) from None
    if parts.fragment:
        raise ValueError("it has a '#'; in a password that is %23")
    user, given = _credentials(parts)
    if password is not None:
        if given is not None:
            raise ValueError("it has a password, and there is one in a file, too")
        given = password.rstrip("\r\n")
    if user and given is None:
        raise ValueError("it has a user and no password")
    if parts.scheme == _UNIX:
        if host or port is not None or not parts.path.startswith("/"):
            raise ValueError("it has no absolute path")
        database = _number(re.fullmatch("(?:db=(.*))?", parts.query))
        return RedisUrl("", 0, unquote(parts.path), False, user, given, database)
    if parts.scheme not in _TCP:
        raise ValueError("it does not begin with redis://, rediss:// or redis+unix:")
    if not host or not host.isascii():
        raise ValueError("it has no host, or one that is not in ASCII")
    if parts.query:
        raise ValueError("it has a '?'; the database is the path, such as /0")
    database = _number(re.fullmatch("(?:/(.*))?", parts.path))
    isTls = parts.scheme == _TCP[True]
    return RedisUrl(host, PORT if port is None else port, "", isTls, user, given, database)


def _credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    user = unquote(parts.username) if parts.username else None
    return user, None if parts.password is None else unquote(parts.password)


def _number(found: re.Match[str] | None) -> int:
    if found and not found[1]:
        return 0
    if not found or not re.fullmatch("[0-9]{1,6}", found[1]):
        raise ValueError("its database is not a number")
    return int(found[1])
