"""Holds a conversation with a server: does what its steps say, and sees that it ends.

Owns the sockets and TLS of those who take part. Knows nothing of what they say.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from random import Random
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from fuzz.network.doors import DOORS, Door, Kind
from fuzz.network.mutations import damaged
from fuzz.network.steps import Action, Conversation, Step
from tests.support.endtoend import MARK

reactor: Any = globalReactor

HEARING = 0.3
"""Seconds that somebody waits for an answer, which there may be none to."""

LONGEST = {
    Kind.WEBSOCKET: 30.0,
    Kind.STREAM: 30.0,
    Kind.FRONT: 30.0,
    Kind.FRONT_HTTP: 30.0,
    Kind.ADMIN: None,
    Kind.MONITOR: None,
    Kind.LINK: 45.0,
}
"""Seconds in which the server has to end a connection on which nothing more happens: several times
what its settings say, as the machine may be busy. The admin endpoint gives a minute, and a monitor
may listen for ever."""

SILENT = (Kind.ADMIN, Kind.MONITOR)
"""Those who look on here are never told a token or a nonce."""


def pause(seconds: float = 0) -> Deferred[None]:
    """Return what fires then."""
    waited: Deferred[None] = Deferred()
    reactor.callLater(seconds, waited.callback, None)
    return waited


async def within(seconds: float, waited: Deferred[Any]) -> bool:
    """Wait for it, no longer than that; return whether it came."""
    timer = reactor.callLater(seconds, waited.cancel)
    try:
        await waited
    except Exception:
        return False
    finally:
        if timer.active():
            timer.cancel()
    return True


@implementer(IHalfCloseableProtocol)
class Player(Protocol):
    """One of those who take part, while it is connected.

    :ivar isLost: the connection is closed.
    :ivar hasLeaked: it was told what nobody may see.
    """

    transport: Any

    def __init__(self, door: Door, kind: Kind) -> None:
        self._door = door
        self._kind = kind
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._isShaken = False
        self._damage: int | None = None
        self._tail = b""
        self._waiting: list[Deferred[None]] = []
        self.isLost = False
        self.hasLeaked = False

    def something(self) -> Deferred[None]:
        """Return what fires when something has come, or the end."""
        waited: Deferred[None] = Deferred(self._waiting.remove)
        if self.isLost:
            waited.callback(None)
        else:
            self._waiting.append(waited)
        return waited

    def _happened(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waited in waiting:
            waited.callback(None)

    async def lose(self) -> None:
        """Wait for the end of the connection."""
        while not self.isLost:
            await self.something()

    def perform(self, step: Step) -> None:
        """Do what can be done at once."""
        if step.damage is not None:
            self._damage = step.damage
        match step.action:
            case Action.SECURE:
                self._isShaken = False
                self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                self._tls = self._door.context.wrap_bio(
                    self._incoming, self._outgoing, server_hostname=self._door.name
                )
                self._pump()
            case Action.DEAFEN:
                self.transport.pauseProducing()
            case Action.END:
                self.transport.loseWriteConnection()
            case Action.CLOSE:
                self.transport.loseConnection()
            case Action.RESET:
                self.transport.abortConnection()

    def send(self, data: bytes, isBelow: bool) -> None:
        """Send a piece, in TLS if that has begun."""
        data = self._door.filled(data)
        if self._tls is None or isBelow:
            self._write(data)
        elif data:
            try:
                self._tls.write(data)
            except ssl.SSLError:
                self._write(data)  # there is no TLS any more, or not yet
            self._pump()

    def _write(self, data: bytes) -> None:
        if data and not self.isLost:
            if self._damage is not None:
                data, self._damage = damaged(Random(self._damage), data), None
            self.transport.write(data)

    def _pump(self) -> None:
        """Let TLS go on."""
        assert self._tls is not None
        try:
            if not self._isShaken:
                self._tls.do_handshake()
                self._isShaken = True
                self._happened()
            while data := self._tls.read(1 << 16):
                self._received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._tls = None
        self._write(self._outgoing.read())

    def _received(self, data: bytes) -> None:
        if self._kind in SILENT:
            heard = self._tail + data
            self.hasLeaked |= MARK.encode() in heard
            self._tail = heard[1 - len(MARK) :]
        self._happened()

    def dataReceived(self, data: bytes) -> None:
        """Something came."""
        if self._tls is None:
            self._received(data)
        else:
            self._incoming.write(data)
            self._pump()

    def readConnectionLost(self) -> None:
        """The server has said that it sends nothing more: so do we."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """We have said that."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed."""
        self.isLost = True
        self._happened()


class Play:
    """One conversation that is held.

    :param doors: where they are; whose door is not there does nothing.
    :ivar problems: what the server has not kept.
    """

    def __init__(self, conversation: Conversation, doors: Mapping[str, Door]) -> None:
        self.problems: list[str] = []
        self._conversation = conversation
        self._doors = doors
        self._players: list[tuple[Kind, Player]] = []
        self._latest: dict[int, Player] = {}

    async def hold(self) -> None:
        """Do all its steps, and wait until all connections have ended."""
        try:
            for step in self._conversation.steps:
                await self._do(step)
            for kind, player in self._players:
                await self._end(kind, player)
        finally:
            for _kind, player in self._players:
                if not player.isLost:
                    player.transport.abortConnection()
                    await player.lose()
        if any(player.hasLeaked for _kind, player in self._players):
            self.problems.append("somebody who looks on was told a secret")

    async def _do(self, step: Step) -> None:
        if step.action is Action.CONNECT:
            await self._connect(step.actor)
            return
        player = self._latest.get(step.actor)
        if player is None or player.isLost:
            return
        if step.action is Action.SEND:
            size = -(-len(step.data) // step.pieces) or 1
            for at in range(0, len(step.data), size):
                player.send(step.data[at : at + size], step.isBelow)
                await pause()
        else:
            player.perform(step)
        if step.action in (Action.HEAR, Action.SECURE):
            await within(HEARING, player.something())
        await pause()

    async def _connect(self, actor: int) -> None:
        name = self._conversation.doors[actor]
        if name not in self._doors:
            return
        door, kind = self._doors[name], DOORS[name].kind
        if isinstance(door.address, int):
            endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", door.address)
        else:
            endpoint = UNIXClientEndpoint(reactor, door.address)
        factory = Factory.forProtocol(lambda: Player(door, kind))
        factory.noisy = False
        try:
            player = await endpoint.connect(factory)
        except ConnectError as error:
            self.problems.append(f"nobody listens at {name}: {error}")
            return
        self._latest[actor] = player
        self._players.append((kind, player))

    async def _end(self, kind: Kind, player: Player) -> None:
        longest = LONGEST[kind]
        if player.isLost:
            return
        if not self._conversation.stays or longest is None:
            player.transport.abortConnection()
            return
        player.transport.resumeProducing()
        if not await within(longest, Deferred.fromCoroutine(player.lose())):
            self.problems.append(f"a connection ({kind.value}) does not end in {longest:.0f} s")
