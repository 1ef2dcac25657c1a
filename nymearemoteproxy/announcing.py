"""What the person who starts the server is told: where it listens, and how to try it.

Owns these texts. Knows nothing of how the server works.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.configuration import Configuration
from nymearemoteproxy.listeners import Listener
from nymearemoteproxy.proxy import describePlace

CLIENT = "nymea-remoteproxy-client"


def url(listener: Listener, port: IListeningPort) -> str:
    """Return where clients can connect."""
    if listener.webSocket:
        scheme = "wss" if listener.secure else "ws"
    else:
        scheme = "tls" if listener.secure else "tcp"
    return describePlace(scheme, port.getHost())


def showToken(configuration: Configuration, port: IListeningPort) -> None:
    """Show the token that was made, if one was, on the terminal, and not through the log."""
    token, pin = configuration.generatedToken, configuration.fingerprint
    terminal = sys.__stderr__
    if token is None or terminal is None:
        return
    command = (
        f"{_clientCommand()} --url {url(configuration.listeners[0], port)} --token {token}"
        + (f" --fingerprint {pin}" if pin else "")
    )
    terminal.write(
        f"\nThe token of this run is {token}\n"
        "Join two clients by giving this command in two other terminals within "
        f"{configuration.timing.alone:.0f} seconds, then type in either:\n\n"
        f"    {command}\n    {command}\n\n"
    )
    terminal.flush()


def _clientCommand() -> str:
    """Return the client that belongs to this server, so that it works in any terminal."""
    beside = Path(sys.executable).with_name(CLIENT)
    return str(beside) if beside.exists() else CLIENT
