"""The directory with the sockets of links between the workers of a server.

Owns that only this user gets in, and that it goes: with the server, or, when that was killed, with
the next start of one. Knows nothing of what the sockets are for.

A server holds a lock on its directory as long as it lives, by which others see that it does. So
does systemd-tmpfiles(8), which else would remove it when it is old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile

from nymearemoteproxy.cluster.accepting import LONGEST_PATH
from nymearemoteproxy.cluster.directory import MEMBER_SIZE
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.listening.listeners import ListenerError

log = ProxyLogger()

PREFIX = "nymea-remoteproxy-"
"""Of its name."""

_NAME = re.compile(f"{PREFIX}[a-z0-9_]{{8}}")
"""`tempfile` adds eight characters."""

_LONGEST_PLACE = LONGEST_PATH - len(f"/{PREFIX}12345678/") - 2 * MEMBER_SIZE
"""Bytes of the path of the place for such directories."""


class SocketDirectory:
    """That of this server.

    :ivar path: empty when it is not there.
    """

    def __init__(self) -> None:
        self.path = ""
        self._lock = -1

    def check(self) -> None:
        """Find out what is wrong with its place while an operator looks.

        :raises ListenerError: the text is one line.
        """
        try:
            place = tempfile.gettempdir()
        except OSError as error:
            raise _nowhere(str(error)) from None
        if len(os.fsencode(place)) > _LONGEST_PLACE:
            raise _nowhere(f"the path of {place} is too long; TMPDIR may name another one")

    def make(self) -> None:
        """Make it, and remove those of servers that were killed.

        :raises ListenerError: this user may not.
        """
        try:
            _removeAbandoned(tempfile.gettempdir())
            lock = None
            while lock is None:  # another server, which starts now, may have taken it for abandoned
                path = tempfile.mkdtemp(prefix=PREFIX)
                lock = _lockOf(path)
        except OSError as error:
            raise _nowhere(str(error)) from None
        self.path, self._lock = path, lock

    def remove(self, name: str) -> None:
        """Remove a socket that may be there no longer, and so may the directory."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.path, name))

    def close(self) -> None:
        """Remove it, with the sockets of workers that were killed."""
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self.path = ""


def _lockOf(path: str) -> int | None:
    """Return a descriptor that locks a directory; None if another process has it, or removed it.

    :raises OSError: it cannot be locked.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(path)
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _removeAbandoned(place: str) -> None:
    """Remove the directories here that no server has any more, as far as we may."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(place)
    for path in (os.path.join(place, name) for name in names if _NAME.fullmatch(name)):
        with contextlib.suppress(OSError):  # another user's
            descriptor = _lockOf(path)
            if descriptor is not None:
                try:
                    _clear(path, descriptor)
                finally:
                    os.close(descriptor)


def _clear(path: str, descriptor: int) -> None:
    """Remove a directory if it is ours, and nothing but sockets is in it.

    :raises OSError: that cannot be.
    """
    names = os.listdir(descriptor)
    modes = [os.lstat(name, dir_fd=descriptor).st_mode for name in names]
    if os.fstat(descriptor).st_uid == os.geteuid() and all(map(stat.S_ISSOCK, modes)):
        for name in names:
            os.unlink(name, dir_fd=descriptor)
        os.rmdir(path)
        log.info("removed {path}, which a server that was killed has left", path=path)


def _nowhere(reason: str) -> ListenerError:
    return ListenerError(f"workers need a directory for their sockets: {reason}")
