"""The leg of a client that another member holds: what is relayed to it goes over a link.

Owns what the end of each side means on a link, and its back pressure. Knows nothing of how a link
is made, or who waits for whom.

Theory of operation
-------------------

Each of the two members has an ordinary `Tunnel`, with the leg of its own client on one side and a
`RemoteLeg` on the other. What one is told by its tunnel, the other one at the far end tells its
own: `finish` becomes an END, `partnerLost` a LOST, `cutOff` a CUT. When both have said LOST there
is nothing left to be said, and the link is closed. A link that is closed earlier has been cut: what
the far client sent may be lost in part, and its partner must not take that for the end.

A link is a connection of its own, so its back pressure is TCP's, and no tunnel is in another one's
way. While it is not read its end is not noticed, hence `checkTransport`. What is said last stands
behind all that waits for a client that is slow. It has as much time for that as it would have for
the rest if it were connected here; when that is over the link is cut, so that a client which takes
nothing at all cannot keep it.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster.links import ILink, Links
from nymearemoteproxy.common.delays import Delay
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.meeting.tunnel import NOBODY, ILeg, Tunnel
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.linkrecords import (
    CUT,
    END,
    LOST,
    Notice,
    RecordReader,
    encodeBytes,
    encodeNotice,
    outcomeOf,
)
from nymearemoteproxy.protocol.outcomes import Outcome

log = ProxyLogger()


@implementer(IProtocol, IPushProducer, ILeg, ILink)
class RemoteLeg:
    """One side of a tunnel, whose client another member holds.

    :param record: what is known of that client.
    :param isHome: the other member has asked for the link.
    :param member: the other member's id.
    :param rest: what has arrived on the link already.
    :param closed: is called when the link is closed.
    """

    __slots__ = (
        "member",
        "isHome",
        "record",
        "transport",
        "_blocked",
        "_closed",
        "_finished",
        "_hasEnded",
        "_hasLost",
        "_isLost",
        "_links",
        "_partner",
        "_proxy",
        "_reader",
        "_rest",
        "_timer",
        "_tunnel",
        "_unread",
    )

    transport: Any

    def __init__(
        self,
        proxy: Proxy,
        links: Links,
        member: bytes,
        record: Record | None,
        isHome: bool,
        rest: bytes,
        closed: Callable[[], object] | None = None,
    ) -> None:
        self.member = member
        self.isHome = isHome
        self.record = record
        self._proxy = proxy
        self._links = links
        self._partner: ILeg = NOBODY
        self._tunnel: Tunnel | None = None
        self._reader = RecordReader()
        self._rest = rest
        self._closed = closed
        self._timer: Delay | None = None
        self._blocked = False
        self._unread = False
        self._finished = False  # END was sent
        self._hasLost = False  # LOST was sent
        self._hasEnded = False  # END came
        self._isLost = False  # LOST came

    # Events of the transport

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        transport.lowest.readMuch()
        self._links.add(self)

    def connectionMade(self) -> None:
        """It was made before."""

    def dataReceived(self, data: bytes) -> None:
        reader = self._reader
        for item in reader.receive(data):
            if isinstance(item, list):
                self._partner.sendFrames(item)
            elif isinstance(item, Notice):
                self._noticed(item)
            else:
                self._partner.sendBytes(item)
        if self.record is not None:
            self.record.received += len(data)
        if reader.error is not None:
            self._links.fault(self.member, str(reader.error))
            self.cut()
        elif reader.hasMore:
            self._awaitTurn()

    def _awaitTurn(self) -> None:
        """Read nothing more until the rest of what was read is relayed, when others had a turn."""
        self.transport.pauseProducing()
        if not self._unread:
            self._proxy.turns.wait(self._takeTurn, self._failed, relays=True)

    def _takeTurn(self) -> None:
        if not self._unread:
            self.transport.resumeProducing()
            self.dataReceived(b"")

    def _noticed(self, notice: Notice) -> None:
        outcome = outcomeOf(notice.label) if notice.label else Outcome.PARTNER_LEFT
        if notice.kind == END:
            self._ended(outcome)
        elif notice.kind == LOST:
            self._left()
        else:
            self._partner.cutOff(outcome)
            self._left()

    def _ended(self, outcome: Outcome) -> None:
        self._hasEnded = True
        self._note(Outcome.PARTNER_LEFT if self._finished else Outcome.CLIENT_LEFT)
        if self._tunnel is not None:
            if outcome is not Outcome.PARTNER_LEFT:
                self._partner.finish(outcome)
            self._tunnel.ended(self)

    def _left(self) -> None:
        """The far client can take nothing more."""
        self._isLost = True
        self._note(Outcome.PARTNER_LEFT)
        self._links.closing(self)
        self._dropTunnel()
        self._closeIfDone()

    def _note(self, outcome: Outcome) -> None:
        """Note how the far client's connection ends, as far as it shows here."""
        if self.record is not None:
            self.record.endsWith(outcome)

    def _dropTunnel(self) -> None:
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.lost(self)
        self._partner = NOBODY

    def _closeIfDone(self) -> None:
        if self._isLost and self._hasLost:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        self._finished = self._hasLost = True
        self._proxy.turns.leave(self._takeTurn)
        self.transport.unregisterProducer()
        if self._timer is not None:
            self._timer.remove(self.cut)
        self._links.remove(self, isBroken=not (self._hasEnded or self._isLost))
        self._note(Outcome.LINK_LOST)
        if not (self._hasEnded or self._isLost):
            self._partner.cutOff(Outcome.LINK_LOST)
        self._dropTunnel()
        if self._closed is not None:
            self._closed()

    # The tunnel

    def enter(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.pauseReading()

    def open(self, partner: ILeg) -> None:
        self._partner = partner
        self.resumeReading()

    def begin(self) -> None:
        self.transport.registerProducer(self, True)
        rest, self._rest = self._rest, b""
        if rest:
            self.dataReceived(rest)

    def sendBytes(self, data: bytes) -> None:
        self._write(encodeBytes(data))

    def sendFrames(self, frames: Frames) -> None:
        self._write(b"".join(frames))

    def _write(self, data: bytes) -> None:
        if self.record is not None:
            self.record.sent += len(data)
        self.transport.write(data)

    def pauseReading(self) -> None:
        self._unread = True
        self.transport.pauseProducing()

    def resumeReading(self) -> None:
        self._unread = False
        self.transport.resumeProducing()
        if self._reader.hasMore:
            self._awaitTurn()

    def finish(self, outcome: Outcome) -> None:
        if self._finished:
            return
        self._finished = True
        self.transport.unregisterProducer()
        label = "" if outcome is Outcome.PARTNER_LEFT else outcome.label
        self.transport.write(encodeNotice(END, label))

    def partnerLost(self) -> None:
        record, self._partner = self._partner.record, NOBODY
        if self._hasLost:
            return
        isStopping = record is not None and record.outcome is Outcome.SHUTDOWN
        # As in one process, where both are told that it stops.
        self.finish(Outcome.SHUTDOWN if isStopping else Outcome.PARTNER_LEFT)
        self._hasLost = True
        self._links.closing(self)
        self.transport.write(encodeNotice(LOST))
        self._startTimer()
        self.resumeReading()
        self._closeIfDone()

    def cutOff(self, outcome: Outcome) -> None:
        if self._finished:
            self.transport.abortConnection()  # there is no other way to take back an END
            return
        self._finished = True
        self._links.closing(self)
        self.transport.unregisterProducer()
        self.transport.write(encodeNotice(CUT, outcome.label))
        self._startTimer()

    def _startTimer(self) -> None:
        """From now on there is nothing more to be said but what waits."""
        if self._timer is None:
            seconds = 2 * self._proxy.policy.timing.close  # as `Linger` has it
            self._timer = self._proxy.delays.start(seconds, self.cut)

    # Back pressure

    def pauseProducing(self) -> None:
        self._blocked = True
        self._partner.pauseReading()

    def resumeProducing(self) -> None:
        self._blocked = False
        self._partner.resumeReading()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` deals with it."""

    # The other member

    def cut(self) -> None:
        """The other member is gone."""
        self.transport.abortConnection()

    def checkTransport(self) -> None:
        """Look whether the link has ended: nobody notices while it is not read."""
        if not self._unread:
            return
        poller = select.poll()
        poller.register(self.transport.lowest.getHandle(), 0)
        if any(events & (select.POLLERR | select.POLLHUP) for _fd, events in poller.poll(0)):
            self.cut()

    def _failed(self, failure: Failure) -> None:
        """A fault of ours: it costs this tunnel."""
        log.failure("a link to member {member} failed", failure, member=self.member.hex())
        self.transport.abortConnection()
