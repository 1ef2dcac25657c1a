"""Whether the members at the other end of our links are there.

Owns the control link to each member that there are links to: who does not answer on it is gone, and
its links are cut. They carry nothing when nothing is relayed, and one that is not read does not
notice its end. Knows nothing of what links carry.

Two members that have links each have a control link to the other, and what is heard on either shows
that the other one is there: to open ours its address has to be looked up, and the directory failing
must not end a tunnel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.asking import MemberGone, MemberSilent, MemberUnknown
from nymearemoteproxy.cluster.linking import LinkFailed
from nymearemoteproxy.cluster.links import CONTROL, Links
from nymearemoteproxy.cluster.members import Members
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.protocol.linkmessages import ControlLink, Here, LineReader
from nymearemoteproxy.protocol.linkrecords import LinkFault

log = ProxyLogger()

HEARTBEAT = 5.0
"""Seconds between two questions on a control link, and between two looks at links that are not
read: so long a client at most does not hear that its partner's process is gone."""

CONTROL_TIMEOUT = 15.0
"""Seconds of silence on a control link after which the other member counts as gone: as long as its
lease."""

RECONNECT = 1.0
"""Seconds between two attempts to open a control link, unless it is time for a question anyway: one
that is closed is opened again at once, as nothing tells more of the other member."""

NOBODY_LISTENS = "nobody is at its address any more"

LINKS_A_TURN = 100
"""Links that are looked at before others get their turn: some microseconds each, in the kernel."""

CUTS_A_TURN = 8
"""Links that are cut before others get their turn; each ends a client's connection, with its line
of log."""


class Heart(Protocol):
    """The control link to one member, from our end."""

    transport: Any

    def __init__(
        self, clock: IReactorTime, links: Links, me: bytes, lost: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._links = links
        self._me = me
        self._lost = lost
        self._lines = LineReader()
        self.heard = clock.seconds()

    def connectionMade(self) -> None:
        self._links.count(False, CONTROL, 1)
        self.transport.write(ControlLink(self._me).encode())
        self.beat()

    def beat(self) -> None:
        """Ask whether the member is there."""
        self.transport.write(Here().encode())

    def dataReceived(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while self._lines.take() is not None:
                self.heard = self._clock.seconds()
        except LinkFault:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._links.count(False, CONTROL, -1)
        self._lost()


def _isRefused(failure: Failure) -> bool:
    """Tell whether nobody listens any more where a member was."""
    return bool(failure.check(MemberGone)) and not failure.check(MemberUnknown)


def _nothing() -> None:
    """Nobody waits for that."""


class _Peer:
    """One member that there are links to.

    :ivar broken: how many links have broken since it was known to be there.
    """

    _timer: IDelayedCall

    def __init__(self, liveness: Liveness, id: bytes) -> None:
        self._liveness = liveness
        self._id = id
        self._heard = liveness.clock.seconds()
        self._heart: Heart | None = None
        self._connecting: Deferred[None] | None = None
        self.broken = 0
        self._isOver = False
        self._isGone = False
        self._ticked = self._heard
        self._tried = self._heard - RECONNECT

    def start(self) -> None:
        self._tick()

    def heard(self) -> None:
        """It has shown that it is there, on its own control link."""
        self._heard = self._liveness.clock.seconds()

    def stop(self) -> None:
        self._isOver = True
        self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._heart is not None:
            self._heart.transport.abortConnection()

    def _tick(self) -> None:
        clock = self._liveness.clock
        now = clock.seconds()
        if self._heart is not None:
            self._heard = max(self._heard, self._heart.heard)
        if now - self._ticked > 2 * HEARTBEAT:
            self._heard = now  # it is us who slept: what it said was not read yet
        self._ticked = now
        left = self._heard + CONTROL_TIMEOUT - now
        # The last look is when its time is over, not up to a heartbeat later.
        self._timer = clock.callLater(min(left, HEARTBEAT) if left > 0 else HEARTBEAT, self._tick)
        if left <= 0:
            self._gone("it does not answer")
            return
        if self._heart is not None:
            self.broken = 0
            self._heart.beat()
        elif self._connecting is None:
            self._connect()
        if not self._isOver:
            self._liveness.check(self._id)

    def _connect(self) -> None:
        self._tried = self._liveness.clock.seconds()
        liveness = self._liveness
        heart = Heart(liveness.clock, liveness.links, liveness.me, self._lost)
        connecting = self._connecting = liveness.members.connect(self._id, heart)
        connecting.addCallbacks(self._connected, self._notConnected, callbackArgs=(heart,))

    def _connected(self, _none: None, heart: Heart) -> None:
        self._connecting = None
        self._heart = heart

    def _notConnected(self, failure: Failure) -> None:
        self._connecting = None
        if _isRefused(failure) and not self._isOver:
            self._gone(NOBODY_LISTENS)
        else:
            failure.trap(CancelledError, MemberGone, MemberSilent, LinkFailed)

    def _lost(self) -> None:
        """The link is closed: either it was only the link, or nobody listens there any more."""
        self._heart = None
        if not self._isOver and self._liveness.clock.seconds() >= self._tried + RECONNECT:
            self._connect()

    def _gone(self, reason: str) -> None:
        if not self._isGone:
            self._isGone = True
            broken, self.broken = self.broken, 0
            self._liveness.gone(self._id, reason, broken).addCallback(self._cut)

    def _cut(self, _none: None) -> None:
        """If there still is a link, it is one that was made since."""
        self._isGone = False
        self._heard = self._liveness.clock.seconds()


class Liveness:
    """Looks after the members that there are links to.

    :param me: our own id.
    :ivar deaths: how many members were found to be gone while there were links to them.
    """

    def __init__(self, proxy: Proxy, links: Links, members: Members, me: bytes) -> None:
        self.clock = proxy.clock
        self.members = members
        self.me = me
        self.deaths = 0
        self._turns = proxy.turns
        self.links = links
        self._peers: dict[bytes, _Peer] = {}
        links.begun = self._begun
        links.broke = self._broke
        links.over = self._over
        links.heard = self._heard

    def _begun(self, id: bytes) -> None:
        peer = self._peers[id] = _Peer(self, id)
        peer.start()

    def _broke(self, id: bytes) -> None:
        self._peers[id].broken += 1

    def _over(self, id: bytes) -> None:
        peer = self._peers.pop(id)
        peer.stop()
        if peer.broken:
            self._lookForLife(id, peer.broken)

    def _lookForLife(self, id: bytes, broken: int) -> None:
        """The last links to a member broke: if it is gone, nobody else would tell."""
        heart = Heart(self.clock, self.links, self.me, _nothing)

        def connected(_none: None) -> None:
            heart.transport.abortConnection()

        def notConnected(failure: Failure) -> None:
            if _isRefused(failure):
                self._tell(id, NOBODY_LISTENS, broken)
            else:
                failure.trap(MemberGone, MemberSilent, LinkFailed)

        self.members.connect(id, heart).addCallbacks(connected, notConnected)

    def _heard(self, id: bytes) -> None:
        peer = self._peers.get(id)
        if peer is not None:
            peer.heard()

    def check(self, id: bytes) -> None:
        """Look whether links that are not read have ended."""
        self._turns.begin(self._checking(id))

    def _checking(self, id: bytes) -> Generator[None, None, None]:
        for number, link in enumerate(self.links.of(id), 1):
            link.checkTransport()
            if not number % LINKS_A_TURN:
                yield

    def gone(self, id: bytes, reason: str, broken: int) -> Deferred[None]:
        """A member is no more.

        :param broken: links to it that have ended by themselves.
        :returns: a Deferred that fires when all links that there are are cut.
        """
        self._tell(id, reason, broken)
        return self._turns.begin(self._cutting(id))

    def _tell(self, id: bytes, reason: str, broken: int) -> None:
        self.deaths += 1
        self.links.cuts += broken
        log.error(
            "{member} is gone, and with it {count} of the tunnels here: {reason}",
            event="member-gone",
            member=self.members.describe(id),
            count=len(self.links.of(id)) + broken,
            reason=reason,
        )

    def _cutting(self, id: bytes) -> Generator[None, None, None]:
        for number, link in enumerate(self.links.of(id), 1):
            self.links.cut(link)
            if not number % CUTS_A_TURN:
                yield
