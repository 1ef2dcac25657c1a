"""``python -m fuzz.network``: the command line.

Owns the options. Everything else is done elsewhere.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from fuzz.network.campaign import Campaign
from fuzz.network.planted import FAULTS

LOG = Path("build/fuzz-network.log")
"""Where the log of a server goes that had a problem; git knows nothing of that place."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.network",
        description="Hold mutated conversations with a real server, at all its listeners, and see "
        "that it keeps what it promises. All load stays on this machine.",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="which conversations [default: %(default)s]")
    add(
        "--conversations",
        type=int,
        metavar="N",
        help="so many [default: 1000, or what SECONDS allow]",
    )
    add("--seconds", type=float, help="begin no further batch later than that")
    add("--start", type=int, default=0, metavar="INDEX", help="the first one [default: 0]")
    add("--only", type=int, metavar="INDEX", help="only this one, as it was told of a problem")
    add("--planted", choices=sorted(FAULTS), help="let the server have this fault: it is found")
    return parser


def main() -> None:
    """Run what the command line says; the status is 1 if there was a problem."""
    options = _parser().parse_args()
    indices: Any = itertools.count(options.start)
    if options.only is not None:
        indices = [options.only]
    elif options.conversations or options.seconds is None:
        indices = range(options.start, options.start + (options.conversations or 1000))
    campaign = Campaign(options.seed, options.planted, lambda line: print(line, flush=True))

    async def run() -> None:
        if not await campaign.run(indices, options.seconds):
            _fail(campaign.log)

    react(lambda _reactor: Deferred.fromCoroutine(run()))


def _fail(log: str) -> None:
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(log)
    print(f"what the server wrote is in {LOG}")
    sys.exit(1)


if __name__ == "__main__":
    main()
