"""A Unix socket whose path goes from one process to the next."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.python import lockfile
from twisted.trial.unittest import TestCase

from nymearemoteproxy.listening.handedplace import HandedPlace
from nymearemoteproxy.listening.listeners import ListenerError, listen
from tests.support.left import leaveSocket
from tests.support.proxies import recording

reactor: Any = globalReactor


class Says(Protocol):
    """Says its factory's word and closes."""

    factory: Any

    def connectionMade(self) -> None:
        self.transport.write(self.factory.word)
        self.transport.loseConnection()


class HandedPlaceTests(TestCase):
    """Real sockets, in one process that pretends to be several."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)  # the path of a Unix socket must be short
        self.path = "monitor"

    def place(self, word: bytes, mode: int = 0o600) -> HandedPlace:
        """Listen, and say this word to whoever comes."""
        factory = Factory.forProtocol(Says)
        factory.word = word  # type: ignore[attr-defined]
        factory.noisy = False
        place = HandedPlace(reactor, self.path, 5, mode)
        listen(self.path, place, factory)
        self.addCleanup(place.stop)
        return place

    @inlineCallbacks
    def ask(self, path: str = "monitor") -> Any:
        """Return what is said there."""
        heard = yield UNIXClientEndpoint(reactor, path).connect(recording())
        yield heard.lost
        return heard.data

    def left(self) -> set[str]:
        """Return the names of the files."""
        return set(os.listdir())

    @inlineCallbacks
    def test_life(self) -> Any:
        place = self.place(b"one", 0o640)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.assertEqual((yield self.ask()), b"one")
        yield place.stop()
        yield place.stop()
        self.assertEqual(self.left(), set())

    @inlineCallbacks
    def test_leftByOneOfTheSameNumber(self) -> Any:
        """As in a container, where each has it: what was there before us is not ours."""
        leaveSocket(self.path)
        self.place(b"one")
        self.assertEqual((yield self.ask()), b"one")

    def test_taken(self) -> None:
        """Whoever does not give way keeps it."""
        self.place(b"one")
        error = self.assertRaises(ListenerError, self.place, b"two")
        self.assertIn("cannot listen on monitor: ", str(error))

    @inlineCallbacks
    def test_handOver(self) -> Any:
        """The old one answers until the end, and leaves the new one alone."""
        one = self.place(b"one")
        one.giveWay()
        for path in "monitor", "monitor.draining":
            self.assertEqual((yield self.ask(path)), b"one")
        two = self.place(b"two")
        self.assertEqual((yield self.ask()), b"two")
        self.assertEqual((yield self.ask("monitor.draining")), b"one")
        yield one.stop()
        self.assertEqual((yield self.ask()), b"two")
        self.assertEqual(self.left(), {"monitor", "monitor.lock"})
        yield two.stop()
        self.assertEqual(self.left(), set())

    @inlineCallbacks
    def test_nobodyTakesOver(self) -> Any:
        one = self.place(b"one")
        one.giveWay()
        yield one.stop()
        self.assertEqual(self.left(), set())

    @inlineCallbacks
    def test_chain(self) -> Any:
        """Three at a time: the second name is the latest's that has given way."""
        one, two = self.place(b"one"), None
        one.giveWay()
        two = self.place(b"two")
        two.giveWay()
        three = self.place(b"three")
        self.assertEqual((yield self.ask()), b"three")
        self.assertEqual((yield self.ask("monitor.draining")), b"two")
        yield one.stop()
        self.assertEqual((yield self.ask("monitor.draining")), b"two")
        yield two.stop()
        self.assertEqual((yield self.ask()), b"three")
        yield three.stop()
        self.assertEqual(self.left(), set())

    @inlineCallbacks
    def test_killed(self) -> Any:
        """What a process leaves that is killed is replaced, whether it had given way or not."""
        for hasGivenWay in False, True:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(self.path)
            if hasGivenWay:
                os.link(self.path, "monitor.draining")
            else:
                os.symlink("4194305", "monitor.lock")  # of no process
            place = self.place(b"new")
            self.assertEqual((yield self.ask()), b"new")
            place.giveWay()
            self.assertEqual((yield self.ask("monitor.draining")), b"new")
            yield place.stop()
            self.assertEqual(self.left(), set())

    def test_notOurs(self) -> None:
        """The socket of another program, and what is no socket, stay."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path)
            error = self.assertRaises(ListenerError, self.place, b"new")
            self.assertIn("Address already in use", str(error))
            os.remove(self.path)
        Path(self.path).write_text("words")
        os.symlink("4194305", "monitor.lock")
        self.assertRaises(ListenerError, self.place, b"new")
        self.assertEqual(Path(self.path).read_text(), "words")
        self.assertEqual(self.left(), {"monitor"})

    @inlineCallbacks
    def test_removed(self) -> Any:
        """Somebody has removed the file, or has put another one in its place."""
        place = self.place(b"one")
        os.remove(self.path)
        place.giveWay()
        Path(self.path).write_text("words")
        yield place.stop()
        self.assertEqual(self.left(), {"monitor"})

    @inlineCallbacks
    def test_mayNot(self) -> Any:
        """Without the right to give way the path stays ours, and the log says so."""

        def link(_one: str, _other: str) -> None:
            raise PermissionError(1, "Operation not permitted")

        place = self.place(b"one")
        self.patch(os, "link", link)
        place.giveWay()
        self.assertRaises(ListenerError, self.place, b"two")
        self.assertEqual((yield self.ask()), b"one")

    @inlineCallbacks
    def test_successorOfAnotherUser(self) -> Any:
        """It cannot be asked whether it lives: its path is left alone."""
        place = self.place(b"one")
        place.giveWay()

        def kill(_pid: int, _signal: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        os.symlink("1", "monitor.lock")
        self.patch(lockfile, "kill", kill)
        yield place.stop()
        self.assertEqual(self.left(), {"monitor", "monitor.lock"})
        yield self.assertFailure(self.ask(), ConnectError)
