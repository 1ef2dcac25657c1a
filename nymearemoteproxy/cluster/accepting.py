"""Links from other members: strangers at the port, until they have proven who they are.

Owns who is let in, how many may be on their way, and the place of a Unix socket for links. Knows
nothing of what is said on a link.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.identity import PROOF_SIZE, MemberIdentity
from nymearemoteproxy.cluster.linking import (
    LINK_TIMEOUT,
    LinkError,
    describeFault,
    isOurs,
    tuneLink,
)
from nymearemoteproxy.cluster.localsockets import LocalPort
from nymearemoteproxy.cluster.preface import Preface
from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import sourceOf
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlsbuffers import beginAsServer
from nymearemoteproxy.wires.tlstransport import TlsTransport

MOST_STRANGERS = 512
"""Connections that have not proven who they are, in all; each takes a descriptor and up to
some ten KiB. A member is done in one round trip, so these are 2,500 links a second from members
200 ms away."""

MOST_STRANGERS_FROM_ADDRESS = 128
"""The same from one address, of which there may be several members: a quarter, so that three
machines that go wild leave room for another."""

LINK_BACKLOG = 1024
"""Connections that the kernel holds until they are accepted: all clients of a member that starts
anew may need a link at once."""

LONGEST_PATH = 107
"""Bytes of a Unix socket's path (unix(7))."""

Build = Callable[[bytes | None], IProtocol]

# Why somebody was not let in
OTHER_USER, TOO_SLOW, TOO_MANY, NOT_PROVEN = "other-user", "too-slow", "too-many", "not-proven"
ELSEWHERE = "elsewhere"
REASONS = (OTHER_USER, TOO_SLOW, TOO_MANY, NOT_PROVEN, ELSEWHERE)
"""The last one is of who comes to several workers: for none of them, or it does not say so."""


class LinkFactory(Factory):
    """Takes the links that other members make.

    When there are too many strangers the one that came first has to go, not the new one: a member
    proves itself at once, and those that only sit there must not be able to keep it out.

    :param build: makes the protocol of a link, which gets the connection when it is proven; it is
        given the id of the member that is there, or None for another process of this user's.
    :param timeout: seconds for the handshake and the proof.
    :ivar turns: see `TlsTransport`.
    :ivar identity: ours; may be replaced, for the links from then on. None = the links come by a
        Unix socket.
    :ivar strangers: those who have not proven who they are.
    :ivar refused: how many were not let in, by the reason.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        build: Build,
        identity: MemberIdentity | None = None,
        timeout: float = LINK_TIMEOUT,
        turns: Turns | None = None,
    ) -> None:
        self.clock = clock
        self.build = build
        self.identity = identity
        self.timeout = timeout
        self.turns = turns
        self.refused: Counter[str] = Counter()
        self.strangers: dict[_Stranger, None] = {}  # in the order in which they came
        self._sources: defaultdict[str | None, dict[_Stranger, None]] = defaultdict(dict)
        self._tally = Tally(
            clock,
            "a connection from {peer} is no link of this cluster's: {text}",
            "connection",
            "{more} refused in the last {interval:.0f} s: no link of this cluster's",
        )

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.identity is None:
            return DirectTransport(_Neighbour(self))
        stranger = _Stranger(self, self.identity)
        refuse = partial(stranger.refuse, NOT_PROVEN)
        return DirectTransport(Preface(self.identity, stranger, refuse))

    def came(self, stranger: _Stranger) -> None:
        """Somebody is there; make room."""
        same = self._sources[stranger.source]
        for crowd, most in (
            (same, MOST_STRANGERS_FROM_ADDRESS),
            (self.strangers, MOST_STRANGERS),
        ):
            if len(crowd) >= most:
                next(iter(crowd)).refuse(TOO_MANY, "too many others came after it")
        self._sources[stranger.source][stranger] = self.strangers[stranger] = None

    def went(self, stranger: _Stranger) -> None:
        """Somebody is a stranger no longer, or not there."""
        del self.strangers[stranger]
        same = self._sources[stranger.source]
        del same[stranger]
        if not same:
            del self._sources[stranger.source]

    def refuse(self, transport: Any, reason: str, text: str) -> None:
        """Count somebody who is not let in, and close."""
        self.refused[reason] += 1
        self._tally.add(peer=describeAddress(transport.getPeer())[1], text=text)
        transport.abortConnection()


class _Neighbour(Protocol):
    """A process on this machine that has just connected to our Unix socket."""

    transport: Any

    def __init__(self, factory: LinkFactory) -> None:
        self._factory = factory

    def connectionMade(self) -> None:
        if isOurs(self.transport.lowest.getHandle()):
            self.transport.switchProtocol(self._factory.build(None))
        else:
            self._factory.refuse(self.transport, OTHER_USER, "it is another user's")


class _Stranger(Protocol):
    """Somebody who has not proven to be a member.

    :param identity: ours, when it came.
    :ivar source: what it is counted as.
    """

    transport: Any
    source: str | None = None
    _timer: IDelayedCall | None = None

    def __init__(self, factory: LinkFactory, identity: MemberIdentity) -> None:
        self._factory = factory
        self._identity = identity
        self._read = b""

    def prefaced(self, wantsTicket: bool) -> TlsTransport:
        """It is no stranger altogether; return what speaks TLS with it."""
        self._identity.beginTicket(wantsTicket)
        tls = beginAsServer(self._identity.serverContext)
        return TlsTransport(tls, self, self._factory.turns)

    def connectionMade(self) -> None:
        if self._timer is not None:
            return  # TLS begins
        self.source = sourceOf(getattr(self.transport.getPeer(), "host", None), ())
        self._factory.came(self)
        self._timer = self._factory.clock.callLater(
            self._factory.timeout, self.refuse, TOO_SLOW, "it took too long to prove itself"
        )

    def dataReceived(self, data: bytes) -> None:
        """Its proof, or a part of it, and perhaps more."""
        if self._timer is None:
            return
        self._read += data
        if len(self._read) < PROOF_SIZE:
            return
        proof, rest = self._read[:PROOF_SIZE], self._read[PROOF_SIZE:]
        member = self._identity.provenBy(proof)
        if member is None:
            self.refuse(NOT_PROVEN, "its proof is wrong")
            return
        self._leave()
        tuneLink(self.transport)
        protocol = self._factory.build(member)
        self.transport.switchProtocol(protocol)
        if rest:
            protocol.dataReceived(rest)

    def refuse(self, reason: str, text: str) -> None:
        """Close, unless that is so already."""
        if self._timer is not None:
            self._leave()
            self._factory.refuse(self.transport, reason, text)

    def _leave(self) -> None:
        assert self._timer is not None
        if self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._factory.went(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        isTls = reason.check(ssl.SSLError)
        text = describeFault(reason.value) if isTls else "it left before it had proven itself"
        self.refuse(NOT_PROVEN, text)


def listenLocally(
    reactor: Any, directory: str, id: bytes, factory: LinkFactory
) -> tuple[str, IListeningPort]:
    """Take links by a Unix socket in a directory that is for our user only.

    The directory is made if it is not there. The file is named after the member's id: what a
    process that was killed has left there is in nobody's way.

    :returns: the path of the socket, too.
    :raises LinkError: that cannot be; the text is one line for the operator.
    """
    path = os.path.join(os.path.abspath(directory), id.hex())
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise LinkError(f"the path of {directory} is too long for a Unix socket in it")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.lstat(directory)
    except OSError as error:
        raise LinkError(f"cannot make the directory {directory}: {error.strerror}") from None
    isPrivate = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    if not isPrivate or status.st_uid != os.geteuid():
        raise LinkError(f"{directory} must be a directory of our own, with mode 700")
    try:
        port = LocalPort(os.fsencode(path), factory, LINK_BACKLOG, 0o600, reactor)
        port.startListening()
    except CannotListenError as error:
        raise LinkError(f"cannot listen on {path}: {error.socketError}") from None
    return path, port
