"""The soak: what it plays is decided by a number, what is wrong is found, and it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from soak.disturbances import AFTER_KILL, AFTER_OUTAGE, APART, BY_OUTAGE, OUTAGE, Disturbances
from soak.ledger import LOST, Done, Ledger
from soak.pace import GOOD_TIME, LEAST, MOST, Pace
from soak.payload import Receiving, WrongBytesError, content
from soak.plan import FAULTS, LISTENERS, STYLES, scenario
from soak.playing import Stage, sourceOf
from soak.running import COUNTED, GROWTH, Level, Result, Run, differences
from soak.servers import CLUSTER, WORKERS
from soak.visits import Registered
from tests.support.endtoend import MARK, UNMEASURED
from tests.support.packets import cut
from tests.support.wires import slip

CHECKOUT = Path(__file__).resolve().parents[2]
MANY = 2000
"""Scenarios of which each kind is one, by far."""
TUNNELS = 200
ENDLESS = 2_000
"""More than are played while a test waits; a tenth are warm-up."""
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
        self.assertEqual({side.transport for side in sides}, set(LISTENERS))
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

    def test_unix(self) -> None:
        """Which line is whose is not known, only that there is one of each kind."""
        self.lines[2]["received"] = self.sides[2]["received"] = 4
        self.metrics['received_bytes_total{transport="TCP"}'] = 14
        self.assertWrong("Unix sockets with {(5, 7): 1}")

    def test_unixOutcome(self) -> None:
        self.lines[2]["outcome"] = self.sides[2]["outcome"] = "lost"
        self.metrics = {**self.metrics, 'outcomes_total{outcome="left"}': 2}
        self.metrics['outcomes_total{outcome="lost"}'] = 1
        self.assertWrong("Unix sockets with {'left': 1}")

    def test_unixLost(self) -> None:
        self.lines[2]["outcome"] = self.sides[2]["outcome"] = LOST
        self.metrics = {**self.metrics, 'outcomes_total{outcome="left"}': 2}
        self.metrics[f'outcomes_total{{outcome="{LOST}"}}'] = 1
        self.assertEqual(self.problems(), [])

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


class DisturbancesTests(TestCase):
    """What does harm does it seldom, and how connections may end by it is said."""

    def test_outcomes(self) -> Any:
        disturbances = Disturbances(SimpleNamespace(name=CLUSTER), "1", 1.0)  # type: ignore[arg-type]
        disturbances._harms(5.0, BY_OUTAGE)
        now = time.monotonic()
        self.assertEqual(disturbances.outcomes(now - 9, now - 8), frozenset())
        self.assertEqual(disturbances.outcomes(now - 9, now + 1), BY_OUTAGE)
        self.assertEqual(disturbances.outcomes(now + 6, now + 7), frozenset())

    def test_apart(self) -> None:
        """Most of the time can be judged."""
        self.assertGreaterEqual(APART[CLUSTER], 2 * (OUTAGE + AFTER_OUTAGE))
        self.assertGreaterEqual(APART[WORKERS], 2 * AFTER_KILL)


class JudgementTests(TestCase):
    """Where something was killed meanwhile, what is certain is judged all the same."""

    def judged(self, harm: frozenset[str], **line: Any) -> list[str]:
        """Return what is wrong with the server's line of a connection that left as planned."""
        directory = Path(self.mktemp())
        directory.mkdir()
        node = SimpleNamespace(log=directory / "log", accounting=directory / "tunnels")
        setup = SimpleNamespace(name="one", nodes=[node])
        run = Run(setup, None, "1", print, None)  # type: ignore[arg-type]
        wire = SimpleNamespace(
            peer="x", name="tcp", sent=5, received=7, outcomes=frozenset(["left"]), isExact=True
        )
        run._write(Stage("1", scenario("1", 1), setup, [wire]), True, harm)  # type: ignore
        facts = {"event": "connection-ended", "peer": "x", "transport": "TCP", "tunneled": False}
        facts |= {"outcome": "left", "received": 5, "sent": 7, "text": ""}
        node.log.write_text(json.dumps(facts | line) + "\n")
        run._ledger.close()
        return run._ledger.problems

    def test_asPlanned(self) -> None:
        self.assertEqual(self.judged(BY_OUTAGE), [])

    def test_bytes(self) -> None:
        [problem] = self.judged(BY_OUTAGE, sent=6)
        self.assertIn("5 bytes in and 7 out, not 5 and 6", problem)

    def test_outcomes(self) -> None:
        self.assertEqual(self.judged(BY_OUTAGE, outcome="alone-timeout"), [])
        [problem] = self.judged(BY_OUTAGE, outcome="ping-timeout")
        self.assertIn("not ping-timeout", problem)
        [problem] = self.judged(frozenset(), outcome="alone-timeout")
        self.assertIn("not alone-timeout", problem)


class PacketTests(SynchronousTestCase):
    """What a registered server gets is from one of its clients."""

    def taken(self, packet: bytes) -> str:
        stage = Stage("1", scenario("1", 1), None)  # type: ignore[arg-type]
        wire = SimpleNamespace(touch=lambda: None, reset=lambda: None)
        Registered(stage, wire).take(packet)  # type: ignore[arg-type]
        return stage.problem

    def test_nobodys(self) -> None:
        self.assertIn("KeyError(7)", self.taken(slip(7, b"foreign")))

    def test_strangersUuid(self) -> None:
        told = {"notification": "TunnelProxy.ClientConnected"}
        told["params"] = {"clientUuid": "never", "socketAddress": 7}  # type: ignore[assignment]
        self.assertIn("never", self.taken(slip(0, json.dumps(told).encode() + b"\n")))


class ResultTests(SynchronousTestCase):
    """What a gate demands of a run."""

    def test_demand(self) -> None:
        result = Result("one", "1", Counter(a=9), disturbances=Counter(reload=1, certificate=0))
        result.demand(10)
        self.assertEqual(result.problems, ["certificate: never", "9 scenarios, not 10"])
        self.assertEqual(result.problemCount, 2)


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
            env={**os.environ, **UNMEASURED},
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

    def test_atLeast(self) -> Deferred[Any]:
        """It goes on until everything else has happened, however little time it is given."""
        output = Path(self.mktemp()).resolve()

        def judge(done: Any) -> None:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            [result] = json.loads((output / "soak.json").read_text())
            self.assertEqual(set(result["disturbances"]), {"reload", "certificate"})
            self.assertGreater(min(result["disturbances"].values()), 0)
            self.assertLess(sum(result["played"].values()), ENDLESS)

        options = ("--seconds", "0", "--interval", "0.5", "--at-least", "20")
        return self.run_("--tunnels", str(ENDLESS), *options, "--output", str(output)).addCallback(
            judge
        )

    def test_planted(self) -> Deferred[Any]:
        """What is wrong with the server is told, how to see it again, and where its log is."""
        output = Path(self.mktemp()).resolve()

        def judge(done: Any) -> None:
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertRegex(
                done.stdout, r"again: .* --only \d+\n  WrongBytesError: byte .* was sent"
            )
            self.assertIn(f"The logs of the servers are in {output / 'logs'}", done.stdout)
            self.assertIn("connection-ended", (output / "logs" / "one-0.log").read_text())

        options = ("--planted", "lost-byte", "--output", str(output))
        return self.run_("--tunnels", "100", *options).addCallback(judge)

    def test_death(self) -> Deferred[Any]:
        """A server that is gone ends its run at once, and what was found is told."""

        def judge(done: Any) -> None:
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("server 0 has ended with status -9", done.stdout)
            self.assertIn("scenarios per second", done.stdout)

        options = ("--planted", "death", "--output", str(Path(self.mktemp()).resolve()))
        return self.run_("--tunnels", "100", *options).addCallback(judge)
