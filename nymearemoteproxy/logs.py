"""How the log is written.

Owns the two formats, the levels, and where the log goes. Knows nothing of what is logged.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    Logger,
    LogLevel,
    eventAsText,
    formatEvent,
    formatTime,
)

LOGS_DIRECTORY = "/var/log"

_NAMESPACE = "nymearemoteproxy"


class ProxyLogger(Logger):
    """A logger that is silent below a level that all of its kind share.

    Under twistd the observers are twistd's, which write every level.
    """

    threshold: Any = LogLevel.info

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        if level >= ProxyLogger.threshold:
            super().emit(level, format, **kwargs)


def setVerbose(verbose: bool) -> None:
    """Log more detail from now on, or no longer."""
    ProxyLogger.threshold = LogLevel.debug if verbose else LogLevel.info


def asText(event: dict[str, Any]) -> str | None:
    """Format an event as lines for people."""
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    level = event.get("log_level", LogLevel.info).name
    return f"{formatTime(event['log_time'])} {level:<8} {text}\n"


def asJson(event: dict[str, Any]) -> str | None:
    """Format an event as one line of JSON: time, level, text, and the values in it."""
    text = formatEvent(event)
    if not text:
        return None
    line: dict[str, Any] = dict.fromkeys(("time", "level", "text"))
    if str(event.get("log_namespace", "")).startswith(_NAMESPACE):
        for key, value in event.items():
            if not key.startswith("log_") and isinstance(value, str | int | float):
                line[key] = value
    line["time"] = formatTime(event["log_time"])
    line["level"] = event.get("log_level", LogLevel.info).name
    line["text"] = text
    if "log_failure" in event:
        line["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(line) + "\n"


def logsDirectory() -> str:
    """Return where log files are, by the rules of systemd, else where the C++ server has them."""
    return os.environ.get("LOGS_DIRECTORY", "").partition(":")[0] or LOGS_DIRECTORY


def _private(path: str, flags: int) -> int:
    """Open a file that not every user of the machine may read: addresses are in it."""
    return os.open(path, flags, 0o640)


class LogFile:
    """A file that is appended to, and can be opened anew after it was renamed.

    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115 - kept open

    def write(self, text: str) -> None:
        """Append."""
        self._file.write(text)

    def flush(self) -> None:
        """Have what was appended in the file."""
        self._file.flush()

    def reopen(self) -> None:
        """Append to the file that has the path now.

        :raises OSError: it cannot be opened; the old one stays in use.
        """
        old, self._file = self._file, open(self._path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115
        with contextlib.suppress(OSError):  # it may hold what no disk had room for
            old.close()


FORMATS: dict[str, Callable[[dict[str, Any]], str | None]] = {"text": asText, "json": asJson}


def observer(file: IO[str] | LogFile, format: str) -> ILogObserver:
    """Return an observer that writes to `file` in one of `FORMATS`."""
    return FileLogObserver(file, FORMATS[format])  # type: ignore[arg-type]
