"""Where files of the server are when nobody says where.

Owns the rules of systemd and XDG about directories. Knows nothing of what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path

LOGS_DIRECTORY = "/var/log"
"""Where the C++ server has its log files."""


def stateDirectory() -> Path:
    """Return where this program keeps files of its own, by the rules of systemd and XDG."""
    if directory := os.environ.get("STATE_DIRECTORY"):
        return Path(directory.partition(":")[0])
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "nymea-remoteproxy"


def logsDirectory() -> str:
    """Return where log files are, by the rules of systemd, else where the C++ server has them."""
    return os.environ.get("LOGS_DIRECTORY", "").partition(":")[0] or LOGS_DIRECTORY
