"""Owns how the addresses of local services and of our own listening port are written.

Pure rules: it must not know Twisted or sockets.
"""

from __future__ import annotations

from dataclasses import dataclass

from nymearemoteproxy.client.control import oneLine

# Who is to reach the port from elsewhere has to say so.
DEFAULT_LISTEN_HOST = "127.0.0.1"

_HIGHEST_PORT = 65535


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
