"""The control phase: any events and messages, in any order.

The promises: nothing is asked for that the state does not allow; a session ends once, and is silent
then; what is sent are whole messages in which there is no token; and only with a place does the
tunnel begin.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from fuzz.target import Planted, Target, taken
from nymearemoteproxy.protocol.jsonrpc import UNKNOWN_ID, MessageError
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import (
    TUNNEL_PROXY_API,
    CheckToken,
    Close,
    Effects,
    Identity,
    Join,
    PairingKeys,
    Register,
    Role,
    Send,
    Session,
    StartTunnel,
    State,
    makeHello,
)

_TOKEN = "a-secret-token"
_UUID = "{1b9a8e44-0000-4000-8000-000000000001}"


def _call(method: str, **params: object) -> bytes:
    return json.dumps({"id": 7, "method": method, "params": params}).encode()


_SERVER = {"serverName": "s", "serverUuid": _UUID}
_CLIENT = {"clientName": "c", "clientUuid": _UUID, "serverUuid": _UUID}

MESSAGES = (
    _call("RemoteProxy.Hello"),
    _call("RemoteProxy.Introspect"),
    _call("Authentication.Authenticate", token=_TOKEN),
    _call("Authentication.Authenticate", token=_TOKEN, nonce="n", uuid="u", name="é\n"),
    _call("TunnelProxy.RegisterServer", **_SERVER),
    _call("TunnelProxy.RegisterServer", **_SERVER, token=_TOKEN, flowControl=True),
    _call("TunnelProxy.RegisterServer", serverName="s", serverUuid="none"),
    _call("TunnelProxy.RegisterClient", **_CLIENT),
    _call("TunnelProxy.RegisterClient", **_CLIENT, token=_TOKEN),
    _call("TunnelProxy.DisconnectClient", socketAddress=1),
    _call("TunnelProxy.PauseClient", socketAddress=1),
    _call("TunnelProxy.Ping", timestamp=1),
    b"{}",
)


def _acceptedWithoutToken(session: Session) -> Effects:
    return session.accepted("", "somebody")


EVENTS: tuple[Callable[[Session], Effects], ...] = (
    lambda session: session.accepted(_TOKEN, None),
    lambda session: session.accepted(_TOKEN, "somebody"),
    _acceptedWithoutToken,
    lambda session: session.refused(),
    lambda session: session.limited(Outcome.QUOTA_USED_UP),
    lambda session: session.backendFailed(),
    lambda session: session.placed(Identity("partner", "uuid")),
    lambda session: session.placed(Identity()),
    lambda session: session.placeRefused(Outcome.SERVER_NOT_FOUND),
    lambda session: session.deadlinePassed(),
    lambda session: session.stopped(),
    lambda session: session.gone(),
    lambda session: session.dataReceived(),
    lambda session: session.badMessage(
        MessageError(UNKNOWN_ID, "Invalid JSON.", Outcome.INVALID_JSON)
    ),
)

_PROVEN: tuple[tuple[Role, ...], ...] = ((), (Role.SERVER,), (Role.SERVER, Role.CLIENT))


def check(data: bytes) -> None:
    how, data = taken(data)
    keys = PairingKeys(bySubject=bool(how & 1), secret=b"known")
    hello = makeHello("proxy", hasTunnelProxy=True)
    session = Session(TUNNEL_PROXY_API, hello, keys, _PROVEN[(how >> 1) % len(_PROVEN)])
    isClosed = isTunneled = hasAsked = False
    for step in data:
        before = session.state
        if step < 128:
            effects = session.messageReceived(MESSAGES[step % len(MESSAGES)])
        else:
            event = EVENTS[step % len(EVENTS)]
            effects = event(session)
            assert event is not _acceptedWithoutToken or not _asks(effects), "who is that"
        begins = any(isinstance(effect, StartTunnel) for effect in effects)
        assert not begins or hasAsked, "it has a tunnel, and asked for no place"
        hasAsked = hasAsked or _asks(effects)
        if before in (State.TUNNELED, State.CLOSED):
            assert not effects, "it asks for something although it is over"
        _checkEffects(session, effects, isTunneled)
        closes = sum(isinstance(effect, Close) for effect in effects)
        assert closes <= (not isClosed), "it ends twice"
        isClosed = isClosed or bool(closes)
        isTunneled = isTunneled or begins
        assert (session.state is State.TUNNELED) <= isTunneled, "a tunnel that did not begin"
        if session.state is State.CLOSED:
            assert isClosed or isTunneled, "it is closed, and nobody was told"


def _asks(effects: Effects) -> bool:
    """Tell whether a place is asked for."""
    return any(isinstance(effect, Join | Register) for effect in effects)


def _checkEffects(session: Session, effects: Effects, isTunneled: bool) -> None:
    for place, effect in enumerate(effects):
        isLast = place == len(effects) - 1
        match effect:
            case Send(data):
                assert data.endswith(b"\n") and _TOKEN.encode() not in data
                json.loads(data)
            case CheckToken(token):
                assert token == _TOKEN and session.expectsVerdict and isLast
            case Join(key, _identity):
                assert len(key) == 16 and session.state is State.WAITING and isLast
            case Register():
                assert session.state is State.REGISTERING and session.expectsPlace and isLast
            case StartTunnel():
                assert session.state is State.TUNNELED and not isTunneled and isLast
                assert isinstance(effects[0], Send), "the client does not know of the tunnel"
            case Close():
                assert session.state is State.CLOSED and isLast


TARGET = Target(
    check,
    covers=("protocol.session", "protocol.outcomes"),
    planted=(
        Planted(
            "protocol/session.py",
            "Event.PLACED: _late(_AUTHENTICATING),",
            'Event.PLACED: Step(_TUNNELED, "startTunnel"),',
        ),
        Planted(
            "protocol/session.py",
            'Event.GONE: Step(_CLOSED, "ignore"),',
            'Event.GONE: Step(_CLOSED, "forget"),',
        ),
        Planted(
            "protocol/session.py", "        if not token:\n            return self.refused()\n", ""
        ),
    ),
)
