"""Runs fuzzers as processes, and tells what each of them did.

Owns what libFuzzer is told, and what is read from what it says. Knows nothing of targets.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz import corpora

SLOWEST = 30
"""Seconds that one input may take, by the clock on the wall. None takes more than a few
milliseconds, and machines may be busy."""

LONGEST = 1200
"""Bytes of an input. Longer ones take longer, and what can be reached is reached with less."""

STARTING = 120
"""Seconds that a fuzzer may need besides those it is given: for what it imports, and for looking at
each input once more."""

_EDGES = re.compile(r"\bcov: (\d+)")
_RUNS = re.compile(r"number_of_executed_units:\s*(\d+)")
_INTERRUPTED = "KeyboardInterrupt"
_MERGED = "MERGE-OUTER: successful in 1 attempt(s)"  # each further one leaves an input out
_ERROR = re.compile(r"=== Uncaught Python exception: ===\n(.*)|ERROR: libFuzzer: (.*)")


@dataclass(frozen=True)
class Result:
    """What came of one fuzzer.

    :ivar runs: inputs that were tried.
    :ivar edges: jumps between lines of the program that were seen.
    :ivar problem: what was found, in one line; empty = nothing.
    :ivar finding: the input that shows it; None if there is none.
    """

    runs: int
    edges: int
    problem: str = ""
    finding: Path | None = None


def fuzz(
    root: Path,
    name: str,
    words: Sequence[bytes],
    seconds: int,
    findings: Path,
    isKeeping: bool = False,
) -> Result:
    """Fuzz a target.

    :param root: the directory with the packages ``fuzz`` and ``nymearemoteproxy``.
    :param words: pieces to make inputs of.
    :param findings: where an input is written that breaks a promise.
    :param isKeeping: put what reaches something new into the corpus.
    :raises KeyboardInterrupt: Ctrl-C has ended it.
    """
    corpus = root / "fuzz" / "corpora"
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    with TemporaryDirectory() as directory:
        new = Path(directory)
        options = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST}",
            f"-timeout={SLOWEST}",
            f"-artifact_prefix={findings}/",
            "-print_final_stats=1",
        ]
        if words:
            dictionary = findings / "words"
            dictionary.write_text("".join(f'"{_spelled(word)}"\n' for word in words))
            before.add(dictionary)
            options.append(f"-dict={dictionary}")
        said = _run(root, name, [*options, str(new), str(corpus / name)], seconds)
        runs, problem = _last(_RUNS, said), _problem(said)
        if not problem and not runs:
            problem = "no input was tried"
        if not problem and isKeeping:
            problem = _keep(root, name, new, seconds)
    finding = next(iter(set(findings.iterdir()) - before), None)
    return Result(runs, _last(_EDGES, said), problem, finding)


def _keep(root: Path, name: str, new: Path, seconds: int) -> str:
    """Put what reaches something new into the corpus, and take out what nobody needs any more.

    :return: why it is as it was; empty = it is not.
    """
    corpus = root / "fuzz" / "corpora"
    with TemporaryDirectory() as merged:
        # Without counting how often a line was passed it takes a tenth of the files.
        options = ["-merge=1", "-use_counters=0", f"-max_len={corpora.LONGEST}"]
        said = _run(root, name, [*options, merged, str(corpus / name), str(new)], seconds)
        if _MERGED not in said:
            return _problem(said) or f"the corpus is not merged: {said[-300:]!r}"
        corpora.replace(name, Path(merged), corpus)
    return ""


def _run(root: Path, name: str, arguments: Sequence[str], seconds: int) -> str:
    """Run one process, and return what it said.

    :raises KeyboardInterrupt: Ctrl-C has ended it.
    """
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "fuzz.engine", name, *arguments],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds + STARTING,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return f"ERROR: libFuzzer: it did not end in {late.timeout:.0f} seconds"
    if _INTERRUPTED in ran.stdout:
        raise KeyboardInterrupt
    if ran.returncode and not _ERROR.search(ran.stdout):
        return f"ERROR: libFuzzer: it ended with status {ran.returncode}: {ran.stdout[-300:]!r}"
    return ran.stdout


def _spelled(word: bytes) -> str:
    """Return a word as libFuzzer's dictionaries have it."""
    return "".join(f"\\x{octet:02x}" for octet in word)


def _last(pattern: re.Pattern[str], text: str) -> int:
    return int((pattern.findall(text) or ["0"])[-1])


def _problem(said: str) -> str:
    found = _ERROR.search(said)
    return "" if found is None else " ".join((found[1] or found[2]).split())
