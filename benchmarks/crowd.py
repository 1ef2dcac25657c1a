"""A helper process that is a crowd: connections that never authenticate.

Some are silent and come again when the server has had enough of them; others make a TLS handshake
and go, so many a second. A process of its own, so that the kernel lets the tunnel whose latency is
taken go first when both have something to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine

import uvloop

from benchmarks.helper import answer, isAsked
from benchmarks.lab import now, raiseFileLimit
from benchmarks.wires import CONTEXT

AT_ONCE = 100
"""Silent connections that are opened between two breaths."""
REST = 0.05
"""Seconds until one that was thrown out comes again."""


class Crowd:
    """:ivar passed: how many have come and gone."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._tasks: set[asyncio.Task[None]] = set()
        self.passed = 0

    def spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def silent(self, arrived: asyncio.Semaphore) -> None:
        """Be connected, all the time."""
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(*self._address)
                arrived.release()
                await reader.read()
                writer.close()
            await asyncio.sleep(REST)

    async def passersBy(self, rate: int) -> None:
        """Come and go at a constant rate, whether the server keeps up or not."""
        begin = now()
        count = 0
        while True:
            while count < (now() - begin) * rate:
                count += 1
                self.spawn(self._pass())
            await asyncio.sleep(1 / rate)

    async def _pass(self) -> None:
        with contextlib.suppress(OSError):
            _reader, writer = await asyncio.open_connection(*self._address, ssl=CONTEXT)
            writer.transport.abort()
            self.passed += 1


async def gather(host: str, port: str, silent: str, rate: str) -> None:
    """Be a crowd, say when it is complete, and then how many have passed whenever asked."""
    crowd = Crowd(host, int(port))
    arrived = asyncio.Semaphore(0)
    for number in range(int(silent)):
        crowd.spawn(crowd.silent(arrived))
        if number % AT_ONCE == 0:
            await asyncio.sleep(0.01)
    for _ in range(int(silent)):
        await arrived.acquire()
    crowd.spawn(crowd.passersBy(int(rate)))
    answer("complete")
    while await isAsked():
        answer(crowd.passed)


if __name__ == "__main__":
    raiseFileLimit()
    uvloop.run(gather(*sys.argv[1:]))
