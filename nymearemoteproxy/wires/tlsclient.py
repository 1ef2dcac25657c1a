"""The client's end of TLS, and what later connections to the same peer are resumed with.

Owns whom the peer must prove to be, and which sessions are kept. Knows nothing of certificates or
of what is spoken above it; all that both ends have in common is `tlstransport`'s.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import Any

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlstransport import TlsTransport

MOST_SESSIONS = 256
"""Peers whose last session is kept, some KiB each; the one not used for the longest time goes
first, and costs a whole handshake when it comes again."""


class TlsSessions:
    """The last session of each peer, all of one context.

    A server lets a session be resumed several times, also at once, for two hours; then there is a
    whole handshake again (OpenSSL's default).
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, ssl.SSLSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def last(self, name: str) -> ssl.SSLSession | None:
        """Return what the next connection to this peer can be resumed with."""
        session = self._sessions.get(name)
        if session is not None:
            self._sessions.move_to_end(name)
        return session

    def keep(self, name: str, session: ssl.SSLSession) -> None:
        """Remember the session of a peer that has proven who it is."""
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)


class TlsClientTransport(TlsTransport):
    """The client's end of TLS; it begins the handshake as soon as it has a connection.

    `peerName` is of no use here: what matters is that the peer proves `name`, and a certificate may
    have more of them. When the protocol hears of the handshake the peer has proven it; whether the
    peer takes us for who we are shows with the first thing that it says.

    :param context: of a client.
    :param sessions: of peers, all with this context.
    :param name: the host name that the peer must have a certificate for.
    """

    __slots__ = ("_sessions", "_name")

    def __init__(
        self,
        context: ssl.SSLContext,
        sessions: TlsSessions,
        name: str,
        protocol: Any,
        turns: Turns | None = None,
    ) -> None:
        self._sessions: TlsSessions | None = sessions  # None = there is nothing to be kept any more
        self._name = name
        super().__init__(context, protocol, turns)

    def _begin(self, context: ssl.SSLContext) -> ssl.SSLObject:
        assert self._sessions is not None
        return context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_hostname=self._name,
            session=self._sessions.last(self._name),
        )

    def makeConnection(self, transport: DirectTransport) -> None:
        """The server is there, and waits for the handshake."""
        super().makeConnection(transport)
        if not self._closing:
            self._shakeHands()

    def _readRecords(self, data: bytes | memoryview, records: list[bytes]) -> None:
        super()._readRecords(data, records)
        if data and self._sessions is not None:
            self._keepSession(self._sessions)

    def _keepSession(self, sessions: TlsSessions) -> None:
        """Keep it if it is there: its ticket comes behind the handshake (RFC 8446 section 4.6.1).

        A resumed one is kept already. Each look at a session costs as much as a third of a
        handshake that resumes one, and so does each use.
        """
        if not self._tls.session_reused:
            session = self._tls.session
            if session is None or not session.has_ticket:
                return
            sessions.keep(self._name, session)
        self._sessions = None
