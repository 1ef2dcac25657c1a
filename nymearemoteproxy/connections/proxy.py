"""What all connections share, put together.

Owns which parts there are. Knows nothing of framing or of transports, and decides nothing.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.authentication.backend import IAuthenticator
from nymearemoteproxy.common.delays import Delays
from nymearemoteproxy.common.rates import ByteBucket
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.common.waking import WakingClock
from nymearemoteproxy.connections.keepalive import Keepalive
from nymearemoteproxy.connections.policy import Policy
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.meeting.rendezvous import IRendezvous
from nymearemoteproxy.protocol.session import PairingKeys, Session
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard


class Proxy:
    """Everything that a connection of one server may need.

    :param keys: says which clients belong together; the same as long as anybody waits.
    :ivar waking: measures what clients are given time for; whoever runs the server starts it.
    :ivar delays: the time limits of all connections.
    :ivar turns: the line of those who have more to do than one turn of the reactor allows.
    :ivar policy: what applies to whoever has no tunnel yet; see `setPolicy`.
    :ivar totalRate: what all tunnels share that begin from now on; None = they may be as fast as
        they can.
    :ivar authenticator: judges tokens; may be replaced.
    :ivar rendezvous: where clients with a token meet.
    :ivar switchboard: the tunnel proxy; None while it is switched off.
    :ivar registry: all connections.
    :ivar keepalive: finds those that are gone without a word.
    """

    def __init__(
        self,
        clock: IReactorTime,
        turns: Turns,
        registry: Registry,
        policy: Policy,
        keys: PairingKeys,
        authenticator: IAuthenticator,
        rendezvous: IRendezvous,
        switchboard: ISwitchboard | None = None,
    ) -> None:
        self.clock = clock
        self.waking = WakingClock(clock)
        self.delays = Delays(self.waking)
        self.turns = turns
        self.totalRate: ByteBucket | None = None
        self.setPolicy(policy)
        self._keys = keys
        self.authenticator = authenticator
        self.rendezvous = rendezvous
        self.switchboard = switchboard
        self.registry = registry
        self.keepalive = Keepalive(self.waking, policy.timing.ping, policy.timing.pingAnswer)

    def setPolicy(self, policy: Policy) -> None:
        """Go by this with whoever has no tunnel yet."""
        self.policy = policy
        rate = policy.tunnels.totalRate
        if not rate:
            self.totalRate = None
        elif self.totalRate is None or self.totalRate.rate != rate:
            self.totalRate = ByteBucket(self.clock, rate)

    def newSession(self) -> Session:
        """Return the session of a new connection."""
        policy = self.policy
        return Session(policy.api, policy.hello, self._keys, policy.proven)
