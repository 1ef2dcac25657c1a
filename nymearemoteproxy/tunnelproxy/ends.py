"""The proxy's own ends of tunnels: what those of servers and of their clients have in common.

Each connection of the tunnel proxy has a tunnel, with the connection's leg on one side and an end
on the other. Owns what the ends of a server and of its clients are to each other. Knows nothing of
transports or framing, nor of who is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import Attribute, Interface

from nymearemoteproxy.meeting.tunnel import NOBODY, ILeg, Tunnel
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration


@dataclass(frozen=True)
class Origin:
    """Where a connection comes from.

    :ivar number: of the connection, in the log.
    :ivar host: its IP address, empty if it has none.
    :ivar source: what the limits per address count it as; None where they do not apply.
    :ivar look: finds out whether it is still there; see `Presence.look`.
    :ivar record: what is known of it, as with `ILeg.record`.
    :ivar subject: the account whose servers it can reach, or whose server it is; None = any.
    :ivar isVisitor: it came by the front door.
    :ivar isNamed: the name by which it came is one that the operator has given the server.
    """

    number: int
    host: str = ""
    source: str | None = None
    look: Callable[[], Deferred[bool]] = lambda: succeed(True)
    record: Any = None
    subject: str | None = None
    isVisitor: bool = False
    isNamed: bool = False


class IServerEnd(Interface):
    """The end of a registered server, as its clients' ends see it."""

    clients = Attribute("How many clients are connected to the server.")
    flowControl = Attribute("Whether the server wants to be told which of its clients are slow.")
    source = Attribute("What shares are counted by: as `Origin.source`, or itself if that is None.")
    unfinished = Attribute(
        "Bytes of a packet that has no end yet, and of calls that were not taken."
    )

    def admit(client: IClientEnd) -> int:
        """Return an address for a client: one that was never used, else the longest unused one."""

    def announce(client: IClientEnd, registration: ClientRegistration) -> None:
        """The client is there: tell the server."""

    def dismiss(client: IClientEnd, wasAnnounced: bool) -> None:
        """A client is gone: tell the server if it knew of it, then its address is free again."""

    def relay(client: IClientEnd, data: bytes) -> None:
        """Send what a client sent."""

    def tellPaused(client: IClientEnd) -> None:
        """Much waits for a client: tell the server."""

    def tellResumed(client: IClientEnd) -> None:
        """The client has caught up: tell the server."""

    def holdUp(cause: object) -> None:
        """Read nothing more from the server for now."""

    def goOn(cause: object) -> None:
        """For this cause the server need not be held up any more."""

    def giveUp() -> None:
        """There is no room for what the server has begun."""


class IClientEnd(Interface):
    """The end of a server's client, as the server's end sees it."""

    address = Attribute("Stands for the client in the server's packets.")
    origin = Attribute("Where the client comes from.")
    source = Attribute("As with `IServerEnd.source`.")
    waiting = Attribute("Bytes that wait for the client.")

    def deliver(data: bytes) -> None:
        """Send what the server sent."""

    def pause() -> None:
        """The server takes nothing more for now."""

    def resume() -> None:
        """The server takes more again."""

    def leave(outcome: Outcome) -> None:
        """End the client's tunnel, as soon as the client has taken what waits."""

    def reconsider() -> None:
        """It is behind too far: look whether it still is."""

    def giveUp(outcome: Outcome) -> None:
        """Something is lost that the client should have got: it must not take this for the end."""


class End:
    """What both kinds of end have in common."""

    __slots__ = ("origin", "_clock", "_isOver", "_leg", "_timer", "_tunnel")

    _tunnel: Tunnel
    record = None

    def __init__(self, clock: IReactorTime, origin: Origin) -> None:
        self._clock = clock
        self.origin = origin
        self._leg: ILeg = NOBODY
        self._timer: IDelayedCall | None = None
        self._isOver = False

    def enter(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def open(self, partner: ILeg) -> None:
        self._leg = partner

    def begin(self) -> None:
        """Nothing to do."""

    def sendBytes(self, data: bytes) -> None:
        raise NotImplementedError

    def sendFrames(self, frames: Frames) -> None:
        payloads = frames[1::2]
        self.sendBytes(payloads[0] if len(payloads) == 1 else b"".join(payloads))

    def partnerLost(self) -> None:
        self._leg = NOBODY

    def cutOff(self, outcome: Outcome) -> None:
        """Nothing that comes from a client is lost."""

    def _dropTunnel(self) -> Tunnel:
        """Return the tunnel, which refers to this end: no cycle is left to the collector."""
        tunnel = self._tunnel
        del self._tunnel
        return tunnel

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
