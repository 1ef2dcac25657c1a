"""What it costs that a parent keeps the book of its workers' connections.

Run it as ``python -m benchmarks.mirroring``. Everything is in one process, and the messages are
encoded and decoded as between two. The sockets between them, the channel's, are not in it.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.records import WEBSOCKET, Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.workers.mirror import Mirror
from nymearemoteproxy.workers.reporting import ReportingRegistry

ADDRESS = IPv4Address("TCP", "192.0.2.1", 4000)
LIVES = 20_000
BATCH = 200
"""Connections that come together, since to look at the clock takes microseconds."""
CONNECTIONS = 10_000
ACTIVE = 1000
SECONDS = 20


class _Client:
    stage = "tunneled"


class _Wire:
    """Keeps messages until they are wanted."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0

    def send(self, message: Sequence[Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        self.size += len(line)
        self.lines.append(line)

    def deliver(self, handlers: dict[str, Callable[..., object]]) -> None:
        lines, self.lines = self.lines, []
        for line in lines:
            kind, *arguments = json.loads(line)
            handlers[kind](*arguments)


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._begin = time.process_time()

    def __exit__(self, *_error: object) -> None:
        self.seconds += time.process_time() - self._begin


def introduce(record: Record, number: int) -> None:
    """Say who it is."""
    record.client = _Client()
    record.name = f"nymea app {number}"
    record.uuid = f"{{00000000-0000-0000-0000-{number:012d}}}"
    record.role = Role.PARTNER


def inOneProcess(clock: Clock) -> float:
    """Return the seconds of a life without workers."""
    registry = Registry(clock, Turns(clock), Gate(clock, Bounds()))
    watch = _Stopwatch()
    with watch:
        for number in range(0, LIVES, 2):
            pair = [registry.admit(ADDRESS, WEBSOCKET, True) for _ in range(2)]
            for record in pair:
                assert record is not None
                introduce(record, number)
                registry.authenticated(record)
            one, two = pair
            registry.joined(one, two)
            registry.joined(two, one)
            for record in pair:
                record.endsWith(Outcome.CLIENT_LEFT)
                registry.ended(record)
    return watch.seconds / LIVES


class Group:
    """A parent and one worker."""

    def __init__(self, clock: Clock) -> None:
        self.up, self.down = _Wire(), _Wire()
        self.parent = Registry(clock, Turns(clock), Gate(clock, Bounds()))
        self.mirror = Mirror(self.parent, Turns(clock), 1, self.down.send)
        self.worker = ReportingRegistry(clock, Turns(clock), 1, self.up.send)
        self.atParent, self.atWorker = _Stopwatch(), _Stopwatch()

    def admit(self) -> Record:
        """Let a client come to the parent, who gives it to the worker."""
        record = self.parent.admit(ADDRESS, WEBSOCKET, True)
        assert record is not None
        self.mirror.take(record)
        return record

    def connect(self, count: int) -> list[Record]:
        """Let clients come."""
        with self.atParent:
            admitted = [self.admit() for _ in range(count)]
        records = []
        with self.atWorker:
            for number, each in enumerate(admitted):
                self.worker.expect(each.number, each.ticket.source)
                record = self.worker.admit(ADDRESS, WEBSOCKET, True)
                introduce(record, number)
                records.append(record)
        return records

    def join(self, records: Sequence[Record]) -> None:
        """Let each two have a tunnel."""
        with self.atWorker:
            for one, two in zip(records[::2], records[1::2], strict=True):
                for record in (one, two):
                    self.worker.authenticated(record)
                for record, partner in (one, two), (two, one):
                    self.worker.joined(record, partner)

    def deliver(self) -> None:
        """Let messages arrive."""
        with self.atParent:
            self.up.deliver(self.mirror.handlers)
        with self.atWorker:
            self.down.deliver(self.worker.handlers)


def lives(clock: Clock) -> None:
    """Many connections come and go."""
    group = Group(clock)
    for _ in range(LIVES // BATCH):
        records = group.connect(BATCH)
        group.join(records)
        group.deliver()
        with group.atWorker:
            for record in records:
                record.received = record.sent = 1_000_000
                record.endsWith(Outcome.CLIENT_LEFT)
                group.worker.ended(record)
        group.deliver()
    assert not group.parent.records
    print(
        f"a life: worker {group.atWorker.seconds / LIVES * 1e6:.1f} µs, "
        f"parent {group.atParent.seconds / LIVES * 1e6:.1f} µs, "
        f"{group.up.size / LIVES:.0f} bytes; in one process "
        f"{inOneProcess(Clock()) * 1e6:.1f} µs"
    )


def reports(clock: Clock, active: int) -> None:
    """Connections are there, some of them active."""
    group = Group(clock)
    records = group.connect(CONNECTIONS)
    group.join(records)
    group.deliver()
    group.worker.start()
    for _ in range(2):
        clock.advance(1)
        while group.up.lines:
            group.deliver()
            clock.advance(0)
    group.atParent.seconds = group.atWorker.seconds = 0.0
    before = group.up.size
    for _ in range(SECONDS):
        for record in records[:: CONNECTIONS // active] if active else ():
            record.received += 1000
        with group.atWorker:
            clock.advance(1)
        for _ in range(CONNECTIONS // 500 + 2):
            group.deliver()
            with group.atWorker:
                clock.advance(0)
    group.worker.stop()
    print(
        f"{CONNECTIONS} connections, {active} of them active, each second: "
        f"worker {group.atWorker.seconds / SECONDS * 1e3:.2f} ms, "
        f"parent {group.atParent.seconds / SECONDS * 1e3:.2f} ms, "
        f"{(group.up.size - before) / SECONDS / 1024:.1f} KiB"
    )


def memory(clock: Clock) -> None:
    """What a connection takes in the parent and what more in the worker."""
    group = Group(clock)
    tracemalloc.start()
    admitted = [group.admit() for _ in range(CONNECTIONS)]
    print(
        f"a connection in the parent: {tracemalloc.get_traced_memory()[0] / CONNECTIONS:.0f} bytes"
    )
    tracemalloc.stop()
    del admitted


if __name__ == "__main__":
    lives(Clock())
    for active in (0, ACTIVE, CONNECTIONS):
        reports(Clock(), active)
    memory(Clock())
