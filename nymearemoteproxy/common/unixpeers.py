"""Who is at the other end of a Unix socket, as the kernel knows it.

Owns how the kernel is asked (SO_PEERCRED, unix(7)), and the words for what it says. Knows nothing
of what anybody may do. The kernel notes it when the other end connects, and nobody can forge it.
"""

from __future__ import annotations

import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Any

_UCRED = struct.Struct("iII")
"""struct ucred: pid, uid, gid."""


@dataclass(frozen=True)
class UnixPeer:
    """The process that connected, and whose it was then."""

    pid: int
    uid: int

    def __str__(self) -> str:
        """Return who that is, for the log."""
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            name = "a user without a name"
        return f"{name} (uid {self.uid}, process {self.pid})"


def peerOf(handle: Any) -> UnixPeer | None:
    """Return who is at the other end of a socket; None if it is none of the Unix family."""
    if getattr(handle, "family", None) != socket.AF_UNIX:
        return None
    credentials = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _gid = _UCRED.unpack(credentials)
    return UnixPeer(pid, uid)
