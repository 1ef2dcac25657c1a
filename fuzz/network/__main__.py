"""``python -m fuzz.network``: the command line.

Owns the options. Everything else is done elsewhere.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from fuzz.network.campaign import BATCH, Campaign
from fuzz.network.planted import FAULTS
from fuzz.network.target import VARIANTS

LOG = Path("build/fuzz-network.log")
"""Where the log of a server goes that had a problem; git knows nothing of that place."""

PROBLEM, WRONG_USAGE, INTERRUPTED = 1, 2, 130
"""Exit statuses; the last one is what shells say of a program that Ctrl-C has ended."""


def _above0(text: str) -> int:
    if (number := int(text)) <= 0:
        raise argparse.ArgumentTypeError("it is more than 0")
    return number


def _ofEach(text: str) -> int:
    if (number := _above0(text)) > BATCH:
        raise argparse.ArgumentTypeError(f"it is {BATCH} at most")
    return number


def parserOf() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.network",
        description="Hold mutated conversations with a real server, at all its listeners, and see "
        "that it keeps what it promises. All load stays on this machine.",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="which conversations [default: %(default)s]")
    add("--seconds", type=_above0, help="begin no further batch later than that")
    add("--start", type=int, default=0, metavar="INDEX", help="the first one [default: 0]")
    add("--log", type=Path, default=LOG, help="of a server with a problem [default: %(default)s]")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--conversations",
        type=_above0,
        metavar="N",
        help="so many [default: 1000, or what SECONDS allow]",
    )
    which.add_argument(
        "--each", type=_ofEach, metavar="N", help="so many with each way that the server runs"
    )
    which.add_argument(
        "--only", type=int, metavar="INDEX", help="only this one, as it was told of a problem"
    )
    add("--planted", choices=sorted(FAULTS), help="let the server have this fault: it is found")
    return parser


def indicesOf(options: argparse.Namespace) -> Iterable[int]:
    """Return which conversations are to be held."""
    if options.only is not None:
        return [options.only]
    if options.each:
        ways = [options.start + BATCH * way for way in range(len(VARIANTS))]
        return itertools.chain.from_iterable(range(way, way + options.each) for way in ways)
    if options.seconds and not options.conversations:
        return itertools.count(options.start)
    return range(options.start, options.start + (options.conversations or 1000))


def main() -> None:
    """Run what the command line says, and exit."""
    options = parserOf().parse_args()
    campaign = Campaign(options.seed, options.planted, lambda line: print(line, flush=True))

    ended: list[int] = []

    async def run() -> None:
        isInOrder = await campaign.run(indicesOf(options), options.seconds)
        ended.append(statusOf(campaign, isInOrder, options.log))

    try:
        react(lambda _reactor: Deferred.fromCoroutine(run()))
    except SystemExit as end:
        # Its 0 also stands for a reactor that was stopped, by Ctrl-C or SIGTERM.
        sys.exit(end.code or (ended[0] if ended else INTERRUPTED))


def statusOf(campaign: Campaign, isInOrder: bool, log: Path) -> int:
    """Say what came of it; return the exit status."""
    if not isInOrder:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(campaign.log)
        print(f"what the server wrote is in {log}")
        return PROBLEM
    if not campaign.held:
        print("no conversation was held")
        return WRONG_USAGE
    return 0


if __name__ == "__main__":
    main()
