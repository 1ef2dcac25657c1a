"""Links of other machines at the parent: each is handed to the worker that it names."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import MEMBER_SIZE, NAME_SIZE
from nymearemoteproxy.workers import linkdoor
from nymearemoteproxy.workers.handing import Handed
from nymearemoteproxy.workers.linkdoor import LINKS, LinkDoor
from tests.workers.test_accepting import ReaderClock

TIMEOUT = 2.0
HERE, FULL, ELSEWHERE = (bytes([number]) * MEMBER_SIZE for number in (1, 2, 3))


def nameOf(id: bytes) -> bytes:
    """Return what a link to a member begins with."""
    return id.hex().encode()


class LinkDoorTests(SynchronousTestCase):
    """A door at a real port, whose reactor is a clock.

    :ivar full: ids of workers that have no room now.
    :ivar taken: what was handed over: the id, what was told, and all that the worker reads then.
    """

    def setUp(self) -> None:
        self.clock = ReaderClock()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.addCleanup(self.listening.close)
        self.listening.setblocking(False)
        self.full = {FULL}
        self.taken: list[tuple[bytes, Handed, bytes]] = []
        port = SimpleNamespace(stopReading=lambda: None, fileno=self.listening.fileno)
        self.door = LinkDoor(self.clock, port, "tcp:0", self.hand, TIMEOUT)
        self.addCleanup(self.door.close)
        self.door.resume()
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)

    def hand(self, id: bytes, handed: Handed, descriptor: int) -> bool | None:
        """Take a connection, as a group does."""
        if id not in (HERE, FULL):
            return None
        if id in self.full:
            return False
        with socket.socket(fileno=os.dup(descriptor)) as own:
            self.taken.append((id, handed, own.recv(1000)))
        return True

    def call(self, *pieces: bytes) -> socket.socket:
        """Return a connection that has been accepted, and has sent this."""
        client = socket.create_connection(self.listening.getsockname())
        self.addCleanup(client.close)
        client.settimeout(5)
        for piece in pieces:
            client.sendall(piece)
        self.door.doRead()
        return client

    def read(self) -> None:
        """Let everybody be read from whose data the reactor would tell of."""
        for caller in self.callers():
            caller.doRead()

    def callers(self) -> list[Any]:
        """Return those whose bytes are waited for, in the reactor."""
        return [reader for reader in self.clock.readers if reader is not self.door]

    def assertClosed(self, client: socket.socket) -> None:
        """It is, or was reset, as it is with bytes that nobody has read."""
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(client.recv(1), b"")

    def assertOver(self, count: int = 0) -> None:
        """Nobody is waited for any more, and so many were refused."""
        self.assertEqual(self.callers(), [])
        self.assertEqual(len(self.door._callers), 0)
        self.assertEqual(self.door.refused, count)

    def test_handed(self) -> None:
        """With all that it has sent, and whom it is from."""
        client = self.call(nameOf(HERE) + b"and more")
        self.read()
        ((id, handed, data),) = self.taken
        self.assertEqual((id, data), (HERE, nameOf(HERE) + b"and more"))
        host, port = client.getsockname()
        address: Any = handed.address
        self.assertEqual((address.host, address.port), (host, port))
        self.assertEqual((handed.listener, handed.number, handed.source), (LINKS, 0, None))
        self.assertOver()
        # The worker has the connection: it is not closed here.
        client.setblocking(True)
        client.settimeout(5)
        self.assertEqual(client.recv(1), b"")  # the copy of the worker above is closed

    def test_nobodyThere(self) -> None:
        """One for a worker that is not here is closed, counted and logged."""
        client = self.call(nameOf(ELSEWHERE))
        self.read()
        self.assertClosed(client)
        self.assertOver(1)
        (line,) = [each for each in self.lines if "peer" in each]
        self.assertEqual(line["peer"], "{}:{}".format(*client.getsockname()))
        self.assertIn("is not here", line["text"])

    @given(st.binary(max_size=NAME_SIZE - 1))
    def test_tooShort(self, data: bytes) -> None:
        """A member's first bytes come in one packet; nothing at all is somebody who leaves."""
        before = self.door.refused
        client = self.call(data)
        client.shutdown(socket.SHUT_WR)
        self.read()
        self.assertClosed(client)
        self.assertOver(before + 1)
        self.assertEqual(self.taken, [])

    @given(st.binary(min_size=NAME_SIZE, max_size=NAME_SIZE))
    def test_noName(self, data: bytes) -> None:
        """What is no member's id, or one of nobody's, is refused."""
        before = self.door.refused
        client = self.call(data)
        self.read()
        self.assertClosed(client)
        self.assertOver(before + 1)
        self.assertEqual(self.taken, [])

    def test_silent(self) -> None:
        """Who says nothing is closed in time."""
        client = self.call()
        self.clock.advance(TIMEOUT - 0.1)
        self.assertEqual(len(self.callers()), 1)
        self.read()  # without anything to be read
        self.assertEqual(len(self.callers()), 1)
        self.clock.advance(0.2)
        self.assertClosed(client)
        self.assertOver(1)

    def test_gone(self) -> None:
        """One that resets its connection is no fault."""
        client = self.call(nameOf(HERE))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.read()
        self.assertOver(1)
        self.assertEqual(self.taken, [])

    def test_lost(self) -> None:
        """The reactor finds out that a connection is gone, or stops itself."""
        client = self.call()
        (caller,) = self.callers()
        self.assertEqual(caller.fileno(), caller._socket.fileno())
        self.assertEqual(caller.logPrefix(), "a link")
        caller.connectionLost(Failure(ConnectionLost()))
        self.assertClosed(client)
        self.assertOver()
        caller.close()
        self.assertOver()

    def test_noRoom(self) -> None:
        """A worker that has no room for the moment is no reason to refuse: it is waited for."""
        self.call(nameOf(FULL) + b"hello")
        self.read()
        self.assertEqual(self.callers(), [])  # what is there already would be told all the time
        self.door.roomAgain()
        self.assertEqual(self.taken, [])
        self.full.clear()
        self.door.roomAgain()
        self.assertEqual([data for _id, _handed, data in self.taken], [nameOf(FULL) + b"hello"])
        self.assertOver()
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def test_roomIsForThose(self) -> None:
        """Those who have said nothing yet are not asked then."""
        self.call()
        self.full.clear()
        self.door.roomAgain()
        self.assertEqual(len(self.callers()), 1)

    def test_neverRoom(self) -> None:
        """Not for ever."""
        client = self.call(nameOf(FULL))
        self.read()
        self.clock.advance(TIMEOUT)
        self.assertClosed(client)
        self.assertOver(1)

    def test_workerGoesMeanwhile(self) -> None:
        """Then it is said at once."""
        client = self.call(nameOf(FULL))
        self.read()
        self.patch(self, "hand", lambda *_details: None)
        self.door._hand = self.hand
        self.door.roomAgain()
        self.assertClosed(client)
        self.assertOver(1)

    def test_tooMany(self) -> None:
        """Then the one that came first has to go: a member's bytes come at once."""
        self.patch(linkdoor, "MOST_STRANGERS", 3)
        first, *others = [self.call() for _ in range(5)]
        self.assertClosed(first)
        self.assertClosed(others.pop(0))
        self.assertEqual(len(self.callers()), 3)
        self.assertEqual(self.door.refused, 2)
        others[0].sendall(nameOf(HERE))
        self.read()
        self.assertEqual(len(self.taken), 1)

    def test_flood(self) -> None:
        """It is told in few lines."""
        for _ in range(20):
            self.call(nameOf(ELSEWHERE))
            self.read()
        self.clock.advance(60)
        self.assertLessEqual(len([line for line in self.lines if "no link" in str(line)]), 2)
        self.assertOver(20)

    def test_closed(self) -> None:
        """Nobody is accepted, and nobody is left, whatever they were waiting for."""
        clients = [self.call(), self.call(nameOf(FULL))]
        self.read()
        self.door.close()
        for client in clients:
            self.assertClosed(client)
        self.assertOver()
        self.assertEqual(self.clock.readers, set())
        self.door.resume()
        self.assertEqual(self.clock.readers, set())

    def test_systemHasNoRoom(self) -> None:
        """No descriptor is left: what waits in the kernel is accepted later."""

        def accept() -> Any:
            raise OSError(errno.EMFILE, "too many open files")

        own = self.door._socket
        self.door._socket = SimpleNamespace(  # type: ignore[assignment]
            accept=accept, fileno=own.fileno, close=own.close
        )
        client = self.call(nameOf(HERE))
        self.assertNotIn(self.door, self.clock.readers)
        self.door._socket = own
        self.clock.advance(1)
        self.assertIn(self.door, self.clock.readers)
        self.door.doRead()
        self.read()
        self.assertEqual(len(self.taken), 1)
        client.close()
