"""Tunnels as endpoint strings, for `twisted.internet.endpoints.clientFromString`.

Owns how they are written: ``nymea:HOST:PORT:tokenFile=PATH``, and what else may stand there. Knows
nothing of connections.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

from nymearemoteproxy.client.connecting.endtoend import CallingSide, EncryptedEndpoint
from nymearemoteproxy.client.connecting.trust import TlsOptions
from nymearemoteproxy.client.endpoints import (
    DEFAULT_NAME,
    ClientEndpoint,
    ProxyEndpoint,
    TunnelEndpoint,
)
from nymearemoteproxy.client.rules.endtoend import agreedName, plainUuid
from nymearemoteproxy.client.rules.httpproxies import HttpProxy
from nymearemoteproxy.common.files import readFile
from nymearemoteproxy.common.lists import firstToken


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class TunnelParser:
    """Reads endpoint strings that begin with ``nymea:``."""

    prefix = "nymea"

    def parseStreamClient(  # type: ignore[override]  # what a string can say is all there is
        self,
        reactor: Any,
        host: str,
        port: str = "",
        *,
        transport: str = "wss",
        resource: str = "/",
        token: str | None = None,
        tokenFile: str | None = None,
        nonce: str | None = None,
        serverUuid: str | None = None,
        name: str = DEFAULT_NAME,
        uuid: str | None = None,
        fingerprint: str | None = None,
        ca: str | None = None,
        httpProxy: str | None = None,
        endFingerprint: str | None = None,
        endCa: str | None = None,
        endName: str | None = None,
    ) -> IStreamClientEndpoint:
        """Return a `ClientEndpoint` if there is a server's uuid, otherwise a `TunnelEndpoint`.

        With a fingerprint or a CA of the far end it is an `EncryptedEndpoint` over one of these.
        Files are read at once.

        :param transport: ``wss``, ``ws``, ``tls`` or ``tcp``.
        :param resource: the path and query of a WebSocket's URL.
        :param port: without one it is 443, or 80 of ``ws``; ``tls`` and ``tcp`` need one.
        :param tokenFile: its first line that is neither empty nor a comment is the token. With a
            server's uuid only where the proxy wants one.
        :param ca: a file with PEM certificates; it and the fingerprint are those of `TlsOptions`.
        :param httpProxy: makes the connection, ``HOST:PORT`` or ``http://USER:PASSWORD@HOST:PORT``.
        :param endFingerprint: encrypt from end to end with the end that has this certificate.
        :param endCa: or with one whose certificate is from an authority in this file.
        :param endName: what that certificate is for; without it the server's uuid.
        :raises ValueError: an argument is wrong, or there is no token; the text is one line.
        :raises OSError: a file cannot be read.
        """
        authority = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        url = f"{transport}://{authority}{resource if transport in ('ws', 'wss') else ''}"
        tls = None
        if ca is not None or fingerprint is not None:
            tls = TlsOptions(None if ca is None else readFile(ca), fingerprint)
        if tokenFile is not None:
            token = firstToken(readFile(tokenFile))
        how: dict[str, Any] = {"name": name, "uuid": uuid, "tls": tls}
        if httpProxy is not None:
            how["httpProxy"] = HttpProxy.parse(httpProxy)
        endpoint: ProxyEndpoint
        if serverUuid is not None:
            endpoint = ClientEndpoint(reactor, url, serverUuid, token=token, **how)
        elif token is not None:
            endpoint = TunnelEndpoint(reactor, url, token, nonce=nonce, **how)
        else:
            raise ValueError("give tokenFile= or token= for a tunnel, or serverUuid=")
        if endFingerprint is None and endCa is None:
            return endpoint
        trust = TlsOptions(None if endCa is None else readFile(endCa), endFingerprint)
        host = endName or (plainUuid(serverUuid) if serverUuid is not None else "")
        side = CallingSide(trust, agreedName(serverUuid, nonce), host)
        return EncryptedEndpoint(endpoint, reactor, side)
