"""The client's end of TLS, for those who know whom they connect to.

Owns whom the peer must prove to be, and what goes out with the handshake. Knows nothing of
certificates or of what is spoken above it; all that both ends have in common is `tlstransport`'s.

No session is kept to resume from. The ticket for it makes OpenSSL keep 16 KiB in the client's end
of each connection for good, and what it saves is not much: 0.85 ms of CPU for both ends instead of
1.05 (one certificate, X25519; OpenSSL 3.0 reads it anew with each use of a session).
"""

from __future__ import annotations

import ssl
from typing import Any

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlstransport import TlsTransport


class TlsClientTransport(TlsTransport):
    """The client's end of TLS; it begins the handshake as soon as it has a connection.

    When the protocol hears of the handshake the peer has proven who it is; whether the peer takes
    us for who we are shows with the first thing that it says.

    :param context: of a client.
    :param name: the host name that the peer must have a certificate for.
    :param preface: is sent in clear, in one piece with the beginning of the handshake.
    :param greeting: is sent to a peer that has proven who it is, in one piece with the end of the
        handshake and what the protocol writes when it hears of that.
    """

    __slots__ = ("_name", "_preface", "_greeting")

    def __init__(
        self,
        context: ssl.SSLContext,
        name: str,
        protocol: Any,
        turns: Turns | None = None,
        preface: bytes = b"",
        greeting: bytes = b"",
    ) -> None:
        self._name = name
        self._preface = preface
        self._greeting = greeting
        super().__init__(context, protocol, turns)

    def _begin(self, context: ssl.SSLContext) -> ssl.SSLObject:
        return context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._name)

    def makeConnection(self, transport: DirectTransport) -> None:
        """The server is there, and waits for the handshake."""
        super().makeConnection(transport)
        if not self._closing:
            self._outgoing.write(self._preface)
            self._shakeHands()

    def _shakeHands(self) -> None:
        super()._shakeHands()
        if self._established and self._greeting:
            self._tls.write(self._greeting)
