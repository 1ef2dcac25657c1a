"""What is different when standard error is systemd's journal, by sd-daemon(3).

Owns how it is recognised, and how lines tell their priority there. Knows nothing of what is logged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.logger import LogLevel

_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""Those of syslog(3), which the journal has, too."""


def isJournal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Tell whether what is written to a file descriptor goes to systemd's journal.

    The variable alone does not tell: programs started from a desktop inherit it (systemd.exec(5)).
    """
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def withPriority(text: str, level: Any) -> str:
    """Return text with a priority before each of its lines, as the journal takes each by itself.

    :param level: of the event, one of `LogLevel`.
    """
    priority = f"<{_PRIORITIES[level]}>"
    return "".join(priority + line for line in text.splitlines(keepends=True))
