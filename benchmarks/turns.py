"""How long one turn of the reactor takes, at most, when a crowded server is watched.

    python -m benchmarks.turns [CONNECTIONS]

Needs no sockets: the connections are records in memory, and the reactor is a clock that runs what
is due and measures it. To compare two versions, run it with each of them in `PYTHONPATH`.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock

from nymearemoteproxy.accounting.bookkeeping import Bookkeeping
from nymearemoteproxy.authentication.tokens import AnyToken
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import MOST_ADMIN_CONNECTIONS, Bounds, Gate, Ticket
from nymearemoteproxy.connections.policy import Policy
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import TCP, UNIX, WEBSOCKET, Load, Record, Totals
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import PairingKeys, Role
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.configuring import configure
from nymearemoteproxy.running.settings.values import Settings
from nymearemoteproxy.running.watchers import makeAdmin
from nymearemoteproxy.watching.actions import Actions
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.monitorsocket import MonitorFactory
from nymearemoteproxy.watching.pulse import Pulse, Reading
from nymearemoteproxy.watching.watched import Watched

CONNECTIONS = 50_000
ENDING = 20_000
"""Connections that are lost at once, all of them in tunnels."""
PATIENCE = 100_000
"""Turns after which something is wrong."""
TRANSPORTS = (WEBSOCKET, TCP, UNIX)


class Reactor(Clock):
    """A reactor that does nothing but what is due.

    In a turn its clock goes by processor time, since other programs run, too.

    :ivar longest: turn so far, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = time.time()
        self.longest = 0.0
        self._begin: float | None = None

    def seconds(self) -> float:
        """Return the moment, which is later from one piece of work to the next."""
        passed = 0.0 if self._begin is None else time.thread_time() - self._begin
        return self.rightNow + passed

    def measure(self, act: Callable[[], object]) -> None:
        """Do something in a turn of its own."""
        self._begin = begin = time.thread_time()
        act()
        self._begin, took = None, time.thread_time() - begin
        self.rightNow += took
        self.longest = max(self.longest, took)

    def settle(self, seconds: float = 0.0) -> int:
        """Let time pass, and do what is due, until nothing is; return how many turns that took."""
        self.rightNow += seconds
        for turn in range(PATIENCE):
            due = [each for each in self.calls if each.getTime() <= self.rightNow]
            if not due:
                return turn
            for each in due:
                self.calls.remove(each)
            self.measure(lambda due=due: [self._run(each) for each in due])
        raise RuntimeError("there is no end to it")

    @staticmethod
    def _run(call: Any) -> None:
        call.called = 1
        call.func(*call.args, **call.kw)


class Watcher:
    """The transport of somebody who watches, and takes everything at once."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.write = self.received.append
        self.lowest = self

    def getHandle(self) -> Watcher:
        """Return what tells of which family the socket is."""
        return self

    def getsockopt(self, _level: int, _option: int, size: int) -> bytes:
        """Return that it is this process's."""
        return struct.pack("iII", os.getpid(), os.geteuid(), os.getegid())[:size]

    def getPeer(self) -> Any:
        return UNIXAddress("watcher")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_details: None


class Crowd:
    """A server with many connections, and all that watches it."""

    def __init__(self, connections: int, directory: str) -> None:
        self.clock = Reactor()
        turns = Turns(self.clock)
        self.proxy = Proxy(
            clock=self.clock,
            turns=turns,
            registry=Registry(self.clock, turns, Gate(self.clock, Bounds())),
            policy=Policy(name="crowd", timing=Timing()),
            keys=PairingKeys(),
            authenticator=AnyToken(),
            rendezvous=Rendezvous(),
        )
        settings = Settings()
        for name, value in {
            "Admin.endpoint": f"unix:{directory}/admin",
            "Accounting.tunnelLog": f"{directory}/tunnels",
            "Accounting.statisticsLog": f"{directory}/statistics",
            "Accounting.totalsFile": f"{directory}/totals",
        }.items():
            settings.set(name, value)
        configuration = configure(settings, CommandLine(tokens=["token"]))
        calendar = Calendar(self.clock, time.time)
        self.accounting = Bookkeeping(self.clock, configuration.books, self.proxy, calendar)
        self.pulse = Pulse(self.clock, self.proxy.registry.counters)
        actions = Actions(
            self.clock,
            self.proxy.registry,
            lambda: Condition.READY,
            lambda: None,
            lambda: None,
            lambda: None,
        )
        watched = Watched(self.proxy, self.pulse, calendar, lambda: Condition.READY, actions)
        admin = makeAdmin(self.clock, configuration, watched)
        assert admin is not None
        admin.start(SimpleNamespace(getHost=lambda: UNIXAddress("admin")))  # type: ignore[arg-type]
        self.admin = admin
        self.monitors = MonitorFactory(self.clock, watched)
        self.accounting.start(self.pulse)
        for number in range(connections):
            self._add(number)
        for _ in range(3600):  # the history of the last hour
            self.clock.rightNow += 1
            admin._history.add(Reading(self.clock.rightNow, Load(Totals()), 1.0, 1.0, 0.0))

    def _add(self, number: int) -> None:
        record = Record(
            number + 1,
            TRANSPORTS[number % 3],
            True,
            f"192.0.2.1:{number}",
            "192.0.2.1",
            "192.0.2.1",
            Ticket(None),
            self.clock.rightNow,
        )
        record.name, record.uuid = f"phone of somebody {number}", f"{{uuid-{number}}}"
        record.received = record.sent = number
        proxy = self.proxy
        proxy.registry.gate.connections += 1
        proxy.registry.gate.unauthenticated += 1
        proxy.registry._records[record.number] = record
        record.client = Client(record)
        kind = number % 10
        if kind < 6:
            record.role = Role.PARTNER
            if kind % 2:
                partner = proxy.registry._records[record.number - 1]
                partner.partner, record.partner = record, partner
                partner.joined = record.joined = self.clock.rightNow
        elif kind == 6:
            record.role, record.joined = Role.SERVER, self.clock.rightNow
        elif kind == 7:
            record.role, record.joined = Role.CLIENT, self.clock.rightNow
            record.serverUuid = f"{{uuid-{number - 1}}}"

    def get(self, path: str, times: int = 1) -> int:
        """Get a page of the admin endpoint; return how many turns that took.

        :param times: so many ask for it at once.
        """
        asked = [self._ask(path) for _ in range(times)]
        turns = self.clock.settle()
        for connection, watcher in asked:
            if not b"".join(watcher.received).startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"{path}: {watcher.received[:1]}")
            connection.connectionLost(None)
        return turns

    def _ask(self, path: str) -> tuple[Any, Watcher]:
        """Have somebody ask for a page."""
        watcher = Watcher()
        connection = self.admin.factory.buildProtocol(UNIXAddress("watcher"))
        connection.makeConnection(watcher)
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self.clock.measure(lambda: connection.dataReceived(request))
        return connection, watcher

    def refresh(self) -> int:
        """Ask the monitor socket for everything."""
        watcher = Watcher()
        monitor = self.monitors.buildProtocol(UNIXAddress("watcher"))
        assert monitor is not None
        monitor.makeConnection(watcher)
        request = b'{"method":"refresh","params":{"printAll":true}}\n'
        self.clock.measure(lambda: monitor.dataReceived(request))
        turns = self.clock.settle()
        if not b"".join(watcher.received).endswith(b"}\n"):
            raise RuntimeError("the monitor got no answer")
        monitor.connectionLost()
        return turns

    def tick(self, seconds: float) -> int:
        """Let time pass in which nobody does anything."""
        return self.clock.settle(seconds)

    def end(self) -> int:
        """Let tunnels end, all in one turn, as far as those are concerned who write about them."""
        tunnels = [
            record
            for record in list(self.proxy.registry.records)[:ENDING]
            if record.partner is not None and record.partner.number < record.number
        ]
        for record in tunnels:
            record.outcome = Outcome.CONNECTION_LOST
        self.clock.measure(
            lambda: [
                observer.tunnelEnded(record, record.partner)
                for record in tunnels
                for observer in self.proxy.registry.observers
            ]
        )
        return self.clock.settle()


class Client:
    """Stands for the protocol of a connection, which works out where it stands, as ours do."""

    __slots__ = ("_record",)

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def stage(self) -> str:
        return "waiting" if self._record.joined is None else "tunneled"

    state = stage  # its older name


def main() -> None:
    """Measure all, and print a table."""
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else CONNECTIONS
    with tempfile.TemporaryDirectory() as directory:
        crowd = Crowd(connections, directory)
        gc.collect()
        gc.freeze()  # as the service does
        print(f"{connections:,} connections\n{'':28}{'longest turn':>14}{'turns':>8}")
        cases: dict[str, Callable[[], int]] = {
            "totals, every 5 s": lambda: crowd.tick(6.0),
            "statistics, every 60 s": lambda: crowd.tick(61.0),
            "/metrics": lambda: crowd.get("/metrics"),
            "/api/v1/connections": lambda: crowd.get("/api/v1/connections?limit=200"),
            "/api/v1/tunnels": lambda: crowd.get("/api/v1/tunnels?limit=200"),
            "/api/status": lambda: crowd.get("/api/status"),
            "/api/history": lambda: crowd.get("/api/history"),
            "/api/tunnels": lambda: crowd.get("/api/tunnels?rows=200"),
            "/api/tunnels, filtered": lambda: crowd.get("/api/tunnels?filter=phone&rows=200"),
            "/api/waiting, filtered": lambda: crowd.get("/api/waiting?filter=phone&rows=200"),
            "/api/servers, filtered": lambda: crowd.get("/api/servers?filter=phone&rows=200"),
            f"the same, {MOST_ADMIN_CONNECTIONS} times": lambda: crowd.get(
                "/api/servers?filter=phone&rows=200", MOST_ADMIN_CONNECTIONS
            ),
            "the monitor socket": crowd.refresh,
            f"{ENDING * 3 // 10:,} tunnels end": crowd.end,
        }
        for name, case in cases.items():
            best, turns = float("inf"), 0
            for _round in range(3):
                crowd.clock.rightNow += 2.0  # rates are measured anew
                crowd.clock.longest = 0.0
                turns = case()
                best = min(best, crowd.clock.longest)
            print(f"{name:28}{best * 1000:11.1f} ms{turns:8}")
        crowd.clock.longest = 0.0
        crowd.pulse.start()
        crowd.tick(1.5)
        print(f"{'the pulse':28}{crowd.clock.longest * 1000:11.1f} ms")


if __name__ == "__main__":
    main()
