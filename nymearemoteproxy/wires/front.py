"""The front door for TLS: a visitor's ClientHello says which home is meant, and goes there with it.

Owns what a visitor is told in TLS that does not get there. Knows nothing of how a home is found.
"""

from __future__ import annotations

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.clienthello import Alert, HelloError, HelloReader, readServerName
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.visiting import UNRECOGNIZED, Visiting


class FrontDoor(Visiting):
    """Reads a visitor's ClientHello for the server's name, and for nothing else."""

    timeoutOutcome = Outcome.TLS_HANDSHAKE_TIMEOUT

    def __init__(self, proxy: Proxy, record: Record) -> None:
        super().__init__(proxy, record)
        self._reader = HelloReader()
        self._hello = b""
        self._alert: Alert | None = None

    def patience(self) -> float:
        return self.proxy.policy.timing.tlsHandshake

    def received(self, data: bytes) -> None:
        self._hello += data
        try:
            message = self._reader.feed(data)
            name = None if message is None else readServerName(message)
        except HelloError as error:
            self._alert = error.alert
            self.turnAway(error.outcome)
            return
        if name is not None:
            self.visit(name, self._hello)

    def explain(self, outcome: Outcome) -> bytes:
        if self._alert is not None:
            alert = self._alert
        elif outcome in UNRECOGNIZED:
            alert = Alert.UNRECOGNIZED_NAME
        else:
            alert = Alert.INTERNAL_ERROR
        return alert.record()
