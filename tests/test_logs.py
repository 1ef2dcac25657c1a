"""Owns the checks of how the log is written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogPublisher,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.logs import (
    FORMATS,
    LogFile,
    ProxyLogger,
    asJson,
    asText,
    observer,
    setVerbose,
)

NAMESPACE = "nymearemoteproxy.test"


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


class ObserverTests(SynchronousTestCase):
    """Where it goes."""

    def test_formats(self) -> None:
        """Both formats reach the file."""
        self.assertEqual(set(FORMATS), {"text", "json"})
        for name, format in FORMATS.items():
            file = io.StringIO()
            LogPublisher(observer(file, name))(event())
            self.assertEqual(file.getvalue(), format(event()))


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

    def test_namespace(self) -> None:
        """A logger is called after the module it is in, which the JSON format relies on."""
        from nymearemoteproxy import proxy

        self.assertEqual(proxy.log.namespace, "nymearemoteproxy.proxy")


class LogFileTests(SynchronousTestCase):
    """A file that is opened anew."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path, self.old = directory / "log", directory / "log.1"
        self.path.write_text("before\n")
        self.file = LogFile(str(self.path))
        self.addCleanup(lambda: self.file._file.close())
        self.observer = observer(self.file, "text")

    def log(self, what: str) -> None:
        """Log an event."""
        self.observer(event(what=what))

    def test_appends(self) -> None:
        """What is there stays, and what is logged is there at once."""
        self.log("rain")
        before, line = self.path.read_text().splitlines()
        self.assertEqual(before, "before")
        self.assertIn("rain happened", line)

    def test_isPrivate(self) -> None:
        """Not everybody on the machine may read addresses."""
        self.path.rename(self.old)
        self.file.reopen()
        self.assertEqual(self.path.stat().st_mode & 0o027, 0)

    def test_reopens(self) -> None:
        """After a rename, and without one."""
        self.log("rain")
        self.path.rename(self.old)
        self.log("snow")
        self.assertFalse(self.path.exists())
        self.file.reopen()
        self.log("hail")
        self.file.reopen()
        self.log("fog")
        self.assertEqual(len(self.old.read_text().splitlines()), 3)
        self.assertEqual([line.split()[2] for line in self.path.open()], ["hail", "fog"])

    def test_cannotReopen(self) -> None:
        """The old one goes on."""
        self.path.rename(self.old)
        self.path.mkdir()
        self.assertRaises(OSError, self.file.reopen)
        self.log("rain")
        self.assertIn("rain happened", self.old.read_text())

    def test_cannotOpen(self) -> None:
        """Whoever starts the server learns it."""
        self.assertRaises(OSError, LogFile, str(self.path / "below"))

    def test_diskIsFull(self) -> None:
        """What could not be written is lost, and the new file is used nevertheless."""
        full = LogFile("/dev/full")
        full.write("lost")
        self.assertRaises(OSError, full.flush)
        full._path = str(self.path)
        full.reopen()
        full.write("found")
        full.flush()
        full._file.close()
        self.assertEqual(self.path.read_text(), "before\nfound")
