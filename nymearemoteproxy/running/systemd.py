"""What systemd is told of the service, by the protocol of sd_notify(3).

Owns the messages and the watchdog's interval. Knows nothing of what the service does. Outside of
systemd nothing is said to anybody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.periodic import Periodic

log = ProxyLogger()

BEATS_PER_TIMEOUT = 3
"""How often the watchdog hears from us in the time it waits; sd_watchdog_enabled(3) says at least
twice."""

STATUS_INTERVAL = 10.0
"""Seconds between two beats when there is no watchdog: how old the status may be."""

MICROSECOND = 1e-6


class Notifier:
    """Tells systemd how the service is.

    :param status: says in a few words what goes on; told with every beat, and when it changes.
    :param monotonic: the clock of CLOCK_MONOTONIC, in seconds, which RELOADING has to tell.
    """

    def __init__(
        self,
        clock: IReactorTime,
        environment: Mapping[str, str],
        status: Callable[[], str],
        monotonic: Callable[[], float],
    ) -> None:
        self._status = status
        self._monotonic = monotonic
        self._address = environment.get("NOTIFY_SOCKET", "")
        timeout = _watchdogTimeout(environment)
        self._beatText = ("WATCHDOG=1",) if timeout else ()
        self._isHeard = True
        self._isReady = self._isReadyUntold = False
        interval = timeout / BEATS_PER_TIMEOUT or STATUS_INTERVAL
        self._beats = Periodic(clock, interval, self._beat, "systemd is not told anything")

    def starting(self) -> None:
        """The service runs; `ready` when it takes clients."""
        self._beginBeats()

    def ready(self) -> None:
        """The service takes clients; what it does after the first time is no news."""
        if not self._isReady:
            self._isReady = True
            self._tellReady()
            self._beginBeats()

    def reloading(self) -> None:
        """The service reads its configuration anew; `reloaded` when it has."""
        if self._isReady:  # systemd would take the end of this for the end of the start
            self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() / MICROSECOND)}")

    def reloaded(self) -> None:
        """The service has read it."""
        if self._isReady:
            self._tellReady()

    def changed(self) -> None:
        """What `status` says is another thing now."""
        self._send(f"STATUS={self._status()}")

    def stopping(self) -> None:
        """The service is being stopped."""
        self._send("STOPPING=1")

    def stopped(self) -> None:
        """Nothing more will be said."""
        self._beats.stop()

    def _tellReady(self) -> None:
        self._isReadyUntold = not self._send("READY=1", f"STATUS={self._status()}")

    def _beginBeats(self) -> None:
        if self._address and not self._beats.running:
            self._beat()
            self._beats.start()

    def _beat(self) -> None:
        late = ("READY=1",) if self._isReadyUntold else ()
        if self._send(*late, *self._beatText, f"STATUS={self._status()}"):
            self._isReadyUntold = False

    def _send(self, *lines: str) -> bool:
        """Say it; tell whether it was heard."""
        if not self._address:
            return False
        address = self._address
        if address[0] == "@":
            address = "\0" + address[1:]  # an abstract one, see unix(7)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            if self._isHeard:
                reason = error.strerror or str(error)
                log.warn("cannot tell systemd {what}: {reason}", what=lines[0], reason=reason)
            self._isHeard = False  # said once, not with every beat
        else:
            self._isHeard = True
        return self._isHeard


def _watchdogTimeout(environment: Mapping[str, str]) -> float:
    """Return in how many seconds the watchdog has to hear from us; 0 = there is none."""
    pid = environment.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return 0.0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) * MICROSECOND if text.isdecimal() else 0.0
