"""The far end of a registered server's tunnel: its packets, taken apart and put together.

Owns the addresses of the server's clients, its liveness, and back pressure from the server to its
clients. Knows nothing of transports, framing, or uuids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.common.words import counted
from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.protocol.dialogue import Dialogue, ForClient
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN, FIRST_NOTIFICATION, Method
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.packets import (
    HIGHEST_ADDRESS,
    PROXY,
    Encode,
    Packet,
    PacketTooLarge,
    Reader,
)
from nymearemoteproxy.protocol.registration import (
    DISCONNECT_CLIENT,
    PAUSE_CLIENT,
    ClientRegistration,
    clientConnected,
    clientDisconnected,
    clientPaused,
    clientResumed,
)
from nymearemoteproxy.protocol.session import Close, Send
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.ends import End, IClientEnd, IServerEnd, Origin

log = ProxyLogger()

SERVER_BACKLOG = 1 << 20
"""Bytes that wait for a server from which on all of its clients are paused, and not only those that
send, and no new one is let in."""

PACKETS_A_TURN = 128
"""Packets that are taken apart before others get their turn. Each takes about a microsecond, or ten
when each is for another client."""

PAUSES_A_TURN = 100
"""Clients that are paused, or read from again, before others get their turn. Each takes some
microseconds, mostly in the kernel."""

CLIENTS_A_TURN = 16
"""Clients that are sent away before others get their turn, when their server is gone. Each takes a
tenth of a millisecond, with the line of log about it."""

_CALL_END = b"}"  # before this one, order with what is for clients does not matter

_LINE_ENDS = (b"\n", b"\r\n")


@implementer(ILeg, IServerEnd)
class ServerEnd(End):
    """The far end of a registered server's tunnel: its packets, taken apart.

    :param reader: reads `PACKETS_A_TURN` at a time.
    :param encode: writes what that of the server reads.
    :param timeout: seconds of silence after which the server counts as dead; 0 = never.
    :param turns: where it waits when there is more to do than one turn of the reactor allows.
    :param backlog: where it is counted what waits for the rest of a packet.
    :param front: visitors may come; None = those for whom it has a name.
    :ivar flowControl: the server is told which of its clients are slow.
    :ivar visitors: how many of its clients came by the front door.
    """

    __slots__ = (
        "flowControl",
        "unfinished",
        "visitors",
        "_backlog",
        "_blocked",
        "_calls",
        "_clients",
        "_dialogue",
        "_encode",
        "_freed",
        "_front",
        "_heard",
        "_holding",
        "_isFresh",
        "_isLeaving",
        "_nextNotice",
        "_paused",
        "_reader",
        "_timeout",
        "_toPause",
        "_toResume",
        "_turns",
        "_unanswered",
        "_unknown",
        "_unused",
        "_unwanted",
        "_waiting",
    )

    def __init__(
        self,
        clock: IReactorTime,
        origin: Origin,
        dialogue: Dialogue,
        reader: Reader,
        encode: Encode,
        timeout: float,
        turns: Turns,
        backlog: Backlog,
        flowControl: bool,
        front: bool | None,
    ) -> None:
        super().__init__(clock, origin)
        self._dialogue = dialogue
        self._reader = reader
        self._encode = encode
        self._timeout = timeout
        self._turns = turns
        self._backlog = backlog
        self.flowControl = flowControl
        self._front = front
        self.unfinished = 0
        self._clients: dict[int, IClientEnd] = {}  # in the order of their turns
        self.visitors = 0
        self._unused = PROXY + 1  # from here on no address was ever given
        self._freed: deque[int] = deque()
        self._heard = 0.0  # when it sent something, by the clock
        self._isFresh = True
        self._nextNotice = FIRST_NOTIFICATION
        self._unknown = 0  # bytes: a packet may come in pieces
        self._calls = 0  # how many may be answered before others get their turn
        self._unanswered = False  # there may be calls that wait, for a turn or to be answered
        self._isLeaving = False  # it is gone; what it said before is still to be delivered
        # Towards the server
        self._blocked = False
        self._waiting = 0
        self._paused: dict[IClientEnd, None] = {}  # whose turn it is goes on first
        self._toPause: list[IClientEnd] = []  # in `_paused` already
        self._toResume: list[IClientEnd] = []  # in `_paused` still
        self._unwanted: set[IClientEnd] = set()  # paused by the server
        # From the server
        self._holding: set[object] = set()

    @property
    def clients(self) -> int:
        return len(self._clients)

    @property
    def source(self) -> Hashable:
        return self if self.origin.source is None else self.origin.source

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

    def isOpenTo(self, origin: Origin) -> bool:
        """Tell whether a client may come by the way it comes."""
        if not origin.isVisitor:
            return True
        return origin.isNamed if self._front is None else self._front

    def admit(self, client: IClientEnd) -> int:
        if self._unused <= HIGHEST_ADDRESS:
            address = self._unused
            self._unused += 1
        else:
            address = self._freed.popleft()
        self._clients[address] = client
        self.visitors += client.origin.isVisitor
        return address

    def announce(self, client: IClientEnd, registration: ClientRegistration) -> None:
        number, host = self._numberNotice(), client.origin.host
        self._tell(clientConnected(number, registration, host, client.address))

    def dismiss(self, client: IClientEnd, wasAnnounced: bool) -> None:
        if self._isOver:
            return
        self._release(client)
        self.goOn(client)
        del self._clients[client.address]
        self.visitors -= client.origin.isVisitor
        if wasAnnounced:
            self._tell(clientDisconnected(self._numberNotice(), client.address))
        self._freed.append(client.address)

    def tellPaused(self, client: IClientEnd) -> None:
        self._tell(clientPaused(self._numberNotice(), client.address))

    def tellResumed(self, client: IClientEnd) -> None:
        self._tell(clientResumed(self._numberNotice(), client.address))

    def _numberNotice(self) -> int:
        """Return the id of the next notification."""
        number = self._nextNotice
        self._nextNotice += 1
        return number

    def _tell(self, message: bytes) -> None:
        """Send a message of the proxy's own."""
        self._send(self._encode(PROXY, message))

    def relay(self, client: IClientEnd, data: bytes) -> None:
        if self._isOver:
            return  # the client will hear of it
        self._send(self._encode(client.address, data))
        if self._blocked:
            self._pause(client)

    def _send(self, packet: bytes) -> None:
        self._leg.sendBytes(packet)
        if self._blocked:
            self._waiting += len(packet)

    def _pause(self, client: IClientEnd) -> None:
        """Read nothing more from a client, and from none if that does not help.

        All go on at the same time, and the first ones may fill again what the server has taken. So
        those who have sent come behind those who could not.
        """
        self._clients[client.address] = self._clients.pop(client.address)
        self._paused[client] = None
        client.pause()
        if self.isStalled and len(self._paused) < len(self._clients):
            others = self._clients.values()
            self._toPause = [each for each in others if each not in self._paused]
            self._paused = dict.fromkeys(others)
            self._pauseSome()

    def _release(self, client: IClientEnd) -> None:
        """A client leaves, and is read from for that, whatever it was paused for."""
        if client in self._paused or client in self._unwanted:
            self._paused.pop(client, None)
            self._unwanted.discard(client)
            client.resume()

    def _pauseSome(self) -> None:
        for _ in range(min(PAUSES_A_TURN, len(self._toPause))):
            self._toPause.pop().pause()
        if self._toPause:
            self._turns.wait(self._pauseSome, self._failed, relays=True)

    def pauseReading(self) -> None:
        self._blocked = True

    def resumeReading(self) -> None:
        self._blocked = False
        self._waiting = 0
        self._toPause = []
        self._toResume = list(reversed(self._paused))
        self._resumeSome()
        self._work()

    def _resumeSome(self) -> None:
        for _ in range(min(PAUSES_A_TURN, len(self._toResume))):
            if self._blocked:
                break
            client = self._toResume.pop()
            if client in self._paused:
                del self._paused[client]
                if client not in self._unwanted:
                    client.resume()
        if self._toResume and not (self._blocked or self._isOver):
            self._turns.wait(self._resumeSome, self._failed, relays=True)

    # The server

    def holdUp(self, cause: object) -> None:
        if self._isOver:
            return
        if not self._holding:
            self._leg.pauseReading()
        self._holding.add(cause)

    def goOn(self, cause: object) -> None:
        if cause in self._holding:
            self._holding.remove(cause)
            if not self._holding:
                self._heard = self._clock.seconds()
                self._leg.resumeReading()

    def sendBytes(self, data: bytes) -> None:
        self._heard = self._clock.seconds()
        if self._isFresh:
            data = self._begin(data)
        self._work(data)

    def _work(self, data: bytes = b"") -> None:
        """Do what the server asked for, as much as one turn allows; meanwhile nothing is read."""
        if self._isOver:
            return
        self._calls = CALLS_A_TURN
        try:
            packets = self._reader.receive(data)
        except PacketTooLarge:
            self._end(Outcome.PACKET_TOO_LARGE)
            return
        self._count(self._reader.held + self._dialogue.pending)
        if not self._isOver:
            self._handle(packets)
        if self._isOver:
            return
        if self._isLeaving and not self._reader.rest:
            self._end(Outcome.PARTNER_LEFT)
        elif self._unanswered or self._reader.rest:
            self.holdUp(self)
            if self._reader.rest or not self._blocked:
                self._turns.wait(self._work, self._failed, relays=True)
            self._count(self._reader.held + self._dialogue.pending)
        else:
            self.goOn(self)

    def _count(self, unfinished: int) -> None:
        if unfinished != self.unfinished:
            change, self.unfinished = unfinished - self.unfinished, unfinished
            self._backlog.changeUnfinished(self, change)
            if change > 0:
                self._backlog.makeRoom()

    def giveUp(self) -> None:
        self._end(Outcome.TOO_MUCH_UNFINISHED)

    def _handle(self, packets: list[Packet]) -> None:
        # What one read brought for a client goes out together, however many packets it was in.
        waiting: dict[int, list[bytes]] = {}
        for address, payload in packets:
            if address != PROXY:
                waiting.setdefault(address, []).append(payload)
                continue
            self._unanswered = True
            self._dialogue.feed(payload)
            if _CALL_END in payload:
                self._deliver(waiting)
                waiting = {}
                self._answer()
                if self._isOver:
                    return
        self._deliver(waiting)
        if self._unanswered:
            self._answer()

    def _deliver(self, waiting: dict[int, list[bytes]]) -> None:
        for address, payloads in waiting.items():
            client = self._clients.get(address)
            if client is None:
                self._unknown += sum(map(len, payloads))  # it may have left just now
                continue
            try:
                client.deliver(payloads[0] if len(payloads) == 1 else b"".join(payloads))
            except Exception:
                self._failedFor(client)

    def _failedFor(self, client: IClientEnd) -> None:
        """A fault of ours while this client was sent something: it costs its connection."""
        log.fault(client.origin.number)
        if self._clients.get(client.address) is client:  # or it was ended meanwhile
            client.giveUp(Outcome.INTERNAL_ERROR)

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
        """Answer calls, as long as the turn lasts and the answers are taken."""
        while self._calls and not (self._blocked or self._isOver):
            effects = self._dialogue.take()
            if not effects:
                self._unanswered = False
                break
            self._calls -= 1
            for effect in effects:
                self._perform(effect)

    def _perform(self, effect: Send | ForClient | Close) -> None:
        match effect:
            case Send(message):
                self._tell(message)
            case ForClient(method, address, done, unknown):
                client = self._clients.get(address)
                self._tell(unknown if client is None else done)
                if client is not None:
                    self._do(method, client)
            case _:
                self._end(effect.outcome)

    def _do(self, method: Method, client: IClientEnd) -> None:
        if method is DISCONNECT_CLIENT:
            client.leave(Outcome.DISCONNECTED_BY_SERVER)
        elif method is PAUSE_CLIENT:
            self._unwanted.add(client)
            client.pause()
        elif client in self._unwanted:
            self._unwanted.remove(client)
            if client not in self._paused:
                client.resume()

    def _failed(self, failure: Failure) -> None:
        """A fault of ours: it costs this server's connection."""
        log.fault(self.origin.number, failure)
        self._leg.cutOff(Outcome.INTERNAL_ERROR)
        self._end(Outcome.PARTNER_LEFT)

    # The end

    def expel(self, outcome: Outcome) -> None:
        """End the server's connection, and with it those of its clients."""
        self._end(outcome)

    def finish(self, outcome: Outcome) -> None:
        if not self._isOver and self._reader.rest:
            self._isLeaving = True
        else:
            self._end(outcome)

    def partnerLost(self) -> None:
        super().partnerLost()
        self._blocked = False

    def _end(self, outcome: Outcome) -> None:
        if self._isOver:
            return
        self._isOver = True
        self._stopTimer()
        for work in (self._work, self._pauseSome, self._resumeSome):
            self._turns.leave(work)
        self._dismissClients()
        self._holding.clear()
        if self._unknown or self._reader.dropped:
            log.info(
                "registered server, connection {number}: {broken} invalid, {lost} for clients that "
                "were not there",
                number=self.origin.number,
                broken=counted(self._reader.dropped, "packet"),
                lost=counted(self._unknown, "byte"),
                invalid=self._reader.dropped,
                unknown=self._unknown,
            )
        del self._reader, self._dialogue  # clients that are slow to leave keep the rest in memory
        self._count(0)
        if outcome is not Outcome.PARTNER_LEFT:
            self._leg.finish(outcome)
        self._dropTunnel().lost(self)

    def _dismissClients(self) -> None:
        for _ in range(min(CLIENTS_A_TURN, len(self._clients))):
            _address, client = self._clients.popitem()
            try:
                self._release(client)  # a slow one leaves later, or before
                client.leave(Outcome.PARTNER_LEFT)
            except Exception:  # the others are to be told all the same
                log.fault(client.origin.number)
        if self._clients:
            self._turns.wait(self._dismissClients, relays=True)
