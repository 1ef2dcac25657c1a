"""The proxy's own ends of the tunnels to a registered server and to its clients.

Each connection of the tunnel proxy has a tunnel, with the client's leg on one side and one of these
ends on the other. Owns the addresses of a server's clients, what passes between their tunnels and
the server's, and back pressure between one and many. Knows nothing of transports, framing other
than SLIP, or uuids.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from nymearemoteproxy.dialogue import Dialogue, Disconnect
from nymearemoteproxy.frames import Frames
from nymearemoteproxy.logs import ProxyLogger
from nymearemoteproxy.outcomes import Outcome
from nymearemoteproxy.registration import (
    ClientRegistration,
    clientConnected,
    clientDisconnected,
)
from nymearemoteproxy.session import Close, Send
from nymearemoteproxy.slip import (
    HIGHEST_ADDRESS,
    PROXY,
    PacketReader,
    PacketTooLarge,
    encode,
)
from nymearemoteproxy.tunnel import NOBODY, ILeg, Tunnel

log = ProxyLogger()

SLICE_SIZE = 64 << 10
"""Bytes written to a client at a time, so that a large packet for a slow one waits here, where it
is counted, and not in its transport."""

CAUGHT_UP = SLICE_SIZE // 2
"""Bytes below its limit at which a client has caught up. More would save the server some pauses,
but demand more of a slow client."""

SERVER_BACKLOG = 1 << 20
"""Bytes that wait for a server from which on all of its clients are paused, and not only those that
send, and no new one is let in."""

_LINE_ENDS = (b"\n", b"\r\n")


@dataclass(frozen=True)
class Origin:
    """Where a connection comes from.

    :ivar number: of the connection, in the log.
    :ivar host: its IP address, empty if it has none.
    :ivar source: what the limits per address count it as; None where they do not apply.
    """

    number: int
    host: str = ""
    source: str | None = None


class Backlog:
    """How far clients may be behind.

    :param each: bytes that one may be behind.
    :param most: bytes that all together may be behind.
    :param patience: seconds until one that is behind too far must have caught up.
    :ivar total: bytes that wait for slow clients.
    :ivar late: the clients that are behind too far.
    """

    __slots__ = ("late", "patience", "total", "_each", "_most")

    def __init__(self, each: int, most: int, patience: float) -> None:
        self.total = 0
        self.late: set[ClientEnd] = set()
        self.patience = patience
        self._each = each
        self._most = most

    def change(self, size: int) -> None:
        """Count bytes that wait from now on, or no longer."""
        self.total += size
        if size < 0 and self.late and self.total <= self._most:
            for client in tuple(self.late):
                client.reconsider()

    def isTooMuch(self, waiting: int) -> bool:
        """Tell whether a client with so many bytes is behind too far."""
        return waiting > self._each or self.total > self._most

    def isEnoughLess(self, waiting: int) -> bool:
        """Tell whether such a client has caught up far enough for its server to go on."""
        return not waiting or (waiting <= self._each - CAUGHT_UP and self.total <= self._most)


class _End:
    """What both kinds of end have in common."""

    __slots__ = ("_clock", "_isOver", "_leg", "_origin", "_timer", "_tunnel")

    _tunnel: Tunnel

    def __init__(self, clock: IReactorTime, origin: Origin) -> None:
        self._clock = clock
        self._origin = origin
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

    def _dropTunnel(self) -> Tunnel:
        """Return the tunnel, which refers to this end: no cycle is left to the collector."""
        tunnel = self._tunnel
        del self._tunnel
        return tunnel

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


@implementer(ILeg)
class ServerEnd(_End):
    """The far end of a registered server's tunnel: its packets, taken apart.

    :param packetLimit: bytes; 0 = none.
    :param timeout: seconds of silence after which the server counts as dead; 0 = never.
    """

    __slots__ = (
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
        self._clients: dict[int, ClientEnd] = {}
        self._unused = PROXY + 1  # from here on no address was ever given
        self._freed: deque[int] = deque()
        self._heard = clock.seconds()
        self._isFresh = True
        self._unknown = 0
        # Towards the server
        self._blocked = False
        self._waiting = 0
        self._paused: set[ClientEnd] = set()
        # From the server
        self._holding: set[_End] = set()

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
        self._paused.discard(client)
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
        """Read nothing more from a client, and from none if that does not help."""
        clients = [client]
        if self.isStalled and len(self._paused) < len(self._clients):
            clients = list(self._clients.values())
        for each in clients:
            if each not in self._paused:
                self._paused.add(each)
                each.pause()

    def pauseReading(self) -> None:
        self._blocked = True

    def resumeReading(self) -> None:
        self._blocked = False
        self._waiting = 0
        paused, self._paused = self._paused, set()
        for client in paused:
            client.resume()
        self._answer()

    # The server

    def holdUp(self, cause: _End) -> None:
        """Read nothing more from the server for now."""
        if self._isOver:
            return
        if not self._holding:
            self._leg.pauseReading()
        self._holding.add(cause)

    def goOn(self, cause: _End) -> None:
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
        for address, payload in packets:
            client = self._clients.get(address)
            if client is not None:
                client.deliver(payload)
            elif address == PROXY:
                self._dialogue.feed(payload)
                self._answer()
            else:
                self._unknown += 1  # it may have left just now

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
        while not self._blocked:
            effects = self._dialogue.take()
            if not effects:
                self.goOn(self)
                return
            for effect in effects:
                self._perform(effect)
        self.holdUp(self)

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
        clients, self._clients = self._clients, {}
        for client in clients.values():
            client.leave(Outcome.PARTNER_LEFT)
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


@implementer(ILeg)
class ClientEnd(_End):
    """The far end of a client's tunnel: what it sends goes to the server, and back.

    :ivar address: stands for the client in the server's packets.
    """

    __slots__ = (
        "address",
        "_backlog",
        "_blocked",
        "_isAnnounced",
        "_outcome",
        "_progress",
        "_queue",
        "_queued",
        "_registration",
        "_server",
    )

    def __init__(
        self,
        clock: IReactorTime,
        origin: Origin,
        registration: ClientRegistration,
        server: ServerEnd,
        backlog: Backlog,
    ) -> None:
        super().__init__(clock, origin)
        self._registration = registration
        self._server = server
        self._backlog = backlog
        self._isAnnounced = False
        self._blocked = False
        self._progress = 0.0  # when it took something for the last time, or had nothing to take
        self._queue: deque[bytearray] = deque()
        self._queued = 0
        self._outcome = Outcome.PARTNER_LEFT
        self.address = server.admit(self)

    def open(self, partner: ILeg) -> None:
        super().open(partner)
        self._isAnnounced = True
        self._server.tell(clientConnected(self._registration, self._origin.host, self.address))

    # To the server

    def sendBytes(self, data: bytes) -> None:
        if data and not self._isOver:
            self._server.relay(self, data)

    def pause(self) -> None:
        """The server takes nothing more for now."""
        self._leg.pauseReading()

    def resume(self) -> None:
        """The server takes more again."""
        self._leg.resumeReading()

    # To the client

    def deliver(self, data: bytes) -> None:
        """Send what the server sent."""
        if not data:
            return
        if len(data) <= SLICE_SIZE and not self._blocked:
            self._leg.sendBytes(data)
            return
        for start in range(0, len(data), SLICE_SIZE):
            self._keep(data[start : start + SLICE_SIZE])
        self._catchUp()
        if self._queued and self._timer is None and self._backlog.isTooMuch(self._queued):
            self._fallBehind()

    def _keep(self, data: bytes) -> None:
        # Small ones together: each object costs as much memory as some dozens of bytes.
        if self._queue and len(self._queue[-1]) + len(data) <= SLICE_SIZE:
            self._queue[-1] += data
        else:
            self._queue.append(bytearray(data))
        self._count(len(data))

    def _count(self, size: int) -> None:
        self._queued += size
        self._backlog.change(size)

    def _catchUp(self) -> None:
        while self._queue and not self._blocked:
            data = self._queue.popleft()
            self._count(-len(data))
            self._leg.sendBytes(bytes(data))

    def pauseReading(self) -> None:
        if not self._blocked:
            self._blocked = True
            self._progress = self._clock.seconds()

    def resumeReading(self) -> None:
        self._blocked = False
        self._catchUp()
        if self._isOver:
            self._takeLeave()
        elif self in self._backlog.late:
            self.reconsider()

    def reconsider(self) -> None:
        """It is behind too far: look whether it still is."""
        if self._backlog.isEnoughLess(self._queued):
            self._backlog.late.remove(self)
            self._stopTimer()
            self._server.goOn(self)

    def _fallBehind(self) -> None:
        left = self._progress + self._backlog.patience - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self.leave, Outcome.CLIENT_TOO_SLOW)
            self._backlog.late.add(self)
            self._server.holdUp(self)
        else:
            self.leave(Outcome.CLIENT_TOO_SLOW)

    # The end

    def finish(self, outcome: Outcome) -> None:
        self.leave(outcome)

    def leave(self, outcome: Outcome) -> None:
        """End this tunnel, as soon as the client has taken what waits, or takes nothing more."""
        if self._isOver:
            return
        self._isOver = True
        self._outcome = outcome
        self._backlog.late.discard(self)
        self._server.dismiss(self, self._isAnnounced)
        self._takeLeave()

    def _takeLeave(self) -> None:
        self._stopTimer()
        if self._queue and self._outcome is not Outcome.CLIENT_TOO_SLOW:
            self._timer = self._clock.callLater(self._backlog.patience, self._conclude)
        else:
            self._conclude()

    def partnerLost(self) -> None:
        super().partnerLost()
        if self._queue:
            self._dropQueue()
            if self._isOver:
                self._conclude()

    def _dropQueue(self) -> None:
        self._queue.clear()
        self._count(-self._queued)

    def _conclude(self) -> None:
        self._stopTimer()
        self._dropQueue()
        if self._outcome is not Outcome.PARTNER_LEFT:
            self._leg.finish(self._outcome)
        self._dropTunnel().lost(self)
