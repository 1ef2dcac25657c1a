"""How the log is written.

Owns the two formats, the levels, and where the log goes. Knows nothing of what is logged.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    Logger,
    LogLevel,
    LogPublisher,
    eventAsText,
    formatEvent,
    formatTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.files import openToWrite
from nymearemoteproxy.common.journal import withPriority
from nymearemoteproxy.common.spool import PAUSE, Spool
from nymearemoteproxy.common.words import counted

LogEvent = dict[str, Any]
Format = Callable[[LogEvent], str | None]

_NAMESPACE = "nymearemoteproxy"

NOT_ACCEPTED = ("EMFILE recovery: Closed socket", "Could not accept new connection")
"""How it begins when one of Twisted's ports tells of a connection that it could not accept. By the
namespace it may be one of ours."""

_ACCEPTING = (*NOT_ACCEPTED, "EMFILE encountered", "Re-reserving EMFILE")
"""And what else it tells then."""


class ProxyLogger(Logger):
    """A logger that is silent below a level that all of its kind share.

    Under twistd the observers are twistd's, which write every level.
    """

    threshold: Any = LogLevel.info

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        # As Twisted's does, but for looking each time whether there is such a level: with that, to
        # log a connection's end would take a tenth of all that is done about the end.
        if level >= ProxyLogger.threshold:
            kwargs.update(
                log_logger=self,
                log_level=level,
                log_namespace=self.namespace,
                log_source=self.source,
                log_format=format,
                log_time=time.time(),
            )
            self.observer(kwargs)

    def fault(self, number: int, failure: Failure | None = None) -> None:
        """Log a fault of ours that costs a connection.

        :param number: of the connection.
        :param failure: None = the exception that is being handled.
        """
        self.failure("connection {number}: internal error", failure, number=number)


def setVerbose(verbose: bool) -> None:
    """Log more detail from now on, or no longer."""
    ProxyLogger.threshold = LogLevel.debug if verbose else LogLevel.info


def _message(event: LogEvent) -> str:
    """Return the text of an event, without a traceback: what `formatEvent` returns.

    That reads the format anew for each event, in Python, for the sake of calls in it, and takes ten
    times as long; it is for the few formats that `str.format_map` cannot do.
    """
    format = event.get("log_format")
    if type(format) is str and "log_flattened" not in event:
        try:
            return format.format_map(event)
        except Exception:  # of a value's own, too: `formatEvent` tells of those
            pass
    return formatEvent(event)


def _lines(event: LogEvent) -> str:
    """Return the text of an event, with a traceback if it is about a failure."""
    if "log_failure" in event:
        return eventAsText(event, includeTimestamp=False, includeSystem=False)
    return _message(event)


@lru_cache(maxsize=1)
def _secondAsText(second: int) -> str:
    return formatTime(second)


def _time(event: LogEvent) -> str:
    """Return when it was: a date takes longer to write than all the rest of a line."""
    return _secondAsText(int(event["log_time"]))


def asText(event: dict[str, Any]) -> str | None:
    """Format an event as lines for people."""
    text = _lines(event)
    if not text:
        return None
    level = event.get("log_level", LogLevel.info).name
    return f"{_time(event)} {level:<8} {text}\n"


def asPlainText(event: dict[str, Any]) -> str | None:
    """Format an event without time and level, for who has both: systemd's journal."""
    text = _lines(event)
    return f"{text}\n" if text else None


def asJson(event: dict[str, Any]) -> str | None:
    """Format an event as one line of JSON: time, level, text, and the values in it."""
    text = _message(event)
    if not text:
        return None
    line: dict[str, Any] = dict.fromkeys(("time", "level", "text"))
    if str(event.get("log_namespace", "")).startswith(_NAMESPACE):
        for key, value in event.items():
            if not key.startswith("log_") and isinstance(value, str | int | float):
                line[key] = value
    line["time"] = _time(event)
    line["level"] = event.get("log_level", LogLevel.info).name
    line["text"] = text
    if "log_failure" in event:
        line["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(line) + "\n"


FORMATS: dict[str, Format] = {"text": asText, "json": asJson}


def forJournal(name: str) -> Format:
    """Return one of `FORMATS` as it is written to systemd's journal: with a priority.

    The journal takes that away again. It has its own time stamps, so that text needs none; JSON is
    for programs and stays as they know it.
    """
    format = asPlainText if name == "text" else FORMATS[name]

    def write(event: dict[str, Any]) -> str | None:
        text = format(event)
        return text and withPriority(text, event.get("log_level", LogLevel.info))

    return write


def isNoise(event: LogEvent) -> bool:
    """Tell whether an event is a detail of others' that nobody asked for."""
    return (
        ProxyLogger.threshold > LogLevel.debug
        and event.get("log_level", LogLevel.info) < LogLevel.warn
        and (not str(event.get("log_namespace", "")).startswith(_NAMESPACE) or isOfAccepting(event))
    )


def isOfAccepting(event: LogEvent) -> bool:
    """Tell whether one of Twisted's ports says this of a connection that it could not accept."""
    return str(event.get("log_format", "")).startswith(_ACCEPTING)


def lossOf(count: int, reason: str) -> LogEvent:
    """Return the event that stands for lines that are missing."""
    return {
        "log_time": time.time(),
        "log_level": LogLevel.warn,
        "log_namespace": __name__,
        "log_format": "{lines} of the log lost here: {reason}",
        "lines": counted(count, "line"),
        "count": count,
        "reason": reason,
    }


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


MODE = 0o640
"""Less what the umask takes: not every user of the machine may read addresses."""

NEWLINE = b"\n"


class _Descriptor:
    """Writes lines to a file descriptor.

    :param explain: returns the line that stands for so many missing ones.
    """

    def __init__(self, descriptor: int, explain: Callable[[int, str], bytes]) -> None:
        self.explain = explain
        self._descriptor = descriptor
        self._data = b""
        self._done = 0

    def write(self, lines: Sequence[bytes]) -> Sequence[str]:
        self._forgetWholeLines()
        self._data += b"".join(lines)
        while self._done < len(self._data):
            try:
                self._done += os.write(self._descriptor, self._data[self._done :])
            except BlockingIOError:  # another program has made the terminal so, for all of us
                if not self._waitForRoom():
                    raise
        return ()

    def _forgetWholeLines(self) -> None:
        begun = self._data.rfind(NEWLINE, 0, self._done) + 1
        self._data = self._data[begun:]
        self._done -= begun

    def _waitForRoom(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(PAUSE * 1000))

    def replace(self, descriptor: int) -> None:
        """Write there from now on, the line that was begun too."""
        old, self._descriptor = self._descriptor, descriptor
        self._forgetWholeLines()
        self._done = 0
        with contextlib.suppress(OSError):  # it may hold what no disk had room for
            os.close(old)


@implementer(ILogObserver)
class LogStream:
    """Writes the log to a file descriptor that may block: that holds up nobody.

    :param format: returns the text of an event; one of `FORMATS`.
    """

    def __init__(self, descriptor: int, format: Format) -> None:
        self._format = format
        self._output = _Descriptor(descriptor, self._explain)
        self._spool = Spool(self._output, self._failed)
        self.start = self._spool.start
        self.finish = self._spool.finish

    def __call__(self, event: dict[str, Any]) -> None:
        text = None if isNoise(event) else self._format(event)
        if text:
            self.write(text)

    def write(self, text: str) -> None:
        """Write whole lines that are no event's."""
        data = _encode(text)
        self._spool.put(data, len(data))

    def _failed(self, reason: str) -> None:
        """There is nowhere else to tell it."""

    def _explain(self, count: int, reason: str) -> bytes:
        return _encode(self._format(lossOf(count, reason)) or "")


class LogFile(LogStream):
    """A file that is appended to, and can be opened anew after it was renamed.

    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str, format: Format) -> None:
        super().__init__(_open(path), format)
        self._path = path

    def reopen(self, failed: Callable[[OSError], object]) -> None:
        """Append to the file that has the path now, as soon as it can be opened.

        :param failed: is called, in any thread, when it cannot be; the old one stays in use.
        """
        self._spool.errand(partial(self._reopen, failed))

    def _failed(self, reason: str) -> None:
        _tellTerminal(
            f"nymea-remoteproxy: cannot write the log {self._path}: {reason}; it is tried again\n"
        )

    def _reopen(self, failed: Callable[[OSError], object]) -> None:
        try:
            self._output.replace(_open(self._path))
        except OSError as error:
            failed(error)


def _tellTerminal(text: str) -> None:
    """Say it on standard error, if that takes it at once: nobody may wait for it."""
    stream = sys.__stderr__  # None when it was closed at the start: then its number is another's
    if stream is None:
        return
    with contextlib.suppress(OSError):
        if select.select([], [stream], [], 0)[1]:
            os.write(stream.fileno(), _encode(text))


def _open(path: str) -> int:
    descriptor = openToWrite(path, os.O_CREAT | os.O_APPEND, MODE)
    os.set_blocking(descriptor, True)  # the thread that writes can wait
    return descriptor


class _Observer:
    """Has another observer write events."""

    def __init__(self, observer: ILogObserver) -> None:
        self._observer = observer

    def write(self, events: Sequence[LogEvent]) -> Sequence[str]:
        reasons = []
        for event in events:
            try:
                self._observer(event)
            except Exception as error:
                reasons.append(getattr(error, "strerror", None) or str(error))
        return reasons

    explain = staticmethod(lossOf)


@implementer(ILogObserver)
class Aside:
    """Passes events to an observer that may block, in a thread of its own.

    :param observer: formats the events, so what they hold should not change.
    """

    def __init__(self, observer: ILogObserver) -> None:
        self._spool = Spool(_Observer(observer))
        self.start = self._spool.start
        self.finish = self._spool.finish

    def __call__(self, event: LogEvent) -> None:
        self._spool.put(event, 0)


def keepAside(publisher: LogPublisher) -> None:
    """Let none of a publisher's observers hold up who logs: those of twistd write by themselves.

    Twisted has no public way to take the place of an observer that twistd has made, nor to ask an
    observer for its file: both names are Twisted's own (``tests/project/test_privatenames.py``).
    """
    for observer in tuple(publisher._observers):
        if not isinstance(observer, LogStream | Aside):
            publisher.removeObserver(observer)
            aside = _aside(observer)
            aside.start()
            publisher.addObserver(aside)


def _aside(observer: ILogObserver) -> LogStream | Aside:
    if isinstance(observer, FileLogObserver) and observer._outFile is sys.__stdout__:
        # Whoever is stuck in a stream of Python's holds its lock, which the process needs to end.
        return LogStream(sys.__stdout__.fileno(), observer.formatEvent)
    return Aside(observer)
