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
import secrets
import socket
import time

LOCK = ".lock"
"""What is behind the path of a socket in the name of its lock, as Twisted has it."""

NOBODY = (1 << 22) + 1
"""The number of no process: more than Linux gives to any (PID_MAX_LIMIT)."""

FRESH = 10.0
"""Seconds for which a lock counts though nobody listens: its process is just about to, which takes
it a millisecond, if it is not held up."""

UNSERVED = (errno.ECONNREFUSED, errno.ENOENT)
"""What connecting comes to where nobody listens. Anything else somebody may be behind: there are
many before us, it is not for our user, or it is a socket of another kind."""


def disown(path: str) -> bool:
    """Let go of a lock that was left; it becomes one of nobody.

    It is not removed, for by it Twisted knows that the socket was left, too.

    :param path: of the socket.
    :returns: False if there is a lock and somebody may listen: the socket must not be taken.
    """
    lock = path + LOCK
    with contextlib.suppress(OSError):
        made = os.lstat(lock).st_mtime_ns
        isOurs = os.readlink(lock) == str(os.getpid())
        age = abs(time.time() - made / 1e9)  # the wall clock may have been set back
        found = _knock(path)
        if found not in UNSERVED:
            return False
        if isOurs or (found == errno.ECONNREFUSED and age > FRESH):
            _giveToNobody(lock, made)
    return True


def _giveToNobody(lock: str, made: int) -> None:
    """Replace a lock, unless another process that starts as well has its own there by now.

    Between the look and the renaming it could still put it there: a moment as short as the one
    that Twisted has itself, between looking whose a lock is and removing it.

    :param made: when the lock was that is to be replaced, as `st_mtime_ns`.
    """
    nobodys = f"{lock}.{secrets.token_hex(8)}"
    os.symlink(str(NOBODY), nobodys)
    try:
        if os.lstat(lock).st_mtime_ns == made:
            os.rename(nobodys, lock)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(nobodys)


def _knock(path: str) -> int:
    """Return what connecting comes to, as an error number, without waiting."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path)
