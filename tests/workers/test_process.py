"""One worker process, as its parent sees it; here none is really started."""

from __future__ import annotations

import builtins
import errno
import os
import signal
import socket
from functools import partial
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.workers import process
from nymearemoteproxy.workers.process import WorkerProcess


def openFiles() -> set[str]:
    """Return what this process has open, each by its number and what it is."""
    files = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            files.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:  # that of the list
            continue
    return files


class StartTests(TestCase):
    """A start that the system does not allow leaves nothing open, and nobody running."""

    timeout = 300

    def setUp(self) -> None:
        self.spawned: list[Any] = []
        self.changed: Deferred[None] = Deferred()
        self.reactor: Any = SimpleNamespace(
            adoptStreamConnection=lambda *_details: None,
            spawnProcess=lambda *_details, **_more: self.spawned.append(1),
            removeWriter=lambda _writer: None,
        )

    def refuse(self, *_details: Any, **_more: Any) -> Any:
        """Be the system that has no more of it."""
        raise OSError(errno.EMFILE, "Too many open files")

    def start(self) -> OSError:
        """Start one; return why it cannot be, with all that its traceback holds."""
        made = WorkerProcess(
            self.reactor,
            1,
            "module",
            lambda _message: None,
            lambda: self.changed.called or self.changed.callback(None),
            lambda: self.fail("it was never there"),
        )
        try:
            made.start([["begin"]])
        except OSError as error:
            return error
        raise AssertionError("it was started")

    def check(self) -> None:
        """Nothing is left of a start that fails."""
        before = openFiles()
        error = self.start()
        after = openFiles()
        self.assertEqual(error.errno, errno.EMFILE)
        self.assertEqual(after - before, set())
        self.assertEqual(self.spawned, [])

    def test_sockets(self) -> None:
        """Neither of the first pair of sockets, nor of the second."""
        make = socket.socketpair
        for possible in (0, 1):
            pairs = [make] * possible

            def socketpair(*details: Any, pairs: list[Any] = pairs) -> Any:
                return (pairs.pop() if pairs else self.refuse)(*details)

            self.patch(process.socket, "socketpair", socketpair)
            self.check()

    def test_devNull(self) -> None:
        """No room for what a worker has in the place of a terminal."""
        self.patch(builtins, "open", self.refuse)
        self.check()

    def test_channel(self) -> None:
        """No room for our end of the channel: then no process is started that nobody hears."""
        self.reactor.adoptStreamConnection = self.refuse
        self.check()

    @inlineCallbacks
    def test_process(self) -> Any:
        """No process can be made; it is as if its end of the channel had been closed."""
        self.reactor.adoptStreamConnection = reactor.adoptStreamConnection
        self.reactor.spawnProcess = self.refuse
        before = openFiles()
        error = self.start()
        self.assertEqual(error.errno, errno.EMFILE)
        yield self.changed
        self.assertEqual({each for each in openFiles() - before if "socket" in each}, set())


class EndTests(SynchronousTestCase):
    """In which way a process ended."""

    def test_how(self) -> None:
        """Also by a signal that has no name; a worker whose end cannot be told is not replaced."""
        for end, how in (
            (ProcessDone(0), "it ended by itself"),
            (ProcessTerminated(1), "it ended with status 1"),
            (ProcessTerminated(None, signal.SIGSEGV), "it was ended by SIGSEGV"),
            (ProcessTerminated(None, signal.SIGRTMIN + 1), "it was ended by signal 35"),
        ):
            gone: Deferred[None] = Deferred()
            process = WorkerProcess(None, 1, "", list, list, partial(gone.callback, None))
            process._open = 1
            process.processEnded(Failure(end))
            self.assertEqual(process.how, how)
            self.successResultOf(gone)
