"""The tunnel proxy: anything may happen in any order.

The promises are those of the story: nothing is lost, mixed up or left behind, no more waits than
may, and nobody waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from fuzz.target import Planted, Target, taken
from nymearemoteproxy.tunnelproxy import backlog, clientend, serverend, switchboard
from tests.tunnelproxy.test_stories import Story

KINDS = 13
"""Of steps."""

PLACES = 12
"""Whom a step may be about."""

SIZES = 90

_ROOMS = (150, 400, 10_000)
"""Bytes that may wait for all."""

_SOURCES = (None, "192.0.2.1")

_CASE = SynchronousTestCase()


def check(data: bytes) -> None:
    how, data = taken(data)
    with _small():
        story = Story(_CASE, _ROOMS[how % len(_ROOMS)], _SOURCES[how // 128])
        for step in zip(data[::3], data[1::3], data[2::3], strict=False):
            kind, who, size = step
            story.step(kind % KINDS, who % PLACES, 1 + size % SIZES)
        story.end()


@contextmanager
def _small() -> Iterator[None]:
    """Make all bounds so small that a few steps reach them."""
    with (
        mock.patch.multiple(switchboard, SLICE_SIZE=16, PACKETS_A_TURN=3),
        mock.patch.object(clientend, "STALLED", 9.0),
        mock.patch.object(backlog, "CAUGHT_UP", 8),
        mock.patch.multiple(
            serverend,
            SERVER_BACKLOG=300,
            CALLS_A_TURN=1,
            CLIENTS_A_TURN=2,
            HIGHEST_ADDRESS=8,
        ),
    ):
        yield


TARGET = Target(
    check,
    covers=(
        "tunnelproxy.backlog",
        "tunnelproxy.clientend",
        "tunnelproxy.ends",
        "tunnelproxy.shares",
    ),
    planted=(
        Planted(
            "tunnelproxy/backlog.py",
            "while self.total > self._most:",
            "while self.total > 2 * self._most:",
        ),
        Planted("tunnelproxy/clientend.py", "            self._server.goOn(self)\n", ""),
        Planted(
            "tunnelproxy/shares.py",
            "        if not owners:\n            del self._owners[digits], self._sums[digits]\n",
            "",
        ),
        Planted(
            "tunnelproxy/serverend.py",
            "self._freed.append(client.address)",
            "self._freed.appendleft(1)",
        ),
    ),
)
