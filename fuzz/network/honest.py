"""Honest clients beside the others, all the time: they get their bytes, exactly and in time.

Owns who meets whom. Knows nothing of those who are not honest.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from fuzz.network.doors import Door
from fuzz.network.grammars import TOKEN
from fuzz.network.player import pause
from tests.support.endtoend import MARK
from tests.support.served import OTHER, TRANSPORTS
from tests.support.wires import Connector, Registered, Wire, reactor

IN_TIME = 20.0
"""Seconds for one meeting; it takes a tenth of one on a machine with nothing else to do."""

ROUNDS = 3
"""How often each of two is sent a block."""

BLOCK = 30_000
"""Bytes: more than a record of TLS, and than a frame whose length has 16 bits has need of."""


BETWEEN = 0.1
"""Seconds from one pair to the next, which leave the processor to the others."""


class Honest:
    """Pairs of clients that meet, one pair after the other, by all transports in turn.

    :ivar problem: what one of them did not get; None = all got all.
    :ivar count: how many pairs have.
    """

    def __init__(self, doors: Mapping[str, Door], seed: str) -> None:
        self.problem: str | None = None
        self.count = 0
        self._connector = Connector({name: doors[name].address for name in TRANSPORTS})
        self._random = Random(seed)
        self._isOver = False

    async def meet(self) -> None:
        """Have them meet until it is over, each kind once at least."""
        meetings = [(meet, first) for first in TRANSPORTS for meet in (self._tunnel, self._visit)]
        for number, (meet, first) in enumerate(itertools.cycle(meetings)):
            if self.problem or (self._isOver and number >= len(meetings)):
                break
            meeting = Deferred.fromCoroutine(meet(first, OTHER[first]))
            try:
                await meeting.addTimeout(IN_TIME, reactor)
            except Exception as error:
                words = f"{meet.__name__.strip('_')} by {first} and {OTHER[first]}"
                self.problem = f"an honest {words} failed: {type(error).__name__}: {error}"
            self.count += 1
            await self._connector.close()
            self._connector.wires.clear()
            await pause(BETWEEN)

    def stop(self) -> None:
        """Let it be over."""
        self._isOver = True

    async def _tunnel(self, first: str, second: str) -> None:
        nonce = f"{MARK}-honest-{self._random.getrandbits(64):x}"
        wires = []
        for transport in (first, second):
            wire = await self._connector.connect(transport, opcode=2)
            identity = (
                {"name": "honest", "uuid": self._uuid()} if self._random.random() < 0.5 else {}
            )
            wire.authenticate(TOKEN, nonce=nonce, **identity)
            answer = await wire.message()
            assert answer["status"] == "success", answer
            wires.append(wire)
        one, two = wires
        for wire in wires:
            assert "notification" in await wire.message()
        for _round in range(ROUNDS):
            await self._exchange(one, two)
            await self._exchange(two, one)
        one.leave()
        rest = await two.end()
        assert not rest, f"{len(rest)} bytes that nobody has sent"

    async def _exchange(self, one: Wire, two: Wire) -> None:
        block = self._random.randbytes(BLOCK)
        one.send(block)
        assert await two.take(BLOCK) == block, "other bytes than were sent"

    async def _visit(self, first: str, second: str) -> None:
        core = await self._connector.connect(first, opcode=2)
        serverUuid = self._uuid()
        core.call("TunnelProxy.RegisterServer", {"serverName": "home", "serverUuid": serverUuid})
        _accept(await core.message())
        server = Registered(core)
        client = await self._connector.connect(second, opcode=2)
        params = {"clientName": "app", "clientUuid": self._uuid(), "serverUuid": serverUuid}
        client.call("TunnelProxy.RegisterClient", params)
        _accept(await client.message())
        notice = await server.message()
        address = notice["params"]["socketAddress"]
        for _round in range(ROUNDS):
            block = self._random.randbytes(BLOCK)
            client.send(block)
            assert await server.take(address, BLOCK) == block, "other bytes than were sent"
            server.send(address, block)
            assert await client.take(BLOCK) == block, "other bytes than were sent"
        client.leave()
        notice = await server.message()
        assert notice["notification"] == "TunnelProxy.ClientDisconnected", notice

    def _uuid(self) -> str:
        return f"{{{uuid.UUID(int=self._random.getrandbits(128), version=4)}}}"


def _accept(answer: dict[str, Any]) -> None:
    assert answer["params"]["tunnelProxyError"] == "TunnelProxyErrorNoError", answer
