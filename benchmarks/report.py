"""Tables and plots: ``python -m benchmarks.report results.json`` makes them without a run.

Owns the text for people. Knows nothing of how a figure was measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.plot import draw
from benchmarks.results import Results, Series, load, reference
from benchmarks.targets import Verdict, judge

HOW_TO_READ = """\
Medians of all rounds, with the lowest and the highest value. CPU is the server's own CPU time. Of
two servers the ratio of their medians is given.
"""
EMPTY = "–"
"""In a cell: there is nothing. An empty first cell would continue the row above."""


def render(results: Results) -> str:
    """Return everything as reStructuredText."""
    parts = [
        _remarks(results),
        _verdicts(results),
        HOW_TO_READ,
        *_figures(results),
        _machine(results),
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


def _figures(results: Results) -> list[str]:
    """Return a table for each transport."""
    tables: dict[str, list[list[Series]]] = {}
    for figure, transport, group in results.groups():
        if figure.title:
            tables.setdefault(transport, []).append(group)
    return [f"**{transport}**\n\n{_compare(groups)}" for transport, groups in tables.items()]


def _compare(groups: Sequence[Sequence[Series]]) -> str:
    peers = list(dict.fromkeys(series.peer for group in groups for series in group))
    other = next(filter(None, map(reference, groups)), None)
    compared = [peer for peer in peers if other is not None and peer != other.peer]
    rows = []
    for group in groups:
        found = {series.peer: series for series in group}
        base = reference(group)
        row = [group[0].figure.title, group[0].figure.unit]
        row += [_values(found[peer]) if peer in found else EMPTY for peer in peers]
        row += [
            f"{found[peer].median / base.median:.2f}" if peer in found and base else EMPTY
            for peer in compared
        ]
        rows.append(row)
    ratios = [f"{peer} / {other.peer}" for peer in compared if other is not None]
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


def _machine(results: Results) -> str:
    rows = list(results.machine.items())
    return table(("measured with", ""), rows) if rows else ""


def write(results: Results, directory: Path) -> None:
    """Write the tables and the plots."""
    (directory / "results.rst").write_text(render(results))
    draw(results, directory)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.report RESULTS.json")
    path = Path(sys.argv[1])
    try:
        results = load(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        sys.exit(f"{path} cannot be read: {error}")
    write(results, path.parent)
    print(render(results))


if __name__ == "__main__":
    main()
