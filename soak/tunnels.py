"""Two clients with the same token and nonce.

Owns what they do and what they must see. Knows nothing of the server but its protocol.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from soak.payload import Receiving, content
from soak.plan import FIRST, Scenario, Side
from soak.playing import LEFT, LOST, PARTNER_LEFT, Stage, WrongError, goodbye, stalled, transmit
from soak.wires import WebSocketWire, Wire
from tests.support.endtoend import BINARY, ESTABLISHED_FIRST, accepted, authenticate, frame

HALVES = ("tcp", "unix")
"""Where one direction can end alone. With TLS close_notify ends both (docs/protocol.rst)."""


@dataclass
class End:
    """One side of a tunnel.

    :ivar receiving: what its partner sends.
    """

    number: int
    side: Side
    wire: Wire
    sends: bytes
    receiving: Receiving


async def play(stage: Stage) -> None:
    """Play a scenario.

    :raises WrongError: the server did something else than it should.
    """
    scenario = stage.scenario
    one, two = await _joined(stage)
    if scenario.fault == "twins":
        for wire in (one, two):
            stage.expect(wire, "duplicate-client-uuid")
            await goodbye(wire, "1008")
        return
    await _established(scenario, one, two)
    ends = _ends(stage, one, two)
    if scenario.fault == "third":
        await _third(stage)
    actor, other = ends[scenario.actor], ends[1 - scenario.actor]
    await _PLAYS.get(scenario.fault, _none)(stage, actor, other)


# Before the tunnel


def _token(scenario: Scenario, side: Side, stage: Stage) -> str:
    asked = {"backend": "good", "slow-backend": "slow"}.get(scenario.fault)
    return stage.token if asked is None else stage.secret(asked)


def _params(scenario: Scenario, number: int) -> dict[str, str]:
    """Return what the newer dialect says besides."""
    if scenario.sides[number].dialect == FIRST and scenario.fault != "twins":
        return {}
    name = 0 if scenario.fault == "twins" else number
    return {"uuid": f"{{00000000-0000-4000-8000-{scenario.index:08x}{name:04x}}}", "name": "soak"}


async def _join(stage: Stage, number: int) -> Wire:
    scenario = stage.scenario
    side = scenario.sides[number]
    wire = await stage.connect(side)
    params = _params(scenario, number)
    request = authenticate(
        _token(scenario, side, stage), params, nonce=stage.secret(f"nonce-{scenario.index}")
    )
    if side.style == "bytes":
        # A newline that comes by itself could be payload, or payload be taken for it.
        await wire.sendSlowly(request, together=len(b"}\n"))
    else:
        wire.send(request)
    return wire


async def _accept(scenario: Scenario, number: int, wire: Wire) -> None:
    answer, expected = await wire.line(), accepted(_params(scenario, number))
    if answer != expected:
        raise WrongError(f"side {number} is accepted", answer)


async def _joined(stage: Stage) -> tuple[Wire, Wire]:
    """Return both, accepted; whoever is first is so by chance."""
    scenario = stage.scenario
    wires = []
    for number in (0, 1):
        wires.append(await _join(stage, number))
        if scenario.share < 0.5:  # the second comes when the first one waits
            await _accept(scenario, number, wires[number])
    if scenario.share >= 0.5:
        for number in (0, 1):
            await _accept(scenario, number, wires[number])
    return wires[0], wires[1]


async def _established(scenario: Scenario, *wires: Wire) -> None:
    for number, wire in enumerate(wires):
        told = await wire.line()
        partner = _params(scenario, 1 - number)
        if not _params(scenario, number):
            if told != ESTABLISHED_FIRST:
                raise WrongError("Tunnel.Established", told)
            continue
        params = {"name": partner.get("name", ""), "uuid": partner.get("uuid", "")}
        message = json.loads(told)
        if (
            message["notification"] != "RemoteProxy.TunnelEstablished"
            or message["params"] != params
        ):
            raise WrongError(f"TunnelEstablished with {params}", told)


def _ends(stage: Stage, *wires: Wire) -> list[End]:
    scenario = stage.scenario
    stage.established(token=1)
    sends = [
        content(stage.seed, scenario.index, str(number), side.size, side.isText)
        for number, side in enumerate(scenario.sides)
    ]
    ends = []
    for number, wire in enumerate(wires):
        receiving = stage.receive(sends[1 - number], wire)
        wire.relay(receiving.take)
        ends.append(End(number, scenario.sides[number], wire, sends[number], receiving))
    return ends


async def _third(stage: Stage) -> None:
    """A further client with their key is turned away, and they do not notice."""
    third = await _join(stage, 0)
    stage.expect(third, "tunnel-exists")
    await _accept(stage.scenario, 0, third)
    await goodbye(third, "1008")


# In the tunnel


async def _none(stage: Stage, actor: End, other: End) -> None:
    """Both hear everything, then one of them leaves."""
    await asyncio.gather(*(_send(stage, end) for end in (actor, other)))
    for end in (actor, other):
        await stage.hear(end.receiving, end.wire)
    await _leave(stage, actor, other)
    actor.wire.isExact = other.wire.isExact = True
    for end in (actor, other):
        _judgeMessages(stage, end, other if end is actor else actor)


async def _lastWords(stage: Stage, actor: End, other: End) -> None:
    """One leaves as soon as it has sent everything, whatever the other one does."""
    sending = asyncio.create_task(_send(stage, other))
    await _send(stage, actor)
    await _leave(stage, actor, other)
    await sending
    stage.judge(other.receiving, other.wire)


async def _halfClose(stage: Stage, actor: End, other: End) -> None:
    """One ends its sending direction, and the other one goes on."""
    if actor.side.transport not in HALVES or other.side.isWebSocket:
        await _lastWords(stage, actor, other)
        return
    await _send(stage, actor)
    stage.expect(actor.wire, *LEFT)
    stage.expect(other.wire, *PARTNER_LEFT, *LEFT)
    actor.wire.leave()
    await other.wire.until(lambda: False)
    stage.judge(other.receiving, other.wire)
    await _send(stage, other)
    await other.wire.drained()
    other.wire.leave()
    await goodbye(actor.wire, "1000")
    stage.judge(actor.receiving, actor.wire)
    await goodbye(other.wire, "1000")


async def _reset(stage: Stage, actor: End, other: End) -> None:
    """One breaks its connection in the middle of everything."""
    # A Unix socket has no reset. Of plain TCP's, one in some hundreds was told as an end in order,
    # while much was being sent there.
    hasReset = actor.side.transport not in ("unix", "tcp")
    stage.expect(actor.wire, *(LOST if hasReset else (*LOST, *LEFT)))
    stage.expect(other.wire, *PARTNER_LEFT)
    sending = asyncio.create_task(_send(stage, other))
    await _send(stage, actor, stage.scenario.share)
    actor.wire.reset()
    await other.wire.close()
    await sending


async def _stall(stage: Stage, actor: End, other: End) -> None:
    """One does not read for a while, and misses nothing."""
    await asyncio.gather(stalled(actor.wire, stage.scenario.share), _send(stage, other))
    await _send(stage, actor)
    for end in (actor, other):
        await stage.hear(end.receiving, end.wire)
    await _leave(stage, actor, other)


async def _unmasked(stage: Stage, actor: End, other: End) -> None:
    """One breaks the rules of WebSocket."""
    await _send(stage, actor, stage.scenario.share)
    stage.expect(actor.wire, "websocket-protocol-error")
    stage.expect(other.wire, *PARTNER_LEFT)
    actor.wire.write(frame(BINARY, b"unmasked", masked=False))
    await goodbye(other.wire, "1000")
    await goodbye(actor.wire, "1002")


async def _vanished(stage: Stage, actor: End, other: End) -> None:
    """One is not heard of any more, and its kernel says nothing of it."""
    stage.expect(actor.wire, "ping-timeout", "tunnel-idle", *PARTNER_LEFT)
    stage.expect(other.wire, "tunnel-idle", *PARTNER_LEFT)
    await _send(stage, actor, stage.scenario.share)
    actor.wire.deafen()
    await other.wire.close()
    actor.wire.listen()
    await actor.wire.close()


_PLAYS = {
    "last-words": _lastWords,
    "half-close": _halfClose,
    "reset": _reset,
    "stall": _stall,
    "unmasked": _unmasked,
    "vanished": _vanished,
}


async def _send(stage: Stage, end: End, share: float = 1.0) -> None:
    data = end.sends[: int(len(end.sends) * share)]
    await transmit(stage, end.wire, end.number, data)


async def _leave(stage: Stage, actor: End, other: End) -> None:
    stage.expect(actor.wire, *LEFT)
    stage.expect(other.wire, *PARTNER_LEFT)
    actor.wire.leave()
    await goodbye(other.wire, "1000")
    await goodbye(actor.wire, "1000")


def _judgeMessages(stage: Stage, end: End, partner: End) -> None:
    """Between two WebSockets messages stay what they are; to one, text stays text."""
    wire, other = end.wire, partner.wire
    if not isinstance(wire, WebSocketWire):
        return
    if isinstance(other, WebSocketWire):
        sent, came = stage.messages[other], wire.messages
        # Empty ones may be on their way still: they are not waited for, as there are no bytes.
        if came != sent[: len(came)] or any(size for _kind, size in sent[len(came) :]):
            raise WrongError(sent, came)
    elif wire.opcode == BINARY or partner.side.isText:
        kinds = {kind for kind, _size in wire.messages}
        if kinds - {wire.opcode}:
            raise WrongError(f"messages of kind {wire.opcode}", kinds)
