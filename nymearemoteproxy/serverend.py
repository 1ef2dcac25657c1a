"""The far end of a registered server's tunnel: its SLIP stream, taken apart and put together.

Owns the addresses of the server's clients, its liveness, and back pressure from the server to its
clients. Knows nothing of transports, framing other than SLIP, or uuids.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from nymearemoteproxy.dialogue import Dialogue, Disconnect
from nymearemoteproxy.ends import End, Origin
from nymearemoteproxy.logs import ProxyLogger
from nymearemoteproxy.outcomes import Outcome
from nymearemoteproxy.registration import clientDisconnected
from nymearemoteproxy.session import Close, Send
from nymearemoteproxy.slip import HIGHEST_ADDRESS, PROXY, PacketReader, PacketTooLarge, encode
from nymearemoteproxy.tunnel import ILeg

if TYPE_CHECKING:
    from nymearemoteproxy.clientend import ClientEnd

log = ProxyLogger()

SERVER_BACKLOG = 1 << 20
"""Bytes that wait for a server from which on all of its clients are paused, and not only those that
send, and no new one is let in."""

CALLS_A_TURN = 32
"""Calls that are answered in one turn of the reactor, so that others get their turn: a packet may
hold a hundred thousand."""

_CALL_END = b"}"  # before this one, order with what is for clients does not matter

_LINE_ENDS = (b"\n", b"\r\n")


@implementer(ILeg)
class ServerEnd(End):
    """The far end of a registered server's tunnel: its packets, taken apart.

    :param packetLimit: bytes; 0 = none.
    :param timeout: seconds of silence after which the server counts as dead; 0 = never.
    """

    __slots__ = (
        "_answering",
        "_blocked",
        "_clients",
        "_dialogue",
        "_freed",
        "_heard",
        "_holding",
        "_isFresh",
        "_paused",
        "_reader",
        "_timeout",
        "_unknown",
        "_unused",
        "_waiting",
    )

    def __init__(
        self,
        clock: IReactorTime,
        origin: Origin,
        dialogue: Dialogue,
        packetLimit: int,
        timeout: float,
    ) -> None:
        super().__init__(clock, origin)
        self._dialogue = dialogue
        self._reader = PacketReader(packetLimit)
        self._timeout = timeout
        self._clients: dict[int, ClientEnd] = {}  # in the order of their turns
        self._unused = PROXY + 1  # from here on no address was ever given
        self._freed: deque[int] = deque()
        self._heard = 0.0  # when it sent something, by the clock
        self._isFresh = True
        self._unknown = 0
        self._answering: IDelayedCall | None = None
        # Towards the server
        self._blocked = False
        self._waiting = 0
        self._paused: dict[ClientEnd, None] = {}  # whose turn it is goes on first
        # From the server
        self._holding: set[End] = set()

    @property
    def clients(self) -> int:
        """How many clients are connected to the server."""
        return len(self._clients)

    @property
    def isStalled(self) -> bool:
        """Whether more waits for the server than is good for another client."""
        return self._waiting > SERVER_BACKLOG

    def begin(self) -> None:
        self._heard = self._clock.seconds()
        if self._timeout:
            self._timer = self._clock.callLater(self._timeout, self._checkAlive)

    def _checkAlive(self) -> None:
        now = self._clock.seconds()
        if self._holding and self not in self._holding:
            self._heard = now  # for the sake of a client it was not listened to
        left = self._heard + self._timeout - now
        if left > 0:
            self._timer = self._clock.callLater(left, self._checkAlive)
        else:
            self._end(Outcome.SERVER_SILENT)

    # The clients

    def admit(self, client: ClientEnd) -> int:
        """Return an address for a client: one that was never used, else the longest unused one."""
        if self._unused <= HIGHEST_ADDRESS:
            address = self._unused
            self._unused += 1
        else:
            address = self._freed.popleft()
        self._clients[address] = client
        return address

    def dismiss(self, client: ClientEnd, wasAnnounced: bool) -> None:
        """A client is gone: say so, then its address is free again."""
        if self._isOver:
            return
        if client in self._paused:
            del self._paused[client]
            client.resume()
        self.goOn(client)
        del self._clients[client.address]
        if wasAnnounced:
            self.tell(clientDisconnected(client.address))
        self._freed.append(client.address)

    def tell(self, message: bytes) -> None:
        """Send a message of the proxy's own."""
        self._send(encode(PROXY, message))

    def relay(self, client: ClientEnd, data: bytes) -> None:
        """Send what a client sent."""
        self._send(encode(client.address, data))
        if self._blocked:
            self._pause(client)

    def _send(self, packet: bytes) -> None:
        self._leg.sendBytes(packet)
        if self._blocked:
            self._waiting += len(packet)

    def _pause(self, client: ClientEnd) -> None:
        """Read nothing more from a client, and from none if that does not help.

        All go on at the same time, and the first ones may fill again what the server has taken. So
        those who have sent come behind those who could not.
        """
        self._clients[client.address] = self._clients.pop(client.address)
        paused = self._paused
        if self.isStalled and len(paused) < len(self._clients):
            self._paused = dict.fromkeys(self._clients.values())
            for each in self._paused:
                if each not in paused:
                    each.pause()
        elif client not in paused:
            paused[client] = None
            client.pause()

    def pauseReading(self) -> None:
        self._blocked = True

    def resumeReading(self) -> None:
        self._blocked = False
        self._waiting = 0
        paused, self._paused = self._paused, {}
        for client in paused:
            client.resume()
        self._answer()

    # The server

    def holdUp(self, cause: End) -> None:
        """Read nothing more from the server for now."""
        if self._isOver:
            return
        if not self._holding:
            self._leg.pauseReading()
        self._holding.add(cause)

    def goOn(self, cause: End) -> None:
        """For this cause the server need not be held up any more."""
        if cause in self._holding:
            self._holding.remove(cause)
            if not self._holding:
                self._heard = self._clock.seconds()
                self._leg.resumeReading()

    def sendBytes(self, data: bytes) -> None:
        self._heard = self._clock.seconds()
        if self._isFresh:
            data = self._begin(data)
        try:
            packets = self._reader.receive(data)
        except PacketTooLarge:
            self._end(Outcome.PACKET_TOO_LARGE)
            return
        # What one read brought for a client goes out together, however many packets it was in.
        waiting: dict[int, list[bytes]] = {}
        asked = False
        for address, payload in packets:
            if address != PROXY:
                waiting.setdefault(address, []).append(payload)
                continue
            asked = True
            self._dialogue.feed(payload)
            if _CALL_END in payload:
                self._deliver(waiting)
                waiting = {}
                self._answer()
        self._deliver(waiting)
        if asked:
            self._answer()

    def _deliver(self, waiting: dict[int, list[bytes]]) -> None:
        for address, payloads in waiting.items():
            client = self._clients.get(address)
            if client is None:
                self._unknown += len(payloads)  # it may have left just now
            else:
                client.deliver(payloads[0] if len(payloads) == 1 else b"".join(payloads))

    def _begin(self, data: bytes) -> bytes:
        """Take off the line end of the request, if it came that late.

        Read as an address it would be one that has not been given yet.
        """
        self._isFresh = False
        for lineEnd in _LINE_ENDS:
            if data.startswith(lineEnd) and self._unused <= lineEnd[0] << 8:
                return data.removeprefix(lineEnd)
        return data

    def _answer(self) -> None:
        """Answer calls, as long as the answers are taken; meanwhile nothing more is read."""
        if self._answering is not None:
            return
        for _ in range(CALLS_A_TURN):
            if self._blocked:
                break
            effects = self._dialogue.take()
            if not effects:
                self.goOn(self)
                return
            for effect in effects:
                self._perform(effect)
        self.holdUp(self)
        if not self._blocked and not self._isOver:
            self._answering = self._clock.callLater(0, self._answerMore)

    def _answerMore(self) -> None:
        self._answering = None
        self._answer()

    def _perform(self, effect: Send | Disconnect | Close) -> None:
        match effect:
            case Send(message):
                self.tell(message)
            case Disconnect(address, done, unknown):
                client = self._clients.get(address)
                self.tell(unknown if client is None else done)
                if client is not None:
                    client.leave(Outcome.DISCONNECTED_BY_SERVER)
            case _:
                self._end(effect.outcome)

    # The end

    def finish(self, outcome: Outcome) -> None:
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        if self._isOver:
            return
        self._isOver = True
        self._stopTimer()
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.leave(Outcome.PARTNER_LEFT)
        for client in self._paused:
            client.resume()
        self._paused.clear()
        self._holding.clear()
        if self._unknown or self._reader.dropped:
            log.info(
                "registered server, connection {number}: {invalid} packets were invalid, {unknown} "
                "were for clients that were not there",
                number=self._origin.number,
                invalid=self._reader.dropped,
                unknown=self._unknown,
            )
        if outcome is not Outcome.PARTNER_LEFT:
            self._leg.finish(outcome)
        self._dropTunnel().lost(self)
