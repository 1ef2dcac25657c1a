"""What follows from several samples.

Owns rates, histories, and the rows of the three tables. Knows nothing of how anything is shown, nor
of clocks: the time of a sample is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from nymearemoteproxy.monitor.sample import Counts, Pair, Peer, Sample

ROW_HISTORY = 10
"""Rates that a row keeps: a sparkline in a table has no room for more."""

# Seconds over which a rate is computed at least. Shorter ones say more about when the server's
# kernel handed over what than about the connection.
_LEAST_WINDOW = 0.5

TOTAL_HISTORY = 500
"""The same for the whole server: no terminal is wider."""


class PeerRow:
    """A connection, and how much it moves.

    :ivar rateIn: bytes per second from it to the server since the sample before; None at first.
    :ivar rateOut: the same from the server to it.
    :ivar history: the sum of both, one for each sample but the first.
    :ivar children: of a server, its clients.
    """

    __slots__ = ("peer", "rateIn", "rateOut", "history", "children", "_received", "_sent", "_time")

    def __init__(self, peer: Peer, time: float) -> None:
        self.peer = peer
        self.rateIn: float | None = None
        self.rateOut: float | None = None
        self.history: deque[float] = deque(maxlen=ROW_HISTORY)
        self.children: list[PeerRow] = []
        self._begin(time)

    @property
    def key(self) -> str:
        """What it is called from one sample to the next."""
        return self.peer.id

    def update(self, peer: Peer, time: float) -> None:
        """Take what a later sample says of the same connection."""
        self.peer = peer
        seconds = time - self._time
        if seconds < _LEAST_WINDOW:
            return
        # Counts never go back, but nobody promises that.
        self.rateIn = max(peer.received - self._received, 0) / seconds
        self.rateOut = max(peer.sent - self._sent, 0) / seconds
        self.history.append(self.rateIn + self.rateOut)
        self._begin(time)

    def _begin(self, time: float) -> None:
        """The next rate is from here on."""
        self._received, self._sent, self._time = self.peer.received, self.peer.sent, time


class TunnelRow:
    """A tunnel and its two clients, as far as the sample has them.

    A tunnel's traffic is what its clients send. What they receive is the same once more.
    """

    __slots__ = ("pair", "one", "two", "history")

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.one: PeerRow | None = None
        self.two: PeerRow | None = None
        self.history: deque[float] = deque(maxlen=ROW_HISTORY)

    @property
    def key(self) -> str:
        """What it is called from one sample to the next."""
        return f"{self.pair.one} {self.pair.two}"

    @property
    def children(self) -> list[TunnelRow]:
        """None: all rows have this."""
        return []

    @property
    def rateIn(self) -> float | None:
        """Bytes per second from the first client."""
        return self.one.rateIn if self.one else None

    @property
    def rateOut(self) -> float | None:
        """Bytes per second from the second client."""
        return self.two.rateIn if self.two else None

    @property
    def traffic(self) -> int:
        """Bytes that both clients sent since they connected."""
        return sum(row.peer.received for row in (self.one, self.two) if row)

    def update(self, one: PeerRow | None, two: PeerRow | None) -> None:
        """Take the rows of a later sample."""
        self.one, self.two = one, two
        if self.rateIn is not None or self.rateOut is not None:
            self.history.append((self.rateIn or 0) + (self.rateOut or 0))


Row = PeerRow | TunnelRow


class Model:
    """A server as its samples show it.

    :ivar sample: the last one; None before the first.
    :ivar throughput: bytes per second; None when neither the server nor a second sample tells.
    :ivar history: of the throughput.
    :ivar clients: the rows of the last sample, in its order.
    :ivar tunnels: the same of its tunnels.
    :ivar servers: the same of its servers.
    :ivar hasWorkers: the server says which of its processes each connection is served by.
    """

    def __init__(self) -> None:
        self.hasWorkers = False
        self.sample: Sample | None = None
        self.throughput: float | None = None
        self.history: deque[float] = deque(maxlen=TOTAL_HISTORY)
        self.clients: list[PeerRow] = []
        self.tunnels: list[TunnelRow] = []
        self.servers: list[PeerRow] = []

    def restart(self) -> None:
        """Forget the connections: what comes next is from a new connection, maybe a new server."""
        self.clients, self.tunnels, self.servers = [], [], []

    def update(self, sample: Sample, time: float) -> None:
        """Take a sample; `time` is when, in seconds of any clock that never goes back."""
        self.clients = _peers(self.clients, sample.clients, time)
        byId = {row.peer.id: row for row in self.clients}
        known = {row.key: row for row in self.tunnels}
        self.tunnels = []
        for pair in sample.tunnels:
            made = TunnelRow(pair)
            row = known.get(made.key, made)
            row.pair = pair
            row.update(byId.get(pair.one), byId.get(pair.two))
            self.tunnels.append(row)
        served = {row.key: row.children for row in self.servers}
        self.servers = _peers(self.servers, sample.servers, time)
        for server in self.servers:
            server.children = _peers(served.get(server.key, []), server.peer.clients, time)
        self.hasWorkers = any(row.peer.worker for row in chain(self.clients, self.servers))
        self.sample = sample
        self.throughput = self._throughput(sample.counts)
        if self.throughput is not None:
            self.history.append(self.throughput)

    def _throughput(self, counts: Counts) -> float | None:
        if counts.throughput is not None:
            return counts.throughput
        rates = [row.rateIn for row in chain(self.clients, self.servers) if row.rateIn is not None]
        served = [row.rateIn for one in self.servers for row in one.children]
        return sum(rates) + sum(rate for rate in served if rate is not None) if rates else None


def _peers(rows: Iterable[PeerRow], peers: Iterable[Peer], time: float) -> list[PeerRow]:
    """Return the rows of `peers`, going on with those of `rows` that are of the same ones."""
    known = {row.peer.id: row for row in rows}
    following = []
    for peer in peers:
        row = known.pop(peer.id, None)
        # The same id at another time is another connection.
        if row is None or row.peer.since != peer.since:
            row = PeerRow(peer, time)
        else:
            row.update(peer, time)
        following.append(row)
    return following


def arrange(
    rows: Iterable[Row],
    value: Callable[[Row], float | str],
    isReverse: bool = False,
    isWanted: Callable[[Row], bool] = lambda row: True,
) -> Iterator[tuple[Row, int]]:
    """Return the wanted rows in the order of `value`, each with its depth: 1 below a server.

    A row that is wanted brings the rows below it, and the one above it.
    """

    def order(some: Iterable[Row]) -> list[Row]:
        return sorted(some, key=value, reverse=isReverse)

    for row in order(rows):
        children: Iterable[Row] = row.children
        if not isWanted(row):
            children = [child for child in children if isWanted(child)]
            if not children:
                continue
        yield row, 0
        for child in order(children):
            yield child, 1
