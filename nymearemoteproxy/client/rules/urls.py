"""How addresses are written: the proxy's, those of local services, and our own port's.

Owns which of them can be connected to or listened on. Knows nothing of how that is done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from nymearemoteproxy.client.rules.errors import oneLine
from nymearemoteproxy.protocol.hostnames import inAscii, isHostName

DEFAULT_LISTEN_HOST = "127.0.0.1"
"""Who is to reach the port from elsewhere has to say so."""

_HIGHEST_PORT = 65535

# Scheme, authority, path with query, fragment; what is none of these schemes is found out later.
_PARTS = re.compile(r"([a-z]*):(?://([^/?#]*))?([^#]*)(#.*)?", re.IGNORECASE | re.DOTALL)

# With the ports of RFC 6455 section 3; streams have none.
_DEFAULT_PORTS = {"ws": 80, "wss": 443, "tcp": None, "tls": None}

# RFC 3986 section 2, and only what is in ASCII; what else there is has to be percent-encoded.
_RESOURCE = re.compile(r"[!#-;=?-\[\]_a-z~]*", re.IGNORECASE)

# Hyphens in the third and fourth place are for encoded international names (RFC 5891 section
# 4.2.3.1). Twisted connects to no name that has them otherwise.
_RESERVED = re.compile(r"(?:^|\.)(?!xn)..--", re.IGNORECASE)


@dataclass(frozen=True)
class ProxyUrl:
    """Where a proxy listens: `where` is for people, `resource` for WebSocket only."""

    scheme: str
    where: str
    host: str = ""
    port: int = 0
    resource: str = "/"
    path: str = ""

    @property
    def isWebSocket(self) -> bool:
        """Whether the proxy is spoken to in WebSocket messages."""
        return self.scheme in ("ws", "wss")

    @property
    def isSecure(self) -> bool:
        """Whether there is TLS."""
        return self.scheme in ("wss", "tls")

    @classmethod
    def parse(cls, url: str) -> ProxyUrl:
        """Read `url`; ValueError says in one line what is wrong with it."""
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            if not path or "\0" in path:
                raise ValueError("the URL names no socket: unix:PATH")
            return cls("unix", oneLine(url), path=path)
        parts = _PARTS.fullmatch(url)
        if parts is None or parts[1].lower() not in _DEFAULT_PORTS:
            raise ValueError("the URL must start with ws://, wss://, tcp://, tls:// or unix:")
        scheme, authority, resource, fragment = parts.groups("")
        scheme = scheme.lower()
        if "@" in authority or fragment:
            raise ValueError("the URL has a user name or a fragment, which mean nothing here")
        if not _RESOURCE.fullmatch(resource):
            raise ValueError("the URL's path has characters that no URL has; they are written %XX")
        defaultPort = _DEFAULT_PORTS[scheme]
        try:
            address = parseRemote(authority, defaultPort)
        except ValueError as problem:
            form = f"{scheme}://HOST:PORT" if defaultPort is None else f"{scheme}://HOST[:PORT]"
            raise ValueError(f"the URL is not {form}: {problem}") from None
        if scheme in ("tcp", "tls") and resource not in ("", "/"):
            raise ValueError(f"a {scheme}:// URL has no path")
        if not resource.startswith("/"):
            resource = f"/{resource}"
        host = address.host.lower()
        where = Address(host, address.port).where
        return cls(scheme, where, host=host, port=address.port, resource=resource)


@dataclass(frozen=True)
class Address:
    """A TCP port of a host, or the Unix socket at `path`."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def where(self) -> str:
        """The address for people."""
        if self.path:
            return f"unix:{oneLine(self.path)}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parseService(text: str) -> Address:
    """Read ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:PATH``.

    :raises ValueError: it is none; the text is one line.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise ValueError("unix: needs the PATH of a socket")
        return Address(path=path)
    return parseRemote(text)


def parseListen(text: str) -> Address:
    """Read ``PORT``, ``ADDRESS:PORT`` or ``[IPv6]:PORT``; 0 stands for any free port.

    :raises ValueError: it is none; the text is one line.
    """
    return _parse(text if ":" in text else f"{DEFAULT_LISTEN_HOST}:{text}")


def parseRemote(text: str, defaultPort: int | None = None) -> Address:
    """Read where to connect to: ``HOST:PORT`` or ``[IPv6]:PORT``. International names become ASCII.

    :param defaultPort: the port, when it is left out; None: it must not be.
    :raises ValueError: it is none; the text is one line that repeats nothing of it.
    """
    isWithoutPort = ":" not in text or text.endswith("]")
    if text and isWithoutPort and defaultPort is not None:
        text = f"{text}:{defaultPort}"
    address = _parse(text)
    if not address.port:
        raise ValueError("the port must be from 1 to 65535")
    if "%" in address.host:
        raise ValueError("an address with a zone (%...) cannot be connected to")
    return address


def _isAddress(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return host.isascii() and host.isprintable()  # which a zone need not be


def _parse(text: str) -> Address:
    host, _, digits = text.rpartition(":")
    if not host or text.endswith("]"):
        raise ValueError("the host or the port is missing: HOST:PORT")
    host = inAscii(host)
    if host.startswith("[") and host.endswith("]") and _isAddress(host[1:-1]):
        host = host[1:-1]
    elif ":" in host or "[" in host:
        raise ValueError("an IPv6 address, and nothing else, stands in brackets: [ADDRESS]:PORT")
    elif not isHostName(host) or _RESERVED.search(host):
        raise ValueError("no host has such a name; there are letters, digits, - and . in one")
    isNumber = digits.isascii() and digits.isdigit() and len(digits) <= len(str(_HIGHEST_PORT))
    if not isNumber or int(digits) > _HIGHEST_PORT:
        raise ValueError("the port must be a number up to 65535")
    return Address(host, int(digits))
