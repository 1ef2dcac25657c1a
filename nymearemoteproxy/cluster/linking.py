"""Links to other members: connections that are used when it is proven who is at the other end.

Owns the connecting, its time limit, and what the spelling of an address means. Knows nothing of
what is said on a link, nor of how members are found.

Theory of operation
-------------------

A link within a machine is a Unix socket, and the proof is the user whose process is at the other
end: ours, or root, who needs no trick. Between machines it is TLS, see `identity`. In both cases
the protocol gets the connection when all that is over, and may write at once.

There is a difference between "refused" and "failed". When the system refuses, nobody listens there
any more: that member is gone, and what it held may be taken. All else may be a member that is
frozen or cut off, and may come back. Even one that is stopped has its connections accepted, by the
kernel: over TLS the handshake finds out, on a Unix socket only an answer does.

TCP_USER_TIMEOUT is not set, much as it looks like what is wanted. It also ends connections to
a peer that answers but takes nothing for so long (zero window; tcp(7)), as it is with a client that
does not read and back pressure that holds; measured with Linux 6.18. Those whose peer is gone
altogether are found by who has to hear from it: the two members' link for control.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.identity import MemberIdentity, nameOf
from nymearemoteproxy.cluster.localsockets import connected
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.common.unixpeers import peerOf
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlsclient import TlsClientTransport
from nymearemoteproxy.wires.transports import tuneTcp

LINK_TIMEOUT = 2.0
"""Seconds for all of connecting, unless the settings say more."""

KEEPALIVE_IDLE = 5.0
KEEPALIVE_TIMEOUT = 10.0
"""Seconds. With nothing on its way a link to a machine that is gone ends after both, as long as a
member's lease lasts."""

RETRY_INTERVAL = 0.05
"""Seconds until a Unix socket whose backlog is full is tried again. The kernel does not tell when
there is room."""

_UNREADABLE = "its address cannot be read"
_CLOSED = "it closed the connection; perhaps another member is there, or it has another secret"

_FAULTS = {
    "CALLBACK_FAILED": "it asked for another member, or for none",
    "TLSV1_ALERT_UNKNOWN_CA": "the other side has another secret",
    "TLSV1_UNRECOGNIZED_NAME": "another member is there",
}
"""What OpenSSL's words mean here."""

_COLON = re.compile(r"(?<!\\):")


class LinkError(Exception):
    """There is no link; the text is one line and says why."""


class LinkRefused(LinkError):
    """Nobody listens there: the member that was meant is gone for sure.

    For a Unix socket that is true only on the machine, and in the file system, that it is in: that
    one of another machine's is not here means nothing.
    """


class LinkFailed(LinkError):
    """It took too long, the way is not open, or it is somebody else: the member may be there."""


class ILinker(Interface):
    """Makes links to other members."""

    def connect(member: Member, protocol: IProtocol) -> Deferred[None]:
        """Connect a protocol to a member.

        It is given the connection once it is proven that it is that member, or one of the same user
        on this machine, and has lost it by then or not as for any protocol. Before, it hears
        nothing. The Deferred fires right after that, which may be before this returns; or fails
        with `LinkRefused` or `LinkFailed`, within the linker's time limit. Cancelling closes.
        """


def unixAddress(path: str) -> str:
    """Return a `Member.address`."""
    return f"unix:{path}"


def tcpAddress(host: str, port: int) -> str:
    """Return a `Member.address`, escaped as Twisted's endpoints are.

    :param host: an IP address.
    """
    return f"tcp:{quoteStringArgument(host)}:{port}"


def isOurs(handle: socket.socket) -> bool:
    """Tell whether the other end of a Unix socket is a process of our user's, or of root's."""
    peer = peerOf(handle)
    return peer is not None and peer.uid in (os.geteuid(), 0)


def tuneLink(transport: Any) -> None:
    """Set the options of a link's socket, whichever it is."""
    tuneTcp(transport, KEEPALIVE_IDLE, KEEPALIVE_TIMEOUT)


def describeFault(fault: BaseException | None) -> str:
    """Return what went wrong before a link was proven, for people."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"it is not who it should be: {fault.verify_message}"
    if isinstance(fault, ssl.SSLError):
        reason = fault.reason or "it broke TLS"
        return _FAULTS.get(reason, reason.lower().replace("_", " "))
    isClosed = isinstance(fault, ConnectionDone | ConnectionLost)
    return _CLOSED if isClosed else str(fault)


@implementer(ILinker)
class Linker:
    """Makes links, by the addresses of members.

    :param identity: ours; None = there are links within this machine only.
    :param timeout: seconds for all of a `connect`.
    :param turns: see `TlsTransport`.
    :param neighbours: the directory where the sockets of those members are that are of our group.
    :ivar identity: may be replaced, for the links from then on.
    """

    def __init__(
        self,
        reactor: Any,
        identity: MemberIdentity | None = None,
        timeout: float = LINK_TIMEOUT,
        turns: Turns | None = None,
        neighbours: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._neighbours = neighbours
        self.identity = identity
        self._timeout = timeout
        self._turns = turns

    def connect(self, member: Member, protocol: IProtocol) -> Deferred[None]:
        kind, _, rest = self._addressOf(member).partition(":")
        opening = _Opening(protocol)
        opened = opening.opened
        if kind == "unix":
            self._connectUnix(rest, opening)
        elif (place := _hostAndPort(rest)) is None or kind != "tcp":
            return fail(LinkFailed(_UNREADABLE))
        elif self.identity is None:
            return fail(LinkFailed("it is on another machine, and there is no secret"))
        else:
            tls = TlsClientTransport(
                self.identity.clientContext,
                self.identity.sessions,
                nameOf(member.id),
                opening,
                self._turns,
                preface=self.identity.prefaceTo(member.id),
                greeting=self.identity.proofTo(member.id),
            )
            opening.limit(self._reactor, self._timeout)
            factory = _Connecting(tls, opening)
            connector = self._reactor.connectTCP(*place, factory, timeout=None)
            opening.close = connector.disconnect
        return opened

    def _addressOf(self, member: Member) -> str:
        """Return where a member is; if it is a neighbour, that is its socket.

        Other members of a cluster are not at sockets: whoever can write to the directory must not
        have us talk to services of root's.
        """
        if self._neighbours is not None:
            path = os.path.join(self._neighbours, member.id.hex())
            if os.path.exists(path):
                return unixAddress(path)
        isElsewhere = self.identity is not None and member.address.startswith("unix:")
        return "" if isElsewhere else member.address

    def _connectUnix(self, path: str, opening: _Opening) -> None:
        """Connect now, or a little later.

        Twisted's own way takes a backlog that is full, as in a burst, for a connection that was
        closed (measured with 22.4 and 26.10).
        """
        opening.close = _nothing  # not what has called us, when it is tried again
        try:
            with socket.socket(socket.AF_UNIX) as handle:
                handle.setblocking(False)
                handle.connect(path)
                if not isOurs(handle):
                    opening.fail(LinkFailed("its socket is another user's"))
                    return
                connected(self._reactor, handle, DirectTransport(opening))
        except BlockingIOError:
            opening.limit(self._reactor, self._timeout)
            retry = self._reactor.callLater(RETRY_INTERVAL, self._connectUnix, path, opening)
            opening.close = retry.cancel
        except OSError as error:
            opening.fail(_errorOf(error.errno, str(error)))
        except ValueError:  # the directory may hold anything
            opening.fail(LinkFailed(_UNREADABLE))
        else:
            opening.handshakeCompleted()


def _hostAndPort(text: str) -> tuple[str, int] | None:
    """Read HOST:PORT; None if it is none, or has a name that would have to be looked up."""
    host, *rest = _COLON.split(text)
    host = host.replace("\\", "")
    if len(rest) != 1 or not re.fullmatch("[0-9]{1,5}", rest[0]):
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    port = int(rest[0])
    return (host, port) if 0 < port < 1 << 16 else None


def _errorOf(number: int | None, text: str) -> LinkError:
    """Return what is made of an error of the system's."""
    isRefused = number in (errno.ECONNREFUSED, errno.ENOENT)
    return (LinkRefused if isRefused else LinkFailed)(os.strerror(number) if number else text)


def _nothing() -> None:
    """There is nothing to be closed."""


@implementer(IHandshakeListener)
class _Opening(Protocol):
    """A link that is not proven yet, and its first protocol.

    It lets go of everything in the end: what refers to it would otherwise be in a cycle with it.

    :param protocol: who gets the link.
    :ivar opened: fires when it has it.
    :ivar close: ends what is under way.
    """

    transport: Any

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        self._timer: IDelayedCall | None = None
        self._isOver = False
        self.opened: Deferred[None] = Deferred(lambda _opened: self._end())
        self.close: Callable[[], object] = _nothing

    def limit(self, clock: Any, seconds: float) -> None:
        """Let the time begin, unless it has."""
        if self._timer is None:
            self._timer = clock.callLater(seconds, self.fail, LinkFailed("it took too long"))

    def connectionMade(self) -> None:
        self.close = self.transport.abortConnection

    def handshakeCompleted(self) -> None:
        self.close = _nothing
        opened, transport, protocol = self.opened, self.transport, self._protocol
        self._end()
        del self.transport
        tuneLink(transport)
        transport.switchProtocol(protocol)
        opened.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.fail(LinkFailed(describeFault(reason.value)))

    def fail(self, error: LinkError) -> None:
        """There will be no link."""
        if not self._isOver:
            opened = self.opened
            self._end()
            opened.errback(error)

    def _end(self) -> None:
        self._isOver = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        close, self.close = self.close, _nothing
        close()
        del self._timer, self._protocol, self.opened


class _Connecting(ClientFactory):
    """The TCP connection of one link."""

    noisy = False

    def __init__(self, protocol: TlsClientTransport, opening: _Opening) -> None:
        self._protocol = protocol
        self._opening = opening

    def buildProtocol(self, addr: IAddress | None) -> Any:
        direct = DirectTransport(self._protocol)
        del self._protocol, self._opening  # the connection refers to this
        return direct

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        error: Any = reason.value
        self._opening.fail(_errorOf(getattr(error, "osError", None), str(error)))
