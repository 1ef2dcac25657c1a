"""``python -m soak``: the command line.

Owns the options, and what Ctrl-C does. Knows nothing of what is played.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.lab import Lab
from soak.backend import Backend
from soak.report import render, write
from soak.running import Result, Run
from soak.servers import CLUSTER, SETUPS, ServerError, Setup
from tests.support.redis import reasonToSkip

ALL = "all"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--tunnels", type=int, default=1000, metavar="N", help="scenarios, for all setups together")
    add("--seed", default="1", help="another one plays other scenarios")
    add("--seconds", type=float, default=math.inf, help="begin nothing after so long, each setup")
    add("--setup", choices=(*SETUPS, ALL), default="one", help="what serves")
    add("--only", type=int, metavar="INDEX", help="play this scenario alone")
    add("--every", type=float, default=10.0, help="seconds between two lines of progress")
    add("--interval", type=float, default=4.0, help="seconds between two disturbances")
    add("--output", type=Path, metavar="DIR", help="write the result there, as JSON and as text")
    add("--planted", default="", metavar="NAME", help="a fault that the server is to have")
    return parser.parse_args(arguments)


async def _run(lab: Lab, options: argparse.Namespace, name: str, count: int) -> Result:
    backend = Backend()
    await backend.listen()
    setup = Setup(name, lab, backend.port, options.planted)
    try:
        await setup.start()
        run = Run(setup, backend, options.seed, lambda line: print(line, flush=True))
        options.whenStopped.append(run.stop)
        if options.only is not None:
            return await run.one(options.only)
        return await run.all(count, options.seconds, options.interval, options.every)
    finally:
        setup.close()
        backend.close()


async def _runAll(lab: Lab, options: argparse.Namespace) -> list[Result]:
    """Run side by side, for each waits for time limits now and then."""
    names = [options.setup]
    if options.setup == ALL:
        reason = reasonToSkip()
        names = [name for name in SETUPS if name != CLUSTER or reason is None]
        if reason is not None:
            print(f"{CLUSTER}: skipped, {reason}")
    options.whenStopped = []

    def stop() -> None:
        for each in options.whenStopped:
            each()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)
    count = -(-options.tunnels // len(names))
    return await asyncio.gather(*(_run(lab, options, name, count) for name in names))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if everything was as promised."""
    options = _options(arguments)
    with Lab() as lab:
        try:
            results = asyncio.run(_runAll(lab, options))
        except ServerError as error:
            print(error, file=sys.stderr)
            return 1
    for result in results:
        print(render(result), flush=True)
    if options.output is not None:
        write(results, options.output)
    return int(any(result.problemCount for result in results))


if __name__ == "__main__":
    sys.exit(main())
