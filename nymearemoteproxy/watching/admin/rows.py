"""What the status page is told of connections: tunnels, servers with their clients, who waits.

Owns which rows are in a list, their order and their form, and bounds for its size. Knows nothing of
HTTP. Names and addresses are given as they are: the page shows them as text. No token, no nonce:
records hold none. All is made in pieces, each for a turn of the reactor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import (
    MOST_TEXT,
    RECORDS_A_TURN,
    VISITORS,
    Record,
    slices,
)
from nymearemoteproxy.protocol.session import Role, State
from nymearemoteproxy.watching.admin.encoding import ROWS_A_TURN, Row, Work

MOST_ROWS = 200
"""Rows of one list in one answer, about 100 KiB."""

ROWS = 50
"""Rows when no number is asked for."""

MOST_CLIENTS = 20
"""Clients shown with their server."""

FRESH = 1.0
"""Seconds for which rates are good, however many pages ask."""

SHORTEST = 0.5
"""Seconds; a rate over less says nothing."""

RATE, DURATION = "rate", "duration"
"""What a list is sorted by when nothing is asked for: the busiest or the oldest come first."""

Rates = Mapping[int, float]
Query = Mapping[str, str]


class Rows:
    """Lists what is connected: what matches, in the order asked for, up to a number.

    All of it is to be done in turns of the reactor.
    """

    def __init__(self, clock: IReactorTime, proxy: Proxy) -> None:
        self._clock = clock
        self._proxy = proxy
        self._rates = Speedometer(clock, proxy)

    def tunnels(self, query: Query) -> Work[Row]:
        """Return token tunnels."""
        wish = yield from self._wish(query)
        return (yield from self._list(self._findTunnels(wish), wish, self._tunnel))

    def _findTunnels(self, wish: Wish) -> Iterator[list[Bundle]]:
        seen: set[int] = set()  # the other ends of tunnels that are listed
        for records in slices(list(self._proxy.registry.records)):
            bundles = []
            for record in records:
                if not record.isPaired or record.number in seen:
                    continue
                bundle = Bundle(record, wish)
                if record.partner is not None:
                    seen.add(record.partner.number)
                    bundle.add(record.partner, wish)
                bundles.append(bundle)
            yield bundles

    def servers(self, query: Query) -> Work[Row]:
        """Return registered servers with their clients."""
        wish = yield from self._wish(query)
        servers: list[Bundle] = []
        clients: dict[str, list[Record]] = defaultdict(list)
        for records in slices(list(self._proxy.registry.records)):
            for record in records:
                if record.client is None:
                    continue
                if record.role is Role.CLIENT:
                    clients[record.serverUuid].append(record)
                elif record.role is Role.SERVER:
                    servers.append(Bundle(record, wish))
            yield
        for step, _ in enumerate(_gather(servers, clients, wish)):
            if not step % RECORDS_A_TURN:
                yield
        return (yield from self._list(slices(servers), wish, self._server))

    def waiting(self, query: Query) -> Work[Row]:
        """Return clients whose partner has not come yet."""
        wish = yield from self._wish(query, DURATION)
        return (yield from self._list(self._findWaiting(wish), wish, self._waitingClient))

    def _findWaiting(self, wish: Wish) -> Iterator[list[Bundle]]:
        for records in slices(list(self._proxy.registry.records)):
            yield [Bundle(record, wish) for record in records if _waits(record)]

    def _waitingClient(self, bundle: Bundle, rates: Rates) -> Row:
        record = bundle.first
        end = self._end(record, rates)
        return {
            "number": record.number,
            "duration": self._since(record.trusted),
            "traffic": record.received,
            "ends": [{**end, "duration": self._since(record.started)}],
        }

    def _wish(self, query: Query, sort: str = RATE) -> Work[Wish]:
        rates = yield from self._rates.take()
        return Wish({"sort": sort, **query}, rates, self._clock.seconds())

    def _list(
        self,
        found: Iterable[Sequence[Bundle]],
        wish: Wish,
        describe: Callable[[Bundle, Rates], Row],
    ) -> Work[Row]:
        count = matching = 0
        best: list[Bundle] = []
        for bundles in found:
            count += len(bundles)
            matches = [bundle for bundle in bundles if bundle.matches]
            matching += len(matches)
            best = sorted(best + matches, key=wish.key, reverse=wish.isFalling)[: wish.rows]
            yield
        described = []
        for bundle in best:
            described.append(describe(bundle, wish.rates))
            if not len(described) % ROWS_A_TURN:
                yield
        return {"all": count, "matching": matching, "rows": described}

    def _tunnel(self, bundle: Bundle, rates: Rates) -> Row:
        return {
            "number": bundle.first.number,
            "duration": self._since(bundle.first.joined),
            "rate": round(bundle.rate),
            "traffic": bundle.traffic,
            "ends": [self._end(record, rates) for record in (bundle.first, *bundle.others)],
        }

    def _server(self, bundle: Bundle, rates: Rates) -> Row:
        bundle.choose(rates)
        return {
            **self._tunnel(bundle, rates),
            "clients": bundle.size - 1,
            "visitors": bundle.visitors,
        }

    def _end(self, record: Record, rates: Rates) -> Row:
        return {
            "number": record.number,
            "name": _cut(record.name),
            "uuid": _cut(record.uuid),
            "account": _cut(record.subject or ""),
            "address": record.address,
            "transport": record.transport,
            "secure": record.secure,
            "duration": self._since(record.joined),
            "received": record.received,
            "rate": round(rates.get(record.number, 0.0)),
            **({"worker": record.worker} if record.worker else {}),
        }

    def _since(self, joined: float | None) -> float:
        return 0.0 if joined is None else round(self._clock.seconds() - joined, 1)


class Wish:
    """What somebody wants to see of a list; what makes no sense in his query does not count.

    :param now: to sort by.
    :ivar rates: bytes per second by the number of the connection.
    :ivar text: a row matches that holds it; in small letters.
    :ivar key: sorts the rows.
    :ivar isFalling: what has more comes first.
    :ivar rows: so many, at most.
    """

    def __init__(self, query: Query, rates: Rates, now: float) -> None:
        self.rates = rates
        self.text = query.get("filter", "")[:MOST_TEXT].casefold()
        self.key = _order(query.get("sort", ""), now)
        self.isFalling = query.get("order") != "up"
        self.rows = min(_number(query.get("rows"), ROWS), MOST_ROWS)


class Bundle:
    """A tunnel, or a server with its clients.

    :ivar others: of a server, the busiest clients and some more.
    :ivar size: how many connections there are.
    :ivar visitors: how many of these came by the front door.
    """

    __slots__ = ("first", "others", "size", "visitors", "rate", "traffic", "matches")

    def __init__(self, first: Record, wish: Wish) -> None:
        self.first = first
        self.others: list[Record] = []
        self.size = 1
        self.visitors = 0
        self.rate = wish.rates.get(first.number, 0.0)
        self.traffic = first.received
        self.matches = not wish.text or _matches(first, wish.text)

    def add(self, record: Record, wish: Wish) -> None:
        """It is one of them, too."""
        self.size += 1
        self.visitors += record.transport in VISITORS
        self.rate += wish.rates.get(record.number, 0.0)
        self.traffic += record.received
        self.matches = self.matches or _matches(record, wish.text)
        self.others.append(record)
        if len(self.others) > 2 * MOST_CLIENTS:
            self.choose(wish.rates)

    def choose(self, rates: Rates) -> None:
        """Keep only as many others as are shown, the busiest first."""
        self.others.sort(key=lambda one: rates.get(one.number, 0.0), reverse=True)
        del self.others[MOST_CLIENTS:]


def _gather(
    servers: Iterable[Bundle], clients: dict[str, list[Record]], wish: Wish
) -> Iterator[None]:
    """Add its clients to each server, one at a step."""
    for server in servers:
        for client in clients.pop(server.first.uuid, ()):
            server.add(client, wish)
            yield
        yield


def _waits(record: Record) -> bool:
    return record.client is not None and record.client.stage == State.WAITING.value


def _matches(record: Record, wanted: str) -> bool:
    texts = (record.name, record.uuid, record.address, record.subject or "")
    return any(wanted in text[:MOST_TEXT].casefold() for text in texts)


def _order(sort: str, now: float) -> Callable[[Bundle], Any]:
    """Return the key that sorts as asked for; by rate when it is no key we know."""
    if sort == DURATION:
        return lambda bundle: now - (bundle.first.joined or bundle.first.trusted or now)
    if sort == "traffic":
        return lambda bundle: bundle.traffic
    if sort == "name":
        return lambda bundle: bundle.first.name[:MOST_TEXT].casefold()
    if sort == "clients":
        return lambda bundle: bundle.size
    return lambda bundle: bundle.rate


def _number(text: str | None, default: int) -> int:
    """Return a number that was asked for."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else default


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


class Speedometer:
    """How fast each connection sends, over the time since somebody asked before.

    Nothing is measured while nobody looks.
    """

    def __init__(self, clock: IReactorTime, proxy: Proxy) -> None:
        self._clock = clock
        self._proxy = proxy
        self._begun: float | None = None
        self._time = 0.0
        self._received: dict[int, int] = {}
        self._rates: Rates = {}

    def take(self) -> Work[Rates]:
        """Return bytes per second by the number of the connection."""
        now = self._clock.seconds()
        if self._begun is None or now - self._begun >= FRESH:
            self._begun = now
            yield from self._measure(now)
        return self._rates

    def _measure(self, now: float) -> Work[None]:
        before, then = self._received, self._time
        measured: dict[int, int] = {}
        rates: dict[int, float] = {}
        for records in slices(list(self._proxy.registry.records)):
            for record in records:
                number, received = record.number, record.received
                known = before.get(number)
                since = record.started if known is None else then
                measured[number] = received
                rates[number] = (received - (known or 0)) / max(SHORTEST, now - since)
            yield
        self._received, self._rates, self._time = measured, rates, now
