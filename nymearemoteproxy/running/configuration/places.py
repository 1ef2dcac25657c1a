"""Where to listen for clients.

Owns how the sections of the file become listeners. Knows nothing of how one is listened on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.endpoints import quoteStringArgument

from nymearemoteproxy.connections.records import FRONT, FRONT_HTTP, TCP, VISITORS, WEBSOCKET
from nymearemoteproxy.listening.descriptions import problemOf
from nymearemoteproxy.listening.listeners import (
    Listener,
    ListenerError,
    parseListener,
    tcpDescription,
)
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.mistakes import Mistakes
from nymearemoteproxy.running.configuration.tunnelproxy import ORIGINAL_SECTIONS
from nymearemoteproxy.running.settings.sections import TcpServer, TcpServerTunnelProxy
from nymearemoteproxy.running.settings.values import Settings

FIRST_STREAM_PORT = 80
"""What the file that came with the C++ server 0.1 has in [TcpServer]."""


def clientListeners(
    settings: Settings,
    given: CommandLine,
    tunnelProxy: bool,
    mistakes: Mistakes,
    warn: Callable[[str], object],
) -> list[Listener]:
    """Return where clients come in.

    :param tunnelProxy: it is on, so what is there for it only counts, too.
    :param mistakes: those that cannot be used are told there.
    """
    if _isOfFirstServer(settings):
        warn(
            f"[TcpServer] is listened on, at port {settings.tcpServer.port}: the C++ server 0.1, "
            "whose file this seems to be, never did so; remove the section if no client is to come "
            "there"
        )
    webSockets = list(given.webSockets)
    for description in _webSockets(settings, bool(webSockets), tunnelProxy):
        _add(webSockets, description)
    streams = list(given.streams)
    for description in _streams(settings, tunnelProxy):
        _add(streams, description)
    listeners = []
    for transport, option, descriptions in (
        (WEBSOCKET, "--websocket", webSockets),
        (TCP, "--stream", streams),
        (FRONT, "--front or [Front] listeners", settings.front.listeners),
        (FRONT_HTTP, "--front-http or [Front] httpListeners", settings.front.httpListeners),
    ):
        for description in descriptions:
            with mistakes.collecting():
                listeners.append(readListener(option, description, transport))
    return listeners


def readListener(option: str, description: str, transport: str) -> Listener:
    """Return the listener that is described.

    :param option: where it was given.
    :param transport: of its connections.
    :raises ListenerError: it cannot be used.
    """
    if problem := problemOf(description):
        raise ListenerError(f"{option}: {problem}")
    listener = parseListener(description, transport)
    if listener.secure and transport in VISITORS:
        raise ListenerError(
            f'{option}: "{description}" would end TLS here, but that of visitors ends at the home '
            "they ask for; write it without tls: and ssl:"
        )
    return listener


def refuseStrangers(listeners: Sequence[Listener], mistakes: Mistakes) -> None:
    """Have nobody come from another machine, when everybody who comes is let in.

    :param mistakes: where somebody could is told there.
    """
    for listener in listeners:
        if not listener.isLocal:
            mistakes.add(
                ListenerError(
                    f'--accept-any-token: "{listener.description}" is neither a loopback address '
                    "nor a Unix socket, so strangers could come in"
                )
            )


def _add(descriptions: list[str], description: str) -> None:
    # The C++ server's files may name the same place for both purposes.
    if description not in descriptions or ":0:" in description:
        descriptions.append(description)


def _webSockets(settings: Settings, isGiven: bool, tunnelProxy: bool) -> list[str]:
    """Return what the file says.

    :param isGiven: the command line has others, in the place of the main one.
    """
    main, further = settings.webSocketServer, settings.webSocketServerTunnelProxy
    furtherPort = further.port if tunnelProxy else None
    descriptions = []
    if not isGiven and (settings.hasSection("WebSocketServer") or furtherPort is None):
        descriptions.append(_webSocket(settings, main.host, main.port))
    if furtherPort is not None:
        descriptions.append(_webSocket(settings, further.host, furtherPort))
    return descriptions


def _webSocket(settings: Settings, host: str | None, port: int) -> str:
    if host is None:
        isOpen = settings.ssl.enabled and settings.ssl.certificate
        host = "" if isOpen else "127.0.0.1"
    return _tcp(settings, host, port)


def _tcp(settings: Settings, host: str, port: int) -> str:
    return ("tls:" if settings.ssl.enabled else "") + tcpDescription(host, port)


def _streams(settings: Settings, tunnelProxy: bool) -> list[str]:
    """Return what the file says."""
    sections: list[tuple[TcpServer | TcpServerTunnelProxy, str]] = [
        (settings.tcpServer, settings.unixSocketServer.unixSocketFileName)
    ]
    if tunnelProxy:
        path = settings.unixSocketServerTunnelProxy.unixSocketFileName
        sections.append((settings.tcpServerTunnelProxy, path))
    descriptions = []
    for tcp, path in sections:
        if tcp.port is not None:
            descriptions.append(_tcp(settings, tcp.host, tcp.port))
        if path:
            descriptions.append("unix:" + quoteStringArgument(path).replace("=", "\\="))
    return descriptions


def _isOfFirstServer(settings: Settings) -> bool:
    """Tell whether the file is one of the C++ server 0.1.

    That has [AWS], as its authentication was, or its port, and no section that came with the
    streams, which only later ones really served.
    """
    later = ("UnixSocketServer", *ORIGINAL_SECTIONS)
    port = settings.tcpServer.port
    return (
        port is not None
        and (settings.hasSection("AWS") or port == FIRST_STREAM_PORT)
        and not any(settings.hasSection(section) for section in later)
    )
