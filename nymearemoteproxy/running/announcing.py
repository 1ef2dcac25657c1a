"""What the person who starts the server is told: where it listens, and how to try it.

Owns these texts. Knows nothing of how the server works.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.authentication.url import readUrl
from nymearemoteproxy.common.addresses import describePlace
from nymearemoteproxy.common.certificates import fingerprintOf, firstName
from nymearemoteproxy.common.paths import stateDirectory
from nymearemoteproxy.common.words import counted, joined
from nymearemoteproxy.connections.records import FRONT, FRONT_HTTP, TCP, VISITORS, WEBSOCKET
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.running.configuration.front import hasFront
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.configuration.tunnelproxy import whoIsProven
from nymearemoteproxy.watching.admin.expiry import servedCertificate

CLIENT = "nymea-remoteproxy-client"

_SCHEMES = {
    WEBSOCKET: ("ws", "wss"),
    TCP: ("tcp", "tls"),
    FRONT: ("https", "https"),
    FRONT_HTTP: ("http", "http"),
}
"""Of URLs, without TLS of ours and with it."""

WILDCARDS = ("0.0.0.0", "::")
"""To listen on every address; nobody can connect there."""

UNKNOWN_HOST = "HOST"
"""To be replaced by whoever gives the command: the certificate names no host."""


def url(listener: Listener, port: IListeningPort) -> str:
    """Return where clients can connect."""
    return describePlace(_scheme(listener), port.getHost())


def _scheme(listener: Listener) -> str:
    return _SCHEMES[listener.transport][listener.secure]


def essentials(configuration: Configuration) -> Iterator[str]:
    """Yield what decides over who is served, a line each: what to look at first in a log."""
    yield f"who may in: {_whoMayIn(configuration)}"
    yield f"tunnel proxy: {_tunnelProxy(configuration)}"
    if hasFront(configuration.settings):
        yield f"front door: {_frontDoor(configuration)}"
    yield f"limits: {_limits(configuration)}"
    try:
        yield f"state directory: {stateDirectory()}"
    except RuntimeError:  # the user has no home, as in a container
        yield "state directory: none"


def _whoMayIn(configuration: Configuration) -> str:
    if configuration.acceptAnyToken:
        return "everybody, as with --accept-any-token"
    ways = []
    if configuration.acceptedTokens:
        ways.append(f"who has {_oneOf(len(configuration.acceptedTokens), 'token')}")
    if configuration.webTokens is not None:
        issuer = configuration.webTokens.demands.issuer
        ways.append(f"who has a JSON Web Token of {issuer or 'any issuer'}")
    if server := configuration.settings.authentication.server:
        # No more of it than where it is: a URL may hold secrets.
        url = readUrl(server)
        ways.append(f"whom {url.scheme}://{url.authority()} lets in")
    return joined(ways) or "nobody with a token"


def _oneOf(count: int, thing: str) -> str:
    return f"the {thing}" if count == 1 else f"one of {counted(count, thing)}"


def _tunnelProxy(configuration: Configuration) -> str:
    if configuration.terms is None:
        return "off"
    allowed, proven = configuration.allowedServers, whoIsProven(configuration.settings)
    servers = (
        "any server may register" if allowed is None else f"for {counted(len(allowed), 'server')}"
    )
    tokens = ", ".join(f"{role.name.lower()}s show a token" for role in Role if role in proven)
    return ", ".join(filter(None, ("on", servers, tokens)))


def _frontDoor(configuration: Configuration) -> str:
    ways = []
    if configuration.names:
        ways.append(f"to {counted(len(configuration.names), 'name')}")
    if domain := configuration.settings.front.domain:
        ways.append(f"to any home by its uuid under {domain}")
    return joined(ways) or "to nobody"


def _limits(configuration: Configuration) -> str:
    bounds, tunnels = configuration.bounds, configuration.tunnelLimits
    accounts = configuration.accountBounds
    limits = [
        " ".join(filter(None, (counted(limit, thing) if thing else str(limit), more)))
        for limit, thing, more in (
            (bounds.connections, "connection", ""),
            (bounds.unauthenticated, "", "not authenticated"),
            (bounds.connectionsPerAddress, "", "from one address"),
            (bounds.unauthenticatedPerAddress, "", "not authenticated from one address"),
            (bounds.attemptsPerSecondPerAddress, "", "a second from one address"),
            (tunnels.rate, "byte", "a second in a tunnel"),
            (configuration.settings.limits.totalRate, "byte", "a second in all of them"),
            (tunnels.idleTimeout, "second", "of silence in a tunnel"),
            (tunnels.maxAge, "second", "of a tunnel"),
            (accounts.tunnels, "tunnel", "of one account"),
            (accounts.bytesPerDay, "byte", "a day of one account"),
            (len(configuration.denied), "network", "denied"),
        )
        if limit  # 0 = there is none
    ]
    return ", ".join(limits) or "none"


def showToken(configuration: Configuration, ports: Sequence[IListeningPort]) -> None:
    """Show the token that was made, if one was, on the terminal, and not through the log.

    :param ports: where the listeners of the configuration listen, in their order.
    """
    token, terminal = configuration.generatedToken, sys.__stderr__
    if token is None or terminal is None:
        return
    terminal.write(f"\nThe token of this run is {token}\n")
    for listener, port in zip(configuration.listeners, ports, strict=True):
        # Nobody joins at the front door, and where a reverse proxy comes nobody else is understood.
        if not (listener.transport in VISITORS or listener.behindProxy):
            certificate = None
            if listener.secure:
                certificate = servedCertificate(configuration.certificates[listener.files])
            where = whereToTry(listener, port.getHost(), certificate)
            command = f"{_clientCommand()} {where} --token {token}"
            terminal.write(
                "Join two clients by giving this command in two other terminals within "
                f"{_time(configuration.timing.alone)}, then type in either:\n\n"
                f"    {command}\n    {command}\n\n"
            )
            break
    terminal.flush()


def _time(seconds: float) -> str:
    minutes = int(seconds / 60)
    return counted(minutes, "minute") if minutes > 1 else f"{seconds:.0f} seconds"


def whereToTry(listener: Listener, address: Any, certificate: x509.Certificate | None) -> str:
    """Return the options with which a client on this machine comes in and trusts the server.

    :param address: where it listens.
    :param certificate: that it shows; None without TLS.
    """
    host, pin = getattr(address, "host", None), ""
    if host is None:
        return f"--url {describePlace(_scheme(listener), address)}"
    if certificate is not None and certificate.issuer == certificate.subject:
        # No authority vouches for it; a client that knows it does not look at the name.
        pin = f" --fingerprint {fingerprintOf(certificate)}"
    elif certificate is not None:
        host = firstName(certificate) or UNKNOWN_HOST
    if host in WILDCARDS:
        host = "127.0.0.1"
    place = IPv6Address if ":" in host else IPv4Address
    return f"--url {describePlace(_scheme(listener), place('TCP', host, address.port))}{pin}"


def _clientCommand() -> str:
    """Return the client that belongs to this server, so that it works in any terminal."""
    beside = Path(sys.executable).with_name(CLIENT)
    return str(beside) if beside.exists() else CLIENT
