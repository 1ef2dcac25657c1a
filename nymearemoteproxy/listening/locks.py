"""Locks of Unix sockets that a process has left which was killed.

Twisted's lock is a symbolic link to the number of its process, and holds as long as there is a
process of that number. Owns when it is that of another process all the same. Knows nothing of
sockets.
"""

from __future__ import annotations

import contextlib
import os
import time

LOCK = ".lock"
"""What is behind the path of a socket in the name of its lock, as Twisted has it."""

NOBODY = (1 << 22) + 1
"""The number of no process: more than Linux gives to any (PID_MAX_LIMIT)."""

_STARTED = time.time()


def disownOlder(path: str) -> None:
    """Let go of a lock that names this process, but is older: that of one with the same number.

    In a container each start of the server is the same number. It is not removed, but made one of
    nobody, by which Twisted knows that the socket was left, too.
    """
    lock = path + LOCK
    with contextlib.suppress(OSError):
        if os.readlink(lock) == str(os.getpid()) and os.lstat(lock).st_mtime < _STARTED:
            os.remove(lock)
            os.symlink(str(NOBODY), lock)
