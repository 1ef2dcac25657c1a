"""Owns how addresses are written: the proxy's, those of local services, and our own port's.

Pure rules: it must not know Twisted or sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from nymearemoteproxy.client.control import oneLine

# Who is to reach the port from elsewhere has to say so.
DEFAULT_LISTEN_HOST = "127.0.0.1"

_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class ProxyUrl:
    """Where a proxy listens: ``where`` is for people, ``resource`` for WebSocket only."""

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
        """Read ``url``; ValueError says in one line what is wrong with it."""
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            if not path or "\0" in path:
                raise ValueError("the URL names no socket: unix:PATH")
            return cls("unix", oneLine(url), path=path)
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("the URL has characters that no URL has")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as problem:
            raise ValueError(f"the URL is broken: {problem}") from None
        if parts.scheme not in ("ws", "wss", "tcp", "tls"):
            raise ValueError("the URL must start with ws://, wss://, tcp://, tls:// or unix:")
        if not parts.hostname or not port:
            raise ValueError(f"the URL needs a host and a port: {parts.scheme}://HOST:PORT")
        if parts.username is not None or parts.fragment:
            raise ValueError("the URL has a user name or a fragment, which mean nothing here")
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme in ("tcp", "tls") and resource != "/":
            raise ValueError(f"a {parts.scheme}:// URL has no path")
        host = parts.hostname
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return cls(parts.scheme, where, host=host, port=port, resource=resource)


@dataclass(frozen=True)
class Address:
    """A TCP port of a host, or the Unix socket at ``path``."""

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

    Raises:
        ValueError: it is none; the text is one line.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise ValueError("unix: needs the PATH of a socket")
        return Address(path=path)
    address = _parse(text)
    if not address.port:
        raise ValueError("the port must be from 1 to 65535")
    return address


def parseListen(text: str) -> Address:
    """Read ``PORT``, ``ADDRESS:PORT`` or ``[IPv6]:PORT``; 0 stands for any free port.

    Raises:
        ValueError: it is none; the text is one line.
    """
    return _parse(text if ":" in text else f"{DEFAULT_LISTEN_HOST}:{text}")


def _parse(text: str) -> Address:
    host, _, digits = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets: [ADDRESS]:PORT")
    if not host or not (host.isascii() and host.isprintable()) or set(host) & set(" []/"):
        raise ValueError("it is written HOST:PORT")
    isNumber = digits.isascii() and digits.isdigit() and len(digits) <= len(str(_HIGHEST_PORT))
    if not isNumber or int(digits) > _HIGHEST_PORT:
        raise ValueError("the port must be a number up to 65535")
    return Address(host, int(digits))
