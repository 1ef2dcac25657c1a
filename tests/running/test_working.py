"""A worker process as its parent makes it live, with sockets for what it is born with."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running import garbage, worker, working
from nymearemoteproxy.running.heritage import Heritage
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.working import FAILED, PARENT_PATIENCE, Worker
from nymearemoteproxy.workers.handing import Handed
from nymearemoteproxy.workers.linkdoor import LINKS
from nymearemoteproxy.workers.process import ALIVE, LEAVES, SERVES, STOP
from tests.support.memory import Pipe

ADDRESS = IPv4Address("TCP", "192.0.2.1", 4711)
CLUSTERED = None if find_spec("txredisapi") else "txredisapi is not installed"


class Client(Pipe):
    """A client that closes when it is told to.

    :ivar isAborted: it was cut off.
    """

    isAborted = False

    def loseConnection(self) -> None:
        """The worker closes."""
        super().loseConnection()
        self.lose(ConnectionDone())

    def abortConnection(self) -> None:
        """The worker cuts it off."""
        self.isAborted = True
        super().abortConnection()


class ScriptedReactor(MemoryReactorClock):
    """A reactor of which the test sees what is adopted, and whether it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.adopted: list[tuple[int, Any]] = []
        self.stops = 0
        self.problem: OSError | None = None
        self.fromThread: list[Any] = []

    def adoptStreamConnection(self, descriptor: int, family: Any, factory: Any) -> None:
        """Serve a connection."""
        if self.problem is not None:
            raise self.problem
        self.adopted.append((descriptor, factory))

    def stop(self) -> None:
        """End, which `shutDown` of the test does."""
        self.stops += 1

    def callFromThread(self, act: Any, *arguments: Any) -> None:
        """Do it later."""
        self.fromThread.append(act)


class WorkerCase(SynchronousTestCase):
    """A worker and what a parent tells it.

    :ivar said: what it has told the parent.
    """

    def setUp(self) -> None:
        self.reactor: Any = ScriptedReactor()
        ours, theirs = socket.socketpair()
        self.hand, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.hand.close)
        self.addCleanup(ours.close)
        self.installed: dict[int, Any] = {}
        self.patch(signal, "signal", self.installed.__setitem__)
        self.patch(working, "CHANNEL", theirs.detach())
        self.patch(working, "HANDING", take.detach())
        self.patch(garbage.GarbageCollection, "makeRare", lambda _own: None)
        self.patch(garbage.GarbageCollection, "restore", lambda _own: None)
        self.place = tempfile.mkdtemp()  # trial's own are too deep for a Unix socket
        self.addCleanup(shutil.rmtree, self.place, True)
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)
        self.worker = Worker(self.reactor)
        self.addCleanup(self.worker._taking.close)
        self.worker.start()
        self.pipe = StringTransport()
        ((_descriptor, factory),) = self.reactor.adopted
        factory.buildProtocol(None).makeConnection(self.pipe)
        self.reactor.adopted.clear()
        for act, arguments, named in self.reactor.whenRunningHooks:
            act(*arguments, **named)

    @property
    def said(self) -> list[Any]:
        """What it has told the parent, but that it is alive."""
        lines = self.pipe.value().splitlines()
        return [message for message in map(json.loads, lines) if message != [ALIVE]]

    @property
    def kinds(self) -> list[str]:
        """Of what it has told."""
        return [message[0] for message in self.said]

    def tell(self, *messages: Any) -> None:
        """The parent says something."""
        for message in messages:
            self.worker.channel.dataReceived(json.dumps(message).encode() + b"\n")

    def heritage(self, *arguments: str, linksAt: tuple[str, int] | None = None) -> list[Any]:
        """Return what a parent says first: begin, and serve."""
        self.patch(ServerOptions, "program", "test")
        options = ServerOptions()
        options.parseOptions(["--stream", "tcp:1:interface=127.0.0.1", "--token", "x", *arguments])
        messages = Heritage(options, self.place, bytes(32), linksAt).messages(2)
        return list(json.loads(json.dumps(messages)))

    def serve(self, *arguments: str, **more: Any) -> None:
        """Begin, and serve."""
        self.tell(*self.heritage(*arguments, **more))
        self.assertIn(SERVES, self.kinds)

    def handed(self, number: int, listener: int = 0) -> Handed:
        """Return what is told of a connection."""
        return Handed(number, listener, socket.AF_INET, ADDRESS, None)

    def give(self, *handed: Handed) -> None:
        """Hand connections over, as the parent does."""
        for each in handed:
            with socket.socket() as one:
                socket.send_fds(self.hand, [each.encode()], [one.fileno()])
        for reader in list(self.reactor.readers):
            reader.doRead()

    def connect(self, number: int) -> Client:
        """Hand a connection over; return who is at its other end."""
        self.give(self.handed(number))
        _descriptor, factory = self.reactor.adopted.pop()
        client = Client(ADDRESS)
        client.protocol = factory.buildProtocol(None)
        client.protocol.makeConnection(client)
        return client

    def shutDown(self) -> Deferred[Any]:
        """The reactor stops: return what it waits for."""
        ((act, arguments, named),) = self.reactor.triggers["before"]["shutdown"]
        ended: Deferred[Any] = act(*arguments, **named)
        return ended

    def logged(self, text: str) -> list[Any]:
        """Return the lines of the log about this."""
        return [line for line in self.lines if text in (line.get("log_format") or "")]


class LifeTests(WorkerCase):
    """From its first message to its end."""

    def test_serves(self) -> None:
        """It takes connections when it knows all, and not before."""
        begin, serve = self.heritage()
        self.tell(begin)
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.kinds, ["isMember"])
        self.tell(serve)
        self.assertEqual(len(self.reactor.readers), 1)
        self.assertEqual(self.kinds[-1], SERVES)
        self.connect(7)
        self.assertEqual([record.number for record in self.worker._crew._registry.records], [7])  # type: ignore[union-attr]

    def test_alive(self) -> None:
        """It says so each second, also when it has nothing to do yet."""
        self.reactor.pump([1.0] * 3)
        self.assertEqual(self.pipe.value(), b'["alive"]\n' * 3)

    def test_stop(self) -> None:
        """It leaves when it has what is on its way to it, and all clients are gone."""
        self.serve()
        client = self.connect(1)
        self.tell([STOP], [STOP])
        self.assertEqual(self.reactor.stops, 1)
        ended = self.shutDown()
        self.assertEqual(self.kinds[-1], LEAVES)
        # What the parent handed over before it knew.
        with socket.socket() as one:
            socket.send_fds(self.hand, [self.handed(2).encode()], [one.fileno()])
        self.hand.close()
        for _ in range(2):
            for reader in list(self.reactor.readers):
                reader.doRead()
        self.assertEqual(len(self.reactor.adopted), 1)
        self.reactor.pump([0.1] * 5)
        self.assertTrue(client.lost)
        self.assertTrue(self.pipe.disconnecting)
        self.assertNoResult(ended)
        self.worker.channel.connectionLost()
        self.successResultOf(ended)
        self.assertEqual((self.worker.status, self.reactor.stops), (0, 1))

    def test_stopAtOnce(self) -> None:
        """Nothing of it is needed by one that was told nothing; the parent need not answer."""
        self.tell([STOP])
        ended = self.shutDown()
        self.assertTrue(self.pipe.disconnecting)
        self.reactor.advance(PARENT_PATIENCE)
        self.successResultOf(ended)
        self.assertEqual(self.worker.status, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        # Whatever comes now is too late.
        self.tell(*self.heritage())
        self.assertEqual(self.kinds, [])

    def test_stopBeforeItServes(self) -> None:
        """What is not started need not be stopped, and is not started then."""
        begin, serve = self.heritage()
        self.tell(begin, [STOP])
        ended = self.shutDown()
        self.tell(serve)
        self.assertEqual(self.reactor.readers, set())
        self.assertNotIn(SERVES, self.kinds)
        self.reactor.pump([PARENT_PATIENCE] * 3)
        self.successResultOf(ended)
        self.assertEqual(self.worker.status, 0)
        self.assertEqual(self.logged("cannot do"), [])

    def test_signal(self) -> None:
        """SIGTERM ends it in the same way, once."""
        self.serve()
        self.installed[signal.SIGTERM](signal.SIGTERM, None)
        self.installed[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(self.reactor.stops, 0)  # not in the middle of anything
        for act in self.reactor.fromThread:
            act()
        self.assertEqual(self.reactor.stops, 1)

    def test_orphan(self) -> None:
        """Without a parent it cuts everybody off, and leaves nothing behind."""
        self.serve()
        client = self.connect(1)
        Path(self.place).joinpath("x").unlink(missing_ok=True)
        self.worker.channel.connectionLost()
        self.assertEqual((self.reactor.stops, self.worker.status), (1, FAILED))
        ended = self.shutDown()
        self.reactor.pump([0.1] * 3)
        self.assertTrue(client.isAborted)
        self.successResultOf(ended)
        self.assertNotIn(LEAVES, self.kinds)
        self.assertFalse(os.path.exists(self.place))

    def test_orphanWithBrothers(self) -> None:
        """The directory stays as long as another one has its socket in it."""
        self.serve()
        Path(self.place, "socket").touch()
        self.worker.channel.connectionLost()
        ended = self.shutDown()
        self.reactor.pump([0.1] * 3)
        self.successResultOf(ended)
        self.assertTrue(os.path.exists(self.place))

    def test_grace(self) -> None:
        """Clients that do not leave in time are cut off, and no timer is left by those that do."""
        self.serve("--set", "ProxyServer.shutdownTimeout=3000")
        crew = self.worker._crew
        assert crew is not None
        self.patch(crew._membership, "stop", lambda: succeed(None))
        for isInTime in (False, True):
            gone: Deferred[None] = Deferred()
            cuts: list[float] = []
            crew._registry.dismissal = SimpleNamespace(  # type: ignore[assignment]
                dismissAll=lambda gone=gone: gone,
                abortAll=lambda cuts=cuts: cuts.append(self.reactor.seconds()),
            )
            began = self.reactor.seconds()
            left = crew.leave(isOrphan=False)
            self.reactor.pump([0.1] * 20)
            self.assertNoResult(left)
            if not isInTime:
                self.reactor.pump([0.5] * 4)
                (cut,) = cuts
                self.assertAlmostEqual(cut - began, 3, 0)
            gone.callback(None)
            self.successResultOf(left)
            self.reactor.pump([1.0] * 5)
            self.assertEqual(len(cuts), int(not isInTime))


class TroubleTests(WorkerCase):
    """What can go wrong."""

    def test_mistake(self) -> None:
        """A mistake of the operator's is one line, and the worker ends."""
        begin, _serve = self.heritage()
        begin[2]["arguments"] = ["--noSuchOption"]
        self.tell(begin)
        self.assertEqual((self.worker.status, self.reactor.stops), (FAILED, 1))
        self.assertEqual(len(self.logged("a worker cannot start: {reason}")), 1)
        self.assertEqual(self.logged("cannot do"), [])

    def test_noPlace(self) -> None:
        """So is a directory that is none."""
        os.chmod(self.place, 0o755)
        self.tell(self.heritage()[0])
        (line,) = self.logged("a worker cannot start: {reason}")
        self.assertIn("mode 700", line["reason"])
        self.assertEqual((self.worker.status, self.reactor.stops), (FAILED, 1))
        ended = self.shutDown()
        self.reactor.advance(PARENT_PATIENCE)
        self.successResultOf(ended)

    def test_fault(self) -> None:
        """A fault of ours ends it, too, and the next one may do better."""
        self.serve()
        self.tell(["noSuchMessage"])
        self.assertEqual((self.worker.status, self.reactor.stops), (FAILED, 1))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.logged("a worker ends: {reason}")), 1)

    def test_tooManyFiles(self) -> None:
        """A connection that cannot be served is told of to the parent, and in few lines."""
        self.serve()
        self.reactor.problem = OSError(errno.ENOTCONN, "the client is gone")
        self.give(self.handed(1), self.handed(2))
        crew = self.worker._crew
        assert crew is not None
        crew.take(self.handed(3), None)
        ended = [message for message in self.said if message[0] == "ended"]
        self.assertEqual([message[1] for message in ended], [1, 2, 3])
        (line,) = self.logged("a connection cannot be served: {reason}")
        self.assertEqual(line["reason"], "the client is gone")
        self.reactor.problem = None
        self.connect(4)
        self.assertEqual(len(crew._registry.records), 1)

    def test_noStrerror(self) -> None:
        """An error without a text of the system's has its own."""
        self.serve()
        self.reactor.problem = OSError("odd")
        self.give(self.handed(1))
        (line,) = self.logged("a connection cannot be served: {reason}")
        self.assertEqual(line["reason"], "odd")


class ReloadTests(WorkerCase):
    """The parent has read its files anew."""

    def test_reload(self) -> None:
        """Newcomers are served by what is in them now."""
        tokens = Path(self.place, "tokens")
        tokens.write_text("one")
        begin, serve = self.heritage("--token-file", str(tokens), "--set", "ProxyServer.name=one")
        tokens.unlink()
        self.tell(begin, serve)
        crew = self.worker._crew
        assert crew is not None
        self.assertEqual(crew._proxy.policy.name, "one")
        changed: list[Any] = []
        self.patch(crew._makers, "change", changed.append)
        self.tell(["reload", {str(tokens): "two"}])
        self.assertEqual(len(changed), 1)
        verdict = crew._proxy.authenticator.authenticate("two")
        self.assertTrue(self.successResultOf(verdict).accepted)


class ScriptedClustering:
    """A membership that does nothing.

    :ivar made: the last one.
    """

    made: ScriptedClustering

    def __init__(
        self, reactor: Any, proxy: Any, plan: Any, at: tuple[str, int], directory: str
    ) -> None:
        type(self).made = self
        self.at, self.directory = at, directory
        self.id = b"m" * 16
        self.links = object()
        self.life: list[str] = []

    def figures(self) -> Any:
        """Nothing goes on."""
        from nymearemoteproxy.cluster.figures import Figures

        return Figures()

    def start(self) -> None:
        """Join."""
        self.life.append("start")

    def stop(self) -> Deferred[None]:
        """Leave."""
        self.life.append("stop")
        return succeed(None)


class ClusterTests(WorkerCase):
    """A worker that is a member of a cluster."""

    skip = CLUSTERED

    def setUp(self) -> None:
        super().setUp()
        from nymearemoteproxy.running import clustering

        self.patch(clustering, "Clustering", ScriptedClustering)
        self.serve("--cluster", "redis://127.0.0.1:1", linksAt=("192.0.2.7", 2213))
        self.member = ScriptedClustering.made

    def test_member(self) -> None:
        """It says which one it is, before it serves, and where others reach it."""
        self.assertLess(
            self.said.index(["isMember", self.member.id.hex()]), self.kinds.index(SERVES)
        )
        self.assertEqual(self.member.at, ("192.0.2.7", 2213))
        self.assertEqual((self.member.directory, self.member.life), (self.place, ["start"]))

    def test_link(self) -> None:
        """One that the parent hands over is no client: nobody counts it."""
        self.give(self.handed(0, LINKS))
        ((_descriptor, factory),) = self.reactor.adopted
        self.assertIs(factory._factory, self.member.links)
        self.assertEqual([kind for kind in self.kinds if kind == "ended"], [])

    def test_linkIsGone(self) -> None:
        """Or there is no descriptor for it: that is told in few lines, and is no fault."""
        self.reactor.problem = OSError(errno.ENOTCONN, "not connected")
        for _ in range(3):
            self.give(self.handed(0, LINKS))
        crew = self.worker._crew
        assert crew is not None
        crew.take(self.handed(0, LINKS), None)
        self.assertEqual(len(self.logged("a connection cannot be served: {reason}")), 1)
        self.assertEqual([kind for kind in self.kinds if kind == "ended"], [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_leaves(self) -> None:
        """It leaves the cluster when it leaves."""
        self.tell([STOP])
        ended = self.shutDown()
        self.reactor.pump([PARENT_PATIENCE] * 3)
        self.successResultOf(ended)
        self.assertEqual(self.member.life, ["start", "stop"])


class MainTests(SynchronousTestCase):
    """The process."""

    def test_status(self) -> None:
        """It runs until the worker is done, and returns its status."""
        ran: list[str] = []

        class FakeWorker:
            status = 7
            channel = None

            def __init__(self, reactor: Any) -> None:
                self.reactor = reactor

            def start(self) -> None:
                ran.append("start")

        class FakeReactor(ScriptedReactor):
            def run(self) -> None:
                ran.append("run")

        self.patch(working, "Worker", FakeWorker)
        self.patch(working, "LogSender", lambda *_details: None)
        self.patch(working, "useMonotonicClock", lambda _reactor: None)
        self.patch(working.globalLogBeginner, "beginLoggingTo", lambda *_o, **_n: None)
        self.patch(working.Factory, "noisy", True)
        self.assertEqual(working._run(FakeReactor()), 7)
        self.assertEqual(ran, ["start", "run"])
        self.assertFalse(working.Factory.noisy)

    def test_main(self) -> None:
        """On the reactor of the process."""
        from twisted.internet import reactor

        self.patch(working, "_run", lambda given: given is reactor)
        self.assertIs(working.main(), True)

    def test_ignoresSignals(self) -> None:
        """What all processes at a terminal get is the parent's, even while this one is loaded."""
        installed: dict[int, Any] = {}
        self.patch(signal, "signal", installed.__setitem__)
        self.patch(working, "main", lambda: dict(installed))
        status: Any = worker.main()
        ignored = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        self.assertEqual(status, dict.fromkeys(ignored, signal.SIG_IGN))
