"""The text for people: tables of figures, ratios and targets, as reStructuredText.

Owns how they look. Knows nothing of how a figure was measured, nor of files.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.names import BEFORE, TRANSPORTS
from benchmarks.results import Results, Series, reference
from benchmarks.targets import Verdict, judge

HOW_TO_READ = """\
Medians of all rounds, with the lowest and the highest value. CPU is the server's own CPU time. Of
two servers the ratio of their medians is given.
"""
COSTS = "CPU", "KiB", "MiB"
"""How the units of what a server takes begin; the other figures are of latencies and rates."""
EMPTY = "–"
"""In a cell: there is nothing. An empty first cell would continue the row above."""


def render(results: Results) -> str:
    """Return everything as reStructuredText."""
    parts = [
        _remarks(results),
        _verdicts(results),
        HOW_TO_READ,
        *_over(results),
        *_figures(results),
        machine(results),
    ]
    return "\n".join(part for part in parts if part)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a simple table."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join((rule, lines[0], rule, *lines[1:], rule)) + "\n"


def number(value: float) -> str:
    """Return three digits, or all that are before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _over(results: Results) -> list[str]:
    """Return the ratios of each judged one to what it was before, if that took part."""
    tables = []
    for peer in results.judged:
        rows: dict[str, dict[str, str]] = {}
        for figure, transport, group in results.groups():
            found = {series.peer: series.median for series in group}
            own, before = found.get(peer), found.get(BEFORE)
            isCost = figure.title and figure.unit.startswith(COSTS)
            if isCost and own is not None and before:
                rows.setdefault(figure.title, {})[transport] = f"{own / before:.2f}"
        if rows:
            cells = [
                (title, *(row.get(each, EMPTY) for each in TRANSPORTS))
                for title, row in rows.items()
            ]
            tables.append(f"**{peer} over {BEFORE}**\n\n{table(('what', *TRANSPORTS), cells)}")
    return tables


def _figures(results: Results) -> list[str]:
    """Return a table for each transport, and each one that others are compared with there."""
    tables: dict[str, dict[str, list[list[Series]]]] = {}
    for figure, transport, group in results.groups():
        if figure.title:
            other = reference(group)
            of = tables.setdefault(transport, {})
            # What has no counterpart stands in the first one.
            name = other.peer if other is not None else next(iter(of), "")
            of.setdefault(name, []).append(group)
    return [
        f"**{transport}{', beside ' if name else ''}{name}**\n\n{compare(groups, name)}"
        for transport, of in tables.items()
        for name, groups in of.items()
    ]


def compare(groups: Sequence[Sequence[Series]], other: str) -> str:
    """Return the table of some figures.

    :param other: the name of the one that the others are compared with, if there is one.
    """
    peers = list(dict.fromkeys(series.peer for group in groups for series in group))
    compared = [peer for peer in peers if other and peer != other]
    rows = []
    for group in groups:
        found = {series.peer: series for series in group}
        base = found.get(other)
        row = [group[0].figure.title, group[0].figure.unit]
        row += [_values(found[peer]) if peer in found else EMPTY for peer in peers]
        row += [
            f"{found[peer].median / base.median:.2f}"
            if peer in found and base is not None and base.median
            else EMPTY
            for peer in compared
        ]
        rows.append(row)
    ratios = [f"{peer} / {other}" for peer in compared]
    return table(("what", "unit", *peers, *ratios), rows)


def _values(series: Series) -> str:
    spread = f"{number(min(series.values))} – {number(max(series.values))}"
    return f"{number(series.median)} ({spread})"


def _verdicts(results: Results) -> str:
    rows = [_verdict(results, verdict) for verdict in judge(results)]
    if not rows:
        return ""
    header = ("target", "transport", "server", "value", "limit", "reached")
    return f"**Targets**\n\n{table(header, rows)}"


def _verdict(results: Results, verdict: Verdict) -> list[str]:
    target = verdict.target
    own = results.find(target.figure, target.transport, verdict.peer)
    assert own is not None
    what = own.figure.title
    if target.overPeer:
        what += f", over {target.overPeer}"
    elif target.overFigure:
        other = results.find(target.overFigure, target.transport, verdict.peer)
        what += f", over {other.figure.title if other else target.overFigure}"
    return [
        what,
        target.transport,
        verdict.peer,
        EMPTY if verdict.value is None else f"{verdict.value:.3g}",
        f"{target.limit:g}",
        verdict.text,
    ]


def _remarks(results: Results) -> str:
    lines = [
        f"* FAILED: {' '.join(filter(None, (each.transport, each.workload, each.peer)))}: "
        f"{each.reason}"
        for each in results.failures
    ]
    lines += [f"* {note}" for note in results.notes]
    return "\n".join(lines) + "\n" if lines else ""


def machine(results: Results) -> str:
    """Return what was measured with; nothing if that is not known."""
    rows = list(results.machine.items())
    return table(("measured with", ""), rows) if rows else ""
