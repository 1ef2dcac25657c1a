"""How long a connection may take for what, how many there may be, and how much they may do.

Owns the defaults that depend on the limit of open files. Knows nothing of who keeps the limits.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.lists import parseEntries
from nymearemoteproxy.common.openfiles import raiseFileLimit
from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList, parseDenyList
from nymearemoteproxy.connections.limits import QUESTIONS, RESERVED_FILES, Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.configuration.tokensources import namesAccounts
from nymearemoteproxy.running.settings.values import Settings

FEW_CONNECTIONS = 100
"""Fewer than a small household needs with room for strangers: surely not what was meant."""


WHILE_SOMEBODY_TYPES = 300.0
"""Seconds a client waits for its partner that somebody starts by hand, with a token copied from the
terminal, unless a time was set."""


def makeTiming(settings: Settings, isTokenShown: bool) -> Timing:
    """Return the time limits of a connection.

    :param isTokenShown: a token was made, for somebody to copy.
    """
    times = settings.proxyServer
    isByHand = isTokenShown and not settings.isSet("ProxyServer.aloneTimeout")
    return Timing(
        tlsHandshake=times.tlsHandshakeTimeout,
        webSocketHandshake=times.webSocketHandshakeTimeout,
        inactive=times.inactiveTimeout,
        authentication=min(times.authenticationTimeout, times.jsonRpcTimeout),
        alone=WHILE_SOMEBODY_TYPES if isByHand else times.aloneTimeout,
        notificationGap=times.notificationGap,
        ping=times.pingInterval,
        pingAnswer=times.pingTimeout,
        close=times.closeTimeout,
    )


FILES_OF_A_CLIENT = 2
"""With several processes, here or elsewhere: its connection, and one to the process that has its
partner."""


def linksOfOneMember() -> int:
    """Return how many links one other member may have here.

    Half of the files are for clients: with one other member, each of them may need a link.
    """
    return raiseFileLimit() // FILES_OF_A_CLIENT


def countWorkers(given: int) -> int:
    """Return how many processes are to serve, where 0 means one for each core we may use."""
    return given or len(os.sched_getaffinity(0))


def makeBounds(settings: Settings, workers: int, warn: Callable[[str], object]) -> Bounds:
    """Return how many connections there may be, in all workers together."""
    limits = settings.limits
    questions = settings.authentication.connections
    possible = raiseFileLimit() - RESERVED_FILES - max(0, questions - QUESTIONS)
    if workers > 1 or settings.cluster.directory:
        possible = possible * workers // FILES_OF_A_CLIENT
    possible = max(1, possible)
    connections = possible if limits.maxConnections is None else limits.maxConnections
    if connections > possible:
        warn(
            f"[Limits] maxConnections is {connections}, but the limit of open files "
            f"(ulimit -n, LimitNOFILE) leaves room for {possible}"
        )
    if possible < FEW_CONNECTIONS:
        warn(
            f"the limit of open files (ulimit -n, LimitNOFILE) leaves room for only {possible} "
            "connections"
        )
    unauthenticated = limits.maxUnauthenticated
    if unauthenticated is None:
        unauthenticated = (connections or possible) // 2
    return Bounds(
        connections=connections,
        unauthenticated=unauthenticated,
        connectionsPerAddress=limits.maxConnectionsPerAddress,
        unauthenticatedPerAddress=limits.maxUnauthenticatedPerAddress,
        attemptsPerSecondPerAddress=limits.attemptsPerSecondPerAddress,
        exempt=limits.exemptNetworks,
    )


def makeTunnelLimits(settings: Settings, workers: int) -> TunnelLimits:
    """Return the limits of each tunnel; of what all share, each worker has its part."""
    limits = settings.limits
    return TunnelLimits(
        rate=limits.tunnelRate,
        totalRate=limits.totalRate / workers,
        idleTimeout=limits.tunnelIdleTimeout,
        maxAge=limits.tunnelMaxAge,
    )


def makeAccountBounds(settings: Settings, warn: Callable[[str], object]) -> AccountBounds:
    """Return the limits of each account."""
    limits = settings.limits
    for name in ("tunnelsPerSubject", "bytesPerSubjectPerDay"):
        if getattr(limits, name) and not namesAccounts(settings):
            warn(
                f"[Limits] {name} has no effect: only an authentication server, or a JSON Web "
                "Token, names the account that a token belongs to"
            )
    return AccountBounds(limits.tunnelsPerSubject, limits.bytesPerSubjectPerDay)


def readDenyList(settings: Settings, parts: Parts) -> DenyList:
    """Return the addresses whose clients are not let in.

    :raises FileError: the list cannot be read, or something in it is no address or network.
    """
    path = settings.limits.denyFile
    return parts.part(
        "the denied addresses stay as they were",
        lambda: _readDenyList(path, parts.read) if path else DenyList(),
        lambda previous: previous.denied,
    )


def _readDenyList(path: str, read: Read) -> DenyList:
    with readable("list of denied addresses", path):
        return parseDenyList(parseEntries(read(path)))
