"""What the status page is told: the state of the server, and lists of what is connected.

Owns the form of the JSON, and bounds for its size. Knows nothing of HTTP. Names and addresses are
given as they are: the page shows them as text. No token, no nonce: records hold none. Whatever
takes longer with more connections is made in pieces, each for a turn of the reactor.
"""

from __future__ import annotations

import json
import resource
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy import __version__
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import MOST_TEXT, RECORDS_A_TURN, Record, slices
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.admin.history import COLUMNS, DECIMALS, INTERVAL, History
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.pulse import Pulse

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

ROWS_A_TURN = 10
"""Rows that are described, or encoded, in one turn of the reactor. With clients below a server and
long names one takes a fifth of a millisecond."""

T = TypeVar("T")
Work = Generator[None, None, T]
Row = dict[str, Any]
Rates = Mapping[int, float]
Query = Mapping[str, str]


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


class Status:
    """Answers what the page asks.

    :ivar name: of the server, as it is configured.
    """

    def __init__(
        self,
        clock: IReactorTime,
        proxy: Proxy,
        pulse: Pulse,
        history: History,
        calendar: Calendar,
        condition: Callable[[], Condition],
        name: str,
    ) -> None:
        self._clock = clock
        self._proxy = proxy
        self._pulse = pulse
        self._history = history
        self._calendar = calendar
        self._condition = condition
        self.name = name
        self._started = clock.seconds()
        self._rates = Speedometer(clock, proxy)

    # All of these are to be done in turns of the reactor.

    def overview(self) -> Work[Row]:
        """Return the state of the server."""
        load = yield from self._proxy.registry.counts.counting()
        now, reading = self._clock.seconds(), self._pulse.latest
        connections: dict[str, dict[str, int]] = defaultdict(dict)
        for (transport, state), count in sorted(load.connections.items()):
            connections[transport][state] = count
        outcomes, epoch = self._proxy.registry.counts.outcomes, self._epoch
        lastHour = self._history.lastHour
        return {
            "name": self.name,
            "version": __version__,
            "condition": self._condition().value,
            "time": now + epoch,
            "started": self._started + epoch,
            "connections": connections,
            "tunnels": load.tunnels,
            "servers": load.servers,
            "clients": load.clients,
            "tunnelProxy": self._proxy.switchboard is not None,
            "throughput": round(reading.throughput),
            "tunnelProxyThroughput": round(reading.tunnelProxyThroughput),
            "totals": {
                "connections": load.totals.connections,
                "tunnels": load.totals.tunnels,
                "traffic": load.totals.traffic,
                "servers": load.totals.servers,
                "clients": load.totals.clients,
                "tunnelProxyTraffic": load.totals.tunnelProxyTraffic,
            },
            "outcomes": [
                {
                    "name": outcome.label,
                    "group": outcome.group.value,
                    "meaning": outcome.meaning,
                    "count": outcomes[outcome],
                    "lastHour": lastHour[outcome],
                }
                for outcome in Outcome
                if outcomes[outcome]
            ],
            "process": _process(),
        }

    def history(self, since: float) -> Work[Row]:
        """Return the points after a time.

        :param since: in Unix time, by what the date was then; when it is set, all that was told
            before is of another time, so pages ask for everything anew.
        """
        yield
        epoch = self._epoch
        points = self._history.since(round(since - epoch, DECIMALS))
        return {
            "interval": INTERVAL,
            "columns": COLUMNS,
            "started": self._started + epoch,
            "points": [(round(time + epoch, DECIMALS), *rest) for time, *rest in points],
        }

    @property
    def _epoch(self) -> float:
        return round(self._calendar.epoch, DECIMALS)

    def tunnels(self, query: Query) -> Work[Row]:
        """Return token tunnels: those that match, in the order asked for, up to a number."""
        rates = yield from self._rates.take()
        wanted = _wanted(query)
        seen: set[int] = set()  # the other ends of tunnels that are listed

        def found() -> Iterator[list[Group]]:
            for records in slices(list(self._proxy.registry.records)):
                groups = []
                for record in records:
                    if not _isInTunnel(record) or record.number in seen:
                        continue
                    group = Group(record, rates, wanted)
                    if record.partner is not None:
                        seen.add(record.partner.number)
                        group.add(record.partner, rates, wanted)
                    groups.append(group)
                yield groups

        return (yield from self._list(found(), query, self._tunnel, rates))

    def servers(self, query: Query) -> Work[Row]:
        """Return registered servers with their clients, likewise."""
        rates = yield from self._rates.take()
        wanted = _wanted(query)
        servers: list[Group] = []
        clients: dict[str, list[Record]] = defaultdict(list)
        for records in slices(list(self._proxy.registry.records)):
            for record in records:
                if record.client is None:
                    continue
                if record.role is Role.CLIENT:
                    clients[record.serverUuid].append(record)
                elif record.role is Role.SERVER:
                    servers.append(Group(record, rates, wanted))
            yield

        def gather() -> Iterator[None]:
            for server in servers:
                for client in clients.pop(server.first.uuid, ()):
                    server.add(client, rates, wanted)
                    yield
                yield

        for step, _ in enumerate(gather()):
            if not step % RECORDS_A_TURN:
                yield
        return (yield from self._list(slices(servers), query, self._server, rates))

    def _list(
        self,
        found: Iterable[Sequence[Group]],
        query: Query,
        describe: Callable[[Group, Rates], Row],
        rates: Rates,
    ) -> Work[Row]:
        key, falling = _order(query.get("sort", ""), self._clock.seconds()), _isFalling(query)
        rows = min(_number(query.get("rows"), ROWS), MOST_ROWS)
        count = matching = 0
        best: list[Group] = []
        for groups in found:
            count += len(groups)
            matches = [group for group in groups if group.matches]
            matching += len(matches)
            best = sorted(best + matches, key=key, reverse=falling)[:rows]
            yield
        described = []
        for group in best:
            described.append(describe(group, rates))
            if not len(described) % ROWS_A_TURN:
                yield
        return {"all": count, "matching": matching, "rows": described}

    def _tunnel(self, group: Group, rates: Rates) -> Row:
        return {
            "number": group.first.number,
            "duration": self._since(group.first.joined),
            "rate": round(group.rate),
            "traffic": group.traffic,
            "ends": [self._end(record, rates) for record in (group.first, *group.others)],
        }

    def _server(self, group: Group, rates: Rates) -> Row:
        group.choose(rates)
        return {**self._tunnel(group, rates), "clients": group.size - 1}

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
        }

    def _since(self, joined: float | None) -> float:
        return 0.0 if joined is None else round(self._clock.seconds() - joined, 1)


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


class Group:
    """A tunnel, or a server with its clients.

    :param wanted: what the list is filtered by.
    :ivar others: of a server, the busiest clients and some more.
    :ivar size: how many connections there are.
    """

    __slots__ = ("first", "others", "size", "rate", "traffic", "matches")

    def __init__(self, first: Record, rates: Rates, wanted: str) -> None:
        self.first = first
        self.others: list[Record] = []
        self.size = 1
        self.rate = rates.get(first.number, 0.0)
        self.traffic = first.received
        self.matches = not wanted or _matches(first, wanted)

    def add(self, record: Record, rates: Rates, wanted: str) -> None:
        """It is one of them, too."""
        self.size += 1
        self.rate += rates.get(record.number, 0.0)
        self.traffic += record.received
        self.matches = self.matches or _matches(record, wanted)
        self.others.append(record)
        if len(self.others) > 2 * MOST_CLIENTS:
            self.choose(rates)

    def choose(self, rates: Rates) -> None:
        """Keep only as many others as are shown, the busiest first."""
        self.others.sort(key=lambda one: rates.get(one.number, 0.0), reverse=True)
        del self.others[MOST_CLIENTS:]


def _isInTunnel(record: Record) -> bool:
    isPartner = record.role is Role.PARTNER and record.joined is not None
    return isPartner and record.client is not None


def _wanted(query: Query) -> str:
    return query.get("filter", "")[:MOST_TEXT].casefold()


def _matches(record: Record, wanted: str) -> bool:
    texts = (record.name, record.uuid, record.address, record.subject or "")
    return any(wanted in text[:MOST_TEXT].casefold() for text in texts)


def _order(sort: str, now: float) -> Callable[[Group], Any]:
    """Return the key that sorts as asked for; by rate when it is no key we know."""
    if sort == "duration":
        return lambda group: now - (group.first.joined or now)
    if sort == "traffic":
        return lambda group: group.traffic
    if sort == "name":
        return lambda group: group.first.name[:MOST_TEXT].casefold()
    if sort == "clients":
        return lambda group: group.size
    return lambda group: group.rate


def _isFalling(query: Query) -> bool:
    return query.get("order") != "up"


def encode(members: Row) -> Work[bytes]:
    """Return an object as JSON, made in pieces where it has long lists."""
    parts = []
    for name, value in members.items():
        if isinstance(value, list):
            items = []
            for start in range(0, len(value), ROWS_A_TURN):
                items.append(_dump(value[start : start + ROWS_A_TURN])[1:-1])
                yield
            text = f"[{','.join(items)}]"
        else:
            text = _dump(value)
        parts.append(f"{_dump(name)}:{text}")
    # ASCII, so that whatever a name holds, also half a character, can be encoded.
    return f"{{{','.join(parts)}}}".encode("ascii")


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _number(text: str | None, default: int) -> int:
    """Return a number that was asked for."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else default


def _process() -> Row:
    """Return what this process takes of the machine."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        memory = usage.ru_maxrss << 10  # no Linux: the most it ever was
    return {"memory": memory, "cpu": round(usage.ru_utime + usage.ru_stime, 2)}
