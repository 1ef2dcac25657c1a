"""The calls and notifications between a registered server and the proxy.

Owns how calls are written, and what notifications tell. Knows nothing of framing, nor of what is
done about an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.client.rules.errors import oneLine, stranger
from nymearemoteproxy.client.rules.messages import REQUEST_ID, Messages, call, paramsOf
from nymearemoteproxy.protocol.packets import HIGHEST_ADDRESS, PROXY

PAUSE_CLIENT = "TunnelProxy.PauseClient"
RESUME_CLIENT = "TunnelProxy.ResumeClient"

_FRONT = "front"
"""What the proxy calls all who came by its front door."""


@dataclass(frozen=True)
class ClientConnected:
    """A client is there: what it sends comes from `address`.

    :ivar shown: who it is; safe on a terminal.
    :ivar peer: the IP address that it comes from; empty if it has none.
    :ivar isVisitor: it came by the proxy's front door, or says so.
    """

    address: int
    shown: str
    peer: str
    isVisitor: bool


@dataclass(frozen=True)
class ClientDisconnected:
    """The client is gone: from now on another one may get its address."""

    address: int


@dataclass(frozen=True)
class ClientPaused:
    """Much waits for the client at the proxy: send it nothing more for now."""

    address: int


@dataclass(frozen=True)
class ClientResumed:
    """The client has caught up."""

    address: int


ClientEvent = ClientConnected | ClientDisconnected | ClientPaused | ClientResumed


class Calls:
    """One registered connection's JSON-RPC.

    Answers are not looked at: that a call fails only means that the proxy was faster, and that it
    answers at all is a sign of life already.
    """

    def __init__(self) -> None:
        self._messages = Messages()
        self._id = REQUEST_ID

    def disconnectClient(self, address: int) -> bytes:
        """Return the call that disconnects a client."""
        return self._call("TunnelProxy.DisconnectClient", {"socketAddress": address})

    def pauseClient(self, address: int) -> bytes:
        """Return the call after which nothing more of a client is sent, for now."""
        return self._call(PAUSE_CLIENT, {"socketAddress": address})

    def resumeClient(self, address: int) -> bytes:
        """Return the call after which it is."""
        return self._call(RESUME_CLIENT, {"socketAddress": address})

    def ping(self, timestamp: int) -> bytes:
        """Return the call that the proxy answers with the same `timestamp`, from 0 up."""
        return self._call("TunnelProxy.Ping", {"timestamp": timestamp})

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Take in what the proxy sent, and return what it tells, in order.

        :raises TunnelError: this is not how a proxy speaks; nothing more can be taken in.
        """
        self._messages.feed(data)
        events: list[ClientEvent] = []
        while (message := self._messages.take()) is not None:
            event = _event(message)
            if event is not None:
                events.append(event)
        return events

    def _call(self, method: str, params: Mapping[str, Any]) -> bytes:
        self._id += 1
        return call(self._id, method, params)


def _event(message: Mapping[str, Any]) -> ClientEvent | None:
    params = paramsOf(message)
    match message.get("notification"):
        case "TunnelProxy.ClientConnected":
            who = ("clientName", "clientUuid", "clientPeerAddress")
            name, uuid, peer = (str(params.get(key, "")) for key in who)
            shown = f"{oneLine(ascii(name))} {oneLine(uuid)} from {oneLine(peer)}"
            return ClientConnected(_address(params), shown, peer, name == _FRONT)
        case "TunnelProxy.ClientDisconnected":
            return ClientDisconnected(_address(params))
        case "TunnelProxy.ClientPaused":
            return ClientPaused(_address(params))
        case "TunnelProxy.ClientResumed":
            return ClientResumed(_address(params))
    return None


def _address(params: Mapping[str, Any]) -> int:
    address = params.get("socketAddress")
    if type(address) is not int or not PROXY < address <= HIGHEST_ADDRESS:
        raise stranger("it gave a client an impossible address")
    return address
