"""Whether the tunnel proxy is on, what it demands, and which servers may register.

Owns how its settings become its terms. Knows nothing of where it listens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.lists import parseEntries
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.protocol.registration import parseUuids
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.settings.values import Settings
from nymearemoteproxy.tunnelproxy.switchboard import Terms

ORIGINAL_SECTIONS = (
    "WebSocketServerTunnelProxy",
    "TcpServerTunnelProxy",
    "UnixSocketServerTunnelProxy",
)
"""Of the C++ server, which has no other switch."""


def makeTerms(settings: Settings) -> Terms | None:
    """Return the terms of the tunnel proxy; None when it is not switched on."""
    tunnelProxy, limits = settings.tunnelProxy, settings.limits
    enabled = tunnelProxy.enabled
    if enabled is None:
        enabled = any(settings.hasSection(section) for section in ORIGINAL_SECTIONS)
    if not enabled:
        return None
    return Terms(
        serverTimeout=tunnelProxy.serverTimeout,
        packetSize=tunnelProxy.maxPacketSize,
        messageSize=limits.maxControlMessageSize,
        clientBacklog=tunnelProxy.clientBacklog,
        totalBacklog=tunnelProxy.totalBacklog,
        clientPatience=tunnelProxy.clientPatience,
        serversPerAddress=limits.maxServersPerAddress,
        clientsPerAddress=limits.maxClientsPerAddress,
        clientsPerServer=limits.maxClientsPerServer,
    )


def readAllowedServers(
    settings: Settings,
    isOn: bool,
    listeners: Sequence[Listener],
    parts: Parts,
    warn: Callable[[str], object],
) -> frozenset[UUID] | None:
    """Return which servers may register; None = any.

    :param isOn: the tunnel proxy is.
    :raises FileError: the list cannot be read, or something in it is no uuid.
    """
    path = settings.tunnelProxy.serverUuidFile
    if isOn and not path and not all(each.isLocal for each in listeners):
        warn(
            "every server may register with the tunnel proxy; [TunnelProxy] serverUuidFile says "
            "which ones may"
        )
    allowed = parts.part(
        "the server uuids stay as they were",
        lambda: _readUuids(path, parts.read) if path else None,
        lambda previous: previous.allowedServers,
    )
    if allowed is not None and not allowed:
        warn(f"no server may register with the tunnel proxy: {path} names none")
    return allowed


def _readUuids(path: str, read: Read) -> frozenset[UUID]:
    with readable("list of server uuids", path):
        return parseUuids(parseEntries(read(path)))
