"""Where the console scripts begin.

Owns that Ctrl-C and SIGTERM end a program silently that is still being loaded, which takes half a
second. Knows nothing of the programs: nothing may be imported here that takes time.
"""

from __future__ import annotations

import signal
from importlib import import_module


def _run(program: str) -> int | None:
    """Have Ctrl-C end the process as SIGTERM does, until the program says otherwise; then run it.

    :param program: the module whose `main` it is.
    :returns: its exit status.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status: int | None = import_module(program).main()
    return status


def server() -> int | None:
    """Run ``nymea-remoteproxy``."""
    return _run("nymearemoteproxy.running.cli")


def client() -> int | None:
    """Run ``nymea-remoteproxy-client``."""
    return _run("nymearemoteproxy.client.cli")


def monitor() -> int | None:
    """Run ``nymea-remoteproxy-monitor``."""
    return _run("nymearemoteproxy.monitor.cli")
