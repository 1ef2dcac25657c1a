"""Where the console scripts begin.

Owns what signals do to a program that is still being loaded, which takes half a second: Ctrl-C and
SIGTERM end it silently, and what is for a server that runs waits until it does. Knows nothing of
the programs: nothing may be imported here that takes time.
"""

from __future__ import annotations

import signal
from importlib import import_module

HELD = (signal.SIGHUP, signal.SIGUSR2)
"""Reload and drain, which would end a process that does not know them yet."""


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
    """Run ``nymea-remoteproxy``, which unblocks what is held as soon as it knows what it means."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    return _run("nymearemoteproxy.running.cli")


def client() -> int | None:
    """Run ``nymea-remoteproxy-client``."""
    return _run("nymearemoteproxy.client.cli")


def monitor() -> int | None:
    """Run ``nymea-remoteproxy-monitor``."""
    return _run("nymearemoteproxy.monitor.cli")
