"""What was measured, and where; kept as JSON.

Owns the figures and what is computed from them. Knows nothing of how they are shown.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.names import REFERENCES


@dataclass(frozen=True)
class Figure:
    """Something that can be measured.

    :ivar name: the same in every run.
    :ivar title: for people; may name how much there was of something in this run. Empty
        for what is only a point of a curve.
    :ivar kind: figures of one kind form a curve.
    :ivar amount: where on that curve: the number of tunnels that were open.
    """

    name: str
    title: str
    unit: str
    kind: str = ""
    amount: int = 0


@dataclass
class Series:
    """The values of one figure for one peer, one a round."""

    figure: Figure
    transport: str
    peer: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass
class Failure:
    """A measurement that did not come to an end, or whose content was wrong."""

    workload: str
    transport: str
    peer: str
    reason: str


@dataclass
class Results:
    """All of one run.

    :ivar machine: what it ran on.
    :ivar judged: names of the peers that are held to the targets.
    :ivar notes: what a reader has to know, such as peers that were missing.
    """

    machine: dict[str, str] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)

    def add(self, figure: Figure, transport: str, peer: str, value: float) -> None:
        """Keep one value."""
        series = self.find(figure.name, transport, peer)
        if series is None:
            series = Series(figure, transport, peer)
            self.series.append(series)
        series.values.append(value)

    def fail(self, workload: str, transport: str, peer: str, reason: str) -> None:
        """Keep a failure; the same one is kept once."""
        failure = Failure(workload, transport, peer, reason)
        if failure not in self.failures:
            self.failures.append(failure)

    def find(self, name: str, transport: str, peer: str) -> Series | None:
        for series in self.series:
            if (series.figure.name, series.transport, series.peer) == (name, transport, peer):
                return series
        return None

    def growth(self, transport: str, kind: str) -> dict[str, list[tuple[int, float]]]:
        """Return the curves of one kind, by peer: amounts and medians."""
        curves: dict[str, list[tuple[int, float]]] = {}
        for series in self.series:
            if (series.transport, series.figure.kind) == (transport, kind):
                curves.setdefault(series.peer, []).append((series.figure.amount, series.median))
        return curves

    def groups(self) -> Iterator[tuple[Figure, str, list[Series]]]:
        """Return what can be compared: the series of one figure and transport."""
        groups: dict[tuple[str, str], list[Series]] = {}
        for series in self.series:
            groups.setdefault((series.figure.name, series.transport), []).append(series)
        for (_name, transport), group in groups.items():
            yield group[0].figure, transport, group

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def reference(group: Sequence[Series]) -> Series | None:
    """Return what the others of a group are compared with, if it was measured."""
    found = {series.peer: series for series in group}
    for name in REFERENCES:
        # With a value of nothing there is no ratio.
        if name in found and found[name].median > 0:
            return found[name]
    return None


def load(path: Path) -> Results:
    """Read what `save` wrote."""
    content: dict[str, Any] = json.loads(path.read_text())
    series = [
        Series(**{**each, "figure": Figure(**each["figure"])}) for each in content.pop("series")
    ]
    failures = [Failure(**each) for each in content.pop("failures")]
    return Results(**content, series=series, failures=failures)
