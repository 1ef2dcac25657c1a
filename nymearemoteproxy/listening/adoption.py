"""Listening sockets that systemd made, and which outlive this process.

Another process may listen on the same socket, now or after this one. So closing it must not end
it for others, and its file, its mode and its queue are not ours. Twisted sees to that for TCP only,
but for the queue. Owns which sockets there are (sd_listen_fds(3)), and how they are listened on.
Knows nothing of who comes in.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import fdesc, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

BACKLOG = 4096
"""Connections that the kernel holds until somebody accepts them, be it the next process: what
systemd asks for by default on Debian 12, where the kernel allows no more (net.core.somaxconn)."""

_PID = os.getpid()
"""Of the process that the sockets were passed to; twistd's daemon is a child of it."""

FIRST_PASSED = 3
"""The file descriptor of the first socket; the others follow."""

_taken: set[int] = set()
"""Those of sockets that have their listener. It closes them, and then the number may come to stand
for something else."""

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


def initialEnvironment() -> dict[str, str]:
    """Return what this process was started with.

    When Twisted is imported it takes what is about sockets out of the environment, and it forgets
    it if they have no names.
    """
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(each).partition("=") for each in block.split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


def passedSocket(environment: Mapping[str, str], index: str | None, name: str | None) -> int:
    """Return the file descriptor of a socket that systemd passed, by its number or by its name.

    :raises LookupError: it passed no such socket.
    :raises ValueError: not one of them is given as it should be, or several sockets have that name.
    """
    passed = environment.get("LISTEN_FDS", "")
    isOurs = environment.get("LISTEN_PID") == str(_PID) and passed.isdecimal()
    count = int(passed) if isOurs else 0
    if (index is None) == (name is None) or (index is not None and not index.isdecimal()):
        raise ValueError("give index=NUMBER or name=NAME")
    if index is not None:
        numbers = [int(index)]
    else:
        names = environment.get("LISTEN_FDNAMES", "").split(":")
        numbers = [number for number, each in enumerate(names) if each == name]
        if len(numbers) > 1:
            raise ValueError(f'systemd passed {len(numbers)} sockets named "{name}"; use index=')
    if not numbers or numbers[0] >= count:
        raise LookupError("systemd passed no such socket")
    return FIRST_PASSED + numbers[0]


def takeSocket(index: str | None, name: str | None) -> int:
    """Return the file descriptor of a socket that systemd passed to this process, once.

    :raises LookupError: it passed no such socket.
    :raises ValueError: the same as from `passedSocket`, or another listener has the socket.
    """
    descriptor = passedSocket(initialEnvironment(), index, name)
    if descriptor in _taken:
        raise ValueError("another listener has this socket")
    _taken.add(descriptor)
    return descriptor


class _UnixPort(unix.Port):
    """Listens on a Unix socket without making its file accessible to all, or removing it.

    What it is made by, and what keeps it from ending the socket for others, are Twisted's private
    names, since the public ``adoptStreamPort`` makes a ``unix.Port`` and nothing else
    (``tests/project/test_privatenames.py``).
    """

    _shouldShutdown = False  # as Twisted does for adopted TCP sockets

    def __init__(self, path: str | bytes, factory: IProtocolFactory, reactor: Any) -> None:
        # Twisted changes the mode of files, and removes them. A name in the abstract namespace has
        # none; nothing else is done with the name.
        super().__init__(b"\0systemd", factory, BACKLOG, reactor=reactor)


def _familyOf(descriptor: int) -> socket.AddressFamily:
    """Return the address family of a listening stream socket, as the kernel knows it.

    :raises OSError: it is something else.
    """
    with socket.socket(fileno=os.dup(descriptor)) as passed:
        isListening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not isListening or passed.type != socket.SOCK_STREAM or passed.family not in _FAMILIES:
            raise OSError(
                errno.EINVAL, "systemd passed something else than a listening stream socket"
            )
        return socket.AddressFamily(passed.family)


@implementer(IStreamServerEndpoint)
class AdoptedEndpoint:
    """A socket that listens already; what it is it knows itself.

    :param descriptor: of the socket; is closed when a copy of it is listened on.
    """

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen on it, or rather on a copy of it."""
        return execute(self._listen, factory)

    def _listen(self, factory: IProtocolFactory) -> Any:
        descriptor = self._descriptor
        family = _familyOf(descriptor)
        fdesc.setNonBlocking(descriptor)
        port: Any
        if family == socket.AF_UNIX:
            port = _UnixPort._fromListeningDescriptor(self._reactor, descriptor, factory)
            port.startListening()
        else:
            port = self._reactor.adoptStreamPort(descriptor, family, factory)
            port.socket.listen(BACKLOG)  # it was just made shorter
        os.close(descriptor)
        return port
