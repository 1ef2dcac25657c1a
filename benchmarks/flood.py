"""A helper process that floods: connections that make as much work for the server as goes in.

Each sort sends nothing but small pieces of work, as many as the server takes, and reads what comes
back. It ends by itself after a time, whatever becomes of the benchmark.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.helper import answer, isAsked
from benchmarks.lab import raiseFileLimit
from benchmarks.meetings import Address, Meeting, meeting
from benchmarks.names import isWebSocket
from benchmarks.registered import register
from benchmarks.tunnels import openMany
from benchmarks.wires import BINARY, Wire, connect, frame
from nymearemoteproxy.protocol import slip
from nymearemoteproxy.protocol.packets import PROXY

CHUNK = 64 << 10
"""Bytes given to the kernel at a time."""
LONGEST = 60.0
"""Seconds until it stops by itself."""
PING = 0x9
NICENESS = 19
"""The tunnel whose latency is taken goes first on the load generator's core."""
NOBODY = 0x1234
"""The address of no client."""


def _call(method: str, params: str = "{}") -> bytes:
    return f'{{"id":1,"method":"{method}","params":{params}}}'.encode()


async def _unauthenticated(
    _meeting: Meeting, transport: str, address: Address, count: int
) -> list[Wire]:
    return [await connect(transport, address) for _ in range(count)]


async def _tunnels(how: Meeting, transport: str, address: Address, count: int) -> list[Wire]:
    return [first for first, _second in await openMany(how, transport, address, count)]


async def _servers(_meeting: Meeting, transport: str, address: Address, count: int) -> list[Wire]:
    return [(await register(transport, address)).wire for _ in range(count)]


Open = Callable[[Meeting, str, Address, int], Awaitable[list[Wire]]]

SORTS: dict[str, tuple[Open, bytes, int | None]] = {
    "hello": (_unauthenticated, _call("RemoteProxy.Hello"), None),
    "introspect": (_unauthenticated, _call("RemoteProxy.Introspect"), None),
    "pings": (_unauthenticated, b"", PING),
    "tunnel-pings": (_tunnels, b"", PING),
    "messages": (_tunnels, b"x", None),
    "calls": (_servers, slip.encode(PROXY, _call("RemoteProxy.Hello")), None),
    "packets": (_servers, slip.encode(NOBODY, b""), None),
}
"""How the connections come about, a piece of work, and the opcode of its frame if it has to have
one of its own."""


def _chunk(sort: str, transport: str) -> bytes:
    """Return what is sent over and over."""
    opened, piece, opcode = SORTS[sort]
    if not isWebSocket(transport):
        return piece * (CHUNK // len(piece))
    if opened is _servers:
        return frame(piece * (CHUNK // len(piece)), BINARY)
    framed = frame(piece) if opcode is None else frame(piece, opcode)
    return framed * (CHUNK // len(framed))


async def _send(wire: Wire, chunk: bytes) -> None:
    wire.receive = lambda _data, _last: None
    while not wire.closed.done():
        await wire.canWrite.wait()
        wire.write(chunk)
        await asyncio.sleep(0)


async def flood(sort: str, transport: str, host: str, port: str, how: str, count: str) -> None:
    """Open the connections, say so, and flood from when it is asked until the end."""
    opened, _piece, _opcode = SORTS[sort]
    wires = await opened(meeting(how), transport, (host, int(port)), int(count))
    chunk = _chunk(sort, transport)
    answer("open")
    if not await isAsked():
        return
    tasks = [asyncio.create_task(_send(wire, chunk)) for wire in wires]
    answer("floods")
    while await isAsked():
        answer(sum(not task.done() for task in tasks))


async def main() -> None:
    async with asyncio.timeout(LONGEST):
        await flood(*sys.argv[1:])


if __name__ == "__main__":
    os.nice(NICENESS)
    raiseFileLimit()
    uvloop.run(main())
