"""The fuzzers: their corpora, what they are about, and that they can find something.

What atheris does is not here: it is not in both worlds, and ``.ci/run`` has it.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from subprocess import CompletedProcess

from twisted.trial.unittest import SynchronousTestCase

import nymearemoteproxy
from fuzz import __main__ as commandLine
from fuzz import corpora, fuzzing
from fuzz.catalogue import NAMES, NEEDED, available, load
from fuzz.fuzzing import Result
from fuzz.planting import CHECKOUT, plant
from fuzz.replaying import replay
from fuzz.target import Mistake, Planted, pieces
from fuzz.targets import authserver
from nymearemoteproxy.authentication.backend import Verdict

PARSING = ("protocol", "client.rules")
"""Where every module reads something that others have sent or written."""

MOST_INPUTS = 100
"""Of one target."""

MOST_BYTES = 300 << 10
"""Of all corpora."""

RAN = "stat::number_of_executed_units: 7\n"
"""What a fuzzer says that has tried seven inputs."""


def run(*arguments: str) -> tuple[int, str, str]:
    """Return the status of a command line, and what it says: of results, and of mistakes."""
    said, mistakes = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(mistakes):
        status = commandLine.main(list(arguments))
    return status, said.getvalue(), mistakes.getvalue()


class CorporaTests(SynchronousTestCase):
    """What is kept."""

    def test_replay(self) -> None:
        """No input breaks a promise."""
        for name in available():
            self.assertEqual(replay(load(name), corpora.inputs(name)), "")

    def test_small(self) -> None:
        sizes = {name: [each.stat().st_size for each in corpora.inputs(name)] for name in NAMES}
        for name, each in sizes.items():
            self.assertTrue(0 < len(each) <= MOST_INPUTS, name)
        self.assertLess(sum(map(sum, sizes.values())), MOST_BYTES)

    def test_kept(self) -> None:
        """Inputs with names stay; the others are replaced, and nothing is there twice."""
        root, merged = Path(self.mktemp()), Path(self.mktemp())
        for path, content in {
            root / "x" / "by-hand": b"1",
            root / "x" / ("0" * 40): b"2",
            merged / ("1" * 40): b"1",
            merged / ("3" * 40): b"3",
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        corpora.replace("x", merged, root)
        self.assertEqual([each.name for each in corpora.inputs("x", root)], ["3" * 40, "by-hand"])


class TargetTests(SynchronousTestCase):
    """What is looked at."""

    def test_allParsers(self) -> None:
        """No module that reads what others have written is without a target."""
        covered = {module for name in available() for module in load(name).covers}
        (root,) = nymearemoteproxy.__path__
        for folder in PARSING:
            path = str(Path(root, *folder.split(".")))
            modules = {f"{folder}.{module.name}" for module in iter_modules([path])}
            self.assertEqual(modules - covered, set())
        for module in covered:
            self.assertIsNotNone(find_spec(f"nymearemoteproxy.{module}"), module)

    def test_planted(self) -> None:
        """Each has faults that can be planted."""
        for name in available():
            faults = load(name).planted
            self.assertTrue(faults, name)
            for fault in faults:
                path = CHECKOUT / "nymearemoteproxy" / fault.path
                compile(plant(path.read_text(encoding="utf-8"), fault), str(path), "exec")

    def test_verdictsAreCompared(self) -> None:
        """It is not enough that there is one, however an answer is cut."""
        self.patch(authserver, "_ask", lambda parts: Verdict(len(parts) == 1))
        self.assertRaises(AssertionError, authserver.check, b"\0ab")

    def test_cannotBePlanted(self) -> None:
        fault = Planted("x.py", "a", "b")
        for text in ("", "aa"):
            self.assertIn("x.py", str(self.assertRaises(Mistake, plant, text, fault)))

    def test_needed(self) -> None:
        self.assertLessEqual(set(NEEDED), set(NAMES))

    def test_pieces(self) -> None:
        """However bytes are cut, they are the same, and each way is always the same."""
        data = bytes(range(256)) * 3
        for how in range(256):
            self.assertEqual(b"".join(pieces(data, how)), data)
            self.assertEqual(pieces(data, how), pieces(data, how))
        self.assertEqual(len(pieces(data, 0)), len(data))


class FuzzerTests(SynchronousTestCase):
    """What is made of what a fuzzer says."""

    def fuzz(self, *said: str, status: int = 0) -> tuple[Result, list[Path]]:
        """Keep what is found while fuzzers say this; return what came of it, and the corpus."""
        root = Path(self.mktemp())
        old = root / "fuzz" / "corpora" / "x" / ("0" * 40)
        old.parent.mkdir(parents=True)
        old.write_bytes(b"1")
        ended = (CompletedProcess([], status, text) for text in said)
        self.patch(fuzzing.subprocess, "run", lambda *_arguments, **_options: next(ended))
        return fuzzing.fuzz(root, "x", (), 1, root / "findings", isKeeping=True), [
            *old.parent.iterdir()
        ]

    def test_merged(self) -> None:
        result, corpus = self.fuzz(RAN, "MERGE-OUTER: successful in 1 attempt(s)\n")
        self.assertEqual((result, corpus), (Result(7, 0), []))

    def test_notMerged(self) -> None:
        """The corpus stays as it is if the merge has failed, or has left inputs out."""
        for said in ("", "ERROR: libFuzzer: x", "MERGE-OUTER: successful in 2 attempt(s)\n"):
            result, corpus = self.fuzz(RAN, said)
            self.assertTrue(result.problem)
            self.assertEqual(len(corpus), 1)

    def test_noRuns(self) -> None:
        self.assertEqual(self.fuzz("")[0].problem, "no input was tried")

    def test_interrupted(self) -> None:
        with self.assertRaises(KeyboardInterrupt):
            self.fuzz("KeyboardInterrupt: stopping.\n", status=commandLine.INTERRUPTED)


class CommandTests(SynchronousTestCase):
    """The command line."""

    def test_replay(self) -> None:
        self.assertEqual(run("urls", "--list"), (0, "urls: client.rules.urls\n", ""))
        status, said, _ = run("urls", "frames", "--replay")
        self.assertEqual((status, said.count("good")), (0, 2))

    def test_finding(self) -> None:
        """Of an input that breaks a promise it is told how."""
        path = self.mktemp()
        Path(path).write_bytes(b"x")

        def check(data: bytes) -> None:
            assert not data, "there is something"

        self.patch(commandLine, "load", lambda name: replace(load(name), check=check))
        status, said, _ = run("urls", "--input", path)
        self.assertEqual(status, commandLine.FOUND)
        self.assertIn("there is something", said)
        self.assertIn(path, said)

    def test_plantedFaultIsFound(self) -> None:
        """The corpora alone, in a copy of the program that has the fault; the copy is used."""
        self.patch(commandLine, "_hasAtheris", lambda: False)
        found = Planted("client/rules/urls.py", "host, int(digits)", "host, int(digits) + 1")
        harmless = Planted(
            "client/rules/urls.py", "_HIGHEST_PORT = 65535", "_HIGHEST_PORT = 0xFFFF"
        )
        for fault, status, words in (
            (found, 0, "found by"),
            (harmless, commandLine.FOUND, "NOT FOUND"),
        ):
            target = replace(load("urls"), planted=(fault,))
            self.patch(commandLine, "load", lambda _name, target=target: target)
            ended, said, _ = run("urls", "--planted")
            self.assertEqual(ended, status, said)
            self.assertIn(words, said)

    def test_plantedLoop(self) -> None:
        """A fault for which the corpus has no end is one that is found, and is waited for no more.

        It is cut off here before it has begun, which makes no difference.
        """
        endless = Planted("client/rules/urls.py", "_HIGHEST_PORT = 65535", "while True: pass")
        self.patch(commandLine, "load", lambda name: replace(load(name), planted=(endless,)))
        self.patch(commandLine, "REPLAYING", 0.1)
        status, said, _ = run("urls", "--planted")
        self.assertEqual(status, 0)
        self.assertIn("found by the corpus, which has no end", said)

    def test_mistakes(self) -> None:
        self.patch(commandLine, "_hasAtheris", lambda: False)
        for arguments, words in {
            ("x", "--replay"): "there is no target 'x'; there are: authserver, ",
            ("--input", "x"): "which has to be named",
            ("urls", "--input", "/nonexistent"): "there is no file /nonexistent",
            ("urls", "--seconds", "0"): "1 at least",
            ("urls", "--jobs", "0"): "1 at least",
            ("urls",): "pip install atheris",
        }.items():
            status, said, mistake = run(*arguments)
            self.assertEqual((status, said, mistake.count("\n")), (2, "", 1))
            self.assertIn(words, mistake)
