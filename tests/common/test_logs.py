"""Owns the checks of how the log is written."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogPublisher,
    eventAsText,
    formatEvent,
    formatTime,
    globalLogPublisher,
    jsonFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import logs, spool
from nymearemoteproxy.common.logs import (
    FORMATS,
    Aside,
    LogFile,
    LogStream,
    ProxyLogger,
    asJson,
    asPlainText,
    asText,
    forJournal,
    isNoise,
    keepAside,
    setVerbose,
)
from nymearemoteproxy.common.spool import Spool

NAMESPACE = "nymearemoteproxy.test"

PATIENCE = 30.0
"""Seconds for a thread to do what it does at once."""


def event(**values: Any) -> dict[str, Any]:
    """Return a log event as Twisted makes it."""
    return {
        "log_time": 1_700_000_000.5,
        "log_level": LogLevel.warn,
        "log_namespace": NAMESPACE,
        "log_format": "{what} happened {count} times",
        "what": "rain",
        "count": 3,
        **values,
    }


def failure() -> Failure:
    """Return a failure with a traceback."""
    try:
        raise RuntimeError("a fault")
    except RuntimeError:
        return Failure()


class TextTests(SynchronousTestCase):
    """Lines for people."""

    def test_line(self) -> None:
        """Time, level, text."""
        line = asText(event())
        assert line is not None
        self.assertRegex(
            line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} warn     rain happened 3 "
        )
        self.assertTrue(line.endswith(" times\n"))
        self.assertEqual(line.count("\n"), 1)

    def test_noLevel(self) -> None:
        """Events of the old log system have none."""
        old = event()
        del old["log_level"]
        self.assertIn(" info     rain", asText(old) or "")

    def test_failure(self) -> None:
        """The traceback follows."""
        text = asText(event(log_failure=failure()))
        assert text is not None
        self.assertIn("rain happened 3 times\n", text)
        self.assertIn("RuntimeError: a fault", text)

    def test_empty(self) -> None:
        """Events without text leave no line."""
        self.assertIsNone(asText(event(log_format="")))
        self.assertIsNone(asText(event(log_format=None)))


class Odd:
    """What is only called, or cannot be formatted."""

    attribute = {"key": 7}

    def __call__(self) -> str:
        return "called"

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class SameTextTests(SynchronousTestCase):
    """Texts are those that Twisted makes, which takes its time."""

    FORMATS = (
        "plain",
        "{{braces}} {what}",
        "{what!r:>10} {count:05d} {count:.1f}",
        "{odd()} {what}",
        "{odd.attribute[key]}",
        "{odd}",
        "{missing}",
        "{}",
        "{0}",
        "{what",
        "{count:nonsense}",
        "",
        b"bytes of {what}",
        b"\xff",
        None,
        7,
    )

    def test_text(self) -> None:
        """Whatever the format is, be there a failure or not."""
        for format in self.FORMATS:
            for more in ({}, {"log_failure": failure()}):
                made = event(log_format=format, odd=Odd(), **more)
                expected = eventAsText(made, includeTimestamp=False, includeSystem=False)
                text = asPlainText(made)
                if "MESSAGE LOST" in expected or "Unable" in expected:  # with a traceback of it
                    assert text is not None
                    expected, text = (each.partition("\n")[0] for each in (expected, text))
                    self.assertEqual(text, expected)
                else:
                    self.assertEqual(text, f"{expected}\n" if expected else None)

    def test_flattened(self) -> None:
        """What it was is told, not what that has become."""
        changing = [1]
        made = event(log_format="{changing}", changing=changing)
        jsonFileLogObserver(io.StringIO())(made)
        changing.append(2)
        self.assertEqual(asPlainText(made), "[1]\n")

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(st.floats(1e9, 3e9), min_size=1, max_size=4))
    @example([1_700_000_000.0, 1_700_000_000.999, 1_700_000_001.0, 1_700_000_000.5])
    def test_time(self, moments: list[float]) -> None:
        """It is that of this event, to the second, whatever was before."""
        for moment in moments:
            second = int(moment)  # as `datetime` would round what is close to the next one up
            self.assertEqual(
                (asText(event(log_time=moment)) or "").partition(" ")[0], formatTime(second)
            )


class JsonTests(SynchronousTestCase):
    """Lines for programs."""

    def read(self, **values: Any) -> dict[str, Any]:
        """Return what a line says, which must be one line."""
        line = asJson(event(**values))
        assert line is not None
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.endswith("\n"))
        read: dict[str, Any] = json.loads(line)
        return read

    def test_line(self) -> None:
        """Time, level, text, and the values; none of the log system's own."""
        read = self.read(real=0.5, flag=True, none=None, thing=object(), multi="a\nb")
        self.assertRegex(read.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}$")
        self.assertEqual(
            read,
            {
                "level": "warn",
                "text": "rain happened 3 times",
                "what": "rain",
                "count": 3,
                "real": 0.5,
                "flag": True,
                "multi": "a\nb",
            },
        )

    def test_failure(self) -> None:
        """The traceback is a value."""
        self.assertIn("RuntimeError: a fault", self.read(log_failure=failure())["traceback"])

    def test_otherPrograms(self) -> None:
        """The values of Twisted's own events are not ours to publish."""
        for namespace in ("twisted.internet.protocol", "", None):
            read = self.read(log_namespace=namespace)
            self.assertEqual(set(read), {"time", "level", "text"})

    def test_noLevel(self) -> None:
        """Events of the old log system have none."""
        old = event()
        del old["log_level"]
        line = asJson(old)
        assert line is not None
        self.assertEqual(json.loads(line)["level"], "info")

    def test_empty(self) -> None:
        """Events without text leave no line."""
        self.assertIsNone(asJson(event(log_format="")))

    def test_oursCannotBeOverwritten(self) -> None:
        """A value that is called like one of the line's own does not take its place."""
        read = self.read(text="x", level="y", time="z")
        self.assertEqual(read["text"], "rain happened 3 times")
        self.assertEqual(read["level"], "warn")
        self.assertNotEqual(read["time"], "z")


class JournalTests(SynchronousTestCase):
    """Lines for systemd's journal."""

    def test_text(self) -> None:
        """The journal knows the time, and wants the level in its own way."""
        write = forJournal("text")
        self.assertEqual(write(event()), "<4>rain happened 3 times\n")
        self.assertEqual(write(event(log_level=LogLevel.error)), "<3>rain happened 3 times\n")

    def test_failure(self) -> None:
        """Every line of a traceback has the level of the event."""
        written = forJournal("text")(event(log_failure=failure(), log_level=LogLevel.critical))
        assert written is not None
        lines = written.splitlines()
        self.assertIn("<2>builtins.RuntimeError: a fault", lines)
        self.assertEqual({line[:3] for line in lines}, {"<2>"})

    def test_json(self) -> None:
        """It stays what programs expect, behind what the journal takes away."""
        self.assertEqual(forJournal("json")(event()), f"<4>{asJson(event())}")

    def test_empty(self) -> None:
        """Events without text leave no line."""
        for name in FORMATS:
            self.assertIsNone(forJournal(name)(event(log_format="")))

    def test_noLevel(self) -> None:
        """Events of the old log system have none."""
        old = event()
        del old["log_level"]
        self.assertEqual(forJournal("text")(old), "<6>rain happened 3 times\n")


class NoiseTests(SynchronousTestCase):
    """What others tell, and nobody asked for."""

    def setUp(self) -> None:
        self.addCleanup(setVerbose, False)
        setVerbose(False)

    def isNoise(self, namespace: str, level: Any = LogLevel.info) -> bool:
        """Tell whether an event of this kind is left out."""
        return isNoise(event(log_namespace=namespace, log_level=level))

    def test_twisted(self) -> None:
        """Its details are only for who wants details."""
        for namespace in ("log_legacy", "twisted.internet.base", "twisted.internet.protocol", ""):
            self.assertTrue(self.isNoise(namespace), namespace)
            self.assertFalse(self.isNoise(namespace, LogLevel.warn))
            self.assertFalse(self.isNoise(namespace, LogLevel.critical))
        setVerbose(True)
        self.assertFalse(self.isNoise("log_legacy"))

    def test_ours(self) -> None:
        """None of ours is noise."""
        self.assertFalse(self.isNoise(NAMESPACE))

    def test_stream(self) -> None:
        """It is not written."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        with open(writer, "wb"):
            stream = LogStream(writer, asText)
            stream(event(log_namespace="log_legacy", log_level=LogLevel.info, what="noise"))
            stream(event())
        self.assertEqual(os.read(reader, 1 << 16).decode(), asText(event()))


class StreamTests(SynchronousTestCase):
    """Where it goes."""

    def setUp(self) -> None:
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)

    def read(self) -> str:
        """Return what was written."""
        return os.read(self.reader, 1 << 20).decode()

    def fill(self) -> int:
        """Write into the pipe what it takes; return how much that is."""
        os.set_blocking(self.writer, False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += os.write(self.writer, bytes(1 << 12))
        return count

    def test_formats(self) -> None:
        """Both formats reach the file, and nothing does for an event without text."""
        self.assertEqual(set(FORMATS), {"text", "json"})
        for format in FORMATS.values():
            stream = LogStream(self.writer, format)
            LogPublisher(stream)(event(log_format=""))
            LogPublisher(stream)(event())
            self.assertEqual(self.read(), format(event()))

    def test_encoding(self) -> None:
        """It is UTF-8; what is no character does not stop it."""
        LogStream(self.writer, asText)(event(what="☔\udc80"))
        self.assertIn("☔\\udc80 happened", self.read())

    def test_lines(self) -> None:
        """What is no event's is written as it is."""
        LogStream(self.writer, asText).write("rain\n")
        self.assertEqual(self.read(), "rain\n")

    def test_nonBlocking(self) -> None:
        """Another program has made the terminal so: what it does not take yet is not lost."""
        filled = self.fill()
        stream = LogStream(self.writer, asText)
        stream(event(what="rain"))
        os.read(self.reader, filled)
        stream(event(what="snow"))
        self.assertEqual([line.split()[2] for line in self.read().splitlines()], ["rain", "snow"])

    def test_loss(self) -> None:
        """Both formats tell it in the words of a line of the log."""
        self.patch(spool, "MOST_LINES", 2)
        for format in FORMATS.values():
            filled = self.fill()
            stream = LogStream(self.writer, format)
            for what in ("rain", "snow", "hail", "fog"):
                stream(event(what=what))
            os.read(self.reader, filled)
            stream._spool.errand(lambda: None)
            self.assertIn("2 lines of the log lost here: they were not taken", self.read())


class AsideTests(SynchronousTestCase):
    """The observers that twistd has made."""

    def setUp(self) -> None:
        self.patch(spool.atexit, "register", lambda _: None)

    def kept(self, observer: Any) -> Any:
        """Return what takes the place of an observer."""
        publisher = LogPublisher(observer)
        keepAside(publisher)
        (aside,) = publisher._observers
        publisher(event())
        aside.finish(PATIENCE)
        return aside

    def test_thread(self) -> None:
        """They are called, but not in the thread of who logs."""
        seen: list[Any] = []
        self.kept(lambda event: seen.append((event["what"], threading.current_thread().name)))
        self.assertEqual(seen, [("rain", "log")])

    def test_stdout(self) -> None:
        """What is stuck in it would keep the process from ending, so it is left alone."""
        with open(self.mktemp(), "w+") as file:
            self.patch(sys, "__stdout__", file)
            observer = FileLogObserver(file, asText)
            self.patch(observer, "_outFile", file)
            self.assertIsInstance(self.kept(observer), LogStream)
            self.assertIn("rain happened", Path(file.name).read_text())

    def test_ours(self) -> None:
        """Ours need no other thread."""
        for observer in (LogStream(1, asText), Aside(lambda event: None)):
            publisher = LogPublisher(observer)
            keepAside(publisher)
            self.assertEqual(publisher._observers, [observer])

    def test_raises(self) -> None:
        """What one could not write is counted, and told the next time, with the reason."""
        for reason in ValueError("no room"), OSError(errno.ENOSPC, "no room"):
            self.patch(Spool, "lostEver", 0)
            reasons: list[Exception] = [reason]
            seen: list[Any] = []

            def observe(event: Any, reasons: Any = reasons, seen: Any = seen) -> None:
                if reasons:
                    raise reasons.pop()
                seen.append(formatEvent(event))

            aside = Aside(observe)
            aside(event())
            self.assertEqual(Spool.lostEver, 1)
            aside(event())
            self.assertEqual(
                seen, ["1 line of the log lost here: no room", "rain happened 3 times"]
            )


class ThresholdTests(SynchronousTestCase):
    """What is logged at all."""

    def setUp(self) -> None:
        self.texts: list[str] = []
        note = FilteringLogObserver(self.note, [])
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        self.addCleanup(setVerbose, ProxyLogger.threshold is LogLevel.debug)
        self.log = ProxyLogger(namespace=NAMESPACE)

    def note(self, event: dict[str, Any]) -> None:
        """Collect what is ours."""
        if event.get("log_namespace") == NAMESPACE:
            self.texts.append(event["log_format"])

    def logAll(self) -> list[str]:
        """Log on every level; return what came through."""
        self.texts.clear()
        for level in ("debug", "info", "warn", "error", "critical"):
            getattr(self.log, level)(level)
        return list(self.texts)

    def test_quiet(self) -> None:
        """Debug messages are left out."""
        setVerbose(False)
        self.assertEqual(self.logAll(), ["info", "warn", "error", "critical"])

    def test_verbose(self) -> None:
        """Everything, for all loggers of this kind, also those there are already; and back."""
        setVerbose(True)
        self.assertEqual(self.logAll(), ["debug", "info", "warn", "error", "critical"])
        setVerbose(False)
        self.assertNotIn("debug", self.logAll())

    def test_event(self) -> None:
        """What observers get is what Twisted's own logger gives them."""
        events: list[dict[str, Any]] = []
        for kind in (Logger, ProxyLogger):
            kind("here", self, events.append).warn("{what} happened", what="it")  # type: ignore[arg-type]
        theirs, ours = events
        self.assertEqual(theirs.keys(), ours.keys())
        self.assertIsInstance(ours.pop("log_logger"), ProxyLogger)
        self.assertLessEqual(theirs.pop("log_time"), ours.pop("log_time"))
        del theirs["log_logger"]
        self.assertEqual(theirs, ours)

    def test_namespace(self) -> None:
        """A logger is called after the module it is in, which the JSON format relies on."""
        from nymearemoteproxy.connections import registry

        self.assertEqual(registry.log.namespace, "nymearemoteproxy.connections.registry")


class LogFileTests(SynchronousTestCase):
    """A file that is opened anew."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path, self.old = directory / "log", directory / "log.1"
        self.path.write_text("before\n")
        self.problems: list[OSError] = []
        self.file = self.open(self.path)

    def open(self, path: Path) -> LogFile:
        """Return a log file."""
        file = LogFile(str(path), asText)
        self.addCleanup(lambda: os.close(file._output._descriptor))
        return file

    def log(self, what: str) -> None:
        """Log an event."""
        self.file(event(what=what))

    def reopen(self) -> None:
        """Open the file anew."""
        self.file.reopen(self.problems.append)

    def logged(self, path: Path) -> list[str]:
        """Return what was logged to a file."""
        return [line.split()[2] for line in path.read_text().splitlines() if line != "before"]

    def test_appends(self) -> None:
        """What is there stays, and what is logged is there at once."""
        self.log("rain")
        before, line = self.path.read_text().splitlines()
        self.assertEqual(before, "before")
        self.assertIn("rain happened", line)

    def test_isPrivate(self) -> None:
        """Not everybody on the machine may read addresses."""
        self.path.rename(self.old)
        self.reopen()
        self.assertEqual(self.path.stat().st_mode & 0o027, 0)

    def test_reopens(self) -> None:
        """After a rename, and without one."""
        self.log("rain")
        self.path.rename(self.old)
        self.log("snow")
        self.assertFalse(self.path.exists())
        self.reopen()
        self.log("hail")
        self.reopen()
        self.log("fog")
        self.assertEqual(self.logged(self.old), ["rain", "snow"])
        self.assertEqual(self.logged(self.path), ["hail", "fog"])
        self.assertEqual(self.problems, [])

    def test_cannotReopen(self) -> None:
        """The old one goes on."""
        self.path.rename(self.old)
        self.path.mkdir()
        self.reopen()
        (problem,) = self.problems
        self.assertEqual(problem.filename, str(self.path))
        self.log("rain")
        self.assertEqual(self.logged(self.old), ["rain"])

    def test_cannotOpen(self) -> None:
        """Whoever starts the server learns it."""
        self.assertRaises(OSError, LogFile, str(self.path / "below"), asText)

    def test_pipeWithoutReader(self) -> None:
        """It does not wait until somebody reads it."""
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertRaises(OSError, LogFile, str(self.path), asText)
        self.reopen()
        self.log("rain")
        self.assertEqual(len(self.problems), 1)

    def test_pipe(self) -> None:
        """It may block, for there is a thread that can wait."""
        os.mkfifo(self.old)
        reader = os.open(self.old, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.file = self.open(self.old)
        self.assertTrue(os.get_blocking(self.file._output._descriptor))
        self.log("rain")
        self.assertIn(b"rain happened", os.read(reader, 1000))

    def test_diskIsFull(self) -> None:
        """What could not be written is written to the new file; the terminal tells of it."""
        told: list[str] = []
        self.patch(logs, "_tellTerminal", told.append)
        self.old.symlink_to("/dev/full")
        self.file = self.open(self.old)
        self.log("rain")
        self.old.unlink()
        self.reopen()
        self.log("snow")
        self.assertEqual(self.logged(self.old), ["rain", "snow"])
        self.assertEqual(len(told), 1)

    def test_cutLine(self) -> None:
        """A line that the full disk cut goes on where it was cut, or as a whole in a new file."""
        for isRotated in (False, True):
            self.path.write_text("")
            with self.roomFor(40):
                self.log("rain")
                self.log("snow")
            self.assertEqual(len(self.path.read_text()), 40)
            if isRotated:
                self.path.rename(self.old)
                self.reopen()
            self.log("hail")
            self.assertEqual(self.logged(self.path), ["rain", "snow", "hail"])

    @contextlib.contextmanager
    def roomFor(self, count: int) -> Iterator[None]:
        """Have the disk full after so many bytes."""
        real = os.write

        def write(file: int, data: bytes) -> int:
            nonlocal count
            if not count:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = real(file, data[:count])
            count -= written
            return written

        os.write = write
        try:
            yield
        finally:
            os.write = real
