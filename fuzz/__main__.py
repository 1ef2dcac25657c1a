"""``python -m fuzz``: the command line.

Owns the options, and what is said of what was found. Everything else is done elsewhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz import corpora
from fuzz.catalogue import NAMES, available, load
from fuzz.fuzzing import fuzz
from fuzz.planting import CHECKOUT, planted
from fuzz.replaying import replay
from fuzz.target import Mistake, Planted, Target

FINDINGS = Path("build/fuzz")

FOUND = 3
"""The exit status when something was found, or a planted fault was not; 1 would be Python's own."""

WRONG_USAGE = 2

REPLAYING = 60.0
"""Seconds in which a corpus is replayed. None takes more than two, unless the fault that is planted
is a loop without end."""

INTERRUPTED = 130
"""What shells say of a program that Ctrl-C has ended."""

Tell = Callable[[str, Target], bool]
"""Does something about a target and says what came of it; whether all is well."""


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Looks for inputs that break a promise: see the modules of fuzz/targets.",
        epilog=f"Targets: {', '.join(NAMES)}.",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all that can be had")
    parser.add_argument("--seconds", type=int, default=60, help="for each target; default 60")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="side by side")
    parser.add_argument(
        "--findings", type=Path, default=FINDINGS, help=f"where they go; default {FINDINGS}"
    )
    parser.add_argument("--keep", action="store_true", help="put what is new into the corpora")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="tell which modules a target is about")
    what.add_argument("--replay", action="store_true", help="only the corpora, without atheris")
    what.add_argument("--input", type=Path, help="only this input, of one target")
    what.add_argument(
        "--planted",
        action="store_true",
        help="put faults into copies of the program, and find them",
    )
    options = parser.parse_args(arguments)
    try:
        if min(options.seconds, options.jobs) < 1:
            raise Mistake("--seconds and --jobs are 1 at least")
        return _tellAll(options.targets or available(), *_chosen(options))
    except Mistake as mistake:
        print(f"python -m fuzz: {mistake}", file=sys.stderr)
        return WRONG_USAGE


def _chosen(options: argparse.Namespace) -> tuple[int, Tell]:
    """Return how many targets to look at side by side, and what to do about each.

    :raises Mistake: it cannot be done.
    """
    if options.list:
        return 1, lambda name, target: _tell(name, good=", ".join(target.covers))
    if options.input is not None:
        if len(options.targets) != 1:
            raise Mistake("--input is for one target, which has to be named")
        if not options.input.is_file():
            raise Mistake(f"there is no file {options.input}")
        return 1, lambda name, target: _tell(name, replay(target, [options.input]))
    if options.replay:
        return 1, _replay
    if options.planted:
        return options.jobs, lambda name, target: _findPlanted(name, target, options)
    if not _hasAtheris():
        raise Mistake("there is no atheris: pip install atheris, or give --replay")
    return options.jobs, lambda name, target: _fuzz(name, target, options)


def _hasAtheris() -> bool:
    return find_spec("atheris") is not None


def _tellAll(names: list[str], jobs: int, tell: Tell) -> int:
    """Do something about each; return the exit status."""
    targets = list(map(load, names))
    with ThreadPoolExecutor(jobs) as pool:
        return 0 if all(list(pool.map(tell, names, targets))) else FOUND


def _tell(name: str, problem: str = "", good: str = "good") -> bool:
    print(f"{name}: {problem or good}", flush=True)
    return not problem


def _replay(name: str, target: Target) -> bool:
    inputs = corpora.inputs(name)
    return _tell(name, replay(target, inputs), f"{len(inputs)} inputs, good")


def _fuzz(name: str, target: Target, options: argparse.Namespace) -> bool:
    findings = options.findings.absolute() / name
    result = fuzz(CHECKOUT, name, target.words, options.seconds, findings, options.keep)
    if not result.problem:
        return _tell(name, good=f"{result.runs} inputs, {result.edges} edges, nothing found")
    again = f"\n    python -m fuzz {name} --input {result.finding}" if result.finding else ""
    return _tell(name, f"FOUND {result.problem}{again}")


def _findPlanted(name: str, target: Target, options: argparse.Namespace) -> bool:
    """See that each fault is found."""
    isGood = True
    for fault in target.planted:
        how = _howFound(name, target, fault, options)
        isGood = isGood and bool(how)
        words = f"found by {how}" if how else "NOT FOUND"
        print(f"{name}: {words}: {fault.path}: {fault.fault!r}", flush=True)
    return isGood


def _howFound(name: str, target: Target, fault: Planted, options: argparse.Namespace) -> str:
    """Return by what a fault is found: by what is in the corpus, or else by fuzzing."""
    with planted(fault) as root, TemporaryDirectory() as findings:
        command = [sys.executable, "-m", "fuzz", name, "--replay"]
        try:
            ran = subprocess.run(
                command, cwd=root, capture_output=True, timeout=REPLAYING, check=False
            )
        except subprocess.TimeoutExpired:
            return "the corpus, which has no end"
        if ran.returncode == INTERRUPTED:
            raise KeyboardInterrupt
        if ran.returncode == FOUND:
            return "the corpus"
        if not _hasAtheris():
            return ""
        finding = fuzz(root, name, target.words, options.seconds, Path(findings)).finding
        if finding is None:
            return ""
        if options.keep:
            corpora.add(name, f"planted-{1 + target.planted.index(fault)}", finding)
        return "fuzzing"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
