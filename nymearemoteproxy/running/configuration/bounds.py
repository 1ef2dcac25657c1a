"""How long a connection may take for what, and how many there may be.

Owns the defaults that depend on the limit of open files. Knows nothing of who keeps the limits.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from nymearemoteproxy.common.openfiles import raiseFileLimit
from nymearemoteproxy.connections.limits import QUESTIONS, RESERVED_FILES, Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.running.settings.sections import ProxyServer
from nymearemoteproxy.running.settings.values import Settings

FEW_CONNECTIONS = 100
"""Fewer than a small household needs with room for strangers: surely not what was meant."""


def makeTiming(times: ProxyServer) -> Timing:
    """Return the time limits of a connection."""
    return Timing(
        tlsHandshake=times.tlsHandshakeTimeout,
        webSocketHandshake=times.webSocketHandshakeTimeout,
        inactive=times.inactiveTimeout,
        authentication=min(times.authenticationTimeout, times.jsonRpcTimeout),
        alone=times.aloneTimeout,
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
