"""The processes that help the load generator: how they talk with it.

Owns the two pipes. A helper says a line when it is ready, and ends when its standard input does,
so that it cannot outlive the benchmark.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.lab import Child, Lab

LONGEST = 1 << 12


class HelperError(Exception):
    """A helper ended before its time; the text is the last line it said."""


async def _readable(descriptor: int) -> bytes:
    """Wait until something can be read, and return it."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, LONGEST)


def start(
    lab: Lab,
    module: str,
    *arguments: object,
    python: str | Path = sys.executable,
    core: int | None = None,
) -> Child:
    """Start a helper.

    :param core: where, if not on the load generator's.
    """
    command = (python, "-m", f"benchmarks.{module}", *map(str, arguments))
    core = lab.generatorCore if core is None else core
    return lab.start(command, core=core, piped=True)


async def hear(child: Child) -> str:
    """Return what a helper says next.

    :raises HelperError: it ended.
    """
    _input, output = child.pipes
    said = await _readable(output)
    if not said:
        raise HelperError(child.lastWords)
    return said.decode()


async def ask(child: Child) -> str:
    """Return a helper's answer."""
    where, _output = child.pipes
    os.write(where, b"\n")
    return await hear(child)


def answer(text: object) -> None:
    """In a helper: say a line, in one piece."""
    os.write(sys.stdout.fileno(), f"{text}\n".encode())


async def isAsked() -> bool:
    """In a helper: wait for the next question; False when there will be none."""
    return bool(await _readable(sys.stdin.fileno()))
