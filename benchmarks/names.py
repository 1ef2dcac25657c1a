"""What servers and transports are called, in results and on the command line."""

from __future__ import annotations

OWN = "nymea-remoteproxy"
STOCK = "stock"
HAPROXY = "haproxy"
TRANSIT_RELAY = "transit-relay"
STRELAYSRV = "strelaysrv"
SNITUN = "snitun"
BEFORE = "before"
"""This server, as it was: an older checkout."""

REFERENCES = (STOCK, HAPROXY, SNITUN)
"""What the others are compared with: the first of these that takes part."""

TRANSPORTS = ("ws", "wss", "tcp", "tls")

TUNNEL_WORKLOADS = ("ping-pong", "256B-x1", "256B-x32", "64KiB", "1MiB", "set-up")
"""What a tunnel costs."""
VISIT_WORKLOADS = ("visits", "visitors")
"""What the visitors of a home cost."""
REGISTERED_WORKLOADS = ("tunnelproxy", "siblings", "flood")
"""What needs a tunnel proxy."""

FLOODS = {
    "hello": "calls of Hello",
    "introspect": "calls of Introspect",
    "pings": "WebSocket pings, before a tunnel",
    "tunnel-pings": "WebSocket pings, in tunnels",
    "messages": "messages of one byte, in tunnels",
    "calls": "calls of registered servers",
    "packets": "empty packets of registered servers",
}
"""What `flood` can do, for the reader."""
STREAM_FLOODS = ("hello", "introspect", "calls", "packets")
"""Those that make much work without WebSocket, too."""


def isSecure(transport: str) -> bool:
    return transport in ("wss", "tls")


def isWebSocket(transport: str) -> bool:
    return transport in ("ws", "wss")


MACHINES = "machine to machine"
WORKERS = "worker to worker"
