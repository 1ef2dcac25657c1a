"""Words for places to listen on that cannot be used: what was given, and what to write instead.

Owns what is said of a description that cannot be read, and of a place where listening failed.
Knows nothing of how descriptions become listeners.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

_EXAMPLE = "tcp:8080:interface=127.0.0.1 or unix:/run/nymea-remoteproxy/clients.sock"

_ARGUMENTS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        *("port", "interface", "backlog", "privateKey", "certKey", "extraCertChain"),
        *("sslmethod", "dhParameters"),
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
}
"""The kinds that most descriptions are of, and their arguments in Twisted's order."""

_PREFIXES = ("haproxy", "tls")
"""What stands before a description and a colon."""

_SEPARATOR = re.compile(r"(?<!\\):")
_URL = re.compile(r"(wss?|https?|tcp|tls)://")
_HOST_AND_PORT = re.compile(
    r"(?P<host>|localhost|[^:/]*\.[^:/]*|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]+)"
)

MAX_BACKLOG = (1 << 31) - 1
"""What listen(2) takes; the kernel makes less of it (net.core.somaxconn)."""

LONGEST_NUMBER = 20
"""Digits; Python reads some thousands, and refuses more."""

PRIVILEGED = 1024
"""Ports below are not for everybody."""


def problemOf(description: str) -> str | None:
    """Return what is wrong with an endpoint description, one line; None if nothing is to be seen.

    Twisted knows more kinds than this does, and has the last word on all of them.
    """
    rest = description
    while rest.startswith(tuple(f"{each}:" for each in _PREFIXES)) and not _URL.match(rest):
        rest = rest.partition(":")[2]
    kind, *arguments = _SEPARATOR.split(rest)
    if rest in _PREFIXES:
        problem: str | None = (
            f"it stands before another description, such as {description}:tcp:2212"
        )
    elif kind in _ARGUMENTS and not _URL.match(rest):
        problem = _wrongArgument(kind, arguments)
        if problem and (match := _HOST_AND_PORT.fullmatch(rest.partition(":")[2])):
            prefix = description.removesuffix(rest)
            problem += f"; is it {prefix}{kind}:{_portAndInterface(match)}?"
    elif _isOther(kind):
        problem = None if any(arguments) else _noArguments(kind)
    else:
        return _notADescription(description, rest)
    return problem and f'"{description}" cannot be listened on: {problem}'


def _isOther(kind: str) -> bool:
    """Tell whether this kind is systemd:, or a plugin of Twisted's knows it.

    Of those that it brings, stdio: is one connection and nothing that can be listened on.
    """
    if kind in ("systemd", "stdio"):  # it takes its time to look for plugins
        return kind == "systemd"
    return any(parser.prefix == kind for parser in getPlugins(IStreamServerEndpointStringParser))


def _noArguments(kind: str) -> str:
    if kind == "systemd":
        return "it needs to say which socket, such as systemd:index=0 or systemd:name=NAME"
    return f"it needs arguments, behind {kind}: and with colons between them"


def _notADescription(description: str, rest: str) -> str:
    meant = _meant(rest)
    if meant is None:
        return f'"{description}" is no endpoint description, such as {_EXAMPLE}'
    prefix = description.removesuffix(rest)
    return f'"{description}" is no endpoint description; is it {prefix}{meant}?'


def _meant(text: str) -> str | None:
    """Return the description that somebody may have meant; None if there is no telling."""
    if text.startswith("/"):
        return f"unix:{text}"
    kind, colon, arguments = text.partition(":")
    if colon and kind.lower() in _ARGUMENTS and not arguments.startswith("//"):
        return f"{kind.lower()}:{arguments}"
    if text.isascii() and text.isdigit():
        return f"tcp:{text}:interface=127.0.0.1"
    secure = ""
    if match := _URL.match(text):
        secure = "tls:" if match[1] in ("wss", "https", "tls") else ""
        text = text[match.end() :].partition("/")[0]
    if (match := _HOST_AND_PORT.fullmatch(text)) is None:
        return None
    return f"{secure}tcp:{_portAndInterface(match)}"


def _portAndInterface(match: re.Match[str]) -> str:
    """Return the arguments for a host and a port in the order of URLs."""
    host = match["host"].strip("[]").replace(":", "\\:") or "127.0.0.1"
    return f"{match['port']}:interface={host}"


def _wrongArgument(kind: str, arguments: list[str]) -> str | None:
    names = _ARGUMENTS[kind]
    given: dict[str, str] = {}
    positions = iter(names)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name.endswith("\\"):
            name, value = next(positions, ""), argument
        if equals and name in given:
            return f"{name} is given twice"
        if name in given or not name:
            return "a colon inside an argument needs a backslash, such as interface=\\:\\:1"
        if name not in names:
            return f"{kind}: has no argument {name!r}; it has {', '.join(names)}"
        if equals and not value and name != "interface":
            return f"{name} is empty"
        given[name] = value
    first = names[0]
    if not given.get(first):
        return {
            "port": f"it needs a port, such as {kind}:2212",
            "address": "it needs the path of a socket, such as unix:/run/nymea-remoteproxy/c.sock",
        }[first]
    return _wrongNumber(given)


def _wrongNumber(given: dict[str, str]) -> str | None:
    for name, lowest, highest, base in (
        ("port", 0, 65535, 10),
        ("backlog", 1, MAX_BACKLOG, 10),
        ("mode", 0, 0o777, 8),
    ):
        text = given.get(name)
        if text is None:
            continue
        digits = "01234567" if base == 8 else "0123456789"
        isNumber = 0 < len(text) <= LONGEST_NUMBER and not text.strip(digits)
        if isNumber and lowest <= int(text, base) <= highest:
            continue
        if base == 8:
            return f"{name} {text!r} is no octal number from 0 to 777, such as 660"
        return f"{name} {text!r} is no number from {lowest} to {highest}"
    return None


def whyNot(error: Exception) -> str:
    """Say why listening failed, and what to do about it, where that is known."""
    cause = getattr(error, "socketError", error)
    reason = getattr(cause, "strerror", None) or str(cause)
    # Beside a Unix socket Twisted makes its lock, where it may have failed with an OSError.
    lock = getattr(error, "filename2", None)
    place = error.port if isinstance(error, CannotListenError) else lock
    hint = None
    if isinstance(place, int):
        hint = _hintForPort(cause, place)
    elif place is not None:
        hint = _hintForPath(cause, os.fsdecode(place))
    return f"{reason}; {hint}" if hint else reason


def _hintForPort(cause: object, port: int) -> str | None:
    if isinstance(cause, socket.gaierror):
        return "write an address, such as 127.0.0.1"
    match getattr(cause, "errno", None):
        case errno.EADDRINUSE:
            return (
                "another program listens there, or another listener of this one; "
                f'"ss -ltnp sport = :{port}" shows it'
            )
        case errno.EADDRNOTAVAIL:
            return 'it is none of this machine\'s, which "ip address" shows'
        case errno.EACCES if port < PRIVILEGED:
            return (
                f"ports below {PRIVILEGED} are for root, and for who has CAP_NET_BIND_SERVICE, as "
                "with AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of systemd"
            )
    return None


def _hintForPath(cause: object, path: str) -> str | None:
    directory = os.path.dirname(path) or "."
    match getattr(cause, "errno", None):
        case errno.ENOENT | errno.ENOTDIR if not os.path.isdir(directory):
            return f"there is no directory {directory}"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"the server has to be allowed to write to the directory {directory}"
        case errno.EADDRINUSE:
            if _isSocket(path):
                return "another program listens there, or left it behind: then remove it"
            return "something else has that name"
    return None if isinstance(cause, OSError) else "another server listens there"


def _isSocket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
