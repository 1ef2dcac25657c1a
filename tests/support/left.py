"""What a process leaves that was killed.

Owns the files of a Unix socket whose process had the number that this one has. Knows nothing of who
finds them.
"""

from __future__ import annotations

import os
import socket


def leaveSocket(path: str) -> None:
    """Make a socket at this path, and a lock as Twisted makes it, from long ago."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    os.symlink(str(os.getpid()), f"{path}.lock")
    os.utime(f"{path}.lock", (1, 1), follow_symlinks=False)
