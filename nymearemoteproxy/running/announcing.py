"""What the person who starts the server is told: where it listens, and how to try it.

Owns these texts. Knows nothing of how the server works.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.common.addresses import describePlace
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.listening.tls import firstName
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.watching.admin.expiry import servedCertificate

CLIENT = "nymea-remoteproxy-client"

WILDCARDS = ("0.0.0.0", "::")
"""To listen on every address; nobody can connect there."""

UNKNOWN_HOST = "HOST"
"""To be replaced by whoever gives the command: the certificate names no host."""


def url(listener: Listener, port: IListeningPort) -> str:
    """Return where clients can connect."""
    return describePlace(_scheme(listener), port.getHost())


def _scheme(listener: Listener) -> str:
    if listener.webSocket:
        return "wss" if listener.secure else "ws"
    return "tls" if listener.secure else "tcp"


def showToken(configuration: Configuration, ports: Sequence[IListeningPort]) -> None:
    """Show the token that was made, if one was, on the terminal, and not through the log.

    :param ports: where the listeners of the configuration listen, in their order.
    """
    token, terminal = configuration.generatedToken, sys.__stderr__
    if token is None or terminal is None:
        return
    terminal.write(f"\nThe token of this run is {token}\n")
    for listener, port in zip(configuration.listeners, ports, strict=True):
        if not listener.behindProxy:  # there, only a reverse proxy is understood
            certificate = None
            if listener.secure:
                certificate = servedCertificate(configuration.certificates[listener.files])
            where = whereToTry(listener, port.getHost(), certificate)
            command = f"{_clientCommand()} {where} --token {token}"
            terminal.write(
                "Join two clients by giving this command in two other terminals within "
                f"{configuration.timing.alone:.0f} seconds, then type in either:\n\n"
                f"    {command}\n    {command}\n\n"
            )
            break
    terminal.flush()


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
        pin = f" --fingerprint {certificate.fingerprint(hashes.SHA256()).hex(':').upper()}"
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
