"""Those who never get a tunnel.

Owns what they do and what they are told. Knows nothing of the server but its protocol.
"""

from __future__ import annotations

from soak.plan import FIRST
from soak.playing import Stage, WrongError, goodbye
from soak.wires import Wire
from tests.support.endtoend import (
    BACKEND_ERROR,
    BACKEND_TIMEOUT,
    SECOND,
    accepted,
    authenticate,
    failed,
    refused,
)

GARBAGE = b"\x01 nothing that anybody understands \r\n\r\n"
TOO_LARGE = b'{"id": 1, "method": "' + b"A" * (1 << 16)
MUTE = {"ws": "websocket-handshake", "wss": "tls-handshake", "tls": "tls-handshake"}
"""What does not come, by transport; elsewhere it is a call."""
UNREADABLE = {
    "ws": "websocket-handshake-failed",
    "wss": "tls-handshake-failed",
    "tls": "tls-handshake-failed",
}


async def play(stage: Stage) -> None:
    """Play a scenario.

    :raises WrongError: the server did something else than it should.
    """
    await _PLAYS[stage.scenario.fault](stage)


async def _asked(stage: Stage, token: str) -> tuple[Wire, dict[str, str], bytes]:
    """Authenticate; return the answer."""
    side = stage.scenario.sides[0]
    dialect = {} if side.dialect == FIRST else SECOND
    wire = await stage.connect(side)
    wire.send(authenticate(token, dialect, nonce=stage.secret(f"nonce-{stage.scenario.index}")))
    return wire, dialect, await wire.line()


async def _waiting(stage: Stage) -> Wire:
    wire, dialect, answer = await _asked(stage, stage.token)
    if answer != accepted(dialect):
        raise WrongError(accepted(dialect), answer)
    return wire


async def _alone(stage: Stage) -> None:
    wire = await _waiting(stage)
    stage.expectExactly(wire, "alone-timeout")
    await goodbye(wire, "1013")


async def _leftEarly(stage: Stage) -> None:
    wire = await _waiting(stage)
    stage.expectExactly(wire, "left-early")
    wire.leave()
    await goodbye(wire, "1000")


async def _earlyData(stage: Stage) -> None:
    wire = await _waiting(stage)
    stage.expect(wire, "data-before-tunnel")
    wire.send(b"too early")
    await goodbye(wire, "1008")


async def _refused(stage: Stage) -> None:
    wire, dialect, answer = await _asked(stage, stage.secret("bad"))
    if answer != refused(dialect):
        raise WrongError(refused(dialect), answer)
    stage.expect(wire, "token-refused")
    await goodbye(wire, "1008")


async def _brokenBackend(stage: Stage) -> None:
    await _failed(stage, "broken", "ProxyError", BACKEND_ERROR, "authentication-error")


async def _silentBackend(stage: Stage) -> None:
    await _failed(stage, "silent", "Timeout", BACKEND_TIMEOUT, "authentication-timeout")


async def _failed(stage: Stage, token: str, error: str, text: str, outcome: str) -> None:
    wire, dialect, answer = await _asked(stage, stage.secret(token))
    expected = failed(dialect, error, text)
    if answer != expected:
        raise WrongError(expected, answer)
    stage.expect(wire, outcome)
    await goodbye(wire, "1013")


async def _mute(stage: Stage) -> None:
    side = stage.scenario.sides[0]
    wire = await stage.connectBelow(side)
    stage.expect(wire, f"{MUTE.get(side.transport, 'inactive')}-timeout")
    await wire.close()


async def _garbage(stage: Stage) -> None:
    side = stage.scenario.sides[0]
    wire = await stage.connectBelow(side)
    stage.expect(wire, UNREADABLE.get(side.transport, "invalid-json"))
    wire.write(GARBAGE)
    await wire.close()


async def _tooLarge(stage: Stage) -> None:
    wire = await stage.connect(stage.scenario.sides[0])
    stage.expect(wire, "message-too-large")
    wire.send(TOO_LARGE)
    await wire.line()
    await goodbye(wire, "1009")


_PLAYS = {
    "alone": _alone,
    "left-early": _leftEarly,
    "early-data": _earlyData,
    "refused": _refused,
    "broken-backend": _brokenBackend,
    "silent-backend": _silentBackend,
    "mute": _mute,
    "garbage": _garbage,
    "too-large": _tooLarge,
}
