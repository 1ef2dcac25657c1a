"""The listeners of the server, as those know them who come in.

Owns their names, and what somebody has to do first at each. Knows nothing of what is said later.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.support.endtoend import TLS


class Kind(Enum):
    """What is spoken behind a door."""

    WEBSOCKET = "websocket"
    STREAM = "stream"
    FRONT = "front"
    FRONT_HTTP = "front-http"
    ADMIN = "admin"
    MONITOR = "monitor"
    LINK = "link"


@dataclass(frozen=True)
class DoorKind:
    """A door, wherever it is.

    :ivar listener: how the server is told to listen there; PATH stands for a path of its own.
    """

    kind: Kind
    listener: str = ""

    @property
    def isProxied(self) -> bool:
        """A PROXY header comes first."""
        return self.listener.startswith("haproxy:")

    @property
    def isSecure(self) -> bool:
        """TLS comes next."""
        return "tls:" in self.listener


TCP, UNIX = "tcp:0:interface=127.0.0.1", "unix:PATH"

CLIENT_DOORS = {
    "ws": DoorKind(Kind.WEBSOCKET, TCP),
    "wss": DoorKind(Kind.WEBSOCKET, f"tls:{TCP}"),
    "ws-unix": DoorKind(Kind.WEBSOCKET, UNIX),
    "haproxy-ws": DoorKind(Kind.WEBSOCKET, f"haproxy:{TCP}"),
    "haproxy-wss": DoorKind(Kind.WEBSOCKET, f"haproxy:tls:{TCP}"),
    "tcp": DoorKind(Kind.STREAM, TCP),
    "tls": DoorKind(Kind.STREAM, f"tls:{TCP}"),
    "unix": DoorKind(Kind.STREAM, UNIX),
    "haproxy-tcp": DoorKind(Kind.STREAM, f"haproxy:{TCP}"),
    "haproxy-tls": DoorKind(Kind.STREAM, f"haproxy:tls:{TCP}"),
    "haproxy-unix": DoorKind(Kind.STREAM, f"haproxy:{UNIX}"),
}
"""Those for clients, WebSocket first: in this order the server's log tells where they are."""

FRONT_DOORS = {
    "front": DoorKind(Kind.FRONT, TCP),
    "haproxy-front": DoorKind(Kind.FRONT, f"haproxy:{TCP}"),
    "front-http": DoorKind(Kind.FRONT_HTTP, TCP),
}
"""Those for visitors; the log tells of them behind the others."""

DOORS = {
    **CLIENT_DOORS,
    **FRONT_DOORS,
    "admin": DoorKind(Kind.ADMIN, TCP),
    "admin-tls": DoorKind(Kind.ADMIN, f"tls:{TCP}"),
    "monitor": DoorKind(Kind.MONITOR, UNIX),
    "link": DoorKind(Kind.LINK, f"tls:{TCP}"),
}


def _asItIs(data: bytes) -> bytes:
    return data


@dataclass(frozen=True)
class Door:
    """Where a door is.

    :ivar address: a port of 127.0.0.1, or a path.
    :ivar context: of TLS.
    :ivar name: whom TLS is told to want.
    :ivar filled: returns what is sent, with what only a running server lets know.
    """

    address: int | str
    context: ssl.SSLContext = TLS
    name: str = "localhost"
    filled: Callable[[bytes], bytes] = _asItIs
