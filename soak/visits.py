"""A registered server of the tunnel proxy and its clients.

Owns what they do and what they must see. Knows nothing of the server but its protocol.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from soak.payload import Receiving, content
from soak.plan import FRONT
from soak.playing import LEFT, LOST, PARTNER_LEFT, Stage, WrongError, goodbye, stalled, transmit
from soak.servers import DOMAIN
from soak.wires import Wire
from tests.support.endtoend import call
from tests.support.hellos import helloTo
from tests.support.wires import slip, unslip

PACKET = 1 << 17
"""Bytes of a server's packets at most; nymea:core sends every answer in one."""
NO_ERROR = "TunnelProxyErrorNoError"


class Registered:
    """The server's end: packets from and to its clients.

    :ivar addresses: of those that were announced a moment ago, by uuid.
    :ivar left: of those that were said to be gone.
    """

    def __init__(self, stage: Stage, wire: Wire) -> None:
        self._stage = stage
        self.wire = wire
        self.addresses: dict[str, int] = {}
        self.left: set[int] = set()
        self.answers: list[dict[str, Any]] = []
        self._streams: dict[int, Receiving] = {}
        self._expected: dict[str, Receiving] = {}
        self._packet = b""
        self._line = b""

    def expect(self, uuid: str, receiving: Receiving) -> None:
        """A client with this uuid will come, and send this.

        :param uuid: `FRONT` for a visitor, whose own is made up by the proxy.
        """
        self._expected[uuid] = receiving

    async def announced(self, uuid: str, client: Wire) -> int:
        """Wait until it has come; return its address.

        :param client: its own end, which may be told something else.
        """
        client.ended.add_done_callback(lambda _: self.wire.touch())
        await self.wire.until(lambda: uuid in self.addresses or client.ended.done())
        if uuid not in self.addresses:
            ended = self.wire.ended if self.wire.ended.done() else client.ended
            raise WrongError("ClientConnected", ended.result())
        return self.addresses.pop(uuid)

    def take(self, data: bytes) -> None:
        """Bytes have come."""
        *packets, self._packet = (self._packet + data).split(b"\xc0")
        for packet in packets:
            try:
                self._takePacket(*unslip(packet))
            except (LookupError, ValueError) as error:  # of nobody, or no packet
                self._stage.problem = f"{error!r} at the packet {packet[:100]!r}"
                self.wire.reset()
        self.wire.touch()

    def _takePacket(self, address: int, payload: bytes) -> None:
        if address:
            self._streams[address].take(payload)
            return
        *lines, self._line = (self._line + payload).split(b"\n")
        for line in lines:
            self._told(json.loads(line))

    def _told(self, message: dict[str, Any]) -> None:
        kind, params = message.get("notification"), message["params"]
        if kind == "TunnelProxy.ClientConnected":
            uuid = FRONT if params["clientName"] == FRONT else params["clientUuid"]
            self.addresses[uuid] = params["socketAddress"]
            self._streams[params["socketAddress"]] = self._expected.pop(uuid)
        elif kind == "TunnelProxy.ClientDisconnected":
            self.left.add(params["socketAddress"])
        else:
            self.answers.append(message)

    def isLeftBy(self, address: int) -> bool:
        """Tell whether a client was said to be gone."""
        return address in self.left

    async def send(self, address: int, data: bytes) -> None:
        """Send a client bytes, in packets."""
        for at in range(0, len(data), PACKET):
            self.wire.send(slip(address, data[at : at + PACKET]))
            await self.wire.drained()

    async def disconnect(self, address: int) -> None:
        """Have the proxy close a client."""
        self.wire.send(slip(0, call("TunnelProxy.DisconnectClient", socketAddress=address)))
        if not await self.wire.until(lambda: bool(self.answers)):
            raise WrongError("an answer to DisconnectClient", self.wire.ended.result())
        if self.answers[0]["params"]["tunnelProxyError"] != NO_ERROR:
            raise WrongError(NO_ERROR, self.answers[0])


@dataclass
class Client:
    """One client of the server.

    :ivar sends: what it sends to the server.
    :ivar given: what the server sends to it.
    :ivar hears: at its end.
    :ivar heard: at the server's end.
    """

    number: int
    wire: Wire
    address: int
    sends: bytes
    given: bytes
    hears: Receiving
    heard: Receiving


async def play(stage: Stage) -> None:
    """Play a scenario.

    :raises WrongError: the server did something else than it should.
    """
    scenario = stage.scenario
    if scenario.fault == "nobody":
        if scenario.sides[1].transport == FRONT:
            wire = await _knock(stage, 1)
            stage.expect(wire, "server-not-found")
            await goodbye(wire, "1013")
        else:
            await _refused(stage, 1, _registerClient(stage, 1), "ServerNotFound", "1013")
        return
    server = await _register(stage)
    if scenario.fault == "taken":
        await _refused(stage, 0, _registerServer(stage), "AlreadyRegistered", "1008")
    clients = [await _visit(stage, server, number) for number in range(1, len(scenario.sides))]
    await _PLAYS.get(scenario.fault, _none)(stage, server, clients)


# Before there is payload


def _uuid(stage: Stage, number: int) -> str:
    return f"{{00000000-0000-4000-8001-{stage.scenario.index:08x}{number:04x}}}"


def _registerServer(stage: Stage) -> bytes:
    params = {"serverName": "soak", "serverUuid": _uuid(stage, 0), "front": True}
    return call("TunnelProxy.RegisterServer", 1, **params)


def _registerClient(stage: Stage, number: int) -> bytes:
    params = {"clientName": "soak", "clientUuid": _uuid(stage, number)}
    return call("TunnelProxy.RegisterClient", 1, serverUuid=_uuid(stage, 0), **params)


def _hello(stage: Stage) -> bytes:
    return helloTo(f"{_uuid(stage, 0)[1:-1]}.{DOMAIN}")


async def _knock(stage: Stage, number: int) -> Wire:
    """Connect a visitor."""
    wire = await stage.connect(stage.scenario.sides[number])
    wire.send(_hello(stage))
    return wire


async def _call(stage: Stage, number: int, request: bytes, error: str = NO_ERROR) -> Wire:
    wire = await stage.connect(stage.scenario.sides[number])
    wire.send(request)
    answer = await wire.line()
    if json.loads(answer).get("params", {}).get("tunnelProxyError") != error:
        raise WrongError(error, answer)
    return wire


_OUTCOMES = {"ServerNotFound": "server-not-found", "AlreadyRegistered": "already-registered"}


async def _refused(stage: Stage, number: int, request: bytes, error: str, code: str) -> None:
    wire = await _call(stage, number, request, f"TunnelProxyError{error}")
    stage.expect(wire, _OUTCOMES[error])
    await goodbye(wire, code)


async def _register(stage: Stage) -> Registered:
    server = Registered(stage, await _call(stage, 0, _registerServer(stage)))
    server.wire.relay(server.take)
    stage.established(servers=1)
    return server


async def _visit(stage: Stage, server: Registered, number: int) -> Client:
    """Connect a client."""
    seed, scenario = stage.seed, stage.scenario
    side = scenario.sides[number]
    isVisitor = side.transport == FRONT
    uuid = FRONT if isVisitor else _uuid(stage, number)
    sends = content(seed, scenario.index, f"from {number}", side.size, side.isText)
    given = content(seed, scenario.index, f"to {number}", scenario.sides[0].size, False)
    heard = stage.receive(_hello(stage) + sends if isVisitor else sends, server.wire)
    server.expect(uuid, heard)
    if isVisitor:
        wire = await _knock(stage, number)
    else:
        wire = await _call(stage, number, _registerClient(stage, number))
    address = await server.announced(uuid, wire)
    stage.established(clients=1)
    hears = stage.receive(given, wire)
    wire.relay(hears.take)
    return Client(number, wire, address, sends, given, hears, heard)


# With payload


def _sending(stage: Stage, server: Registered, clients: Sequence[Client], share: float) -> Any:
    """Return what has everybody send, as much of everything."""
    return asyncio.gather(
        *(transmit(stage, each.wire, each.number, _part(each.sends, share)) for each in clients),
        *(server.send(each.address, _part(each.given, share)) for each in clients),
    )


def _part(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


async def _heard(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """Wait until these and the server have heard everything of each other."""
    for each in clients:
        await stage.hear(each.hears, each.wire)
        await stage.hear(each.heard, server.wire, partial(server.isLeftBy, each.address))


async def _none(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """All hear everything, and leave, the server at last."""
    await _sending(stage, server, clients, 1.0)
    await _heard(stage, server, clients)
    await _goodbyes(stage, server, clients)


async def _goodbyes(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    for each in clients:
        stage.expectExactly(each.wire, *LEFT)
        each.wire.leave()
        await goodbye(each.wire, "1000")
        await _gone(server, each)
    stage.expect(server.wire, *LEFT)
    server.wire.leave()
    await goodbye(server.wire, "1000")


async def _gone(server: Registered, client: Client) -> None:
    if not await server.wire.until(partial(server.isLeftBy, client.address)):
        raise WrongError("ClientDisconnected", server.wire.ended.result())


async def _serverLeft(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """The server leaves with its last words; its clients hear them."""
    await _sending(stage, server, clients, 1.0)
    stage.expect(server.wire, *LEFT)
    server.wire.leave()
    for each in clients:
        stage.expect(each.wire, *PARTNER_LEFT)
        await goodbye(each.wire, "1000")
        stage.judge(each.hears, each.wire)
    await goodbye(server.wire, "1000")


async def _serverReset(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """The server's connection breaks in the middle of everything."""
    await _sending(stage, server, clients, stage.scenario.share)
    stage.expect(server.wire, *LOST, *(LEFT if server.wire.name == "unix" else ()))
    server.wire.reset()
    for each in clients:
        stage.expect(each.wire, *PARTNER_LEFT)
        await each.wire.close()


async def _clientReset(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """One client's connection breaks; the others do not notice."""
    lost = clients[stage.scenario.actor - 1]
    others = [each for each in clients if each is not lost]
    await _sending(stage, server, [lost], stage.scenario.share)
    stage.expect(lost.wire, *LOST, *(LEFT if lost.wire.name == "unix" else ()))
    lost.wire.reset()
    await _gone(server, lost)
    await _none(stage, server, others)


async def _dismissed(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """The server sends one of its clients away, with all that it was sent."""
    sent = clients[stage.scenario.actor - 1]
    await _sending(stage, server, clients, 1.0)
    await _heard(stage, server, clients)
    stage.expect(sent.wire, "disconnected-by-server")
    await server.disconnect(sent.address)
    await goodbye(sent.wire, "1000")
    await _gone(server, sent)
    await _goodbyes(stage, server, [each for each in clients if each is not sent])


async def _stall(stage: Stage, server: Registered, clients: Sequence[Client]) -> None:
    """Somebody does not read for a while, and misses nothing; nor do the others."""
    scenario = stage.scenario
    wire = clients[scenario.actor - 1].wire if scenario.actor else server.wire
    await asyncio.gather(stalled(wire, scenario.share), _sending(stage, server, clients, 1.0))
    await _heard(stage, server, clients)
    await _goodbyes(stage, server, clients)


_PLAYS = {
    "server-left": _serverLeft,
    "server-reset": _serverReset,
    "client-reset": _clientReset,
    "dismissed": _dismissed,
    "stall": _stall,
}
