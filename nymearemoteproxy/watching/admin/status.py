"""What the status page is told of the server as a whole: where it stands, and the last hour.

Owns the form of that in JSON. Knows nothing of HTTP. Whatever takes longer with more connections is
made in pieces, each for a turn of the reactor.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy import __version__
from nymearemoteproxy.connections.records import Load
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.admin.encoding import Row, Work
from nymearemoteproxy.watching.admin.expiry import Expiry
from nymearemoteproxy.watching.admin.history import COLUMNS, DECIMALS, INTERVAL, History
from nymearemoteproxy.watching.watched import Watched

if TYPE_CHECKING:
    from nymearemoteproxy.watching.company import Company


ROLES = {Role.SERVER: "servers", Role.CLIENT: "clients"}
"""What those of the tunnel proxy are called, as in the counts of them."""


class Status:
    """Answers what the page asks, in turns of the reactor.

    :ivar name: of the server, as it is configured.
    """

    def __init__(
        self, clock: IReactorTime, watched: Watched, history: History, expiry: Expiry
    ) -> None:
        self._clock = clock
        self._proxy = watched.proxy
        self._pulse = watched.pulse
        self._calendar = watched.calendar
        self._condition = watched.condition
        self._company = watched.company
        self._lastReload = watched.lastReload
        self._places = watched.places
        self._hasFront = watched.hasFront
        self._history = history
        self._expiry = expiry
        self.name = ""
        self._started = clock.seconds()

    def overview(self, _query: Mapping[str, str]) -> Work[Row]:
        """Return the state of the server."""
        yield from self._expiry.refresh()
        load = yield from self._proxy.registry.counters.counting()
        now, reading = self._clock.seconds(), self._pulse.latest
        connections: dict[str, dict[str, int]] = defaultdict(dict)
        for (transport, state), count in sorted(load.connections.items()):
            connections[transport][state] = count
        registered: dict[str, dict[str, int]] = defaultdict(dict)
        for (transport, role), count in load.registered.items():
            registered[transport][ROLES[role]] = count
        epoch = self._epoch
        company = None if self._company is None else self._company()
        return {
            "name": self.name,
            "version": __version__,
            "condition": self._condition().value,
            "time": now + epoch,
            "started": self._started + epoch,
            "reload": self._reload(),
            "connections": connections,
            "registered": registered,
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
            "outcomes": self._outcomes(),
            "listeners": [asdict(place) for place in self._places()],
            "certificates": [
                {"name": name, "expires": expires} for name, expires in self._expiry().items()
            ],
            "process": _process(company),
            **({} if company is None else {"company": _describe(company)}),
            **({"front": self._front(load)} if self._hasFront else {}),
        }

    def _front(self, load: Load) -> Row:
        """Return what is shown of the front door."""
        return {"visitors": load.visitors, "names": len(self._proxy.policy.names)}

    def _reload(self) -> Row | None:
        last = self._lastReload()
        if last is None:
            return None
        return {"time": last.when + self._epoch, "mistakes": last.mistakes}

    def _outcomes(self) -> list[Row]:
        ever, lastHour = self._proxy.registry.counters.outcomes, self._history.lastHour
        return [
            {
                "name": outcome.label,
                "group": outcome.group.value,
                "meaning": outcome.meaning,
                "count": ever[outcome],
                "lastHour": lastHour[outcome],
            }
            for outcome in Outcome
            if ever[outcome]
        ]

    def history(self, query: Mapping[str, str]) -> Work[Row]:
        """Return the points after a time.

        The field `since` tells it, in Unix time by what the date was then. When the date is set,
        all that was told before is of another time, so pages ask for everything anew.

        With `start` in the field `of` they are those of all the time since the start. Their
        interval becomes longer as it goes by, and then all is to be asked for anew.
        """
        yield
        epoch = self._epoch
        since = round(_time(query.get("since", "")) - epoch, DECIMALS)
        ofAll = query.get("of") == "start"
        points = self._history.whole.since(since) if ofAll else self._history.since(since)
        return {
            "interval": self._history.whole.interval if ofAll else INTERVAL,
            "columns": COLUMNS,
            "started": self._started + epoch,
            "points": [(round(time + epoch, DECIMALS), *rest) for time, *rest in points],
        }

    @property
    def _epoch(self) -> float:
        return round(self._calendar.epoch, DECIMALS)


def _describe(company: Company) -> Row:
    """Return what is shown of those who serve together."""
    figures = company.figures
    return {
        "trouble": company.trouble,
        "isClustered": company.isClustered,
        "restarts": company.restarts,
        "workers": [
            {"number": each.number, "serves": each.serves, "connections": each.connections}
            for each in company.workers
        ],
        "linksIn": figures.linksIn,
        "linksOut": figures.linksOut,
        "linksCut": figures.cuts,
        "strangers": figures.strangers.total(),
        "membersLost": figures.deaths,
        "placesHeld": figures.held,
        "placesUnlisted": figures.unlisted,
        "placesContested": figures.contested,
        "claims": figures.claims.total(),
        "claimSeconds": figures.claimSeconds,
        "outages": figures.outages,
    }


def _time(text: str) -> float:
    """Return a time that was asked for; 0 when it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _process(company: Company | None) -> Row:
    """Return what this process takes of the machine, and its workers if it has some."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        memory = usage.ru_maxrss << 10  # no Linux: the most it ever was
    cpu = usage.ru_utime + usage.ru_stime
    for worker in () if company is None else company.workers:
        taken = worker.usage()
        memory, cpu = memory + taken.memory, cpu + taken.cpu
    return {"memory": memory, "cpu": round(cpu, 2)}
