"""The server's end of TLS, and the factory that gives it to connections.

Owns that nothing of OpenSSL's is made before the client's first message is there, and that it is
made as that message wants it. Knows nothing of certificates or of what is spoken above it; all that
both ends have in common is `tlstransport`'s.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import WrappingFactory

from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.protocol.clienthello import HelloError, HelloReader, readOffers
from nymearemoteproxy.wires.tlsbuffers import beginAsServer
from nymearemoteproxy.wires.tlstransport import TlsTransport


class TlsServerTransport(TlsTransport):
    """The server's end of TLS; it waits for the client to begin.

    :param contexts: of which one serves, by what the client offers.
    """

    __slots__ = ("_contexts", "_hello", "_reader")

    def __init__(self, contexts: ServerContexts, protocol: Any, turns: Turns | None = None) -> None:
        super().__init__(None, protocol, turns)
        self._contexts: ServerContexts | None = contexts
        self._hello = b""
        self._reader = HelloReader() if contexts.byGroup else None

    def _shakeHands(self, data: bytes) -> None:
        contexts = self._contexts
        if contexts is not None:
            self._hello += data
            try:
                message = b"" if self._reader is None else self._reader.feed(data)
            except HelloError:
                message = b""  # it offers nothing, and OpenSSL tells what is wrong with it
            if message is None:
                return
            offers = readOffers(message)
            self._tls = beginAsServer(contexts.choose(offers.shares, offers.groups))
            data, self._contexts, self._hello, self._reader = self._hello, None, b"", None
        super()._shakeHands(data)


class TlsFactory(WrappingFactory):
    """Speaks TLS on the connections of another factory.

    :param turns: see `TlsTransport`.
    :ivar contexts: for those who connect from now on.
    """

    noisy = False

    def __init__(self, contexts: ServerContexts, factory: Any, turns: Turns | None = None) -> None:
        super().__init__(factory)
        self.contexts = contexts
        self._turns = turns

    def logPrefix(self) -> str:
        """In the log it is the factory behind it that listens."""
        return f"{self.wrappedFactory.logPrefix()} (TLS)"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        # A connection that is refused is not worth the expense of TLS.
        protocol = self.wrappedFactory.buildProtocol(addr)
        return (
            None if protocol is None else TlsServerTransport(self.contexts, protocol, self._turns)
        )
