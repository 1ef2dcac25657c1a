"""The calls of the tunnel proxy as they are declared, and what a registration says.

Owns the methods, notifications and errors of the namespace TunnelProxy, and what is a uuid. Knows
nothing of who is registered, of sessions or of SLIP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from uuid import UUID

from nymearemoteproxy.protocol.jsonrpc import (
    Method,
    Notification,
    Request,
    encode,
    encodeNotice,
    encodeString,
    success,
)
from nymearemoteproxy.protocol.outcomes import Outcome


def _forOneClient(name: str, description: str) -> Method:
    """Declare a method for registered servers, which is about one of their clients."""
    params, returns = {"socketAddress": "UInt"}, {"tunnelProxyError": "$ref:TunnelProxyError"}
    return Method(name, description, params, returns)


REGISTER_SERVER = Method(
    "TunnelProxy.RegisterServer",
    "Be found by clients under this uuid. From the byte behind the answer on the connection is a "
    "SLIP stream: each packet begins with the address of a client, 2 bytes in network byte order, "
    "and the address 0 is for calls and notifications. With lengthPrefixed it is no SLIP: in each "
    "packet 4 bytes behind the address say how many follow, and these follow as they are. Send "
    "something at least once a minute. With flowControl you are told which clients are slow; send "
    "them nothing until they have caught up, and no other client has to wait for them. With front, "
    "true or false, you say whether visitors may come by the front door; without it only those "
    "come that the operator gave a name for. Where servers have to show a token, one that is not "
    "accepted is told why by authenticationError, and disconnected.",
    params={
        "serverName": "String",
        "serverUuid": "Uuid",
        "o:flowControl": "Bool",
        "o:front": "Bool",
        "o:lengthPrefixed": "Bool",
        "o:token": "String",
    },
    returns={
        "tunnelProxyError": "$ref:TunnelProxyError",
        "slipEnabled": "Bool",
        "o:flowControl": "Bool",
        "o:lengthPrefixed": "Bool",
        "o:authenticationError": "$ref:AuthenticationError",
    },
)
REGISTER_CLIENT = Method(
    "TunnelProxy.RegisterClient",
    "Be connected to the server with this uuid. All that follows the answer comes from the server, "
    "and all that is sent goes to it. Where clients have to show a token, one that is not accepted "
    "is told why by authenticationError, and disconnected.",
    params={
        "clientName": "String",
        "clientUuid": "Uuid",
        "serverUuid": "Uuid",
        "o:token": "String",
    },
    returns={
        "tunnelProxyError": "$ref:TunnelProxyError",
        "o:authenticationError": "$ref:AuthenticationError",
    },
)
DISCONNECT_CLIENT = _forOneClient(
    "TunnelProxy.DisconnectClient",
    "Disconnect the client with this address; for registered servers.",
)
PAUSE_CLIENT = _forOneClient(
    "TunnelProxy.PauseClient",
    "Be sent nothing more of the client with this address for now; what is on its way still comes. "
    "For registered servers.",
)
RESUME_CLIENT = _forOneClient(
    "TunnelProxy.ResumeClient",
    "Be sent again what the client with this address sends; for registered servers.",
)
ABOUT_CLIENTS = (DISCONNECT_CLIENT, PAUSE_CLIENT, RESUME_CLIENT)
PING = Method(
    "TunnelProxy.Ping",
    "Get the timestamp back.",
    params={"timestamp": "UInt"},
    returns={"timestamp": "UInt"},
)
CLIENT_CONNECTED = Notification(
    "TunnelProxy.ClientConnected",
    "A client is there; what it sends comes from this address, and what is sent there goes to it.",
    {
        "clientName": "String",
        "clientUuid": "Uuid",
        "clientPeerAddress": "String",
        "socketAddress": "UInt",
    },
)
CLIENT_DISCONNECTED = Notification(
    "TunnelProxy.ClientDisconnected",
    "The client is gone; from now on another one may get its address.",
    {"socketAddress": "UInt"},
)
CLIENT_PAUSED = Notification(
    "TunnelProxy.ClientPaused",
    "Much waits for this client, which is slow: send it nothing more for now. Only servers that "
    "asked for flow control are told.",
    {"socketAddress": "UInt"},
)
CLIENT_RESUMED = Notification(
    "TunnelProxy.ClientResumed",
    "The client that was paused has caught up.",
    {"socketAddress": "UInt"},
)


class TunnelProxyError(Enum):
    """What the answer to a call of the tunnel proxy says."""

    NO_ERROR = "TunnelProxyErrorNoError"
    INVALID_UUID = "TunnelProxyErrorInvalidUuid"
    INTERNAL_SERVER_ERROR = "TunnelProxyErrorInternalServerError"
    SERVER_NOT_FOUND = "TunnelProxyErrorServerNotFound"
    FORBIDDEN_CALL = "TunnelProxyErrorForbiddenCall"
    ALREADY_REGISTERED = "TunnelProxyErrorAlreadyRegistered"
    NOT_REGISTERED = "TunnelProxyErrorNotRegistered"
    UNKNOWN_SOCKET_ADDRESS = "TunnelProxyErrorUnknownSocketAddress"


_ERRORS = {
    Outcome.ALREADY_REGISTERED: TunnelProxyError.ALREADY_REGISTERED,
    Outcome.SERVER_NOT_ALLOWED: TunnelProxyError.FORBIDDEN_CALL,
    Outcome.SERVER_NOT_FOUND: TunnelProxyError.SERVER_NOT_FOUND,
    Outcome.UUID_RESERVED: TunnelProxyError.FORBIDDEN_CALL,
}


def errorFor(outcome: Outcome) -> TunnelProxyError:
    """Return what is told to a connection that there is no place for, and that ends like this."""
    return _ERRORS.get(outcome, TunnelProxyError.INTERNAL_SERVER_ERROR)


@dataclass(frozen=True)
class ServerRegistration:
    """A server that wants to be found.

    :ivar flowControl: it wants to be told which of its clients are slow.
    :ivar front: visitors may come by the front door; None = those for whom it has a name there.
    :ivar lengthPrefixed: its packets have their length in front, and are no SLIP.
    """

    name: str
    uuid: UUID
    flowControl: bool = False
    front: bool | None = None
    lengthPrefixed: bool = False


@dataclass(frozen=True)
class ClientRegistration:
    """A client that wants to be connected to a server."""

    name: str
    uuid: UUID
    serverUuid: UUID


Registration = ServerRegistration | ClientRegistration

_EXTENSIONS = ("flowControl", "lengthPrefixed")
"""What a server may ask for; the answer says what it got."""

_UUID = re.compile(r"(\{)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?(1)\})", re.ASCII | re.I)


def parseUuid(text: str) -> UUID | None:
    """Read a uuid with or without braces; return None if it is none or null."""
    match = _UUID.fullmatch(text)
    if match is None:
        return None
    uuid = UUID(match[2])
    return uuid if uuid.int else None


def parseUuids(entries: Iterable[tuple[int, str]]) -> frozenset[UUID]:
    """Read a list of uuids.

    :param entries: each with the number of its line.
    :raises ValueError: one of them is none, or null; the text is one line that says which, and
        does not repeat it.
    """
    uuids = set()
    for number, text in entries:
        uuid = parseUuid(text)
        if uuid is None:
            raise ValueError(f"line {number} is no uuid")
        uuids.add(uuid)
    return frozenset(uuids)


def readRegistration(request: Request) -> Registration | None:
    """Return what a call of RegisterServer or RegisterClient says; None if a uuid is invalid."""
    params = request.params
    serverUuid = parseUuid(params["serverUuid"])
    if request.method is REGISTER_SERVER:
        if serverUuid is None:
            return None
        front = params.get("front")
        wanted = {name: params.get(name, False) for name in _EXTENSIONS}
        return ServerRegistration(params["serverName"], serverUuid, front=front, **wanted)
    clientUuid = parseUuid(params["clientUuid"])
    if serverUuid is None or clientUuid is None:
        return None
    return ClientRegistration(params["clientName"], clientUuid, serverUuid)


def takeToken(request: Request) -> tuple[Request, str | None]:
    """Return a registration without its token, and the token; None if it shows none."""
    params = {**request.params}
    token = params.pop("token", None)
    return replace(request, params=params), token


def answer(request: Request, error: TunnelProxyError) -> bytes:
    """Return the response to any call of the tunnel proxy but Ping."""
    return encode(success(request.id, _answerParams(request, error)))


def answerUnproven(request: Request, authenticationError: str, text: str) -> bytes:
    """Return the response to a registration whose token was not accepted.

    :param authenticationError: why, for programs.
    :param text: why, for people.
    """
    params = _answerParams(request, TunnelProxyError.FORBIDDEN_CALL)
    message = success(request.id, {**params, "authenticationError": authenticationError})
    return encode({**message, "error": text})


def _answerParams(request: Request, error: TunnelProxyError) -> dict[str, Any]:
    params: dict[str, Any] = {"tunnelProxyError": error.value}
    if request.method is REGISTER_SERVER:
        isRegistered = error is TunnelProxyError.NO_ERROR
        granted = [name for name in _EXTENSIONS if isRegistered and request.params.get(name)]
        params["slipEnabled"] = isRegistered and "lengthPrefixed" not in granted
        params |= dict.fromkeys(granted, True)
    return params


def pong(request: Request) -> Mapping[str, Any]:
    """Return the params of the response to Ping."""
    return {"timestamp": request.params["timestamp"]}


def clientConnected(
    number: int, registration: ClientRegistration, peerAddress: str, address: int
) -> bytes:
    """Return the notification that a client is there.

    :param number: which of the connection's notifications it is.
    :param peerAddress: the IP address it comes from, empty if it has none.
    """
    params = b'{"clientName":%b,"clientUuid":"{%b}","clientPeerAddress":%b,"socketAddress":%d}' % (
        encodeString(registration.name),
        str(registration.uuid).encode("ascii"),
        encodeString(peerAddress),
        address,
    )
    return encodeNotice(number, CLIENT_CONNECTED, params)


def clientDisconnected(number: int, address: int) -> bytes:
    """Return the notification that a client is gone."""
    return _aboutClient(number, CLIENT_DISCONNECTED, address)


def clientPaused(number: int, address: int) -> bytes:
    """Return the notification that much waits for a client."""
    return _aboutClient(number, CLIENT_PAUSED, address)


def clientResumed(number: int, address: int) -> bytes:
    """Return the notification that a client has caught up."""
    return _aboutClient(number, CLIENT_RESUMED, address)


def _aboutClient(number: int, notification: Notification, address: int) -> bytes:
    return encodeNotice(number, notification, b'{"socketAddress":%d}' % address)
