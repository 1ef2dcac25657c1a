"""Whether the tunnel proxy is on, what it demands, and who may use it.

Owns how its settings become its terms. Knows nothing of where it listens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.lists import parseEntries
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.protocol.registration import parseUuids
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.running.configuration.front import hasFront
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.settings.sections import Proven
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
        isOriginal = any(settings.hasSection(section) for section in ORIGINAL_SECTIONS)
        enabled = isOriginal or hasFront(settings)
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
        visitorsPerServer=settings.front.maxVisitorsPerHome,
        clientRate=limits.tunnelRate,
    )


_PROVEN: Mapping[Proven, Collection[Role]] = {
    Proven.NONE: frozenset(),
    Proven.SERVERS: frozenset({Role.SERVER}),
    Proven.EVERYBODY: frozenset({Role.SERVER, Role.CLIENT}),
}


def whoIsProven(settings: Settings) -> Collection[Role]:
    """Return who has to show the tunnel proxy a token."""
    return _PROVEN[settings.tunnelProxy.authentication]


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
    isOpen = isOn and not path and not whoIsProven(settings)
    if isOpen and not all(each.isLocal for each in listeners):
        warn(
            "every server may register with the tunnel proxy; [TunnelProxy] serverUuidFile says "
            "which ones may, and authentication has them show a token"
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
