"""Small services around a transport: tuning it, closing it without losing data.

Owns what is peculiar to TCP, and the time that closing takes.
Knows nothing of tunnels, or of a session but its role.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable
from struct import Struct
from typing import Any

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.delays import Delay, Delays
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.protocol.session import Role

log = ProxyLogger()

KEEPALIVE_PROBES = 3
"""Unanswered TCP keepalive probes after which a stream client counts as gone."""

_TCP_INFO = Struct("3xB20xI28xI84xI")
"""Where struct tcp_info of linux/tcp.h has tcpi_probes, tcpi_unacked, tcpi_last_ack_recv (in
milliseconds) and tcpi_notsent_bytes."""

_ACKED = Struct("120xQ")
"""Where it has tcpi_bytes_acked: how much has arrived at the peer's system, ever."""

_RESOLUTION = 0.02
"""Seconds by which that may be wrong: two of the kernel's ticks, which are 10 ms at most."""

MOST_UNSENT = 256 << 10
"""Bytes that the kernel takes for a slow client beyond what is on its way. More would be of no use,
and the less it is, the sooner shows whether the client reads."""

MOST_RECEIVED = 512 << 10
"""Bytes that the kernel takes from a registered server ahead of us. What is for one client waits
there behind what is for another, slow one. With a round trip of 50 ms it is enough for 80 Mbit/s.
"""

MOST_DROPPED = 16 << 20
"""Bytes that are read from a client and dropped when there is nobody to take them. What a client
has sent before it can know is in the kernels' buffers: by Linux's defaults 6 MiB at this end and
4 MiB at its own (tcp_rmem, tcp_wmem), and the rest is for a reverse proxy's. Who goes on beyond
that is no longer listening."""


def _isTcp(handle: Any) -> bool:
    """Tell whether a socket is TCP's.

    It knows best: neither what is spoken on it nor the address that a reverse proxy tells says so.
    """
    return handle.family in (socket.AF_INET, socket.AF_INET6)


def tuneTcp(transport: Any, keepaliveIdle: float, keepaliveTimeout: float) -> None:
    """Send small messages at once, and let TCP find out when the client is gone.

    On a Unix socket nothing is to be done: it does not wait, and its end is noticed.

    :param keepaliveIdle: seconds of silence before the first probe; 0 = no probes.
    :param keepaliveTimeout: seconds from the first probe until the client counts as gone.
    """
    handle = transport.lowest.getHandle()
    try:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return  # it is none of TCP's, which takes less time to find out so than by its family
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepaliveIdle > 0)
    if not keepaliveIdle:
        return
    every = max(1, round(keepaliveTimeout / KEEPALIVE_PROBES))
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepaliveIdle)))
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def askTcp(
    transport: Any, clock: IReactorTime, keepaliveIdle: float, keepaliveTimeout: float
) -> Callable[[], bool]:
    """Have TCP ask its peer whether it is there, within a second (Linux).

    On a Unix socket the peer is there, or its end would be known.

    :param keepaliveIdle: what `tuneTcp` was told, and is told again after the answer.
    :returns: tells whether there was an answer.
    """
    handle = transport.lowest.getHandle()
    if not _isTcp(handle):
        return lambda: True
    tuneTcp(transport, 1, KEEPALIVE_PROBES)
    asked = clock.seconds()

    def hasAnswered() -> bool:
        try:
            info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        except OSError:
            return False  # it is closed, and whoever asked is about to hear of it
        probes, unacked, ago, unsent = _TCP_INFO.unpack(info)
        # A peer that takes nothing is not probed again for up to two minutes. The last time it
        # answered, or that probe would be counted; the one under way may be.
        isFull = unsent and not unacked and probes < 2
        if ago / 1000 + _RESOLUTION >= clock.seconds() - asked and not isFull:
            return False
        tuneTcp(transport, keepaliveIdle, keepaliveTimeout)
        return True

    return hasAnswered


def lookAfterSent(transport: Any) -> Callable[[], bool]:
    """Follow what was sent until now on its way (Linux, TCP only).

    :returns: tells whether more of it has arrived at the peer's system than when that was asked
        last; it is told once more after all of it has.
    """
    handle = transport.lowest.getHandle()
    if not _isTcp(handle):
        return lambda: False
    arrived = _arrived(handle)
    (unacked,) = struct.unpack("i", fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)))
    end = arrived + unacked

    def isArriving() -> bool:
        nonlocal arrived
        before, arrived = arrived, _arrived(handle)
        return before < end and arrived > before

    return isArriving


def _arrived(handle: Any) -> int:
    (size,) = _ACKED.unpack(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size))
    return int(size)


def tuneTunnelProxy(transport: Any, role: Role) -> None:
    """Let the kernel hold little for a client, and little of a server (Linux, TCP only)."""
    handle = transport.lowest.getHandle()
    if not _isTcp(handle):
        return
    if role is Role.SERVER:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, MOST_RECEIVED)
    else:
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)


def isGivenUp(transport: Any) -> bool:
    """Tell whether TCP has given a connection up: reset, or no answer to its keepalive probes."""
    handle = transport.lowest.getHandle()
    if not _isTcp(handle):
        return False
    poller = select.poll()
    poller.register(handle, 0)
    return any(events & select.POLLERR for _descriptor, events in poller.poll(0))


class Linger:
    """Closes a connection so that what was written arrives.

    Closing a socket while unread data lies in it resets the connection, which may destroy what
    is still on its way to the client. So reading goes on, into the void, until the client closes
    too. A client that does not is given two periods of time: after the first the connection is
    closed in the ordinary way, after the second it is aborted. It is aborted as well when the
    client has sent more into the void than can have been on its way.

    :param seconds: one such period.
    :param number: of the connection, for the log.
    """

    __slots__ = (
        "_delays",
        "_transport",
        "_seconds",
        "_number",
        "_timer",
        "_closed",
        "_drops",
        "_over",
    )

    def __init__(self, delays: Delays, transport: Any, seconds: float, number: int) -> None:
        self._delays = delays
        self._transport = transport
        self._seconds = seconds
        self._number = number
        self._timer: Delay | None = None
        self._closed = False
        self._drops = False
        self._over = False

    def stopSending(self) -> None:
        """Send what is buffered, and then the end of the stream."""
        if not self._over:
            self._transport.loseWriteConnection()

    def close(self) -> None:
        """Send what is buffered and close."""
        if not self._over:
            self._transport.loseConnection()
            self.drop()

    def start(self) -> None:
        """Let the time begin in which the client has to close."""
        if self._timer is None and not self._over:
            self._timer = self._delays.start(self._seconds, self._expired)

    def drop(self) -> None:
        """Nobody takes what the client still sends: let the time begin, and bound how much."""
        self.start()
        if not self._drops and not self._over:
            self._drops = True
            self._transport.lowest.limitRest(MOST_DROPPED, self._exceeded)

    def stop(self) -> None:
        """The connection is closed; there is nothing more to do, whoever asks for it."""
        self._over = True
        if self._timer is not None:
            self._timer.remove(self._expired)
            self._timer = None

    def _expired(self) -> None:
        if self._closed:
            self._transport.abortConnection()
            return
        self._closed = True
        self._timer = self._delays.start(self._seconds, self._expired)
        self._transport.lowest.loseConnection()

    def _exceeded(self) -> None:
        log.info(
            "connection {number} is cut off: it sent more than {size} bytes behind its end",
            number=self._number,
            size=MOST_DROPPED,
        )
        self._transport.abortConnection()
