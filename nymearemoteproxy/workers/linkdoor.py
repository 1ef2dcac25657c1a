"""Links from other machines: each says for which worker it is, and is handed to that one.

Owns the wait for the link's first bytes, which are left for the worker, and how many may be waited
for. Knows nothing of what follows them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster.accepting import MOST_STRANGERS
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, NAME_SIZE
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.workers.handing import Handed, addressOf
from nymearemoteproxy.workers.portreader import PortReader

LINKS = -1
"""Stands in the place of a listener's index: the connection is a link."""

HandTo = Callable[[bytes, Handed, int], bool | None]
"""Has the worker with this id take a connection; tells whether there was room for it, None = there
is no such worker. Without room the connection waits for `LinkDoor.roomAgain`."""


class LinkDoor(PortReader):
    """Accepts links at one port.

    When too many are waited for, the one that came first has to go: a member's first bytes come at
    once.

    :param timeout: seconds for the first bytes.
    :ivar refused: how many were no links to this machine.
    """

    def __init__(self, reactor: Any, port: Any, place: str, hand: HandTo, timeout: float) -> None:
        super().__init__(reactor, port, place)
        self._hand = hand
        self._timeout = timeout
        self.refused = 0
        self._callers: dict[_Caller, None] = {}  # in the order in which they came
        self._refusals = Tally(
            reactor,
            "a connection from {peer} is no link to this machine: {text}",
            "connection",
            "{more} refused in the last {interval:.0f} s: no link to this machine",
        )

    def accepted(self, accepted: socket.socket, name: Any) -> bool:
        accepted.setblocking(False)
        if len(self._callers) >= MOST_STRANGERS:
            next(iter(self._callers)).refuse("too many others came after it")
        caller = _Caller(self._reactor, accepted, self._timeout, self)
        self._callers[caller] = None
        return True

    def close(self) -> None:
        super().close()
        for caller in list(self._callers):
            caller.close()

    def roomAgain(self) -> None:
        """Some worker can be handed connections that could not."""
        for caller in list(self._callers):
            if caller.isWaiting:
                caller.doRead()

    def called(self, own: socket.socket, name: bytes) -> str | None:
        """Somebody says for whom it is; return why it cannot be, None = it has to wait."""
        try:
            id = bytes.fromhex(name.decode("ascii"))
        except ValueError:
            id = b""
        if len(id) < MEMBER_SIZE:
            return "it does not say for which member it is"
        handed = Handed(0, LINKS, own.family, addressOf(own.family, own.getpeername()), None)
        isHanded = self._hand(id, handed, own.fileno())
        if isHanded is None:
            return "the member is not here"
        return "" if isHanded else None

    def went(self, caller: _Caller, peer: str, refusal: str) -> None:
        """Somebody is not waited for any more."""
        del self._callers[caller]
        if refusal:
            self.refused += 1
            self._refusals.add(peer=peer, text=refusal)


@implementer(IReadDescriptor)
class _Caller:
    """Somebody whose first bytes are waited for.

    :ivar isWaiting: they are there, and the worker that they name has no room now.
    """

    def __init__(self, reactor: Any, own: socket.socket, timeout: float, door: LinkDoor) -> None:
        self._reactor = reactor
        self._socket = own
        self._door = door
        self.isWaiting = False
        self._timer = reactor.callLater(timeout, self.refuse, "it took too long")
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "a link"

    def doRead(self) -> None:
        try:
            # They come in one packet. Who sends them byte by byte would be asked again and again.
            name = self._socket.recv(NAME_SIZE, socket.MSG_PEEK)
            refusal = self._door.called(self._socket, name)
        except BlockingIOError:
            return
        except OSError as error:
            refusal = error.strerror or str(error)
        if refusal is None:
            self.isWaiting = True
            self._reactor.removeReader(self)  # what is there already would be told all the time
        else:
            self.refuse(refusal)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self.close()

    def refuse(self, reason: str) -> None:
        """Close it here.

        :param reason: empty if somebody has it now.
        """
        if self._socket.fileno() >= 0:
            try:
                peer = "{}:{}".format(*self._socket.getpeername()[:2])
            except OSError:
                peer = "somebody who is gone"
            self._reactor.removeReader(self)
            self._socket.close()
            if self._timer.active():
                self._timer.cancel()
            self._door.went(self, peer, reason)

    def close(self) -> None:
        """It is not waited for any more."""
        self.refuse("")
