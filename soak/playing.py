"""What all scenarios are played with.

Owns a scenario's connections and what is expected of them. Knows nothing of what is played.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from soak.payload import Receiving
from soak.plan import Scenario, Side
from soak.servers import Setup
from soak.wires import EOF, WebSocketWire, Wire, connect
from tests.support.endtoend import BINARY, MARK, PING, TEXT, frame

LEFT = ("client-left",)
PARTNER_LEFT = ("partner-left",)
LOST = ("connection-lost",)
"""Outcomes, as the log has them."""

LONGEST_STALL = 1.0
"""Seconds for which somebody does not read."""

_PIECES = 7
"""Writes, about, of what is not written at once."""
_FIRST_ADDRESS = 64 << 16
"""Below 127.64.0.0 are those of others."""


class WrongError(Exception):
    """The server did something else than it should."""

    def __init__(self, expected: object, came: object) -> None:
        super().__init__(f"expected: {expected}\n  came: {came}")


def sourceOf(index: int) -> str:
    """Return the address that the connections of a scenario come from: none has another's."""
    number = (_FIRST_ADDRESS + index) % (1 << 24)
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@dataclass
class Stage:
    """Where one scenario is played.

    :ivar token: one that the server knows.
    :ivar wires: all connections so far.
    :ivar receivings: all that is compared.
    :ivar counts: tunnels that came up, by kind.
    :ivar messages: what each WebSocket has sent, as opcode and size.
    :ivar problem: what must not be, whatever was killed meanwhile; empty = nothing.
    """

    seed: str
    scenario: Scenario
    setup: Setup
    wires: list[Wire] = field(default_factory=list)
    receivings: list[Receiving] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    messages: dict[Wire, list[tuple[int, int]]] = field(default_factory=dict)
    problem: str = ""

    @property
    def token(self) -> str:
        return self.setup.token

    def secret(self, name: str) -> str:
        """Return a token or nonce that no log may have."""
        return f"{MARK}-{name}"

    async def connect(self, side: Side) -> Wire:
        """Connect, up to where control messages can be sent."""
        wire = await self._connect(side, side.transport)
        await wire.ready()
        return wire

    async def connectBelow(self, side: Side) -> Wire:
        """Connect, and leave out TLS and WebSocket."""
        return await self._connect(side, "unix" if side.transport == "unix" else "tcp")

    async def _connect(self, side: Side, transport: str) -> Wire:
        address = self.setup.address(side.member, side.transport)
        opcode = TEXT if side.isText else BINARY
        wire = await connect(transport, address, sourceOf(self.scenario.index), opcode)
        self.wires.append(wire)
        self.messages[wire] = []
        return wire

    def receive(self, expected: bytes, wire: Wire) -> Receiving:
        """Return what compares a wire's payload with what it should be."""
        receiving = Receiving(expected, wire.touch)
        self.receivings.append(receiving)
        return receiving

    async def hear(
        self, receiving: Receiving, wire: Wire, isOver: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until everything has come.

        :param isOver: tells that nothing more can come, though the connection goes on.
        :raises WrongError: the connection was ended before, or it was over.
        """
        await wire.until(lambda: receiving.isComplete or bool(receiving.problem) or isOver())
        self.judge(receiving, wire)

    def judge(self, receiving: Receiving, wire: Wire) -> None:
        """Everything has come.

        :raises WrongError: it has not.
        """
        receiving.check()
        if not receiving.isComplete:
            how = wire.ended.result() if wire.ended.done() else "open"
            raise WrongError("all bytes", f"{receiving} at {wire.name}, {how}")

    def expect(self, wire: Wire, *outcomes: str) -> None:
        """The server has to log one of these."""
        wire.outcomes = frozenset(outcomes)

    def expectExactly(self, wire: Wire, *outcomes: str) -> None:
        """It has to log one of these, and the very number of bytes."""
        self.expect(wire, *outcomes)
        wire.isExact = True

    def established(self, **counts: int) -> None:
        """So many tunnels of each kind are up."""
        self.counts.update(counts)


async def stalled(wire: Wire, share: float) -> None:
    """Read nothing for a while."""
    wire.deafen()
    await asyncio.sleep(LONGEST_STALL * share)
    wire.listen()


async def goodbye(wire: Wire, code: str) -> None:
    """Wait for the server's farewell.

    :param code: of a close frame; a stream is just ended, in order.
    :raises WrongError: it is another one.
    """
    how = await wire.close()
    expected = code if wire.isWebSocket else EOF
    if how != expected:
        raise WrongError(f"{expected} at {wire.name}", how)


async def transmit(stage: Stage, wire: Wire, number: int, data: bytes) -> None:
    """Send payload in the way of this side, as long as somebody takes it."""
    side = stage.scenario.sides[number]
    random = Random(f"{stage.seed}:{stage.scenario.index}:{number}:cuts")
    if side.style == "bytes":
        await wire.sendSlowly(data)
        await wire.drained()
    elif side.style == "fragments" and isinstance(wire, WebSocketWire):
        await _sendFragments(wire, _cut(random, data))
    else:
        pieces = [data] if side.style == "whole" else _cut(random, data)
        for piece in pieces:
            wire.send(piece)
            await wire.drained()
        stage.messages[wire] += [(_opcode(side), len(piece)) for piece in pieces]
        return
    stage.messages[wire].append((_opcode(side), len(data)))


async def _sendFragments(wire: WebSocketWire, pieces: list[bytes]) -> None:
    """Send one message, with pings in it."""
    for number, piece in enumerate(pieces):
        isLast = number == len(pieces) - 1
        wire.write(frame(0 if number else wire.opcode, piece, fin=isLast))
        if not isLast:
            wire.write(frame(PING, b"soak"))
        await wire.drained()


def _cut(random: Random, data: bytes) -> list[bytes]:
    places = sorted(random.randint(0, len(data)) for _ in range(random.randrange(_PIECES)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def _opcode(side: Side) -> int:
    return TEXT if side.isText else BINARY
