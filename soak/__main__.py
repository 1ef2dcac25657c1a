"""``python -m soak``: the command line.

Owns the options, and what Ctrl-C and SIGTERM do. Knows nothing of what is played.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lab import ROOT, Lab
from soak.backend import Backend
from soak.inside.planted import FAULTS
from soak.report import render, write
from soak.running import Result, Run
from soak.servers import CLUSTER, SETUPS, ServerError, Setup
from tests.support.redis import reasonToSkip

ALL = "all"
LOGS = ROOT / "build" / "soak"
"""Where the logs of a server are kept with which something was wrong, unless told."""
DESCRIPTION = "Load a server with tunnels and faults, and look whether everything is as promised."


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=DESCRIPTION)
    add = parser.add_argument
    add("--tunnels", type=int, default=1000, metavar="N", help="scenarios, for all setups together")
    add("--seed", default="1", help="another one plays other scenarios")
    add(
        "--seconds",
        type=float,
        default=math.inf,
        help="each setup begins nothing so long after its warm-up; see --at-least",
    )
    add("--setup", choices=(*SETUPS, ALL), default="one", help="what serves")
    add("--only", type=int, metavar="INDEX", help="play this scenario alone")
    add("--every", type=float, default=10.0, help="seconds between two lines of progress")
    add("--interval", type=float, default=4.0, help="seconds between two disturbances")
    add("--output", type=Path, metavar="DIR", help="write the result there, as JSON and as text")
    add(
        "--at-least",
        type=int,
        default=0,
        metavar="N",
        help="fail unless each setup has played so many, and everything else has happened once,"
        " for which --seconds is exceeded",
    )
    add("--planted", default="", choices=sorted(FAULTS), help="a fault that the server is to have")
    return parser.parse_args(arguments)


async def _run(
    lab: Lab, options: argparse.Namespace, name: str, count: int, stopped: asyncio.Event
) -> Result:
    backend = Backend()
    await backend.listen()
    setup = Setup(name, lab, backend.port, options.planted)
    try:
        result = await _play(setup, backend, options, count, stopped)
        if result.problemCount:
            logs = (options.output or LOGS) / "logs"
            setup.keepLogs(logs)
            result.problems.append(f"The logs of the servers are in {logs}.")
        return result
    finally:
        setup.close()
        backend.close()


async def _play(
    setup: Setup,
    backend: Backend,
    options: argparse.Namespace,
    count: int,
    stopped: asyncio.Event,
) -> Result:
    try:
        await setup.start()
    except ServerError as error:
        result = Result(setup.name, options.seed)
        result.failed(str(error))
        return result
    run = Run(setup, backend, options.seed, lambda line: print(line, flush=True), stopped)
    if options.only is not None:
        return await run.one(options.only)
    least = options.at_least
    result = await run.all(count, least, options.seconds, options.interval, options.every)
    if least:
        result.demand(least)
    return result


async def _runAll(lab: Lab, options: argparse.Namespace) -> list[Result]:
    """Run side by side, for each waits for time limits now and then."""
    names = [options.setup]
    if options.setup == ALL:
        reason = reasonToSkip()
        names = [name for name in SETUPS if name != CLUSTER or reason is None]
        if reason is not None:
            print(f"{CLUSTER}: skipped, {reason}")
    stopped = _stopping()
    count = -(-options.tunnels // len(names))
    return await asyncio.gather(*(_run(lab, options, name, count, stopped) for name in names))


def _stopping() -> asyncio.Event:
    """Return what is set when a signal asks for the end; a second one ends this task."""
    stopped = asyncio.Event()
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if stopped.is_set():
            task.cancel()
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if everything was as promised."""
    options = _options(arguments)
    reason = reasonToSkip()
    if options.setup == CLUSTER and reason is not None:
        print(f"{CLUSTER}: {reason}", file=sys.stderr)
        return 2
    with Lab() as lab:
        try:
            results = asyncio.run(_runAll(lab, options))
        except asyncio.CancelledError:
            print("cancelled, nothing is judged", file=sys.stderr)
            return 1
    # What has gone wrong comes last, where it is seen.
    for result in sorted(results, key=lambda result: result.problemCount):
        print(render(result), flush=True)
    if options.output is not None:
        write(results, options.output)
    return int(any(result.problemCount for result in results))


if __name__ == "__main__":
    sys.exit(main())
