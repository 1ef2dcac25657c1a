"""The soak: what it plays is decided by a number, what is wrong is found, and it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from soak.ledger import LOST, Done, Ledger
from soak.pace import GOOD_TIME, LEAST, MOST, Pace
from soak.payload import Receiving, WrongBytesError, content
from soak.plan import FAULTS, STYLES, TRANSPORTS, scenario
from soak.playing import sourceOf
from soak.running import COUNTED, GROWTH, Level, differences
from tests.support.endtoend import MARK
from tests.support.packets import cut

CHECKOUT = Path(__file__).resolve().parents[2]
MANY = 2000
"""Scenarios of which each kind is one, by far."""
TUNNELS = 200
PATIENCE = 240
"""Seconds for a run, which takes some twenty where nothing else runs."""


class PlanTests(SynchronousTestCase):
    """A number stands for a scenario."""

    @given(st.text(max_size=5), st.integers(0, 1 << 22))
    def test_pure(self, seed: str, index: int) -> None:
        self.assertEqual(scenario(seed, index), scenario(seed, index))

    def test_everythingIsReached(self) -> None:
        played = [scenario("1", index) for index in range(MANY)]
        faults = {(each.kind, each.fault) for each in played}
        self.assertEqual(faults, {(kind, fault) for kind in FAULTS for fault in FAULTS[kind]})
        sides = [side for each in played for side in each.sides]
        self.assertEqual({side.transport for side in sides}, set(TRANSPORTS))
        self.assertEqual({side.style for side in sides}, set(STYLES))

    @given(st.integers(0, 1 << 22), st.integers(0, 1 << 22))
    def test_addresses(self, one: int, other: int) -> None:
        """Whose a line of the log is, its address tells."""
        self.assertEqual(sourceOf(one) == sourceOf(other), one == other)


class PayloadTests(SynchronousTestCase):
    """Bytes that are lost, changed or another's are noticed."""

    def test_nobodyElseHasIt(self) -> None:
        whose = [(seed, index, side) for seed in "ab" for index in (1, 2) for side in "01"]
        self.assertEqual(len({content(*each, 100, True) for each in whose}), len(whose))

    @given(st.binary(), st.lists(st.integers(0, 100)))
    def test_right(self, data: bytes, places: list[int]) -> None:
        receiving = Receiving(data)
        for piece in cut(data, places):
            receiving.take(piece)
        self.assertTrue(receiving.isComplete)

    @given(st.binary(), st.binary(), st.lists(st.integers(0, 100)))
    def test_wrong(self, sent: bytes, came: bytes, places: list[int]) -> None:
        receiving = Receiving(sent)
        for piece in cut(came, places):
            receiving.take(piece)
        self.assertEqual(receiving.isComplete, came == sent)
        if sent.startswith(came):
            receiving.check()
        else:
            self.assertRaises(WrongBytesError, receiving.check)


class LedgerTests(SynchronousTestCase):
    """A history as it should be, and all the ways in which one is wrong."""

    def setUp(self) -> None:
        self.log, self.accounting = Path(self.mktemp()), Path(self.mktemp())
        self.lines = [self.line(peer) for peer in ("127.64.0.1:1", "127.64.0.1:2", "unix")]
        self.done = [
            Done(line["peer"], 5, 7, frozenset(["left"]), True, "x") for line in self.lines
        ]
        self.sides = [{**line, "address": line["peer"]} for line in self.lines]
        self.metrics = {
            'outcomes_total{outcome="left"}': 3,
            "connections_accepted_total": 3,
            'received_bytes_total{transport="TCP"}': 15,
            'sent_bytes_total{transport="TCP"}': 21,
            "tunnels": 0,
        }

    def line(self, peer: str) -> dict[str, Any]:
        what = {"event": "connection-ended", "text": "", "peer": peer, "outcome": "left"}
        return what | {"transport": "TCP", "received": 5, "sent": 7, "tunneled": True}

    def problems(self) -> list[str]:
        """Return what is wrong; some lines come before the load's word, and some after it."""
        ledger = Ledger([self.log], [self.accounting])
        self.log.write_text("".join(json.dumps(line) + "\n" for line in self.lines[:1]))
        ledger.read()
        for done in self.done:
            ledger.done(done)
        with self.log.open("a") as log:
            log.writelines(json.dumps(line) + "\n" for line in self.lines[1:])
        self.accounting.write_text(json.dumps({"sides": self.sides}) + "\n")
        ledger.close()
        [book] = ledger.books
        return [*ledger.problems, *book.disagreements(self.metrics)]

    def assertWrong(self, *texts: str) -> None:
        problems = self.problems()
        self.assertEqual(len(problems), len(texts), problems)
        for problem, text in zip(problems, texts, strict=True):
            self.assertIn(text, problem)

    def test_right(self) -> None:
        self.assertEqual(self.problems(), [])

    def test_lineIsMissing(self) -> None:
        line = self.lines.pop(1)
        self.sides = [side for side in self.sides if side["peer"] != line["peer"]]
        self.metrics['outcomes_total{outcome="left"}'] = 2
        self.metrics["connections_accepted_total"] = 2
        self.metrics['received_bytes_total{transport="TCP"}'] = 10
        self.metrics['sent_bytes_total{transport="TCP"}'] = 14
        self.assertWrong("no line in the log about 127.64.0.1:2")

    def test_lineOfNobody(self) -> None:
        del self.done[0]
        self.assertWrong("1 more lines in the log about 127.64.0.1:1")

    def test_unixLineOfNobody(self) -> None:
        del self.done[2]
        self.assertWrong("+1 lines in the log about Unix sockets")

    def test_outcome(self) -> None:
        for at in (0, 1):  # the line comes before the load's word, or after it
            self.lines[at]["outcome"] = self.sides[at]["outcome"] = "lost"
        self.metrics = {**self.metrics, 'outcomes_total{outcome="left"}': 1}
        self.metrics['outcomes_total{outcome="lost"}'] = 2
        self.assertWrong("outcome left, not lost", "outcome left, not lost")

    def test_lost(self) -> None:
        """Whose process was killed may be over for the client already, and not yet for the log."""
        self.lines[0]["outcome"] = self.sides[0]["outcome"] = LOST
        self.metrics['outcomes_total{outcome="left"}'] = 2
        self.metrics[f'outcomes_total{{outcome="{LOST}"}}'] = 1
        self.assertEqual(self.problems(), [])

    def test_bytes(self) -> None:
        self.lines[1]["sent"] = self.sides[1]["sent"] = 6
        self.metrics['sent_bytes_total{transport="TCP"}'] = 20
        self.assertWrong("5 bytes in and 7 out, not 5 and 6")

    def test_accounting(self) -> None:
        self.sides[1]["received"] = 4
        self.assertWrong("only in the log", "only in the accounting")

    def test_secret(self) -> None:
        self.lines[1]["text"] = f"{MARK}-token"
        self.assertWrong(MARK)

    def test_traceback(self) -> None:
        self.lines[1]["text"] = "Traceback (most recent call last)"
        self.assertWrong("Traceback")

    def test_metrics(self) -> None:
        self.metrics["tunnels"] = 1
        self.metrics["connections_accepted_total"] = 4
        self.metrics['sent_bytes_total{transport="TCP"}'] = 20
        self.metrics['outcomes_total{outcome="left"}'] = 2
        self.assertWrong("outcomes", "3 lines", "21 bytes sent", "tunnels is 1")


class LevelTests(SynchronousTestCase):
    """When everybody is gone it is as it was before."""

    kind = f"{COUNTED[0]}.Some"
    before = Level([100 << 20], [[20, 12]], [[Counter({kind: 1}), Counter()]])

    def assertDiffers(self, text: str, **changes: Any) -> None:
        [problem] = differences(self.before, replace(self.before, **changes))
        self.assertIn(text, problem)

    def test_same(self) -> None:
        self.assertEqual(list(differences(self.before, self.before)), [])

    def test_more(self) -> None:
        self.assertDiffers("open files", descriptors=[[20, 13]])
        self.assertDiffers("in process 1: 0 before", objects=[[Counter(), Counter([self.kind])]])
        self.assertDiffers("memory", resident=[self.before.resident[0] + GROWTH + 1])

    def test_otherKinds(self) -> None:
        """What is there once in a process and not for each connection may come and go."""
        other = replace(self.before, objects=[[Counter(["nymearemoteproxy.any.Other"]), Counter()]])
        self.assertEqual(list(differences(self.before, other)), [])


class PaceTests(SynchronousTestCase):
    """No more at once than are played in good time."""

    def test_fast(self) -> None:
        pace = Pace()
        for _ in range(MOST):
            pace.took(GOOD_TIME / 2)
        self.assertEqual(pace.most, MOST)

    def test_slow(self) -> None:
        pace = Pace()
        pace.most = MOST
        for _ in range(MOST):
            pace.took(GOOD_TIME * 2)
        self.assertEqual(pace.most, LEAST)


class RunTests(TestCase):
    """The whole, small."""

    timeout = PATIENCE + 60

    def run_(self, *options: str) -> Deferred[Any]:
        """Run it; fires with how it ended."""
        return deferToThread(
            subprocess.run,
            (sys.executable, "-m", "soak", *options),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def test_run(self) -> Deferred[Any]:
        output = self.mktemp()

        def judge(done: Any) -> None:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            [result] = json.loads(Path(output, "soak.json").read_text())
            self.assertEqual(sum(result["played"].values()), TUNNELS)

        options = ("--tunnels", str(TUNNELS), "--output", str(Path(output).resolve()))
        return self.run_(*options).addCallback(judge)

    def test_planted(self) -> Deferred[Any]:
        """What is wrong with the server is told, and how to see it again."""

        def judge(done: Any) -> None:
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("--only", done.stdout)

        return self.run_("--tunnels", "100", "--planted", "lost-byte").addCallback(judge)
