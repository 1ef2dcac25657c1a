"""What the load did, held against what the server says of it.

Owns the promises about the log, the accounting, the metrics and the totals. Knows nothing of
connections. What is settled is forgotten, so that a million tunnels take little memory.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.endtoend import MARK

FORBIDDEN = (MARK, "Traceback", "Unhandled", "internal error", '"internal-error"')
"""What no log may have: secrets, and signs of a fault of the server's own."""
MOST_PROBLEMS = 20
"""That are kept; the rest is counted."""
MOST_FACTS = 2
"""That are told of a connection over a Unix socket: its outcome and its bytes."""

LOST = "worker-lost"
"""The outcome of those whose process was killed."""
GAUGES = ("connections", "tunnels", "tunnel_proxy_servers", "tunnel_proxy_clients", "links")
"""Metrics that are 0 when nobody is there."""


@dataclass(frozen=True)
class Done:
    """A connection of the load, which is over.

    :ivar peer: what the server's log calls it.
    :ivar outcomes: how the server may say that it ended; None = in any way.
    :ivar isExact: the server has to have counted all bytes.
    :ivar origin: the scenario, for who reads of a problem.
    """

    peer: str
    sent: int
    received: int
    outcomes: frozenset[str] | None
    isExact: bool
    origin: str

    def problemOf(self, line: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the server's line about it."""
        if line["outcome"] == LOST:
            return None  # it was over for the client, and not yet for the server's process
        if self.outcomes is not None and line["outcome"] not in self.outcomes:
            return f"outcome {' or '.join(sorted(self.outcomes))}, not {line['outcome']}"
        came, went = line["received"], line["sent"]
        if self.isExact and (came, went) != (self.sent, self.received):
            return f"{self.sent} bytes in and {self.received} out, not {came} and {went}"
        if came > self.sent:
            return f"at most {self.sent} bytes in, not {came}"
        return None


class Crowd:
    """Connections that the log does not tell from each other, as those over Unix sockets.

    :ivar surplus: lines of the log, less connections of the load.
    """

    def __init__(self) -> None:
        self.surplus = 0
        # Likewise, by outcome, and by bytes; of connections those that have to have just these.
        self._of: Counter[str | tuple[int, int]] = Counter()

    def logged(self, line: Mapping[str, Any]) -> None:
        """The log has one more."""
        self._add(1, line["outcome"], (line["received"], line["sent"]))

    def done(self, done: Done) -> None:
        """One more is over."""
        outcomes = done.outcomes or ()
        bytes_ = [(done.sent, done.received)] if done.isExact else []
        self._add(-1, *(outcomes if len(outcomes) == 1 else ()), *bytes_)

    def _add(self, amount: int, *facts: str | tuple[int, int]) -> None:
        self.surplus += amount
        for fact in facts:
            self._of[fact] += amount
            if not self._of[fact]:
                del self._of[fact]

    def problems(self) -> Iterable[str]:
        """Return what does not agree."""
        if self.surplus:
            yield f"{self.surplus:+} lines in the log about Unix sockets"
        missing = -self._of
        if missing.total() > MOST_FACTS * self._of[LOST]:
            yield f"no lines in the log about Unix sockets with {dict(missing)}"


class Tail:
    """The lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._rest = b""

    def lines(self) -> list[str]:
        """Return those that are new."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]


@dataclass
class Book:
    """What one server has logged.

    :ivar outcomes: of connections that ended.
    :ivar bytes: of these, by transport and direction.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def ended(self, line: Mapping[str, Any]) -> None:
        """A connection has ended."""
        self.outcomes[line["outcome"]] += 1
        for direction in ("received", "sent"):
            self.bytes[line["transport"], direction] += line[direction]

    def disagreements(self, metrics: Mapping[str, float]) -> Iterable[str]:
        """Return what the metrics say otherwise."""
        said = {name: metrics[f'outcomes_total{{outcome="{name}"}}'] for name in self.outcomes}
        if said != self.outcomes:
            yield f"outcomes: {dict(self.outcomes)} in the log, {said} in the metrics"
        accepted = metrics["connections_accepted_total"]
        if accepted != self.outcomes.total():
            yield f"{self.outcomes.total()} lines in the log, {accepted:.0f} connections accepted"
        for (transport, direction), count in self.bytes.items():
            counted = metrics[f'{direction}_bytes_total{{transport="{transport}"}}']
            if counted != count:
                yield f"{transport}: {count} bytes {direction} in the log, {counted:.0f} counted"
        for name in present(metrics):
            yield f"{name} is {metrics[name]:.0f}, and nobody is there"


def present(metrics: Mapping[str, float]) -> list[str]:
    """Return which metrics say that somebody is there."""
    return [
        name
        for name, count in metrics.items()
        if count and name.partition("{")[0] in GAUGES and "control" not in name
    ]


class Ledger:
    """All of one run.

    :param isApart: who writes a tunnel down knows of a client that another machine has only what
        passed between the two.

    :ivar books: of each server.
    :ivar problems: the first ones.
    :ivar problemCount: of all.
    :ivar expected: tunnels that came up, by kind.
    :ivar unsure: scenarios of which the load does not know, since something was killed meanwhile.
    """

    def __init__(
        self, logs: Iterable[Path], accountings: Iterable[Path], isApart: bool = False
    ) -> None:
        self._isApart = isApart
        pairs = zip(logs, accountings, strict=True)
        self._files = [(Tail(log), Tail(file), Book()) for log, file in pairs]
        self.problems: list[str] = []
        self.problemCount = 0
        self._told = 0
        self.expected: Counter[str] = Counter()
        self.unsure = 0
        self._done: dict[str, list[Done]] = defaultdict(list)
        self._ended: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._balance: Counter[tuple[Any, ...]] = (
            Counter()
        )  # lines of the log, less sides of tunnels
        self._crowd = Crowd()

    @property
    def books(self) -> list[Book]:
        return [book for _log, _file, book in self._files]

    def problem(self, text: str) -> None:
        """Something is wrong."""
        self.problemCount += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(text)

    def said(self, where: str, text: str) -> None:
        """The server has written this somewhere."""
        for word in FORBIDDEN:
            if word in text:
                self.problem(f"{where} has {word!r}: {text[:500]}")

    def fresh(self) -> list[str]:
        """Return the problems that were not told yet."""
        fresh, self._told = self.problems[self._told :], len(self.problems)
        return fresh

    def done(self, connection: Done) -> None:
        """A connection of the load is over."""
        if connection.peer == "unix":
            self._crowd.done(connection)
        elif lines := self._ended.get(connection.peer):
            self._settle(connection, lines.pop())
            if not lines:
                del self._ended[connection.peer]
        else:
            self._done[connection.peer].append(connection)

    def read(self) -> None:
        """Read what the servers have written since."""
        for log, accounting, book in self._files:
            for text in log.lines():
                self._logged(text, book)
            for text in accounting.lines():
                for side in json.loads(text)["sides"]:
                    self._count(side["address"], side, -1)

    def _logged(self, text: str, book: Book) -> None:
        self.said("the log", text)
        line = json.loads(text)
        if line.get("event") != "connection-ended":
            return
        book.ended(line)
        peer = line["peer"]
        if line["tunneled"]:
            self._count(peer, line, 1)
        if peer == "unix":
            self._crowd.logged(line)
        elif waiting := self._done.get(peer):
            self._settle(waiting.pop(), line)
            if not waiting:
                del self._done[peer]
        else:
            self._ended[peer].append(line)

    def _count(self, peer: str, facts: Mapping[str, Any], amount: int) -> None:
        key = peer, *(() if self._isApart else map(facts.get, ("received", "sent", "outcome")))
        self._balance[key] += amount
        if not self._balance[key]:
            del self._balance[key]

    def _settle(self, done: Done, line: Mapping[str, Any]) -> None:
        problem = done.problemOf(line)
        if problem is not None:
            self.problem(f"{done.origin}\n  the log of {done.peer}: {problem}")

    @property
    def isSettled(self) -> bool:
        """Every connection has its line, and every line its connection; each tunnel has its own."""
        return not (self._done or self._ended or self._crowd.surplus or self._balance)

    def close(self) -> None:
        """Say what is not settled by now."""
        self.read()
        for waiting in self._done.values():
            for done in waiting:
                self.problem(f"{done.origin}\n  no line in the log about {done.peer}")
        for peer, lines in self._ended.items():
            self.problem(f"{len(lines)} more lines in the log about {peer}: {lines[0]['text']}")
        for problem in self._crowd.problems():
            self.problem(problem)
        for facts, count in self._balance.items():
            which = (
                "log, and not in the accounting" if count > 0 else "accounting, and not in the log"
            )
            self.problem(f"only in the {which}: {facts}")
