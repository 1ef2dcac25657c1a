"""Owns the checks of the lifetime totals: what is kept, and what happens when that goes wrong."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting.lifetime import (
    INTERVAL,
    LAST_PAUSE,
    LAST_WORDS,
    MAX_COUNT,
    MAX_SIZE,
    NAMES,
    Lifetime,
)
from nymearemoteproxy.connections.records import Load, Totals

NONE = dict.fromkeys(NAMES, 0)


class FakeCounters:
    """Counts as a test says.

    :ivar totals: what is to be counted.
    :ivar carried: bytes that open connections have carried.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self.carried = 0
        self.loads = 0

    def load(self) -> Load:
        self.loads += 1
        counted = Totals(**vars(self.totals))
        counted.traffic += self.carried
        return Load(counted)

    def countTotals(self) -> Deferred[Totals]:
        return succeed(self.load().totals)


class Case(SynchronousTestCase):
    """Servers that share one file."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = Path(self.mktemp()).absolute()
        self.path = self.directory / "state" / "totals.json"
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def start(self) -> tuple[Any, Lifetime]:
        """Start a server."""
        counters: Any = FakeCounters()
        lifetime = Lifetime(self.clock, counters, str(self.path))
        lifetime.start()
        return counters, lifetime

    def put(self, content: str) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(content)

    def kept(self) -> dict[str, Any]:
        """Return what is in the file."""
        content: dict[str, Any] = json.loads(self.path.read_text())
        return content

    def names(self) -> set[str]:
        """Return the files in the directory, without the lock."""
        return {path.name for path in self.path.parent.iterdir()} - {"totals.json.lock"}

    def texts(self) -> list[str]:
        """Return what was logged."""
        return [event["log_format"].format(**event) for event in self.events]

    def lock(self) -> int:
        """Do what another server does for a moment; it ends with closing what is returned."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        return file


class KeepTests(Case):
    """What is counted survives."""

    def test_firstStart(self) -> None:
        """Nothing is written before there is something to keep."""
        counters, _ = self.start()
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(counters.totals, Totals())
        self.assertFalse(self.directory.exists())
        self.assertEqual(self.events, [])

    def test_restart(self) -> None:
        counters, lifetime = self.start()
        counters.totals.connections = 7
        counters.totals.tunnelProxyTraffic = 1 << 40
        self.successResultOf(lifetime.stop())
        self.assertEqual(self.start()[0].totals, counters.totals)
        self.assertEqual(self.kept(), {**NONE, "connections": 7, "tunnelProxyTraffic": 1 << 40})
        self.assertEqual(self.names(), {"totals.json"})
        self.assertEqual(self.events, [])

    def test_killed(self) -> None:
        """Not more than one interval is lost."""
        counters, _ = self.start()
        self.clock.advance(INTERVAL - 1)
        counters.totals.tunnels = 1
        self.clock.advance(1)
        counters.totals.tunnels = 2
        self.assertEqual(self.start()[0].totals.tunnels, 1)

    def test_openConnections(self) -> None:
        """What they have carried counts, and once only."""
        counters, lifetime = self.start()
        counters.carried = 100
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept()["traffic"], 100)
        counters.carried, counters.totals.traffic = 0, 150
        self.successResultOf(lifetime.stop())
        self.assertEqual(self.kept()["traffic"], 150)
        self.assertEqual(self.start()[0].totals.traffic, 150)

    def test_countedElsewhere(self) -> None:
        """A connection that registers takes what it has sent so far to the other count."""
        counters, lifetime = self.start()
        counters.totals.traffic = 100
        self.clock.advance(INTERVAL)
        counters.totals.traffic, counters.totals.tunnelProxyTraffic = (
            0,
            100,
        )
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept(), {**NONE, "tunnelProxyTraffic": 100})
        self.successResultOf(lifetime.stop())

    def test_onlyChanges(self) -> None:
        """The disk sleeps when nothing happens."""
        counters, _ = self.start()
        counters.totals.tunnels = 1
        self.clock.advance(INTERVAL)
        before = self.path.stat().st_ino, self.path.stat().st_mtime_ns
        self.clock.pump([INTERVAL] * 5)
        self.assertEqual((self.path.stat().st_ino, self.path.stat().st_mtime_ns), before)

    def test_seldom(self) -> None:
        """However much is counted."""
        counters, _ = self.start()
        counters.loads = 0
        for _ in range(100):
            counters.totals.tunnels += 1
            self.clock.advance(INTERVAL / 50)
        self.assertLessEqual(counters.loads, 2)

    def test_stop(self) -> None:
        """Nothing goes on after it; also when it was never started."""
        _, lifetime = self.start()
        self.successResultOf(lifetime.stop())
        self.successResultOf(lifetime.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWhileCounting(self) -> None:
        """What is counted then may be less than what has been saved."""
        counters, lifetime = self.start()
        counting: Deferred[Totals] = Deferred()
        counters.countTotals = lambda: counting
        self.clock.advance(INTERVAL)
        counters.totals.tunnels = 5
        self.successResultOf(lifetime.stop())
        counting.callback(Totals(tunnels=4))
        self.assertEqual(self.kept()["tunnels"], 5)

    def test_failureIsNotTheLast(self) -> None:
        """Whatever it is."""
        counters, _ = self.start()
        counters.totals.tunnels = 1
        broken = self.patch(os, "makedirs", lambda *_details, **_more: 1 // 0)
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        broken.restore()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept()["tunnels"], 1)

    def test_atTheEndTheDiskHasIt(self) -> None:
        """And only then is it waited for."""
        synced: list[int] = []
        self.patch(os, "fsync", synced.append)
        counters, lifetime = self.start()
        counters.totals.tunnels = 1
        self.clock.advance(INTERVAL)
        self.assertEqual(len(synced), 0)
        counters.totals.tunnels = 2
        self.successResultOf(lifetime.stop())
        self.assertEqual(len(synced), 1)

    def test_modes(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        counters, _ = self.start()
        counters.totals.tunnels = 1
        self.clock.advance(INTERVAL)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)

    def test_atomically(self) -> None:
        """Whoever is killed while writing leaves the old file as it was."""
        self.put(json.dumps({"tunnels": 5}))
        counters, _ = self.start()
        counters.totals.tunnels = 6

        def killed(*_details: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "replace", killed)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept(), {"tunnels": 5})

    def test_link(self) -> None:
        """Of a link, what it leads to is replaced."""
        self.put("{}")
        target = self.directory / "elsewhere.json"
        self.path.rename(target)
        self.path.symlink_to(target)
        counters, lifetime = self.start()
        counters.totals.tunnels = 1
        self.successResultOf(lifetime.stop())
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(json.loads(target.read_text())["tunnels"], 1)

    def test_otherVersions(self) -> None:
        """Counts that an older version did not have begin at 0, a newer one's stay."""
        self.put('{"tunnels": 5, "rockets": {"launched": 1}}')
        counters, lifetime = self.start()
        self.assertEqual(counters.totals, Totals(tunnels=5))
        counters.totals.tunnels += 1
        self.successResultOf(lifetime.stop())
        self.assertEqual(self.kept(), {**NONE, "tunnels": 6, "rockets": {"launched": 1}})


class SharedTests(Case):
    """Two servers with one file: the old one drains while the new one serves."""

    def test_bothCount(self) -> None:
        self.put(json.dumps({**NONE, "tunnels": 100}))
        old, oldLifetime = self.start()
        old.totals.tunnels += 1
        new, newLifetime = self.start()
        new.totals.tunnels += 10
        self.clock.advance(INTERVAL)
        old.totals.tunnels += 1
        self.successResultOf(oldLifetime.stop())
        new.totals.tunnels += 10
        self.successResultOf(newLifetime.stop())
        self.assertEqual(self.kept()["tunnels"], 122)

    def test_busy(self) -> None:
        """Nobody waits for the other; the next time will do."""
        counters, _ = self.start()
        counters.totals.tunnels = 1
        other = self.lock()
        self.clock.advance(INTERVAL)
        self.assertFalse(self.path.exists())
        os.close(other)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept()["tunnels"], 1)
        self.assertEqual(self.events, [])

    def test_alone(self) -> None:
        """While one is at the file, no other can be."""
        counters, lifetime = self.start()
        counters.totals.tunnels = 1
        free: list[bool] = []
        replace = os.replace

        def look(*names: str) -> None:
            with open(f"{self.path}.lock") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    free.append(False)
                else:
                    free.append(True)
            replace(*names)

        self.patch(os, "replace", look)
        lifetime.save()
        self.assertEqual(free, [False])

    def test_busyAtTheEnd(self) -> None:
        """Then it is tried again soon."""
        counters, lifetime = self.start()
        counters.totals.tunnels = 1
        other = self.lock()
        stopped: Deferred[None] = lifetime.stop()
        self.clock.advance(LAST_PAUSE)
        self.assertNoResult(stopped)
        os.close(other)
        self.clock.advance(LAST_PAUSE)
        self.successResultOf(stopped)
        self.assertEqual(self.kept()["tunnels"], 1)

    def test_stuck(self) -> None:
        """A server that was stopped at the wrong moment does not keep others from ending."""
        counters, lifetime = self.start()
        counters.totals.tunnels = 1
        other = self.lock()
        self.addCleanup(os.close, other)
        stopped: Deferred[None] = lifetime.stop()
        self.clock.advance(LAST_WORDS)
        self.successResultOf(stopped)
        (text,) = self.texts()
        self.assertIn(f"the lifetime totals in {self.path} could not be written in time", text)

    @given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["count", "save", "restart"]))))
    def test_nothingIsCountedTwice(self, steps: list[tuple[int, str]]) -> None:
        """Three servers that come and go; what they have counted is in the file in the end."""
        for path in (self.path, Path(f"{self.path}.lock")):
            path.unlink(missing_ok=True)
        servers = [self.start() for _ in range(3)]
        counted = 0
        for which, step in steps:
            counters, lifetime = servers[which]
            if step == "count":
                counters.totals.tunnels += 1
                counted += 1
            elif step == "save":
                lifetime.save()
            else:
                self.successResultOf(lifetime.stop())
                servers[which] = self.start()
        for _, lifetime in servers:
            self.successResultOf(lifetime.stop())
        kept = self.kept()["tunnels"] if counted else 0
        self.assertEqual(kept, counted)


class SlowDiskTests(Case):
    """The disk takes its time, or does not answer."""

    def setUp(self) -> None:
        super().setUp()
        self.jobs: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.put('{"tunnels": 5}')
        self.counters: Any = FakeCounters()
        self.lifetime = Lifetime(self.clock, self.counters, str(self.path), self.run_)
        self.lifetime.start()

    def run_(self, job: Callable[[], object], done: Callable[[], object]) -> None:
        """Do it later."""
        self.jobs.append((job, done))

    def answer(self) -> None:
        """The disk has done the first of what it was told."""
        job, done = self.jobs.pop(0)
        job()
        done()

    def test_meanwhile(self) -> None:
        """Nobody waits, and nothing piles up; what was counted is written when it can be."""
        for _ in range(5):
            self.counters.totals.tunnels += 1
            self.clock.advance(INTERVAL)
        self.assertEqual(len(self.jobs), 1)
        self.answer()
        self.assertEqual(self.kept()["tunnels"], 6)
        self.clock.advance(INTERVAL)
        self.answer()
        self.assertEqual(self.kept()["tunnels"], 10)
        self.assertEqual(self.events, [])

    def test_damaged(self) -> None:
        """Nothing is done to the disk but in the job."""
        self.path.write_text("damaged")
        self.counters.totals.tunnels += 1
        self.clock.advance(INTERVAL)
        self.assertEqual(self.names(), {"totals.json"})
        self.answer()
        self.assertEqual(self.names(), {"totals.json", "totals.json.damaged"})
        self.assertEqual(self.kept()["tunnels"], 6)

    def test_stop(self) -> None:
        """What is being written comes first, and nothing is counted twice."""
        self.counters.totals.tunnels += 1
        self.clock.advance(INTERVAL)
        self.counters.totals.tunnels += 1
        stopped: Deferred[None] = self.lifetime.stop()
        self.answer()
        self.assertNoResult(stopped)
        self.answer()
        self.successResultOf(stopped)
        self.assertEqual(self.kept()["tunnels"], 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.events, [])

    def test_neverAnswers(self) -> None:
        """The end does not wait for ever, and the log says so; an answer after it does no harm."""
        self.counters.totals.tunnels += 1
        self.clock.advance(INTERVAL)
        stopped: Deferred[None] = self.lifetime.stop()
        self.clock.advance(LAST_WORDS - 0.1)
        self.assertNoResult(stopped)
        self.clock.advance(0.1)
        self.successResultOf(stopped)
        (text,) = self.texts()
        self.assertIn(f"the lifetime totals in {self.path} could not be written in time", text)
        self.answer()
        self.answer()
        self.assertEqual(self.kept()["tunnels"], 6)
        self.assertEqual(self.jobs, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.events), 1)


class DamageTests(Case):
    """The file is not what it should be."""

    def test_movedAside(self) -> None:
        for content, reason in (
            ("", "no JSON"),
            ("{", "no JSON"),
            ("\xff", "no JSON"),
            ("[" * 60000, "no JSON"),
            ('{"tunnels": 1' + "0" * 5000 + "}", "no JSON"),
            ("[]", "no JSON object"),
            ('{"tunnels": -1}', "tunnels is no count"),
            ('{"tunnels": 1.0}', "tunnels is no count"),
            ('{"traffic": true}', "traffic is no count"),
            ('{"traffic": null}', "traffic is no count"),
            (json.dumps({"traffic": MAX_COUNT}), "traffic is no count"),
            ("{}" + " " * MAX_SIZE, "too large"),
        ):
            self.put(content)
            counters, lifetime = self.start()
            self.assertEqual(counters.totals, Totals())
            self.assertEqual(self.names(), {"totals.json.damaged"})
            aside = Path(f"{self.path}.damaged")
            self.assertEqual(aside.read_text(), content)
            (text,) = self.texts()
            self.assertIn(f"{self.path} are damaged ({reason})", text)
            self.assertIn(str(aside), text)
            self.assertEqual(self.events[0]["log_level"].name, "warn")
            self.events.clear()
            counters.totals.tunnels = 1
            self.successResultOf(lifetime.stop())
            self.assertEqual(self.kept(), {**NONE, "tunnels": 1})

    def test_whileRunning(self) -> None:
        """All that this server knows is written."""
        self.put('{"tunnels": 5}')
        counters, _ = self.start()
        for spoil in (self.path.unlink, lambda: self.path.write_text("damaged")):
            spoil()
            counters.totals.tunnels += 1
            self.clock.advance(INTERVAL)
            self.assertEqual(self.kept(), {**NONE, "tunnels": counters.totals.tunnels})
        self.assertEqual(counters.totals.tunnels, 7)

    def test_putBack(self) -> None:
        """A file from a backup is counted on from; no count gets negative."""
        self.put('{"tunnels": 5, "traffic": 100}')
        counters, _ = self.start()
        self.put('{"tunnels": 2, "traffic": 10}')
        counters.totals.tunnels += 1
        counters.totals.traffic -= 50
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept(), {**NONE, "tunnels": 3})


class PipeTests(Case):
    """Pipes in place of the files: nobody waits for what will not come."""

    timeout = 10

    def pipe(self, suffix: str) -> None:
        """Make one in place of a file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(f"{self.path}{suffix}")

    def test_totals(self) -> None:
        """It is told once, and left as it is."""
        self.pipe("")
        counters, _ = self.start()
        counters.totals.connections = 1
        self.clock.pump([INTERVAL] * 3)
        self.assertTrue(stat.S_ISFIFO(self.path.stat().st_mode))
        (text,) = self.texts()
        self.assertIn(f"cannot read the lifetime totals in {self.path}: it is no regular", text)

    def test_others(self) -> None:
        """The lock and the file that takes the other's place."""
        for suffix in ".lock", ".new":
            self.pipe(suffix)
            counters, _ = self.start()
            counters.totals.connections = 1
            self.clock.pump([INTERVAL] * 3)
            self.assertIn(f"cannot write the lifetime totals in {self.path}", self.texts()[-1])
            os.unlink(f"{self.path}{suffix}")


class TroubleTests(Case):
    """The file cannot be read or written."""

    def test_cannotBeWritten(self) -> None:
        """One warning, no more; when it can be written again, nothing is missing."""
        self.directory.mkdir()
        blocker = self.path.parent
        blocker.write_text("a file where the directory should be")
        counters: Any = FakeCounters()
        lifetime = Lifetime(self.clock, counters, str(self.path))
        lifetime.start()
        for _ in range(3):
            counters.totals.tunnels += 1
            self.clock.advance(INTERVAL)
        (text,) = self.texts()
        self.assertIn(f"the lifetime totals in {self.path}: ", text)
        self.assertEqual(self.events[0]["log_level"].name, "warn")
        blocker.unlink()
        self.successResultOf(lifetime.stop())
        self.assertEqual(self.kept()["tunnels"], 3)

    def test_fullDisk(self) -> None:
        self.put('{"tunnels": 5}')
        Path(f"{self.path}.new").symlink_to("/dev/full")
        counters, lifetime = self.start()
        counters.totals.tunnels = 6
        self.clock.advance(INTERVAL)
        self.assertEqual(self.kept(), {"tunnels": 5})
        self.successResultOf(lifetime.stop())
        (text,) = self.texts()
        self.assertEqual(
            text,
            f"cannot write the lifetime totals in {self.path}: No space left on device",
        )

    def test_cannotBeRead(self) -> None:
        """Then it is not overwritten either."""
        self.path.mkdir(parents=True)
        counters, lifetime = self.start()
        self.assertEqual(counters.totals, Totals())
        counters.totals.tunnels = 1
        self.successResultOf(lifetime.stop())
        self.assertTrue(self.path.is_dir())
        self.assertEqual(
            self.texts(), [f"cannot read the lifetime totals in {self.path}: Is a directory"]
        )

    def test_fault(self) -> None:
        """A fault of ours ends this, and nothing else."""
        counters, _ = self.start()
        counters.load = None
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
