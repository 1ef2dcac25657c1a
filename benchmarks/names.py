"""What servers and transports are called, in results and on the command line."""

from __future__ import annotations

OWN = "nymea-remoteproxy"
STOCK = "stock"
HAPROXY = "haproxy"
TRANSIT_RELAY = "transit-relay"

REFERENCES = (STOCK, HAPROXY)
"""What the others are compared with: the first of these that speaks the transport."""

TRANSPORTS = ("ws", "wss", "tcp", "tls")


def isSecure(transport: str) -> bool:
    return transport in ("wss", "tls")


def isWebSocket(transport: str) -> bool:
    return transport in ("ws", "wss")
