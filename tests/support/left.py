"""What a process leaves that was killed.

Owns the files of a Unix socket whose process had the number that another one has now. Knows nothing
of who finds them.
"""

from __future__ import annotations

import os
import socket

OWN = str(os.getpid())
"""The number of this process, as a lock has it."""


def leaveSocket(path: str, holder: str = OWN) -> None:
    """Make a socket at this path, and a lock as Twisted makes it, from long ago.

    :param holder: whom the lock names.
    """
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    os.symlink(holder, f"{path}.lock")
    os.utime(f"{path}.lock", (1, 1), follow_symlinks=False)
