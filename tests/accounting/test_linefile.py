"""Owns the checks of a file that lines are appended to."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting import linefile
from nymearemoteproxy.accounting.linefile import LAST_WORDS, RETRY, LineFile, RunInThread


class Case(SynchronousTestCase):
    """A file in a directory of its own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "lines"
        self.file = LineFile(self.clock, str(self.path))
        self.addCleanup(self.file.close)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def write(self, *lines: str) -> None:
        """Write lines in one turn of the reactor."""
        for line in lines:
            self.file.write(line)
        self.clock.advance(0)

    def levels(self) -> list[str]:
        """Return the levels of what was logged."""
        return [event["log_level"].name for event in self.events]

    def breakDisk(self) -> None:
        """From now on the disk is full."""
        if self.path.exists():
            self.path.rename(self.directory / "before")
        self.path.symlink_to("/dev/full")
        self.file.reopen()

    def repairDisk(self) -> None:
        """There is room again, in a new file."""
        self.path.unlink()


class WriteTests(Case):
    """While all is well."""

    def test_appends(self) -> None:
        self.path.write_text("old\n")
        self.file.open()
        self.write("new", "newer")
        self.write("newest")
        self.assertEqual(self.path.read_text(), "old\nnew\nnewer\nnewest\n")

    def test_oneTurnIsOneWrite(self) -> None:
        written: list[bytes] = []
        real = os.write
        self.patch(os, "write", lambda file, data: (written.append(data), real(file, data))[1])
        self.file.open()
        self.write("one", "two")
        self.write("three")
        self.assertEqual(written, [b"one\ntwo\n", b"three\n"])

    def test_muchInOneTurn(self) -> None:
        """It does not wait for the turn to end, and nothing is lost."""
        self.patch(linefile, "MAX_HELD", 20)
        lines = [f"line {number}" for number in range(100)]
        for line in lines:
            self.file.write(line)
        self.assertLess(len(lines) - 4, len(self.path.read_text().splitlines()))
        self.clock.advance(0)
        self.assertEqual(self.path.read_text().splitlines(), lines)
        self.assertEqual(self.file.lost, 0)

    def test_mode(self) -> None:
        """Not for everybody; a stricter umask counts."""
        for umask, mode in ((0o022, 0o640), (0o077, 0o600)):
            before = os.umask(umask)
            self.addCleanup(os.umask, before)
            self.file.open()
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), mode)
            self.file.close()
            self.path.unlink()

    def test_beginsALine(self) -> None:
        """What another process left half is ended first."""
        for before, after in (
            ("half", "half\nnew\n"),
            ("whole\n", "whole\nnew\n"),
            ("", "new\n"),
        ):
            self.path.write_text(before)
            self.write("new")
            self.assertEqual(self.path.read_text(), after)
            self.file.close()

    def test_mayOnlyBeWritten(self) -> None:
        """Who cannot look how the file ends appends all the same."""

        def refuse(*_details: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.path.write_text("half")
        linefile.open = refuse  # type: ignore[attr-defined]
        self.addCleanup(delattr, linefile, "open")
        self.write("new")
        self.assertEqual(self.path.read_text(), "halfnew\n")

    def test_directoryChanges(self) -> None:
        """The path is meant as it was at the start, as under twistd."""
        relative = LineFile(self.clock, os.path.relpath(self.path))
        self.addCleanup(os.chdir, os.getcwd())
        path = self.path.absolute()
        os.chdir("/")
        relative.write("line")
        relative.close()
        self.assertEqual(path.read_text(), "line\n")

    def test_close(self) -> None:
        """What waits is written, and no timer is left."""
        self.file.write("line")
        self.file.close()
        self.assertEqual(self.path.read_text(), "line\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.events, [])

    def test_closeFails(self) -> None:
        """Nobody is told of what only the end of the file shows, as there is nothing to do."""
        real = os.close

        def close(file: int) -> None:
            real(file)
            raise OSError(errno.ENOSPC, "No space left on device")

        self.write("line")
        self.patch(os, "close", close)
        self.file.close()
        self.assertEqual(self.path.read_text(), "line\n")


class RotationTests(Case):
    """The file is renamed, then the server is told."""

    def test_reopen(self) -> None:
        self.write("one")
        self.file.write("two")
        old = self.path.rename(self.directory / "old")
        self.file.write("three")
        self.file.reopen()
        self.assertTrue(self.path.exists())
        self.write("four")
        self.assertEqual(old.read_text(), "one\ntwo\nthree\n")
        self.assertEqual(self.path.read_text(), "four\n")

    def test_reopenFails(self) -> None:
        """What cannot be written now waits."""
        self.write("one")
        self.directory.rename(f"{self.directory}.old")
        self.file.reopen()
        self.write("two")
        self.directory.mkdir()
        self.clock.advance(RETRY)
        self.assertEqual(self.path.read_text(), "two\n")
        self.assertEqual(self.levels(), ["error", "warn"])


class FullDiskTests(Case):
    """The file cannot be written."""

    def test_cannotBeOpened(self) -> None:
        """Whoever opens it is told."""
        self.directory.rmdir()
        self.assertRaises(FileNotFoundError, self.file.open)
        self.assertEqual(self.events, [])
        self.file.close()
        self.assertEqual(self.events, [])

    def test_pipe(self) -> None:
        """A pipe that nobody reads does not hold up the server."""
        os.mkfifo(self.path)
        self.assertRaises(OSError, self.file.open)

    def test_saysSoOnce(self) -> None:
        self.breakDisk()
        for _ in range(5):
            self.write("line")
            self.clock.advance(RETRY)
        self.assertEqual(self.levels(), ["error"])
        self.assertIn("No space left", self.events[0]["reason"])
        self.assertEqual(self.events[0]["path"], str(self.path.absolute()))

    def test_recovers(self) -> None:
        """All that waited is written, and the log says that it works again."""
        self.breakDisk()
        self.write("one")
        self.write("two")
        self.repairDisk()
        self.clock.advance(RETRY - 0.1)
        self.assertFalse(self.path.exists())
        self.clock.advance(0.1)
        self.assertEqual(self.path.read_text(), "one\ntwo\n")
        self.assertEqual(self.levels(), ["error", "warn"])
        self.assertEqual(self.events[1]["count"], 0)
        self.write("three")
        self.assertEqual(self.path.read_text(), "one\ntwo\nthree\n")
        self.breakDisk()
        self.write("four")
        self.assertEqual(self.levels(), ["error", "warn", "error"])

    def test_reopenRecovers(self) -> None:
        """SIGHUP tries at once."""
        self.breakDisk()
        self.write("one")
        self.repairDisk()
        self.file.reopen()
        self.assertEqual(self.path.read_text(), "one\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bound(self) -> None:
        """What waits is bounded; the rest is counted."""
        self.patch(linefile, "MAX_HELD", 100)
        self.breakDisk()
        self.write(*(f"line {number:04}" for number in range(50)))
        self.assertEqual(self.file.lost, 40)
        self.repairDisk()
        self.clock.advance(RETRY)
        self.assertEqual(len(self.path.read_text().splitlines()), 10)
        self.assertEqual(self.events[-1]["count"], 40)
        self.assertEqual(self.file.lost, 0)

    def test_cutLine(self) -> None:
        """A line that is cut by a full disk is written again, and the half one stays alone."""
        real = os.write
        room = [14]

        def write(file: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = real(file, data[: room[0]])
            room[0] -= written
            return written

        self.patch(os, "write", write)
        self.write("line 1", "line 2", "line 3")
        self.assertEqual(self.path.read_text(), "line 1\nline 2\n")
        room[0] = 5
        self.clock.advance(RETRY)
        self.assertEqual(self.path.read_text(), "line 1\nline 2\nline ")
        self.clock.advance(RETRY)
        room[0] = 1000
        self.clock.advance(RETRY)
        self.assertEqual(self.path.read_text(), "line 1\nline 2\nline \nline 3\n")

    def test_shortWrite(self) -> None:
        """A write that takes only a part goes on where it stopped."""
        real = os.write
        self.patch(os, "write", lambda file, data: real(file, data[:3]))
        self.write("line 1", "line 2")
        self.assertEqual(self.path.read_text(), "line 1\nline 2\n")

    def test_stopWhileFull(self) -> None:
        """The log says how many lines are lost, and no timer is left."""
        self.breakDisk()
        self.write("one", "two")
        self.file.close()
        self.assertEqual(self.events[-1]["count"], 2)
        self.assertEqual(self.file.lost, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.sampled_from(["write", "turn", "rotate", "break", "repair"]), max_size=30))
    def test_nothingIsLost(self, steps: list[str]) -> None:
        """Whatever the order of events, each line is in one file, in order."""
        for path in self.directory.iterdir():
            path.unlink()
        file = LineFile(self.clock, str(self.path))
        count, rotations, broken = 0, 0, False
        for step in [*steps, "repair", "write"]:
            if step == "write":
                file.write(f"{count}")
                count += 1
            elif step == "turn":
                self.clock.advance(RETRY / 3)
            elif step == "rotate" and not broken:
                if self.path.exists():
                    self.path.rename(self.directory / f"{rotations:04}")
                    rotations += 1
                file.reopen()
            elif step == "break" and not broken:
                broken = True
                if self.path.exists():
                    self.path.rename(self.directory / f"{rotations:04}")
                    rotations += 1
                self.path.symlink_to("/dev/full")
                file.reopen()
            elif step == "repair" and broken:
                broken = False
                self.path.unlink()
        self.clock.advance(0)
        self.clock.advance(RETRY)
        file.close()
        found = "".join(path.read_text() for path in sorted(self.directory.iterdir()))
        self.assertEqual(found.split(), [str(number) for number in range(count)])


class SlowDiskTests(Case):
    """The disk takes its time, or does not answer."""

    def setUp(self) -> None:
        super().setUp()
        self.jobs: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.file = LineFile(self.clock, str(self.path), self.run_)

    def run_(self, job: Callable[[], object], done: Callable[[], object]) -> None:
        """Do it later."""
        self.jobs.append((job, done))

    def answer(self) -> None:
        """The disk has done what it was told; there was one thing only."""
        ((job, done),) = self.jobs
        self.jobs.clear()
        job()
        done()

    def test_meanwhile(self) -> None:
        """What comes while something is written is written next, and nobody waits."""
        self.write("one")
        self.write("two")
        self.write("three")
        self.answer()
        self.assertEqual(self.path.read_text(), "one\n")
        self.answer()
        self.assertEqual(self.path.read_text(), "one\ntwo\nthree\n")
        self.assertEqual(self.jobs, [])
        self.assertEqual(self.events, [])

    def test_reopenMeanwhile(self) -> None:
        """The file is opened anew when it can be."""
        self.write("one")
        self.answer()
        self.write("two")
        old = self.path.rename(self.directory / "old")
        self.file.write("three")
        self.file.reopen()
        self.answer()
        self.answer()
        self.write("four")
        self.answer()
        self.assertEqual(old.read_text(), "one\ntwo\nthree\n")
        self.assertEqual(self.path.read_text(), "four\n")

    def test_bound(self) -> None:
        """What is being written counts, and what is lost is told, though nothing failed."""
        self.patch(linefile, "MAX_HELD", 8)
        self.write("one", "two", "three")
        self.answer()
        self.assertEqual(self.file.lost, 0)
        self.assertEqual([event["count"] for event in self.events], [1])
        self.assertEqual(self.path.read_text(), "one\ntwo\n")

    def test_failsMeanwhile(self) -> None:
        """The order stays."""
        self.path.symlink_to("/dev/full")
        self.write("one")
        self.write("two")
        self.answer()
        self.repairDisk()
        self.answer()
        self.assertEqual(self.path.read_text(), "one\ntwo\n")
        self.assertEqual(self.levels(), ["error", "warn"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """It waits for what is being written, and has the rest written."""
        self.write("one")
        self.file.write("two")
        closed = self.file.close()
        self.answer()
        self.assertNoResult(closed)
        self.answer()
        self.successResultOf(closed)
        self.assertEqual(self.path.read_text(), "one\ntwo\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_neverAnswers(self) -> None:
        """The end does not wait for ever, and the log says what is lost."""
        self.write("one")
        self.write("two")
        closed = self.file.close()
        self.clock.advance(LAST_WORDS - 0.1)
        self.assertNoResult(closed)
        self.clock.advance(0.1)
        self.successResultOf(closed)
        self.assertEqual(self.events[-1]["count"], 2)
        self.path.symlink_to("/dev/full")
        self.answer()
        self.assertEqual(len(self.events), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fault(self) -> None:
        """The thread goes on, and it is tried again."""
        broken = self.patch(os, "write", Mock(side_effect=ValueError("odd")))
        self.write("one")
        self.answer()
        self.assertEqual([event["reason"] for event in self.events], ["ValueError('odd')"])
        self.file.reopen()
        self.answer()
        broken.restore()
        self.clock.advance(RETRY)
        self.answer()
        self.assertEqual(self.path.read_text(), "one\n")

    def test_neverAnswersTheRest(self) -> None:
        """The same if what was being written at the end is written in time, but not the rest."""
        self.write("one")
        self.file.write("two")
        closed = self.file.close()
        self.answer()
        self.clock.advance(LAST_WORDS)
        self.successResultOf(closed)
        self.assertEqual(self.events[-1]["count"], 1)
        self.answer()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ThreadTests(SynchronousTestCase):
    """Where jobs are done."""

    def test_inOrder(self) -> None:
        """In one thread; that they are done is told where it is wanted."""
        calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        run = RunInThread(SimpleNamespace(callFromThread=calls.put))
        seen: list[tuple[str, int]] = []
        for name in "abc":
            run(
                lambda name=name: seen.append((name, threading.get_ident())),
                lambda name=name: seen.append((f"{name} done", threading.get_ident())),
            )
        for _ in range(3):
            calls.get(timeout=30)()
        jobs = [each for each in seen if "done" not in each[0]]
        self.assertEqual([name for name, _ in jobs], ["a", "b", "c"])
        self.assertEqual(len({thread for _, thread in jobs}), 1)
        told = [each for each in seen if "done" in each[0]]
        self.assertEqual(told, [(f"{name} done", threading.get_ident()) for name in "abc"])
        self.assertNotIn(threading.get_ident(), [thread for _, thread in jobs])
