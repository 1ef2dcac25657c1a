"""How many connections there may be, in all and from one address.

Owns the counting and the decision to let a new connection in. Knows nothing of transports.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.connections.denylist import DenyList, packed
from nymearemoteproxy.protocol.outcomes import Outcome

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)

IPV6_PREFIX = 64
"""An IPv6 host can take any address of its /64 (RFC 4291 section 2.5.1), so that is one source."""

_NETWORK = -1 << (ipaddress.IPV6LENGTH - IPV6_PREFIX)

MOST_MONITORS = 32
"""Connections to the monitor socket; a handful of people and programs look at one server."""

MOST_ADMIN_CONNECTIONS = 32
"""Connections to the admin endpoint. A browser opens six, Prometheus one."""

QUESTIONS = 16
"""How many questions the authentication server is asked at once, unless the settings say more."""

RESERVED_FILES = 64 + MOST_MONITORS + MOST_ADMIN_CONNECTIONS
"""Open files kept for all but clients: also logs, listeners, the authentication server, the
reactor."""

MAX_TRACKED_ADDRESSES = 65_536
"""How many addresses' attempts are remembered, about 10 MiB; the longest silent goes first."""


@dataclass(frozen=True)
class Bounds:
    """The limits; 0 = none.

    :ivar exempt: networks to which the per-address limits do not apply.
    """

    connections: int = 0
    unauthenticated: int = 0
    connectionsPerAddress: int = 0
    unauthenticatedPerAddress: int = 0
    attemptsPerSecondPerAddress: int = 0
    exempt: Sequence[Network] = field(default=LOOPBACK)


def sourceOf(host: str | None, exempt: Sequence[Network]) -> str | None:
    """Return what the per-address limits count `host` as; None when they do not apply.

    :param host: an IP address as text; None for a Unix socket.
    """
    try:
        # From text it would take `ipaddress` five times as long.
        address = ipaddress.ip_address(packed((host or "").partition("%")[0]))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in exempt):
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return f"{ipaddress.IPv6Address(int(address) & _NETWORK)}/{IPV6_PREFIX}"
    return str(address)


class Ticket:
    """One connection's place in the counts.

    :ivar source: what the per-address limits count it as; None when exempt.
    :ivar authenticated: False while the limits for unauthenticated connections apply.
    """

    __slots__ = ("source", "authenticated")

    def __init__(self, source: str | None) -> None:
        self.source = source
        self.authenticated = False


class Bucket:
    """A token bucket: what may be done so often, whoever does it.

    :param rate: times a second.
    :param size: how often at once; also how often before the rate matters.
    """

    def __init__(self, clock: IReactorTime, rate: float, size: float) -> None:
        self._clock = clock
        self._rate = rate
        self._size = size
        self._level = size
        self._time = clock.seconds()

    def isEmpty(self) -> bool:
        """Tell whether it may not be done now."""
        now = self._clock.seconds()
        filled = (now - self._time) * self._rate
        self._level = min(self._size, self._level + filled)
        self._time = now
        return self._level < 1

    def take(self) -> None:
        """It is done."""
        self._level -= 1


class Gate:
    """Lets new connections in, or says which limit is in the way.

    :param clock: tells the time for the attempts per second.
    :ivar bounds: for those who come from now on.
    :ivar denied: addresses from which nobody is let in.
    """

    def __init__(self, clock: IReactorTime, bounds: Bounds) -> None:
        self._clock = clock
        self.bounds = bounds
        self.denied = DenyList()
        self.connections = 0
        self.unauthenticated = 0
        self._connectionsFrom: Counter[str] = Counter()
        self._unauthenticatedFrom: Counter[str] = Counter()
        # source: (when, allowance then), in the order of the last attempt
        self._attempts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def enter(self, host: str | None) -> Ticket | Outcome:
        """A connection from `host` arrived: return its ticket, or the limit that refuses it."""
        bounds = self.bounds
        if host in self.denied:
            return Outcome.ADDRESS_DENIED
        if 0 < bounds.connections <= self.connections:
            return Outcome.TOO_MANY_CONNECTIONS
        if 0 < bounds.unauthenticated <= self.unauthenticated:
            return Outcome.TOO_MANY_UNAUTHENTICATED
        source = sourceOf(host, bounds.exempt)
        refusal = self._refusalFor(source)
        if refusal is not None:
            return refusal
        self.connections += 1
        self.unauthenticated += 1
        ticket = Ticket(source)
        self._count(ticket, 1)
        return ticket

    def identified(self, ticket: Ticket, host: str) -> Outcome | None:
        """A reverse proxy told the client's real address: count it there from now on.

        Return the limit that refuses it; the ticket stays valid until `leave`.
        """
        source = sourceOf(host, self.bounds.exempt)
        self._count(ticket, -1)
        ticket.source = None
        refusal = Outcome.ADDRESS_DENIED if host in self.denied else self._refusalFor(source)
        if refusal is None:
            ticket.source = source
            self._count(ticket, 1)
        return refusal

    def authenticated(self, ticket: Ticket) -> None:
        """The client authenticated: the limits for unauthenticated ones apply no longer."""
        self.unauthenticated -= 1
        if ticket.source is not None:
            _add(self._unauthenticatedFrom, ticket.source, -1)
        ticket.authenticated = True

    def leave(self, ticket: Ticket) -> None:
        """The connection is closed."""
        self.connections -= 1
        if not ticket.authenticated:
            self.unauthenticated -= 1
        self._count(ticket, -1)

    def _count(self, ticket: Ticket, change: int) -> None:
        if ticket.source is None:
            return
        _add(self._connectionsFrom, ticket.source, change)
        if not ticket.authenticated:
            _add(self._unauthenticatedFrom, ticket.source, change)

    def _refusalFor(self, source: str | None) -> Outcome | None:
        if source is None:
            return None
        bounds = self.bounds
        if bounds.attemptsPerSecondPerAddress and not self._mayAttempt(source):
            return Outcome.TOO_MANY_ATTEMPTS
        if 0 < bounds.connectionsPerAddress <= self._connectionsFrom[source]:
            return Outcome.TOO_MANY_FROM_ADDRESS
        if 0 < bounds.unauthenticatedPerAddress <= self._unauthenticatedFrom[source]:
            return Outcome.TOO_MANY_UNAUTHENTICATED_FROM_ADDRESS
        return None

    def _mayAttempt(self, source: str) -> bool:
        """A token bucket that holds one second's worth."""
        rate = self.bounds.attemptsPerSecondPerAddress
        now = self._clock.seconds()
        when, allowance = self._attempts.pop(source, (now, float(rate)))
        allowance = min(float(rate), allowance + (now - when) * rate)
        allowed = allowance >= 1
        self._attempts[source] = (now, allowance - 1 if allowed else allowance)
        if len(self._attempts) > MAX_TRACKED_ADDRESSES:
            self._attempts.popitem(last=False)
        return allowed


def _add(counter: Counter[str], key: str, change: int) -> None:
    counter[key] += change
    if not counter[key]:
        del counter[key]
