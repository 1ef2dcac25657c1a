"""The network fuzzer: a few conversations with real servers, and that it finds what is wrong."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fuzz.network.__main__ import indicesOf, parserOf, statusOf
from fuzz.network.campaign import BATCH, Campaign, conversation, variant
from fuzz.network.grammars import GRAMMARS
from fuzz.network.mutations import damaged
from fuzz.network.promises import FORBIDDEN, Promises
from fuzz.network.steps import Action
from fuzz.network.target import VARIANTS
from tests.support.endtoend import PATIENCE, UNMEASURED, environmentOfPrograms, until
from tests.support.forking import ROOT

FEW = 15
"""Conversations with a server: some seconds of waiting, and little to compute."""


class ConversationTests(SynchronousTestCase):
    """What is held follows from seed and index."""

    def test_isTheSameAgain(self) -> None:
        for index in range(100):
            self.assertEqual(conversation(1, index), conversation(1, index))

    def test_isAnotherWithAnotherSeed(self) -> None:
        texts = {conversation(seed, 0).describe() for seed in range(20)}
        self.assertGreater(len(texts), 15)

    def test_beginsByConnecting(self) -> None:
        for grammar in GRAMMARS:
            script = grammar(Random(1)).conversation()
            self.assertIs(script.steps[0].action, Action.CONNECT, grammar)

    @given(st.binary(), st.integers())
    def test_anyBytesCanBeDamaged(self, data: bytes, seed: int) -> None:
        self.assertEqual(damaged(Random(seed), data), damaged(Random(seed), data))


class LogTests(SynchronousTestCase):
    """What no log may say."""

    def test_forbidden(self) -> None:
        for line in (
            "Traceback (most recent call last):",
            "2026-11-28T00:00:00+0000 critical something",
            "2026-11-28T00:00:00+0000 info     connection 7 from x ended: internal-error (TCP",
            "2026-11-28T00:00:00+0000 debug    a nonce: s3cr3t-nonce-1",
            "Unhandled error in Deferred:",
        ):
            self.assertRegex(line, FORBIDDEN)

    def test_allowed(self) -> None:
        line = "2026-11-28T00:00:00+0000 info     connection 7 from x ended: invalid-json (TCP"
        self.assertNotRegex(line, FORBIDDEN)


class OneFails(Campaign):
    """One in which a certain conversation does some harm, whoever else takes part."""

    harmful = 13

    async def _hold(self, indices: Sequence[int], how: str) -> tuple[list[str], list[int]]:
        return ["harm"] if self.harmful in indices else [], list(indices)


class BlameTests(SynchronousTestCase):
    """Who is to blame is found, and told with the command that shows it."""

    def test_one(self) -> None:
        said: list[str] = []
        campaign = OneFails(5, None, said.append)
        isInOrder = self.successResultOf(Deferred.fromCoroutine(campaign.run(range(100))))
        self.assertFalse(isInOrder)
        self.assertEqual(said[0], "PROBLEM: harm")
        self.assertEqual(said[-2], "python -m fuzz.network --seed 5 --only 13")

    def test_nobody(self) -> None:
        said: list[str] = []
        campaign = OneFails(5, None, said.append)
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(campaign.run(range(13)))))
        self.assertEqual(len(said), 1)

    def test_notAgain(self) -> None:
        """What does not come again is told in one line."""

        class Once(OneFails):
            async def _hold(self, indices: Sequence[int], how: str) -> tuple[list[str], list[int]]:
                problems, suspects = await super()._hold(indices, how)
                self.harmful = -1
                return problems, suspects

        said: list[str] = []
        self.successResultOf(Deferred.fromCoroutine(Once(5, None, said.append).run(range(100))))
        self.assertEqual(said, ["PROBLEM: harm", "it did not come again"])

    def test_several(self) -> None:
        """Where it takes several, none has a command of its own."""

        class Two(OneFails):
            async def _hold(self, indices: Sequence[int], how: str) -> tuple[list[str], list[int]]:
                return ["harm"] if {3, 90} <= set(indices) else [], list(indices)

        said: list[str] = []
        self.successResultOf(Deferred.fromCoroutine(Two(5, None, said.append).run(range(91))))
        self.assertEqual(len(said), 3)
        self.assertRegex(said[-1], "^it takes several of these: 0, .*, 90$")


class CommandTests(SynchronousTestCase):
    """The command line."""

    def test_each(self) -> None:
        """All ways in which the server runs take their turns."""
        indices = list(indicesOf(parserOf().parse_args(["--each", "2"])))
        self.assertEqual([*map(variant, indices)], [way for way in VARIANTS for _each in range(2)])

    def test_refused(self) -> None:
        """What would hold nothing is not taken for a success."""
        for arguments in ("--seconds=0", "--conversations=-5", "--each=0", f"--each={BATCH + 1}"):
            with redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
                parserOf().parse_args([arguments])
            self.assertEqual(ended.exception.code, 2)

    def test_nothingHeld(self) -> None:
        with redirect_stdout(io.StringIO()):
            self.assertEqual(statusOf(Campaign(1), True, Path("none")), 2)

    def test_interrupted(self) -> None:
        """Ctrl-C, which all processes are told of, leaves nothing, and is not told of at length."""
        directory = tempfile.mkdtemp(prefix="f-")  # short, for Unix sockets
        self.addCleanup(shutil.rmtree, directory)
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.network", "--seconds", "60"],
            cwd=ROOT,
            env={**environmentOfPrograms(), **UNMEASURED, "TMPDIR": directory},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        until(lambda: any(Path(directory).glob("fuzz-*/monitor")), "there is no server")
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, said, os.listdir(directory)), (130, b"", []))


class PromiseTests(SynchronousTestCase):
    """What is seen of a server."""

    def test_invisible(self) -> None:
        """One whose files cannot be counted is not taken for one that leaves none open."""
        server: Any = SimpleNamespace(pid=0)
        self.assertRaises(AssertionError, Promises, server, 0, False)


class ServerTests(TestCase):
    """Conversations with real servers."""

    timeout = 300

    def run_(self, planted: str | None, start: int, count: int) -> Deferred[tuple[bool, str]]:
        said: list[str] = []
        campaign = Campaign(1, planted, said.append)
        run = Deferred.fromCoroutine(campaign.run(range(start, start + count)))
        return run.addCallback(lambda isInOrder: (isInOrder, "\n".join([*said, campaign.log])))

    def assertKept(self, start: int) -> Deferred[None]:
        run = self.run_(None, start, FEW)
        return run.addCallback(lambda result: self.assertTrue(*result))

    def test_single(self) -> Deferred[None]:
        self.assertEqual(variant(0), VARIANTS[0])
        return self.assertKept(0)

    def test_cluster(self) -> Deferred[None]:
        return self.assertKept(BATCH)

    def test_workers(self) -> Deferred[None]:
        """They are members, too, where there is a Redis."""
        return self.assertKept(3 * BATCH)

    def test_findsAPlantedFault(self) -> Deferred[None]:
        def check(result: tuple[bool, str]) -> None:
            isInOrder, said = result
            self.assertFalse(isInOrder)
            self.assertRegex(said, "PROBLEM: the log says: .* nonce s3cr3t-")

        return self.run_("tell", 0, 1).addCallback(check)

    def test_faultsArePlanted(self) -> None:
        """What they replace is there."""
        code = "from fuzz.network.planted import FAULTS; [plant() for plant in FAULTS.values()]"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
