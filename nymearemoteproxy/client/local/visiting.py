"""A visitor's connection: to the service, or to the one for plain HTTP.

Owns that the visitor's first byte decides it, and how long that may take. Knows nothing of SLIP,
addresses or the proxy.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from nymearemoteproxy.client.local.delivering import Destination, LocalConnection, Owner

_HANDSHAKE = b"\x16"
"""How TLS begins (RFC 8446, section 5.1); no method of HTTP does."""

FIRST_BYTE = 30.0
"""Seconds in which it has to come. A front door has it before it tells of a visitor; who only calls
himself one could keep a place for good."""


class VisitorConnection(LocalConnection):
    """A client that came by the proxy's front door: over TLS, or for a challenge of ACME.

    :param opening: for the service. The one for HTTP gets none: what answers challenges is often a
        small server that knows nothing else.
    :param http: where HTTP is answered.
    """

    _chosen: Deferred[Destination]  # where it leads, once that is known

    def __init__(self, clock: Any, owner: Owner, opening: bytes, http: Destination) -> None:
        super().__init__(clock, owner, opening)
        self._http = http

    def _reach(self, destination: Destination) -> Deferred[Any]:
        self._service = destination
        self._chosen = Deferred()
        self._chosen.addTimeout(FIRST_BYTE, self._clock, lambda cancelled, _: cancelled)
        return self._chosen.addCallback(super()._reach)

    def deliver(self, data: bytes) -> None:
        super().deliver(data)
        if data and not self._chosen.called:
            if data.startswith(_HANDSHAKE):
                self._chosen.callback(self._service)
            else:
                self._opening = b""
                self._chosen.callback(self._http)
