"""``python -m benchmarks.pythons INTERPRETER…``: the same server with several versions of Python.

Owns the virtual environments, what is measured, and the table. Everything else is that of
``python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.__main__ import count
from benchmarks.bench import FULL, QUICK, Bench, Workload, say
from benchmarks.connections import SetUp
from benchmarks.lab import ROOT, Lab
from benchmarks.names import TRANSPORTS
from benchmarks.peers import Own
from benchmarks.results import Results, Series
from benchmarks.steady import STEADY
from benchmarks.tables import compare, machine

ENVIRONMENTS = ROOT / "build" / "pythons"
"""They are kept for the next run."""

WORKLOADS: tuple[Workload, ...] = (
    *(each for each in STEADY if each.name in ("ping-pong", "64KiB")),
    SetUp(),
)
SHOWN = ("ping-pong", "64KiB", "set-up", "close", "memory")

SCALE = dataclasses.replace(FULL, rounds=9)
"""Little is measured, so it can be done more often."""


def _name(interpreter: str) -> str:
    """Return what an interpreter is called in the table: its version.

    :raises argparse.ArgumentTypeError: it does not run.
    """
    program = "import platform; print(platform.python_version())"
    try:
        done = subprocess.run(
            (interpreter, "-c", program), capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise argparse.ArgumentTypeError(f"{interpreter} does not run: {error}") from error
    return done.stdout.strip()


def _interpreter(text: str) -> tuple[str, str]:
    return _name(text), text


def _install(name: str, interpreter: str) -> Path:
    """Return an interpreter that has what this checkout needs.

    :raises subprocess.CalledProcessError: it cannot be installed.
    """
    directory = ENVIRONMENTS / name
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run((interpreter, "-m", "venv", directory), check=True)
    # One that was kept gets the same versions as a new one.
    upgrade = "--upgrade", "--upgrade-strategy", "eager"
    subprocess.run((python, "-m", "pip", "install", "--quiet", *upgrade, ROOT), check=True)
    return python


def render(results: Results) -> str:
    """Return a table for each transport, compared with the first one."""
    tables: dict[str, list[list[Series]]] = {}
    for figure, transport, group in results.groups():
        if figure.name in SHOWN:
            tables.setdefault(transport, []).append(group)
    parts = [
        f"**{transport}**\n\n{compare(groups, results.judged[0])}"
        for transport, groups in tables.items()
    ]
    return "\n".join((*parts, machine(results)))


def measure(peers: Sequence[Own], options: argparse.Namespace) -> Results:
    """Measure all of them in one run."""
    scale = QUICK if options.quick else SCALE
    if options.rounds is not None:
        scale = dataclasses.replace(scale, rounds=options.rounds)
    results = Results()
    with Lab() as lab:
        bench = Bench(lab, scale, results)
        uvloop.run(bench.run(peers, options.transport or TRANSPORTS, WORKLOADS))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pythons", description=__doc__)
    add = parser.add_argument
    add(
        "interpreters",
        type=_interpreter,
        nargs="+",
        metavar="INTERPRETER",
        help="the first one is what the others are compared with",
    )
    add("--quick", action="store_true", help="everything once and small")
    add("--transport", action="append", choices=TRANSPORTS)
    add("--rounds", type=count)
    add("--output", type=Path, metavar="DIR", help="write the figures and the tables there, too")
    options = parser.parse_args()
    if len(dict(options.interpreters)) < len(options.interpreters):
        parser.error("two have the same version")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    peers = []
    for name, interpreter in options.interpreters:
        say(f"Python {name}: installing")
        peers.append(Own(name, ROOT, _install(name, interpreter)))
    try:
        results = measure(peers, options)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    text = render(results)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        results.save(options.output / "pythons.json")
        (options.output / "pythons.rst").write_text(text)
    print(text)
    for failure in results.failures:
        print(failure)
    sys.exit(bool(results.failures))


if __name__ == "__main__":
    main()
