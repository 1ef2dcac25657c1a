"""Sessions in each of their states, and everything that can be done to one."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hypothesis import settings

from nymearemoteproxy.protocol.jsonrpc import Api, tooLarge
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import (
    TOKEN_TUNNEL_API,
    Effects,
    Identity,
    PairingKeys,
    Role,
    Session,
    State,
)

PROPERTY = settings(max_examples=150, deadline=None, database=None)

HELLO = {"server": "nymea-remoteproxy", "name": "x", "version": "1", "apiVersion": "0.3"}
TOKEN, NONCE = "sesame", "n-1"
UUID = "{c2a4d5a8-0a0e-4b0e-9a3e-6d3f4d2f6a11}"

FIRST_API: dict[str, str] = {"token": TOKEN}
API_0_3: dict[str, str] = {"token": TOKEN, "uuid": UUID, "name": "Kitchen"}
DIALECTS = (FIRST_API, API_0_3)

PARTNER = Identity("Phone", "{0e8e1c0a-5f0b-4b58-8a7f-0a7d6e1c2b3d}")

SERVER: dict[str, str] = {"serverName": "Home", "serverUuid": UUID}
CLIENT: dict[str, str] = {
    "clientName": "Phone",
    "clientUuid": "0E8E1C0A-5F0B-4B58-8A7F-0A7D6E1C2B3D",
    "serverUuid": UUID,
}
NULL_UUID = "{00000000-0000-0000-0000-000000000000}"


def request(method: str, params: Mapping[str, Any] | None = None, requestId: int = 3) -> bytes:
    """Return the bytes of one call."""
    message: dict[str, Any] = {"id": requestId, "method": method}
    if params is not None:
        message["params"] = params
    return json.dumps(message).encode()


def authenticate(params: Mapping[str, Any], requestId: int = 3) -> bytes:
    """Return the bytes of one Authenticate."""
    return request("Authentication.Authenticate", params, requestId)


def newSession(
    keys: PairingKeys | None = None, api: Api = TOKEN_TUNNEL_API, proven: Collection[Role] = ()
) -> Session:
    """Return a session at its beginning."""
    return Session(api, HELLO, keys or PairingKeys(), proven)


def authenticating(params: Mapping[str, Any], keys: PairingKeys | None = None) -> Session:
    """Return a session whose token is being checked."""
    session = newSession(keys)
    session.messageReceived(authenticate(params))
    assert session.state is State.AUTHENTICATING
    return session


def waiting(params: Mapping[str, Any], keys: PairingKeys | None = None) -> Session:
    """Return a session that waits for its partner."""
    session = authenticating(params, keys)
    session.accepted(params["token"], "somebody")
    assert session.state is State.WAITING
    return session


def registerServer(**changes: Any) -> bytes:
    """Return the bytes of one RegisterServer."""
    return request("TunnelProxy.RegisterServer", {**SERVER, **changes})


def registerClient(**changes: Any) -> bytes:
    """Return the bytes of one RegisterClient."""
    return request("TunnelProxy.RegisterClient", {**CLIENT, **changes})


PING = request("TunnelProxy.Ping", {"timestamp": 1763873513})
DISCONNECT = request("TunnelProxy.DisconnectClient", {"socketAddress": 1})
REGISTER_SERVER = registerServer()
REGISTER_CLIENT = registerClient()
REGISTER_NOBODY = registerClient(clientUuid=NULL_UUID)

# Everything that can be done to a session, by name
INPUTS: dict[str, Callable[[Session], Effects]] = {
    "hello": lambda session: session.messageReceived(request("RemoteProxy.Hello")),
    "introspect": lambda session: session.messageReceived(request("RemoteProxy.Introspect")),
    "authenticate first": lambda session: session.messageReceived(authenticate(FIRST_API)),
    "authenticate 0.3": lambda session: session.messageReceived(authenticate(API_0_3)),
    "garbage": lambda session: session.messageReceived(b"garbage"),
    "too large": lambda session: session.badMessage(tooLarge(10)),
    "data": lambda session: session.dataReceived(),
    "accepted": lambda session: session.accepted(TOKEN, "somebody"),
    "accepted without subject": lambda session: session.accepted(TOKEN, None),
    "refused": lambda session: session.refused(),
    "backend failed": lambda session: session.backendFailed(),
    "placed": lambda session: session.placed(PARTNER),
    "place refused": lambda session: session.placeRefused(Outcome.TUNNEL_EXISTS),
    "deadline": lambda session: session.deadlinePassed(),
    "stopped": lambda session: session.stopped(),
    "gone": lambda session: session.gone(),
    "ping": lambda session: session.messageReceived(PING),
    "register server": lambda session: session.messageReceived(REGISTER_SERVER),
    "register client": lambda session: session.messageReceived(REGISTER_CLIENT),
    "show token": lambda session: session.messageReceived(registerServer(token=TOKEN)),
    "register nobody": lambda session: session.messageReceived(REGISTER_NOBODY),
    "disconnect": lambda session: session.messageReceived(DISCONNECT),
}


def reachable(thing: object) -> set[str]:
    """Return every text that our objects hold, from this one on."""
    texts, seen, todo = set(), set(), [thing]
    while todo:
        thing = todo.pop()
        if isinstance(thing, str):
            texts.add(thing)
        elif isinstance(thing, Mapping):
            todo += [*thing, *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset)):
            todo += thing
        elif type(thing).__module__.startswith("nymearemoteproxy.") and id(thing) not in seen:
            seen.add(id(thing))
            todo += getattr(thing, "__dict__", {}).values()
            todo += (getattr(thing, name) for name in getattr(thing, "__slots__", ()))
    return texts
