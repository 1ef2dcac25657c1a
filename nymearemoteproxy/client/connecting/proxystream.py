"""A connection to a proxy over TCP, TLS or a Unix socket.

Owns where the control phase ends in the stream and the tunnel's bytes begin. Knows nothing of what
the proxy's messages mean.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.client.connecting.attempt import Attempt
from nymearemoteproxy.client.connecting.proxyconnection import ProxyConnection
from nymearemoteproxy.client.connecting.tunneltransport import StreamTransport


def streamFactory(attempt: Attempt) -> Factory[Any]:
    """Return what makes the connection of an attempt."""
    factory = Factory.forProtocol(lambda: ProxyStream(attempt))
    factory.noisy = False
    return factory


class ProxyStream(ProxyConnection, Protocol):
    """A connection to a proxy over TCP, TLS or a Unix socket."""

    transport: Any
    _seenPayload = False

    def begin(self) -> None:
        self.say(self.attempt.control.request)

    def say(self, message: bytes) -> None:
        self.transport.write(message)

    def dataReceived(self, data: bytes) -> None:
        if self.tunnel is None:
            self.heard(data)
            data = self.controlReceived(data)
            partner = self.attempt.control.partner
            if partner is not None:
                self.attempt.establish(
                    lambda protocol: StreamTransport(
                        self.attempt.check is None,
                        self.attempt.route.reactor,
                        self.transport,
                        partner,
                        protocol,
                    )
                )
        if self.tunnel is not None and data:
            if not self._seenPayload:
                # The last message's end, which may come in a read of its own.
                self._seenPayload = True
                data = data.removeprefix(b"\n")
            if data:
                self.tunnel.deliver(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended(reason, None)
