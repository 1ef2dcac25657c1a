"""What the status page is told: the state of the server, and lists of what is connected.

Owns the form of the JSON, and bounds for its size. Knows nothing of HTTP. Names and addresses are
given as they are: the page shows them as text. No token, no nonce: records hold none.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy import __version__
from nymearemoteproxy.admin.condition import Condition
from nymearemoteproxy.admin.history import COLUMNS, DECIMALS, INTERVAL, History, groupOf
from nymearemoteproxy.clocks import Calendar
from nymearemoteproxy.outcomes import Outcome
from nymearemoteproxy.proxy import Proxy
from nymearemoteproxy.pulse import Pulse
from nymearemoteproxy.records import MOST_TEXT, Record
from nymearemoteproxy.session import Role

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

Row = dict[str, Any]


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
        self._rates = Rates(clock, proxy)

    def overview(self) -> Row:
        """Return the state of the server."""
        now, reading, load = self._clock.seconds(), self._pulse.latest, self._proxy.load()
        connections: dict[str, dict[str, int]] = defaultdict(dict)
        for (transport, state), count in sorted(load.connections.items()):
            connections[transport][state] = count
        outcomes, epoch = self._proxy.outcomes, self._epoch
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
                    "group": groupOf(outcome),
                    "meaning": outcome.meaning,
                    "count": outcomes[outcome],
                    "lastHour": lastHour[outcome],
                }
                for outcome in Outcome
                if outcomes[outcome]
            ],
            "process": _process(),
        }

    def history(self, since: float) -> Row:
        """Return the points after a time.

        :param since: in Unix time, by what the date was then; when it is set, all that was told
            before is of another time, so pages ask for everything anew.
        """
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

    def tunnels(self, query: Mapping[str, str]) -> Row:
        """Return token tunnels: those that match, in the order asked for, up to a number."""
        pairs = [
            (record, record.partner)
            for record in self._proxy.records
            if record.role is Role.PARTNER and record.joined is not None and not _isSecond(record)
        ]
        return self._list(pairs, query, self._tunnel)

    def servers(self, query: Mapping[str, str]) -> Row:
        """Return registered servers with their clients, likewise."""
        clients: dict[str, list[Record]] = defaultdict(list)
        servers = []
        for record in self._proxy.records:
            if record.role is Role.CLIENT:
                clients[record.serverUuid].append(record)
            elif record.role is Role.SERVER:
                servers.append(record)
        groups = [(server, *clients[server.uuid]) for server in servers]
        return self._list(groups, query, self._server)

    def _list(
        self,
        groups: Sequence[tuple[Record | None, ...]],
        query: Mapping[str, str],
        describe: Callable[[Sequence[Record], Mapping[int, float]], Row],
    ) -> Row:
        rates, now = self._rates.take(), self._clock.seconds()
        wanted = query.get("filter", "")[:MOST_TEXT].casefold()
        present = [[record for record in group if record is not None] for group in groups]
        found = [group for group in present if not wanted or _matches(group, wanted)]
        found.sort(
            key=_order(query.get("sort", ""), rates, now), reverse=query.get("order") != "up"
        )
        rows = min(_number(query.get("rows"), ROWS), MOST_ROWS)
        return {
            "all": len(groups),
            "matching": len(found),
            "rows": [describe(group, rates) for group in found[:rows]],
        }

    def _tunnel(self, group: Sequence[Record], rates: Mapping[int, float]) -> Row:
        joined = group[0].joined
        return {
            "number": group[0].number,
            "duration": self._since(joined),
            "rate": round(sum(rates.get(record.number, 0.0) for record in group)),
            "traffic": sum(record.received for record in group),
            "ends": [self._end(record, rates) for record in group],
        }

    def _server(self, group: Sequence[Record], rates: Mapping[int, float]) -> Row:
        clients = sorted(group[1:], key=lambda client: rates.get(client.number, 0.0), reverse=True)
        return {
            **self._tunnel(group, rates),
            "ends": [self._end(record, rates) for record in (group[0], *clients[:MOST_CLIENTS])],
            "clients": len(clients),
        }

    def _end(self, record: Record, rates: Mapping[int, float]) -> Row:
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
        return 0.0 if joined is None else round(max(0.0, self._clock.seconds() - joined), 1)


class Rates:
    """How fast each connection sends, over the time since somebody asked before.

    Nothing is measured while nobody looks.
    """

    def __init__(self, clock: IReactorTime, proxy: Proxy) -> None:
        self._clock = clock
        self._proxy = proxy
        self._time = 0.0
        self._received: dict[int, int] = {}
        self._rates: dict[int, float] = {}

    def take(self) -> Mapping[int, float]:
        """Return bytes per second by the number of the connection."""
        now = self._clock.seconds()
        if 0 <= now - self._time < FRESH:
            return self._rates
        before, then = self._received, self._time
        self._received, self._rates, self._time = {}, {}, now
        for record in self._proxy.records:
            number, received = record.number, record.received
            known = before.get(number)
            since = record.started if known is None else then
            self._received[number] = received
            self._rates[number] = (received - (known or 0)) / max(SHORTEST, now - since)
        return self._rates


def _isSecond(record: Record) -> bool:
    """Tell whether the tunnel is shown under its partner, who is there and came before."""
    partner = record.partner
    return partner is not None and partner.client is not None and partner.number < record.number


def _matches(group: Iterable[Record], wanted: str) -> bool:
    return any(
        wanted in text.casefold()
        for record in group
        for text in (record.name, record.uuid, record.address, record.subject or "")
    )


def _order(sort: str, rates: Mapping[int, float], now: float) -> Callable[[Sequence[Record]], Any]:
    """Return the key that sorts as asked for; by rate when it is no key we know."""
    if sort == "duration":
        return lambda group: now - (group[0].joined or now)
    if sort == "traffic":
        return lambda group: sum(record.received for record in group)
    if sort == "name":
        return lambda group: group[0].name.casefold()
    if sort == "clients":
        return len
    return lambda group: sum(rates.get(record.number, 0.0) for record in group)


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
