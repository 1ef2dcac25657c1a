"""What applies to every connection up to its tunnel, and may be another policy tomorrow.

Owns what the parts up to a tunnel need to know of the settings. Knows nothing of where that comes
from, nor of any connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.protocol.jsonrpc import Api
from nymearemoteproxy.protocol.session import (
    TOKEN_TUNNEL_API,
    TUNNEL_PROXY_API,
    Role,
    makeHello,
)


@dataclass(frozen=True)
class Policy:
    """How the server deals with connections, at each of their steps up to the tunnel.

    :ivar name: the configured name, shown to clients.
    :ivar messageLimit: bytes of one message in the control phase; 0 = no limit.
    :ivar traceTraffic: the shape of what is relayed is logged.
    :ivar hasTunnelProxy: the tunnel proxy is switched on.
    :ivar subprotocols: of WebSocket, that are accepted.
    :ivar proven: who has to show it a token.
    :ivar tunnels: limits of each tunnel that begins.
    :ivar names: by which visitors ask for homes.
    """

    name: str
    timing: Timing
    messageLimit: int = 0
    traceTraffic: bool = False
    hasTunnelProxy: bool = False
    subprotocols: Collection[bytes] = ()
    proven: Collection[Role] = ()
    tunnels: TunnelLimits = TunnelLimits()
    names: FrontNames = FrontNames()

    @cached_property
    def hello(self) -> Mapping[str, str]:
        """What the server says of itself."""
        return makeHello(self.name, self.hasTunnelProxy)

    @property
    def api(self) -> Api:
        """The methods that a client may call."""
        return TUNNEL_PROXY_API if self.hasTunnelProxy else TOKEN_TUNNEL_API
