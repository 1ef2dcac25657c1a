"""Where a worker process begins.

Owns that only its parent ends it: Ctrl-C reaches all processes at a terminal, and would end it
while it is being loaded. Knows nothing of what it does: nothing may be imported here that takes
time.
"""

from __future__ import annotations

import signal
from importlib import import_module

IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The parent has them, too, and tells what they mean."""


def main() -> int | None:
    """Run the worker; return its exit status."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    status: int | None = import_module("nymearemoteproxy.running.working").main()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
