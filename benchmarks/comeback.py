"""A helper process with many registered servers, which all lose their connections and come back.

Knows nothing of what is measured meanwhile, except for how long it takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid

import uvloop

from benchmarks.helper import answer, isAsked
from benchmarks.lab import now, raiseFileLimit
from benchmarks.meetings import Address
from benchmarks.registered import Registered, register

AT_ONCE = 20
"""Servers that connect at a time, before the storm."""
AGAIN = 0.2
"""Seconds until one that was refused tries again; clients in the field wait longer."""


class Comeback:
    """The servers.

    :ivar refused: how often one was, in the storm.
    """

    def __init__(self, transport: str, address: Address, count: int) -> None:
        self._place = transport, address
        self._uuids = [str(uuid.uuid4()) for _ in range(count)]
        self._servers: list[Registered] = []
        self.refused = 0

    async def connect(self) -> None:
        """Connect them, in good order."""
        uuids = iter(self._uuids)

        async def work() -> None:
            for each in uuids:
                self._servers.append(await register(*self._place, each))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def comeBack(self) -> float:
        """Lose all connections and connect anew, all at once; return the seconds."""
        gone, self._servers = self._servers, []
        begin = now()
        for server in gone:
            server.wire.transport.abort()
        async with asyncio.TaskGroup() as group:
            for each in self._uuids:
                group.create_task(self._again(each))
        return now() - begin

    async def _again(self, serverUuid: str) -> None:
        while True:
            try:
                self._servers.append(await register(*self._place, serverUuid))
            except (OSError, TimeoutError):
                self.refused += 1
                await asyncio.sleep(AGAIN)
            else:
                return


async def main(transport: str, host: str, port: str, count: str) -> None:
    """Connect, say so, and come back whenever asked."""
    comeback = Comeback(transport, (host, int(port)), int(count))
    await comeback.connect()
    answer("open")
    while await isAsked():
        seconds = await comeback.comeBack()
        answer(json.dumps({"seconds": seconds, "refused": comeback.refused}))


if __name__ == "__main__":
    raiseFileLimit()
    uvloop.run(main(*sys.argv[1:]))
