"""``python -m benchmarks``: the command line.

Owns the options. Everything else is done elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

import uvloop

from benchmarks.bench import FULL, QUICK, Bench, Workload
from benchmarks.connections import Idle, SetUp
from benchmarks.lab import Lab
from benchmarks.names import TRANSPORTS
from benchmarks.peers import (
    SNITUN_PYTHON,
    Before,
    Haproxy,
    Own,
    Peer,
    PeerError,
    Snitun,
    Stock,
    Strelaysrv,
    Target,
    TransitRelay,
)
from benchmarks.pressure import Crowd, Flood, SlowReader
from benchmarks.report import write
from benchmarks.results import Results
from benchmarks.steady import STEADY
from benchmarks.tables import render
from benchmarks.tunnelproxy import Relayed, Siblings
from benchmarks.visits import Visitors, Visits
from benchmarks.watching import Watching

WORKLOADS: tuple[Workload, ...] = (
    *STEADY,
    SetUp(),
    Idle(),
    SlowReader(),
    Crowd(),
    Flood(),
    Relayed(),
    Siblings(),
    Visits(),
    Visitors(),
    Watching(),
)


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def _checkout(path: str) -> Path:
    if not (Path(path) / "nymearemoteproxy").is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no checkout of nymea-remoteproxy")
    return Path(path).resolve()


def _ours(text: str) -> Own:
    name, path = _named(text)
    return Own(name, _checkout(path))


def _running(text: str) -> tuple[str, str, int]:
    name, value = _named(text)
    url, _at, pid = value.rpartition("@")
    if not (url and pid.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=URL@PID")
    return name, url, int(pid)


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 60:
        raise argparse.ArgumentTypeError("more than 0, at most 60")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what a tunnel costs nymea-remoteproxy and other servers, in CPU time "
        "of the server. All load stays on this machine. A full run takes 25 minutes.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="everything once and small: shows that it works")
    add(
        "--ours",
        action="append",
        type=_ours,
        metavar="NAME=PATH",
        help="measure the server of this checkout; may be repeated [default: this one]",
    )
    add(
        "--over",
        type=_checkout,
        metavar="PATH",
        help="measure the server of this older checkout, too, and tell the ratios to it",
    )
    add(
        "--snitun",
        type=Path,
        default=SNITUN_PYTHON,
        metavar="PYTHON",
        help="an interpreter that has snitun and uvloop [default: %(default)s]",
    )
    add(
        "--target",
        action="append",
        type=_running,
        default=[],
        metavar="NAME=URL@PID",
        help="measure a server that runs on this machine and speaks API 0.3 (ws, wss, tcp, tls); "
        "may be repeated",
    )
    add("--token", default="benchmark", help="what --target accepts [default: %(default)s]")
    add(
        "--workload",
        action="append",
        choices=[workload.name for workload in WORKLOADS],
        help="only this one; may be repeated",
    )
    add(
        "--transport",
        action="append",
        choices=TRANSPORTS,
        help="only this one; may be repeated",
    )
    add("--peer", action="append", metavar="NAME", help="only this server; may be repeated")
    add("--rounds", type=count, help="how often each server's turn comes")
    add("--window", type=seconds, metavar="SECONDS", help="how long is measured each time")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="write the figures, the tables and the plots there, too",
    )
    return parser


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    peers: list[Peer] = options.ours or [Own()]
    try:
        peers += [Target(name, url, pid, options.token) for name, url, pid in options.target]
    except PeerError as error:
        parser.error(str(error))
    if options.over:
        peers.append(Before(options.over))
    peers += [Stock(), Haproxy(), TransitRelay(), Strelaysrv(), Snitun(options.snitun)]
    names = [peer.name for peer in peers]
    if len(set(names)) < len(names):
        parser.error("two servers have the same name")
    if unknown := set(options.peer or ()) - set(names):
        parser.error(f"there is no server {', '.join(sorted(unknown))}, only {', '.join(names)}")
    given = {name: getattr(options, name) for name in ("rounds", "window")}
    scale = dataclasses.replace(
        QUICK if options.quick else FULL,
        **{name: value for name, value in given.items() if value is not None},
    )
    try:
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{options.output} cannot be made: {error.strerror}")
    # As Ctrl-C does: through every `finally`, which ends the children.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results()
    if options.quick:
        results.notes.append("A --quick run: it shows that everything works, and no figures.")
    try:
        with Lab() as lab:
            uvloop.run(
                Bench(lab, scale, results).run(
                    [peer for peer in peers if not options.peer or peer.name in options.peer],
                    options.transport or TRANSPORTS,
                    [
                        each
                        for each in WORKLOADS
                        if not options.workload or each.name in options.workload
                    ],
                )
            )
    except KeyboardInterrupt:
        sys.exit("interrupted")
    if not (results.series or results.failures):
        sys.exit("nothing was measured: no server left speaks such a transport")
    if options.output:
        results.save(options.output / "results.json")
        write(results, options.output)
    print(render(results))
    if results.failures:
        sys.exit(f"{len(results.failures)} measurements failed")


if __name__ == "__main__":
    main()
