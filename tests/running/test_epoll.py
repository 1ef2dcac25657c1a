"""The server's reactor: what it does another way than Twisted's, and that all else is the same."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.reactors import getReactorTypes
from twisted.internet import main as twistedMain
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.test import test_tcp, test_unix
from twisted.internet.test.test_core import SystemEventTestsBuilder
from twisted.internet.test.test_fdset import ReactorFDSetTestsBuilder
from twisted.internet.test.test_socket import (
    AdoptStreamConnectionErrorsTestsBuilder,
    AdoptStreamPortErrorsTestsBuilder,
    IReactorSocketVerificationTestsBuilder,
)
from twisted.internet.test.test_threads import ThreadTestsBuilder
from twisted.internet.test.test_time import TimeTestsBuilder
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.running import epoll
from nymearemoteproxy.running.epoll import NEEDED, DirectEPollReactor, install, takeReactor


class Descriptor:
    """One end of a pair of sockets; what is written to the other one is to be read here."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self._act = act
        self._near, self._far = socket.socketpair()
        self.log: list[object] = []
        self._far.send(b"x")

    def fileno(self) -> int:
        return self._near.fileno()

    def logPrefix(self) -> str:
        return "descriptor"

    def doRead(self) -> object:
        self.log.append(self._near.recv(1))
        return self._act()

    def doWrite(self) -> object:
        self.log.append("written")
        return self._act()

    def connectionLost(self, reason: Failure) -> None:
        self.log.append(reason.type)

    def close(self) -> None:
        self._near.close()
        self._far.close()


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(Descriptor):
    def readConnectionLost(self, reason: Failure) -> None:
        self.log.append("read end")

    def writeConnectionLost(self, reason: Failure) -> None:
        """Nobody calls it here."""


class Failing(Descriptor):
    """Cannot even be told of its end."""

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        raise KeyError("of the end")


class EventTests(SynchronousTestCase):
    """Each event reaches its descriptor, and each error that one only."""

    def setUp(self) -> None:
        self.reactor = DirectEPollReactor()
        self.descriptors: list[Descriptor] = []

    def tearDown(self) -> None:
        self.reactor.removeAll()
        for each in self.descriptors:
            each.close()

    def reading(self, descriptor: Descriptor) -> Descriptor:
        self.descriptors.append(descriptor)
        self.reactor.addReader(descriptor)
        return descriptor

    def turn(self) -> None:
        """Let the main loop take one turn."""
        self.reactor.callWhenRunning(self.reactor.callLater, 0, self.reactor.crash)
        self.reactor.run(installSignalHandlers=False)

    def readers(self) -> list[Descriptor]:
        """Return those that we added; the reactor has one of its own, to be woken by."""
        return [each for each in self.descriptors if each in self.reactor.getReaders()]

    def test_read(self) -> None:
        one = self.reading(Descriptor())
        self.turn()
        self.assertEqual(one.log, [b"x"])
        self.assertEqual(self.readers(), [one])

    def test_readAndWritten(self) -> None:
        one = self.reading(Descriptor())
        self.reactor.addWriter(one)
        self.turn()
        self.assertEqual(one.log, [b"x", "written"])

    def raising(self) -> object:
        raise KeyError("of one connection")

    def test_errorIsItsOwn(self) -> None:
        all = [self.reading(Descriptor(act)) for act in (list, self.raising, list)]
        self.turn()
        self.assertEqual([each.log for each in all], [[b"x"], [b"x", KeyError], [b"x"]])
        self.assertEqual(self.readers(), [all[0], all[2]])
        (error,) = self.flushLoggedErrors()
        self.assertEqual(error.getErrorMessage(), "'of one connection'")

    def test_errorWhileReadingAndWriting(self) -> None:
        all = [self.reading(Descriptor(act)) for act in (list, self.raising, list)]
        for each in all:
            self.reactor.addWriter(each)
        self.turn()
        self.assertEqual([len(each.log) for each in all], [2, 2, 2])
        self.assertEqual(all[1].log, [b"x", KeyError])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_notEvenTheEndIsTaken(self) -> None:
        first, second = self.reading(Failing(self.raising)), self.reading(Descriptor())
        self.turn()
        self.assertEqual((first.log, second.log), ([b"x", KeyError], [b"x"]))
        self.assertEqual(self.readers(), [second])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_end(self) -> None:
        one = self.reading(Descriptor(lambda: CONNECTION_DONE))
        self.turn()
        self.assertEqual(one.log, [b"x", ConnectionDone])
        self.assertEqual(self.readers(), [])

    def test_endOfOneDirection(self) -> None:
        one = self.reading(HalfCloseable(lambda: CONNECTION_DONE))
        self.reactor.addWriter(one)
        self.reactor.removeWriter(one)
        self.turn()
        self.assertEqual(one.log, [b"x", "read end"])
        self.assertEqual(self.readers(), [])

    def test_errorIsNoEndOfOneDirection(self) -> None:
        def end() -> None:
            raise ConnectionDone

        one = self.reading(HalfCloseable(end))
        self.turn()
        self.assertEqual(one.log, [b"x", ConnectionDone])
        self.assertEqual(len(self.flushLoggedErrors(ConnectionDone)), 1)

    def test_hangUp(self) -> None:
        one = self.reading(Descriptor())
        one._near.recv(1)
        one._far.close()
        one._near.shutdown(socket.SHUT_RDWR)
        self.reactor.removeReader(one)
        self.reactor.addWriter(one)
        self.turn()
        self.assertEqual(one.log, [ConnectionLost])

    def test_endedByAnEarlierEvent(self) -> None:
        both: list[Descriptor] = []

        def endTheOther() -> None:
            for each in both:
                if not each.log:
                    self.reactor.removeReader(each)

        both += [self.reading(Descriptor(endTheOther)) for _ in range(2)]
        self.turn()
        self.assertCountEqual([each.log for each in both], [[b"x"], []])


class Poller:
    """Stands before the real poller: notes how long it is to wait, and lets time pass instead."""

    def __init__(self, real: Any, steps: list[Callable[[], object]]) -> None:
        self._real = real
        self._steps = steps
        self.timeouts: list[float | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def poll(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        self._steps.pop(0)()
        return []


class PauseTests(SynchronousTestCase):
    """Turns with nothing to do but read are short, and nothing that is due waits."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.reactor = DirectEPollReactor()
        self.reactor.seconds = lambda: self.now
        self.addCleanup(self.reactor.removeAll)
        self.done: list[str] = []

    def polls(self, *steps: Callable[[], object]) -> list[float | None]:
        """Run the reactor with these steps in place of events; return how long it would wait."""
        poller = Poller(self.reactor._poller, [*steps, self.reactor.crash])
        self.reactor._poller = poller
        self.reactor.run(installSignalHandlers=False)
        return poller.timeouts

    def passing(self, seconds: float) -> Callable[[], None]:
        def step() -> None:
            self.now += seconds

        return step

    def note(self, what: str) -> None:
        self.done.append(f"{what} at {self.now:g}")

    def test_nothingToWaitFor(self) -> None:
        self.assertEqual(self.polls(self.passing(1)), [None, None])

    def test_untilNextCall(self) -> None:
        self.reactor.callLater(5, self.note, "call")
        self.assertEqual(self.polls(self.passing(4), self.passing(1)), [5, 1, None])
        self.assertEqual(self.done, ["call at 1005"])

    def test_newCallIsSooner(self) -> None:
        self.reactor.callLater(5, self.note, "later")
        sooner = partial(self.reactor.callLater, 2, self.note, "sooner")
        self.assertEqual(self.polls(sooner, self.passing(2)), [5, 2, 3])
        self.assertEqual(self.done, ["sooner at 1002"])

    def test_callIsMadeSooner(self) -> None:
        call = self.reactor.callLater(5, self.note, "call")
        self.assertEqual(self.polls(lambda: call.reset(1), self.passing(1)), [5, 1, None])
        self.assertEqual(self.done, ["call at 1001"])

    def test_callIsPutOff(self) -> None:
        call = self.reactor.callLater(5, self.note, "call")
        steps = (lambda: call.delay(5), self.passing(5), self.passing(5))
        self.assertEqual(self.polls(*steps), [5, 5, 5, None])
        self.assertEqual(self.done, ["call at 1010"])

    def test_callIsTakenBack(self) -> None:
        call = self.reactor.callLater(5, self.note, "call")
        self.polls(call.cancel, self.passing(5))
        self.assertEqual(self.done, [])

    def test_callOfAnotherThread(self) -> None:
        self.reactor.callLater(5, list)
        call = partial(self.reactor.callFromThread, self.note, "call")
        self.assertEqual(self.polls(call), [5, 5])
        self.assertEqual(self.done, ["call at 1000"])

    def test_moreThanTheKernelCanBeTold(self) -> None:
        """epoll_wait is told milliseconds in 31 bits."""
        self.reactor.callLater(1e9, list)
        self.assertEqual(self.polls(list, list), [2147483] * 3)

    def test_stop(self) -> None:
        """What is to be done before the end is done at once, however far the next call is."""
        self.reactor.callLater(3600, list)
        self.reactor.addSystemEventTrigger("before", "shutdown", self.note, "stopped")
        self.assertEqual(self.polls(self.reactor.stop), [3600, 0])
        self.assertEqual(self.done, ["stopped at 1000"])

    def test_errorInATurn(self) -> None:
        """It is logged, and the next turn comes."""

        def fail() -> None:
            raise OSError("of the poller")

        self.assertEqual(self.polls(fail, list), [None, None, None])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class InstallTests(SynchronousTestCase):
    """It is there where it can be, and in nobody's way."""

    def setUp(self) -> None:
        self.installed: list[object] = []
        self.patch(epoll, "installReactor", self.installed.append)

    def test_install(self) -> None:
        install()
        self.assertIsInstance(self.installed[0], DirectEPollReactor)

    def test_isMissing(self) -> None:
        """A Twisted that is made another way gets its own reactor."""
        self.patch(epoll, "NEEDED", (*NEEDED, "whatIsNotThere"))
        install()
        self.assertIs(type(self.installed[0]), EPollReactor)

    def test_thereIsAnother(self) -> None:
        self.patch(epoll, "installReactor", twistedMain.installReactor)
        self.assertIs(takeReactor(), sys.modules["twisted.internet.reactor"])

    def test_plugin(self) -> None:
        (one,) = (each for each in getReactorTypes() if each.shortName == "nymea")
        one.install()
        self.assertIsInstance(self.installed[0], DirectEPollReactor)


class Ours:
    """Twisted's own tests of a reactor, with ours."""

    reactorFactory = DirectEPollReactor


def other(reason: str) -> Any:
    """Stand for one of them that ours is not to pass."""

    def test(self: object) -> None:
        """It is skipped."""

    test.skip = reason  # type: ignore[attr-defined]
    return test


NO_CONTEXT = other("who an event is for is not told to the older log before it is handled")


class SystemEventTests(Ours, SystemEventTestsBuilder, SynchronousTestCase):
    pass


class TimeTests(Ours, TimeTestsBuilder, SynchronousTestCase):
    pass


class ThreadTests(Ours, ThreadTestsBuilder, SynchronousTestCase):
    pass


class DescriptorTests(Ours, ReactorFDSetTestsBuilder, SynchronousTestCase):
    test_negativeOneFileDescriptor = other(
        "one that denies its descriptor, and can be read from, is read from"
    )
    test_lostFileDescriptor = other("no reactor over epoll can")


class SocketTests(Ours, IReactorSocketVerificationTestsBuilder, SynchronousTestCase):
    pass


class AdoptedPortTests(Ours, AdoptStreamPortErrorsTestsBuilder, SynchronousTestCase):
    pass


class AdoptedConnectionTests(Ours, AdoptStreamConnectionErrorsTestsBuilder, SynchronousTestCase):
    pass


class TcpTests(Ours, test_tcp.TCPConnectionTestsBuilder, SynchronousTestCase):
    pass


class TcpClientTests(Ours, test_tcp.TCP4ClientTestsBuilder, SynchronousTestCase):
    test_logPrefix = NO_CONTEXT


class AbortTests(Ours, test_tcp.AbortConnectionTests, SynchronousTestCase):
    pass


class UnixTests(Ours, test_unix.UNIXTestsBuilder, SynchronousTestCase):
    test_logPrefix = NO_CONTEXT
