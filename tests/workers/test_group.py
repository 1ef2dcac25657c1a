"""Who gets a connection, and when a worker is started anew."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.spool import Spool
from nymearemoteproxy.connections.records import WEBSOCKET
from nymearemoteproxy.listening.listeners import parseListener
from nymearemoteproxy.watching.company import WorkerState
from nymearemoteproxy.workers import group
from nymearemoteproxy.workers.desk import Desk
from nymearemoteproxy.workers.group import (
    EXTRA,
    FIRST_DELAY,
    LONGEST_DELAY,
    LOOP,
    MEMBER,
    STEADY,
    Plan,
    WorkerGroup,
)
from nymearemoteproxy.workers.logpassing import LOG, LOST
from nymearemoteproxy.workers.process import (
    CONFIRM,
    CONFIRMED,
    LEAVES,
    SERVES,
    SILENCE,
    START_SILENCE,
    SUSPECT,
    WorkerProcess,
)
from tests.support.parts import makeProxy
from tests.workers.test_accepting import ReaderClock

FIRST_MESSAGE = ["first"]
MEMBERS = [bytes([number]) * 16 for number in (1, 2)]


class ScriptedProcess(WorkerProcess):
    """A worker that is no process.

    :ivar sent: what it was told.
    :ivar killed: why, if it was.
    """

    def start(self, messages: Any) -> None:
        self.sent = list(messages)
        self.killed = ""
        self.channel: Any = SimpleNamespace(send=self.sent.append)
        self.handing: Any = SimpleNamespace(isFull=False, close=self.close, hand=self.hand)

    def close(self) -> None:
        """No connection can be handed over any more."""

    def hand(self, handed: Any, descriptor: int) -> bool:
        """Take a connection over, or be found full."""
        return not self.handing.isFull

    def kill(self, reason: str) -> None:
        self.killed = reason
        self.end(reason)

    def say(self, *message: Any) -> None:
        """Say something to the parent."""
        self._heard(message)

    def end(self, how: str) -> None:
        """End, as far as the parent sees it."""
        self.how = how
        self._gone()


class FakeMirror:
    """Counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.isLost = False
        self.said: list[Any] = []
        self.handlers = {"fact": self.said.append}

    def take(self, record: Any) -> None:
        """The worker serves one more."""
        self.connections += 1

    def lost(self) -> None:
        """The worker is gone."""
        self.isLost = True


class GroupCase(SynchronousTestCase):
    """A group without processes."""

    def setUp(self) -> None:
        self.clock = ReaderClock()
        self.mirrors: list[FakeMirror] = []
        self.gone: list[bytes] = []
        self.served: list[bool] = []
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)
        self.patch(group, "WorkerProcess", ScriptedProcess)

    def make(self, count: int) -> WorkerGroup:
        """Return a group whose workers serve."""
        plan = Plan(
            count,
            "module",
            lambda index: [FIRST_MESSAGE, [index]],
            self.makeDesk,
            lambda: self.served.append(made.serves),
            self.gone.append,
        )
        made = WorkerGroup(self.clock, makeProxy(self.clock).registry, plan)
        made.start()
        for seat in made._seats:
            self.process(made, seat.index).say(SERVES)
        return made

    def makeDesk(self, index: int, send: Any) -> Desk:
        """Return the desk of a new worker."""
        mirror: Any = FakeMirror()
        self.mirrors.append(mirror)
        return Desk(mirror)

    def process(self, made: WorkerGroup, index: int) -> Any:
        """Return a worker's process; None if it has none now."""
        return made._seats[index - 1].process

    def hand(self, made: WorkerGroup) -> bool:
        """Have somebody take a connection."""
        record: Any = None
        handed: Any = None
        return made._hand(record, handed, 0)

    def told(self, event: str) -> list[Any]:
        """Return the lines of the log about such an event."""
        return [line for line in self.lines if line.get("event") == event]


class ShareTests(GroupCase):
    """Who gets a connection."""

    @given(st.integers(1, 5), st.integers(0, 30))
    def test_even(self, workers: int, connections: int) -> None:
        """All get as many, the one that has got one longest ago first."""
        self.mirrors = []
        made = self.make(workers)
        for _ in range(connections):
            self.assertTrue(self.hand(made))
        counts = [mirror.connections for mirror in self.mirrors]
        self.assertEqual(sum(counts), connections)
        self.assertLessEqual(max(counts) - min(counts), 1)
        self.assertEqual(counts, sorted(counts, reverse=True))

    def test_fewestFirst(self) -> None:
        """Whatever the order was."""
        made = self.make(3)
        self.mirrors[0].connections = self.mirrors[2].connections = 5
        for _ in range(5):
            self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [5, 5, 5])

    def test_full(self) -> None:
        """One that takes none at the moment is passed over; when none does, it is said so."""
        made = self.make(2)
        hand = self.process(made, 1).handing.hand

        def full(handed: Any, descriptor: int) -> bool:
            self.process(made, 1).handing.isFull = True
            return bool(hand(handed, descriptor))

        self.process(made, 1).handing.hand = full
        self.assertTrue(self.hand(made))
        self.assertTrue(self.hand(made))
        self.assertEqual([mirror.connections for mirror in self.mirrors], [0, 2])
        self.process(made, 2).handing.isFull = True
        self.assertFalse(self.hand(made))

    def test_silent(self) -> None:
        """One that says nothing gets none until it does."""
        made = self.make(2)
        for _ in range(SUSPECT + 1):
            self.clock.advance(1)
            self.process(made, 2).say("alive")
        self.hand(made)
        self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [0, 2])
        self.process(made, 1).say("alive")
        self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [1, 2])

    def test_told(self) -> None:
        """Nobody is handed to one that has not done what all are told, say after a reload."""
        made = self.make(2)
        made.tell(["all"])
        made.tell(["more"])
        self.process(made, 1).say(CONFIRMED)
        self.assertFalse(self.hand(made))
        self.process(made, 1).say(CONFIRMED)
        self.hand(made)
        self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [2, 0])
        for _ in range(2):
            self.process(made, 2).say(CONFIRMED)
        self.hand(made)
        self.assertEqual([mirror.connections for mirror in self.mirrors], [2, 1])

    def test_toldWhileItStarts(self) -> None:
        """The same of one that does not serve yet."""
        made = self.make(1)
        self.process(made, 1).end("it died")
        self.clock.advance(FIRST_DELAY)
        made.tell(["all"])
        self.process(made, 1).say(SERVES)
        self.assertFalse(self.hand(made))
        self.process(made, 1).say(CONFIRMED)
        self.assertTrue(self.hand(made))

    def test_toldAtThePort(self) -> None:
        """Nobody is taken from the queue of a port while no worker can be handed anybody."""
        made = self.make(1)
        calls: list[str] = []
        made._acceptors.append(
            SimpleNamespace(  # type: ignore[arg-type]
                pause=lambda: calls.append("pause"), resume=lambda: calls.append("resume")
            )
        )
        made.tell(["all"])
        self.assertEqual(calls, ["pause"])
        self.process(made, 1).say(CONFIRMED)
        self.assertEqual(calls, ["pause", "resume"])


class LifeTests(GroupCase):
    """When a worker is started anew."""

    def test_messages(self) -> None:
        """Each is told what is its own first, and what it says of connections is passed on."""
        made = self.make(2)
        self.assertEqual(self.process(made, 2).sent, [FIRST_MESSAGE, [2]])
        made.tell(["all"])
        self.assertEqual(self.process(made, 1).sent[-2:], [["all"], [CONFIRM]])
        self.process(made, 2).say("fact", 7)
        self.assertEqual(self.mirrors[1].said, [7])

    def test_tellWhileOneIsAwaited(self) -> None:
        """What all are told is for those that are there; a later one has it from the plan."""
        made = self.make(2)
        self.process(made, 1).end("it died")
        made.tell(["all"])
        self.assertEqual(self.process(made, 2).sent[-2:], [["all"], [CONFIRM]])

    def test_log(self) -> None:
        """It is written here, and whose it is; so is what was lost of it."""
        made = self.make(2)
        values = {"time": 1.0, "level": "warn", "namespace": "n", "system": "", "traceback": ""}
        self.process(made, 2).say(LOG, {**values, "text": "hello", "values": {}})
        self.patch(Spool, "lostEver", 0)
        self.process(made, 1).say(LOST, 3)
        told = [line for line in self.lines if "worker" in line]
        self.assertEqual([line["worker"] for line in told], [2, 1])
        self.assertEqual((told[0]["log_text"], Spool.lostEver), ("hello", 3))

    def test_states(self) -> None:
        """What each does, be it there or not."""
        made = self.make(3)
        self.mirrors[0].connections = 5
        self.process(made, 2).end("it died")
        self.process(made, 3).say(LEAVES)
        states = [WorkerState(1, True, 5), WorkerState(2, False, 0), WorkerState(3, False, 0)]
        self.assertEqual(made.states(), states)

    def test_served(self) -> None:
        """Whoever wants to know is told when one serves, and not while none does."""
        made = self.make(2)
        self.assertEqual(self.served, [True, True])
        for index in (1, 2):
            self.process(made, index).say(LEAVES)
        self.assertEqual(self.served, [True, True, True])
        self.process(made, 1).say(SERVES)
        self.assertEqual(self.served, [True] * 4)

    def test_fault(self) -> None:
        """What cannot be heeded costs what it is about; the worker is heard further on."""
        made = self.make(1)
        self.process(made, 1).say("unheard of")
        self.process(made, 1).say("fact")
        self.assertEqual(len(self.flushLoggedErrors(KeyError, TypeError)), 2)
        self.process(made, 1).say("fact", 8)
        self.assertEqual(self.mirrors[0].said, [8])

    def test_replaced(self) -> None:
        made = self.make(1)
        self.clock.advance(STEADY)
        self.process(made, 1).end("it died")
        self.assertTrue(self.mirrors[0].isLost)
        self.assertIsNone(self.process(made, 1))
        self.assertLessEqual(FIRST_DELAY, 1)
        self.clock.advance(FIRST_DELAY)
        self.assertIsNotNone(self.process(made, 1))

    def test_habit(self) -> None:
        """One that ends again and again waits longer each time, and is told of once."""
        made = self.make(1)
        delays = []
        for _ in range(LOOP + 6):
            self.process(made, 1).end("it died")
            (call,) = (
                one
                for one in self.clock.getDelayedCalls()
                if getattr(one, "func", None) == made._start
            )
            delays.append(call.getTime() - self.clock.seconds())
            self.clock.advance(delays[-1])
        self.assertEqual(delays[:3], [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY])
        self.assertEqual(delays[-1], LONGEST_DELAY)
        self.assertEqual(len(self.told("worker-ended")), LOOP - 1)
        self.assertEqual(len(self.told("worker-does-not-stay")), 1)

    def test_steadyAgain(self) -> None:
        """Then its next end is an accident."""
        made = self.make(1)
        for _ in range(LOOP + 1):
            self.process(made, 1).end("it died")
            self.clock.advance(LONGEST_DELAY)
        self.process(made, 1).say(SERVES)
        for _ in range(int(STEADY)):
            self.clock.advance(1)
            self.process(made, 1).say("alive")
        self.lines.clear()
        self.process(made, 1).end("it died")
        self.assertEqual(len(self.told("worker-ended")), 1)
        self.clock.advance(FIRST_DELAY)
        self.assertIsNotNone(self.process(made, 1))

    def test_cannotBeStarted(self) -> None:
        """Such as when there are too many processes: it is tried again."""
        made = self.make(1)
        start = ScriptedProcess.start

        def refuse(*_details: Any) -> None:
            raise OSError(11, "no more processes")

        self.patch(ScriptedProcess, "start", refuse)
        self.process(made, 1).end("it died")
        self.clock.advance(FIRST_DELAY)
        self.assertIn("no more processes", self.told("worker-ended")[-1]["how"])
        self.patch(ScriptedProcess, "start", start)
        self.clock.advance(2 * FIRST_DELAY)
        self.assertIsNotNone(self.process(made, 1))

    def test_stuck(self) -> None:
        """One that says nothing is killed; before its first word it has more time."""
        self.make(1)
        self.clock.pump([1] * (SILENCE + 1))
        self.assertIn("it was stuck", self.told("worker-ended")[0]["how"])
        self.clock.pump([1] * (START_SILENCE - 1))
        self.assertEqual(len(self.told("worker-ended")), 1)
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.told("worker-ended")), 2)

    def test_weSlept(self) -> None:
        """While the parent does nothing it hears nothing: that is nobody's silence."""
        made = self.make(1)
        self.clock.advance(SILENCE * 10)
        self.assertEqual(self.process(made, 1).killed, "")

    def test_stop(self) -> None:
        """All say goodbye; those who do not in time are killed."""
        made = self.make(2)
        one, two = self.process(made, 1), self.process(made, 2)
        stopped = made.stop(5)
        self.assertEqual([one.sent[-1], two.sent[-1]], [["stop"]] * 2)
        one.end("it ended by itself")
        self.assertNoResult(stopped)
        self.clock.advance(5 + EXTRA)
        self.successResultOf(stopped)
        self.assertTrue(two.killed)
        self.assertEqual(self.told("worker-ended"), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopWhileOneIsAwaited(self) -> None:
        """Nobody is started then."""
        made = self.make(1)
        self.process(made, 1).end("it died")
        self.successResultOf(made.stop(5))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """Whoever wants to know is told which member is gone, if it had become one."""
        made = self.make(2)
        self.process(made, 1).say(MEMBER, MEMBERS[0].hex())
        self.process(made, 2).end("it died")
        self.assertEqual(self.gone, [])
        self.process(made, 1).end("it died")
        self.assertEqual(self.gone, [MEMBERS[0]])


class AcceptTests(GroupCase):
    """Ports are accepted at while there is somebody who takes connections."""

    def test_life(self) -> None:
        made = self.make(1)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            port = SimpleNamespace(stopReading=lambda: None, fileno=listening.fileno)
            made.accept([parseListener("tcp:1", WEBSOCKET)], [port])
            (acceptor,) = made._acceptors
            self.assertEqual(self.clock.readers, set())
            process = self.process(made, 1)
            process.say(SERVES)
            self.assertEqual(self.clock.readers, {acceptor})
            with socket.create_connection(listening.getsockname()):
                acceptor.doRead()
            self.assertEqual(self.mirrors[0].connections, 1)
            process.handing.isFull = True
            made._changed()
            self.assertEqual(self.clock.readers, set())
            process.handing.isFull = False
            made._changed()
            self.assertEqual(self.clock.readers, {acceptor})
            made.stopAccepting()
            made._changed()
            self.assertEqual(self.clock.readers, set())


class LinkTests(GroupCase):
    """Links of other machines are for one worker."""

    def setUp(self) -> None:
        super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.listening.setblocking(False)
        self.made = self.make(2)
        self.assertEqual(self.made.strangers, 0)
        port = SimpleNamespace(stopReading=lambda: None, fileno=self.listening.fileno)
        self.made.acceptLinks(port, "tcp:0", 2.0)
        door = self.made._door
        assert door is not None
        self.door = door
        door.resume()
        self.handed: list[int] = []
        for index, member in enumerate(MEMBERS, 1):
            process = self.process(self.made, index)
            process.say(MEMBER, member.hex())
            process.handing.hand = lambda *_details, index=index: self.take(index)

    def take(self, index: int) -> bool:
        """A worker takes a connection."""
        self.handed.append(index)
        return True

    def call(self, member: bytes) -> socket.socket:
        """Return a connection that is for a member, and was read from."""
        client = socket.create_connection(self.listening.getsockname())
        self.addCleanup(client.close)
        client.settimeout(5)
        client.sendall(member.hex().encode())
        self.door.doRead()
        for caller in list(self.clock.readers - {self.door}):
            caller.doRead()
        return client

    def test_handed(self) -> None:
        """To that one."""
        for member in (MEMBERS[1], MEMBERS[0], MEMBERS[1]):
            self.call(member)
        self.assertEqual(self.handed, [2, 1, 2])
        self.assertEqual(self.made.strangers, 0)

    def test_notHere(self) -> None:
        """One that is none of ours, is gone, does not serve yet, or leaves."""
        self.process(self.made, 1).end("it died")
        self.process(self.made, 2).say(LEAVES)
        for member in (bytes(16), *MEMBERS):
            self.call(member)
        self.clock.advance(FIRST_DELAY)
        self.process(self.made, 1).say(MEMBER, MEMBERS[0].hex())
        self.call(MEMBERS[0])
        self.assertEqual(self.made.strangers, 4)
        self.process(self.made, 1).say(SERVES)
        self.call(MEMBERS[1])
        self.assertEqual((self.handed, self.made.strangers), ([], 5))

    def test_noRoom(self) -> None:
        """It waits until there is some, and nobody else does."""
        process = self.process(self.made, 1)
        process.handing.isFull = True
        self.call(MEMBERS[0])
        self.call(MEMBERS[1])
        self.assertEqual(self.handed, [2])
        process.handing.isFull = False
        self.made._changed()
        self.assertEqual(self.handed, [2, 1])
        self.assertEqual(self.made.strangers, 0)

    def test_stop(self) -> None:
        """Until the last worker is gone members elsewhere are told that theirs is not here."""
        one, two = self.process(self.made, 1), self.process(self.made, 2)
        stopped = self.made.stop(5)
        client = self.call(MEMBERS[0])
        self.assertRaises(ConnectionResetError, client.recv, 1)
        one.end("it ended by itself")
        self.assertIn(self.door, self.clock.readers)
        two.end("it ended by itself")
        self.successResultOf(stopped)
        self.assertEqual(self.clock.readers, set())
        self.assertEqual(self.handed, [])

    def test_draining(self) -> None:
        """Without newcomers links are taken as before."""
        self.made.stopAccepting()
        self.call(MEMBERS[0])
        self.assertEqual(self.handed, [1])

    def test_start(self) -> None:
        """Nobody is accepted before the workers are started."""
        self.door.pause()
        self.made.start()
        self.assertIn(self.door, self.clock.readers)
