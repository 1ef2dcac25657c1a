"""What a run came to, for people and for programs.

Owns the tables. Knows nothing of how anything was found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.tables import table
from soak.running import Level, Result

MIB = 1 << 20


def render(result: Result) -> str:
    """Return the tables of one setup."""
    rate = result.count / result.seconds if result.seconds else 0.0
    cpu = result.cpu / result.count * 1000 if result.count else 0.0
    facts = [
        ["scenarios", f"{result.count:,}"],
        ["not judged, as something was killed", f"{result.excused:,}"],
        ["may have ended by that, but as planned", f"{result.lenient:,}"],
        ["connections", f"{result.transports.total():,}"],
        ["bytes sent and received by the load", f"{result.bytes:,}"],
        ["seconds", f"{result.seconds:,.0f}"],
        ["scenarios per second", f"{rate:.0f}"],
        ["CPU of the servers, ms per scenario", f"{cpu:.1f}"],
        ["memory after the warm-up, and at the end, MiB", _levels(result, _memory)],
        ["open files, likewise", _levels(result, lambda level: str(level.descriptors))],
        ["problems", str(result.problemCount)],
    ]
    parts = [table([f"{result.setup}, seed {result.seed}", ""], facts)]
    for name, counts in _tables(result):
        rows = [[key, f"{count:,}"] for key, count in sorted(counts.items(), key=_most)]
        parts.append(table([name, ""], rows))
    return "\n\n".join([*parts, *result.problems]) + "\n"


def write(results: Sequence[Result], directory: Path) -> None:
    """Write everything down, for people and for programs."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "soak.json").write_text(json.dumps(results, default=_plain, indent=1) + "\n")
    (directory / "soak.rst").write_text("\n".join(map(render, results)))


def _plain(value: object) -> object:
    """Return an object as JSON has it, but for counts of objects, which are long."""
    return {name: each for name, each in vars(value).items() if name != "objects"}


def _tables(result: Result) -> list[tuple[str, Mapping[str, int]]]:
    return [
        ("scenario", result.played),
        ("transport", result.transports),
        ("meanwhile", result.disturbances),
        ("outcome, as the server has it", result.outcomes),
    ]


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _levels(result: Result, text: Callable[[Level], str]) -> str:
    if result.before is None or result.after is None:
        return "–"
    return f"{text(result.before)}, {text(result.after)}"


def _memory(level: Level) -> str:
    return " + ".join(f"{size / MIB:.1f}" for size in level.resident)
