"""Accepting in the place of a port: what becomes of connections that nobody can take."""

from __future__ import annotations

import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.records import TCP, UNIX, Record
from nymearemoteproxy.listening.listeners import parseListener
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.workers.accepting import Acceptor
from nymearemoteproxy.workers.handing import Handed
from nymearemoteproxy.workers.portreader import ACCEPTED_A_TURN, PAUSE
from tests.support.parts import makeProxy


class ReaderClock(Clock):
    """A clock that knows who reads."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard


class AcceptorTests(SynchronousTestCase):
    """An acceptor at a socket in the abstract namespace."""

    def setUp(self) -> None:
        self.clock = ReaderClock()
        self.proxy = makeProxy(self.clock, Bounds(connections=50))
        self.registry = self.proxy.registry
        self.listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listening.close)
        self.listening.bind("")  # a free name, see unix(7)
        self.listening.listen(100)
        self.listening.setblocking(False)
        self.isReading = True
        port = SimpleNamespace(stopReading=self.stopReading, fileno=self.listening.fileno)
        self.isPossible = True
        self.handed: list[tuple[Record, Handed]] = []
        self.acceptor = Acceptor(
            self.clock, port, parseListener("unix:x", TCP), 3, self.registry, self.hand
        )
        self.addCleanup(self.acceptor.close)
        self.acceptor.resume()

    def stopReading(self) -> None:
        """The port reads no more."""
        self.isReading = False

    def hand(self, record: Record, handed: Handed, descriptor: int) -> bool:
        """Take a connection, if it is possible."""
        os.fstat(descriptor)
        if self.isPossible:
            self.handed.append((record, handed))
        return self.isPossible

    def connect(self, count: int = 1) -> socket.socket:
        """Connect; return the last client."""
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.settimeout(5)
            client.connect(self.listening.getsockname())
        return client

    @property
    def accepts(self) -> bool:
        """Whether it waits for connections."""
        return self.acceptor in self.clock.readers

    def fail(self, *codes: int) -> None:  # type: ignore[override]
        """Have accepting fail."""
        errors = list(codes)

        def accept() -> Any:
            if errors:
                raise OSError(errors.pop(0), "no")
            raise BlockingIOError

        self.acceptor._socket = SimpleNamespace(  # type: ignore[assignment]
            accept=accept, fileno=lambda: 9, close=lambda: None
        )

    def test_inThePlaceOfThePort(self) -> None:
        """That reads no more, and what comes is handed on with all that is known of it."""
        self.assertFalse(self.isReading)
        self.connect()
        self.acceptor.doRead()
        ((record, handed),) = self.handed
        self.assertEqual((record.transport, record.secure, record.address), (UNIX, False, "unix"))
        self.assertEqual((handed.number, handed.listener), (record.number, 3))

    def test_soManyATurn(self) -> None:
        self.connect(ACCEPTED_A_TURN + 1)
        self.acceptor.doRead()
        self.assertEqual(len(self.handed), ACCEPTED_A_TURN)
        self.acceptor.doRead()
        self.assertEqual(len(self.handed), ACCEPTED_A_TURN + 1)

    def test_nobodyCanTakeIt(self) -> None:
        """Then it waits, and nothing more is accepted; it is the first one then."""
        self.isPossible = False
        self.connect(2)
        self.acceptor.doRead()
        self.assertFalse(self.accepts)
        self.assertEqual(len(self.registry.records), 1)
        self.acceptor.resume()
        self.assertFalse(self.accepts)
        self.isPossible = True
        self.acceptor.resume()
        self.assertTrue(self.accepts)
        self.acceptor.doRead()
        self.assertEqual([record.number for record, _ in self.handed], [1, 2])

    def test_closedMeanwhile(self) -> None:
        """One that nobody took ends with the listening."""
        self.isPossible = False
        client = self.connect()
        self.acceptor.doRead()
        self.acceptor.close()
        self.acceptor.close()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(len(self.registry.records), 0)
        self.assertEqual(self.registry.counters.outcomes[Outcome.SHUTDOWN], 1)
        self.acceptor.resume()
        self.assertFalse(self.accepts)

    def test_refused(self) -> None:
        """Whom a limit refuses is closed at once, and handed to nobody."""
        self.registry.gate.bounds = Bounds(connections=1)
        self.connect()
        client = self.connect()
        self.acceptor.doRead()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(len(self.handed), 1)
        self.assertTrue(self.accepts)

    def test_noRoom(self) -> None:
        """Without descriptors it does not try again at once: that would take all of the time."""
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.fail(code)
            self.acceptor.doRead()
            self.assertFalse(self.accepts)
            self.acceptor.resume()
            self.assertFalse(self.accepts)
            self.clock.advance(PAUSE)
            self.assertTrue(self.accepts)

    def test_oneIsGone(self) -> None:
        """That is no reason to wait."""
        self.fail(errno.ECONNABORTED, errno.EPERM)
        self.acceptor.doRead()
        self.assertTrue(self.accepts)

    def test_fault(self) -> None:
        """It costs that connection: who comes next is accepted all the same."""
        client = self.connect()
        self.patch(self.registry, "admit", lambda *_arguments: 1 / 0)
        self.acceptor.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.recv(1), b"")
        self.assertTrue(self.accepts)

    def test_faultInHanding(self) -> None:
        """It costs that connection, too, whether it was handed on at once or had to wait."""
        client = self.connect()
        self.isPossible = False
        self.acceptor.doRead()
        self.patch(self.acceptor, "_hand", lambda *_arguments: 1 / 0)
        self.acceptor.resume()
        self.assertEqual(client.recv(1), b"")
        client = self.connect()
        self.acceptor.doRead()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.registry.records), 0)
        self.assertEqual(self.registry.counters.outcomes, {Outcome.INTERNAL_ERROR: 2})
        self.assertTrue(self.accepts)

    def test_reactorStops(self) -> None:
        """Also while it waits for room: nothing is accepted any more, nor tried again."""
        self.fail(errno.EMFILE)
        self.acceptor.doRead()
        self.acceptor.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.acceptor.logPrefix(), "accepting")
        self.clock.advance(PAUSE)
        self.assertFalse(self.accepts)

    def test_strangeName(self) -> None:
        """What a client of a Unix socket calls its own one does not matter, be it no text."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.bind(os.fsencode(self.mktemp()) + b"\xff")
        client.connect(self.listening.getsockname())
        self.acceptor.doRead()
        ((_record, handed),) = self.handed
        self.assertEqual(handed.address, UNIXAddress(""))
