"""The client's end of TLS, and what later connections to the same peer are resumed with.

Owns whom the peer must prove to be, which sessions are kept, and what goes out with the handshake.
Knows nothing of certificates or of what is spoken above it; all that both ends have in common is
`tlstransport`'s.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import Any

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlsbuffers import Progress, beginAsClient, encrypt
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

    def __contains__(self, name: str) -> bool:
        return name in self._sessions

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

    def forget(self, name: str) -> None:
        """This peer's session is of no use any more."""
        self._sessions.pop(name, None)


class TlsClientTransport(TlsTransport):
    """The client's end of TLS; it begins the handshake as soon as it has a connection.

    When the protocol hears of the handshake the peer has proven who it is; whether the peer takes
    us for who we are shows with the first thing that it says.

    :param context: of a client.
    :param sessions: of peers, all with this context.
    :param name: the host name that the peer must have a certificate for.
    :param preface: is sent in clear, in one piece with the beginning of the handshake.
    :param greeting: is sent to a peer that has proven who it is, in one piece with the end of the
        handshake and what the protocol writes when it hears of that.
    """

    __slots__ = ("_sessions", "_name", "_preface", "_greeting", "_awaitsTicket")

    def __init__(
        self,
        context: ssl.SSLContext,
        sessions: TlsSessions,
        name: str,
        protocol: Any,
        turns: Turns | None = None,
        preface: bytes = b"",
        greeting: bytes = b"",
    ) -> None:
        session = sessions.last(name)
        super().__init__(beginAsClient(context, name, session), protocol, turns)
        self._sessions = sessions
        self._name = name
        self._preface = preface
        self._greeting = greeting
        self._awaitsTicket = session is None

    def makeConnection(self, transport: DirectTransport) -> None:
        """The server is there, and waits for the handshake."""
        super().makeConnection(transport)
        if not self._closing:
            self._held = self._preface
            self._shakeHands(b"")

    def _greet(self) -> bytes:
        if not self._awaitsTicket and not self._tls.session_reused:
            self._sessions.forget(self._name)
        return encrypt(self._tls, self._greeting) if self._greeting else b""

    def _read(self, data: bytes, records: list[bytes]) -> Progress | None:
        read = super()._read(data, records)
        if self._awaitsTicket:
            self._keepSession()
        return read

    def _keepSession(self) -> None:
        """Keep it if it is there: its ticket comes behind the handshake (RFC 8446 section 4.6.1).

        Each look at a session costs as much as a third of a handshake that resumes one.
        """
        session = self._tls.session
        if session is not None and session.has_ticket:
            self._sessions.keep(self._name, session)
            self._awaitsTicket = False
