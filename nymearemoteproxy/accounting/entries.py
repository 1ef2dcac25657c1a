"""What is written down about a tunnel that ended and about an interval, as JSON and as text.

Owns the fields of both, and what privacy leaves of them. Knows nothing of files and timers. The
formats of the text are those of the C++ server's two files.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.connections.records import Load, Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import parseUuid
from nymearemoteproxy.protocol.session import Role

MAX_NAME = 100
"""Characters of a name, which a client chooses."""

DIGITS = 16
"""Hexadecimal digits that stand for a uuid: among a million of them the chance that two are the
same is one in thirty million."""

KINDS = {
    Role.PARTNER: "token",
    Role.SERVER: "tunnel-proxy-server",
    Role.CLIENT: "tunnel-proxy-client",
}

NOBODY = "-"
"""The user name of a tunnel whose user is not known, or not to be written down."""

_VISIBLE = string.punctuation.replace("%", "")


@dataclass(frozen=True)
class EndedTunnel:
    """A tunnel whose connections are closed.

    :ivar time: when the last one was, in Unix time.
    :ivar began: when it began, likewise.
    :ivar sides: the connections, in the order in which they came; one with the tunnel proxy.
    """

    time: float
    began: float
    sides: Sequence[Record]

    @classmethod
    def of(
        cls, ended: float, first: Record, second: Record | None, epoch: float = 0.0
    ) -> EndedTunnel:
        """Return the tunnel that an `IObserver` is told of.

        :param ended: the moment.
        :param epoch: what to add to a moment for its Unix time.
        """
        assert first.joined is not None
        sides = [first] if second is None else sorted((first, second), key=_number)
        return cls(ended + epoch, first.joined + epoch, sides)

    def asJson(self, privacy: Privacy) -> str:
        """Return an object in one line."""
        role = self.sides[0].role
        assert role is not None
        entry: dict[str, Any] = {
            "time": _utc(self.time),
            "started": _utc(self.began),
            "duration": round(self.time - self.began, 3),
            "kind": KINDS[role],
        }
        if role is not Role.PARTNER and privacy is Privacy.FULL:
            side = self.sides[0]
            entry["server"] = _digest(side.uuid if role is Role.SERVER else side.serverUuid)
        entry["sides"] = [_side(side, privacy) for side in self.sides]
        return json.dumps(entry)

    def asText(self, privacy: Privacy) -> str | None:
        """Return the C++ server's line; None for the tunnel proxy's, of which it wrote none."""
        if len(self.sides) == 1:
            return None
        one, two = self.sides
        fields = (
            int(self.time),
            int(self.began),
            _user(self.sides) if privacy is Privacy.FULL else NOBODY,
            *(_field(privacy.write(side.host, side.host or side.address)) for side in (one, two)),
            one.received + one.sent,
        )
        return " ".join(map(str, fields))


@dataclass(frozen=True)
class Interval:
    """What happened between two moments.

    :ivar time: the later one, in Unix time.
    :ivar seconds: how long it was; more than 0.
    :ivar before: what went on at its beginning.
    :ivar load: what goes on at its end.
    :ivar outcomes: how often each happened.
    :ivar delay: the longest time that the event loop was late, in seconds.
    """

    time: float
    seconds: float
    before: Load
    load: Load
    outcomes: Counter[Outcome]
    delay: float

    def asJson(self) -> str:
        """Return an object in one line."""
        load, before = self.load, self.before
        totals, earlier = load.totals, before.totals
        received = load.received.total() - before.received.total()
        connections: dict[str, dict[str, int]] = {}
        for (transport, state), count in sorted(load.connections.items()):
            connections.setdefault(transport, {})[state] = count
        return json.dumps(
            {
                "time": _utc(self.time),
                "interval": round(self.seconds, 3),
                "connections": connections,
                "tunnels": load.tunnels,
                "servers": load.servers,
                "clients": load.clients,
                "newConnections": totals.connections - earlier.connections,
                "newTunnels": totals.tunnels - earlier.tunnels,
                "newServers": totals.servers - earlier.servers,
                "newClients": totals.clients - earlier.clients,
                "received": received,
                "sent": load.sent.total() - before.sent.total(),
                "throughput": round(received / self.seconds),
                "outcomes": {
                    outcome.label: count for outcome, count in self.outcomes.items() if count > 0
                },
                "delay": round(self.delay, 3),
            }
        )

    def asText(self) -> str:
        """Return the C++ server's line, which knows token tunnels only."""
        load = self.load
        connections = load.connections.total() - load.servers - load.clients
        # What a connection carried before it registered is counted elsewhere from then on.
        carried = max(0, load.totals.traffic - self.before.totals.traffic)
        throughput = round(carried / self.seconds)
        return f"{int(self.time)} {load.tunnels} {connections} {throughput}"


def _number(record: Record) -> int:
    return record.number


def _utc(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"


def _side(record: Record, privacy: Privacy) -> dict[str, Any]:
    side: dict[str, Any] = {"connection": record.number}
    if privacy is not Privacy.NONE:
        side["address"] = privacy.write(record.host, record.address)
    side["transport"] = record.transport
    side["secure"] = record.secure
    if privacy is Privacy.FULL:
        # Each of them tells one household from the next, better than an address does.
        side["name"] = record.name[:MAX_NAME]
        side["uuidDigest"] = _digest(record.uuid)
        side["subject"] = record.subject
    side["received"] = record.received
    side["sent"] = record.sent
    side["outcome"] = (record.outcome or Outcome.CONNECTION_LOST).label
    return side


def _digest(uuid: str) -> str | None:
    """Return what stands for a uuid; whoever knows that of a server is connected to it."""
    if not uuid:
        return None
    text = str(parseUuid(uuid) or uuid)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _user(sides: Sequence[Record]) -> str:
    return next((_field(side.subject) for side in sides if side.subject), NOBODY)


def _field(text: str) -> str:
    """Return a text without white space, so that it stays one field, and in ASCII."""
    return quote(text, safe=_VISIBLE, errors="replace")
