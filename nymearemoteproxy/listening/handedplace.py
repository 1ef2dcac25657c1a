"""A Unix socket whose path goes from one process to the next, while the old one still answers.

Owns the files: the socket, its lock beside it, and a second name for the socket of a process that
has given way. Knows nothing of what is spoken there.

Theory of operation
-------------------

Whoever has ``PATH.lock`` has the path. A process that gives way makes ``PATH.draining`` another
name of its socket and lets go of the lock: so both names lead to it, as long as nobody else wants
the path. The next process takes the lock, sees that both names are one socket, and puts its own in
the place of the first. From then on the old one is reached by the second name. Each removes only
names that are still those of its own socket.

Whatever else is in the way, such as the socket of another program, stays: then nobody listens.
What a process has left that was killed is known by its lock.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet.defer import Deferred, execute, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.lockfile import FilesystemLock
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.listening.adoption import AdoptedEndpoint
from nymearemoteproxy.listening.listeners import close
from nymearemoteproxy.listening.locks import LOCK, disown

log = ProxyLogger()

DRAINING = ".draining"
"""What is behind the path in the second name of a socket."""


@implementer(IStreamServerEndpoint)
class HandedPlace:
    """The path, as one process has it.

    :param mode: of the socket.
    """

    def __init__(self, reactor: Any, path: str, backlog: int, mode: int) -> None:
        self._reactor = reactor
        self._path = path
        self._second = path + DRAINING
        self._backlog = backlog
        self._mode = mode
        self._lock = FilesystemLock(path + LOCK)
        self._port: IListeningPort | None = None
        self._inode: tuple[int, int] | None = None

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Take the path, and listen there."""
        return execute(self._listen, factory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        if not (disown(self._path) and self._lock.lock()):
            raise CannotListenError(None, self._path, "Cannot acquire lock")
        try:
            descriptor = self._bind()
        except OSError as error:
            self._lock.unlock()
            raise CannotListenError(None, self._path, error) from error
        results: list[IListeningPort] = []
        AdoptedEndpoint(self._reactor, descriptor).listen(factory).addCallback(results.append)
        (self._port,) = results
        return self._port

    def _bind(self) -> int:
        """Return the descriptor of a socket that listens at the path."""
        isLeft = not self._lock.clean or self._isSame(self._path, self._second)
        if isLeft and _isSocket(self._path):
            os.remove(self._path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            # Not by chmod: whoever may write the directory could have put a link there by then.
            mask = os.umask(0o777 & ~self._mode)
            try:
                made.bind(self._path)
            finally:
                os.umask(mask)
            made.listen(self._backlog)
            self._inode = _inodeOf(self._path)
            return made.detach()

    @staticmethod
    def _isSame(one: str, other: str) -> bool:
        inode = _inodeOf(one)
        return inode is not None and inode == _inodeOf(other)

    def giveWay(self) -> None:
        """Let the next process have the path, and answer there until one wants it.

        Without the right to give way the path stays ours.
        """
        if self._port is None or _inodeOf(self._path) != self._inode:
            return  # somebody has removed it: there is nothing to give
        try:
            if _isSocket(self._second):
                os.remove(self._second)  # of one that has given way before, or was killed
            os.link(self._path, self._second)
            self._lock.unlock()
        except OSError as error:
            log.warn(
                "{path} cannot be left to another process: {reason}",
                path=self._path,
                reason=error.strerror,
            )

    @inlineCallbacks
    def stop(self) -> Any:
        """Listen no more, and remove what is ours."""
        port, self._port = self._port, None
        if port is None:
            return
        try:
            self._remove(self._second)
            # Without the lock, the next process may be just about to take the path.
            if self._lock.locked or self._lock.lock():
                self._remove(self._path)
                self._lock.unlock()
        except OSError as error:
            log.warn("a listener was not closed in order: {reason}", reason=str(error))
        yield close(port)

    def _remove(self, path: str) -> None:
        if _inodeOf(path) == self._inode:
            os.remove(path)


def _inodeOf(path: str) -> tuple[int, int] | None:
    """Return what a name stands for; None if there is nothing."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _isSocket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
