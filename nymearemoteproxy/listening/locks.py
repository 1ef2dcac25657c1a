"""Locks of Unix sockets that a process has left which was killed.

Twisted's lock is a symbolic link to the number of its process, and holds as long as there is a
process of that number. That may be another one by now: in a container each start of the server has
the same number, and a machine gives numbers again. It may also not be seen that there is one: a
container that shares the directory has numbers of its own. Whether a server lives shows at its
socket, so it is asked there. Owns whose lock counts. Knows nothing of what is spoken at a socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time

LOCK = ".lock"
"""What is behind the path of a socket in the name of its lock, as Twisted has it."""

NOBODY = (1 << 22) + 1
"""The number of no process: more than Linux gives to any (PID_MAX_LIMIT)."""

FRESH = 10.0
"""Seconds for which a lock counts though nobody listens: its process is just about to, which takes
it a millisecond, if it is not held up."""

IS_SERVED = (0, errno.EAGAIN)
"""What connecting comes to where somebody listens: it succeeds, or there are many before us."""


def disown(path: str) -> bool:
    """Let go of a lock that was left; it becomes one of nobody.

    It is not removed, for by it Twisted knows that the socket was left, too.

    :param path: of the socket.
    :returns: False if there is a lock and somebody listens: the socket must not be taken.
    """
    lock = path + LOCK
    with contextlib.suppress(OSError):
        isOurs = os.readlink(lock) == str(os.getpid())
        age = abs(time.time() - os.lstat(lock).st_mtime)  # the wall clock may have been set back
        found = _knock(path)
        if found in IS_SERVED:
            return False
        # What is no socket refuses, too, and Twisted would remove it.
        isLeft = found == errno.ECONNREFUSED and stat.S_ISSOCK(os.stat(path).st_mode)
        if isOurs or (isLeft and age > FRESH):
            os.remove(lock)
            os.symlink(str(NOBODY), lock)
    return True


def _knock(path: str) -> int:
    """Return what connecting comes to, as an error number, without waiting."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path)
