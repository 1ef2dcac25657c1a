"""``python -m soak``: the command line.

Owns the options, and what Ctrl-C does. Knows nothing of what is played.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--tunnels", type=int, default=1000, metavar="N", help="scenarios for each setup")
    add("--seed", default="1", help="another one plays other scenarios")
    add("--seconds", type=float, default=math.inf, help="begin nothing after so long, each setup")
    add("--setup", choices=(*SETUPS, "all"), default="one", help="what serves")
    add("--only", type=int, metavar="INDEX", help="play this scenario alone")
    add("--every", type=float, default=10.0, help="seconds between two lines of progress")
    add("--interval", type=float, default=4.0, help="seconds between two disturbances")
    add("--output", type=Path, metavar="DIR", help="write the result there, as JSON and as text")
    add("--planted", default="", metavar="NAME", help="a fault that the server is to have")
    return parser.parse_args(arguments)


async def _run(lab: Lab, options: argparse.Namespace, name: str) -> Result:
    backend = Backend()
    await backend.listen()
    setup = Setup(name, lab, backend.port, options.planted)
    try:
        await setup.start()
        run = Run(setup, backend, options.seed, lambda line: print(line, flush=True))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, run.stop)
        if options.only is not None:
            return await run.one(options.only)
        return await run.all(options.tunnels, options.seconds, options.interval, options.every)
    finally:
        setup.close()
        backend.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if everything was as promised."""
    options = _options(arguments)
    results = []
    with Lab() as lab, contextlib.suppress(KeyboardInterrupt):
        for name in SETUPS if options.setup == "all" else [options.setup]:
            reason = reasonToSkip() if name == CLUSTER else None
            if reason is not None:
                print(f"{name}: skipped, {reason}")
                continue
            try:
                results.append(asyncio.run(_run(lab, options, name)))
            except ServerError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
            print(render(results[-1]), flush=True)
    if options.output is not None:
        write(results, options.output)
    return int(any(result.problemCount for result in results))


if __name__ == "__main__":
    sys.exit(main())
