"""A stream transport, a producer and clients in memory, for tests without a reactor."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import TCP, IClient
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role

CONNECTED = socket.socketpair()
"""Stands for every socket in memory: one that is connected, and on which nothing happens."""


class Pipe(StringTransport):
    """A transport that remembers how it was closed.

    Like a real one, and unlike its base, it does not mind what comes too late to matter.

    :ivar protocol: who has the connection now.
    :ivar full: the client does not read, so that nothing more can be sent.
    :ivar lastAck: milliseconds since TCP heard of the client.
    :ivar unacked: packets that TCP has no answer to.
    :ivar unsent: bytes that TCP may not send, since the client takes nothing.
    :ivar probes: how often TCP has asked since whether it takes something, without an answer.
    :ivar arrived: bytes that TCP knows to have arrived.
    :ivar family: of its socket.
    """

    protocol: Any

    def __init__(self, peer: IAddress) -> None:
        super().__init__(peerAddress=peer)
        self.family = socket.AF_UNIX if isinstance(peer, UNIXAddress) else socket.AF_INET
        self.full = False
        self.lastAck = 1_000_000
        self.unacked = self.unsent = self.probes = self.arrived = 0
        self.halfClosed = False
        self.lost = False
        self._unsent: list[bytes] = []

    @property
    def phase(self) -> Any:
        """The phase of the connection, also when no more than a rest is read for it."""
        return getattr(self.protocol, "protocol", self.protocol)

    def getHandle(self) -> Any:
        return self

    def send(self, data: bytes) -> int:
        """What a socket does."""
        if self.full:
            raise BlockingIOError
        super().write(data)
        return len(data)

    def write(self, data: bytes) -> None:
        self._unsent.append(data)

    def stall(self) -> None:
        """The client stops reading, and something sent to it (forgotten here) does not leave."""
        self.full = True
        self.protocol.transport.write(b"something")
        self._unsent.clear()

    def drain(self) -> None:
        """The client reads again, and all that waits is sent."""
        self.full = False
        for data in self._unsent:
            super().write(data)
        self._unsent.clear()
        if self.producer is not None:
            self.producer.resumeProducing()

    def fileno(self) -> int:
        return CONNECTED[0].fileno()

    def setsockopt(self, *option: int) -> None:
        """Nothing to set."""

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Return what TCP knows: some of struct tcp_info in linux/tcp.h, each at its place.

        Of a Unix socket, that the client is this process.
        """
        if (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED):
            return struct.pack("iII", os.getpid(), os.geteuid(), os.getegid())
        info = bytearray(size)
        info[3] = self.probes
        struct.pack_into("I", info, 24, self.unacked)
        struct.pack_into("I", info, 56, self.lastAck)
        struct.pack_into("Q", info, 120, self.arrived)
        if size > 144:
            struct.pack_into("I", info, 144, self.unsent)
        return bytes(info)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def resumeProducing(self) -> None:
        self.producerState = "producing"

    def pauseProducing(self) -> None:
        self.producerState = "paused"

    def loseWriteConnection(self) -> None:
        if self.lost:
            raise ValueError("as epoll does")
        self.halfClosed = True

    def abortConnection(self) -> None:
        self.lose(ConnectionAborted())

    def lose(self, reason: Exception) -> None:
        """The connection is closed; told once."""
        if not self.lost:
            self.lost = True
            if self.producer is not None:
                self.producer.stopProducing()
            self.protocol.connectionLost(Failure(reason))

    def receive(self, data: bytes) -> None:
        """The client sends."""
        self.protocol.dataReceived(data)

    def take(self) -> bytes:
        """Return what was sent to the client, and forget it."""
        data = self.value()
        self.clear()
        return data


@implementer(IPushProducer)
class Producer:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        self.asked.append("resume")

    def stopProducing(self) -> None:
        self.asked.append("stop")


@implementer(IClient)
class Guest:
    """A client that stands for a connection, and leaves when it likes.

    :ivar asked: what the server asked of it.
    """

    def __init__(
        self, proxy: Proxy, role: Role | None = None, uuid: str = "", serverUuid: str = ""
    ) -> None:
        record = proxy.registry.admit(IPv4Address("TCP", "127.0.0.1", 1), TCP, False)
        assert record is not None
        record.role, record.uuid, record.serverUuid = role, uuid, serverUuid
        record.client = self
        self.record = record
        self.asked: list[str] = []
        self._proxy = proxy

    @property
    def stage(self) -> str:
        """What an `IClient` has."""
        return "unauthenticated" if self.record.role is None else "tunneled"

    def shutDown(self) -> None:
        self.asked.append("shutDown")

    def dismiss(self, outcome: Outcome) -> None:
        self.record.endsWith(outcome)
        self.asked.append("dismiss")

    def abort(self) -> None:
        self.asked.append("abort")

    def leave(self) -> None:
        """Close the connection."""
        self.record.endsWith(Outcome.CLIENT_LEFT)
        self._proxy.registry.ended(self.record)


def oneTurn(clock: Clock) -> None:
    """Let one turn of the reactor pass, in no time; `Clock.advance` would do all that is due."""
    due = [call for call in clock.calls if call.getTime() <= clock.seconds()]
    for call in due:
        if call.active():
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
