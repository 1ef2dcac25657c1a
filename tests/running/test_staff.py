"""The workers as the service has them, and what is left of them; no process is started."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.accepting import ELSEWHERE, LONGEST_PATH
from nymearemoteproxy.cluster.figures import Figures
from nymearemoteproxy.listening.listeners import ListenerError
from nymearemoteproxy.running import staff
from nymearemoteproxy.running.heritage import BEGIN, SERVE
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.staff import SOCKET_LIFETIME, Staff
from nymearemoteproxy.workers import socketdirectory
from nymearemoteproxy.workers.figuring import FIGURES
from nymearemoteproxy.workers.socketdirectory import PREFIX
from tests.support.parts import makeProxy
from tests.support.services import ServiceCase


class ScriptedGroup:
    """Workers that are none.

    :ivar life: what was asked of them.
    """

    def __init__(self, reactor: Any, registry: Any, plan: Any) -> None:
        self.plan = plan
        self.life: list[Any] = []
        self.stopped: Deferred[None] = Deferred()
        self.restarts, self.strangers = 3, 4
        self.serves = False

    def states(self) -> list[Any]:
        """Nobody is there."""
        return []

    def start(self) -> None:
        """Start them."""
        self.life.append("start")

    def accept(self, listeners: Any, ports: Any) -> None:
        """Let clients come."""
        self.life.append("accept")

    def acceptLinks(self, port: Any, place: str, timeout: float) -> None:
        """Let links come."""
        self.life.append(("links", place, timeout))

    def tell(self, message: Any) -> None:
        """Tell all of them."""
        self.life.append(message[0])

    def stopAccepting(self) -> None:
        """Let nobody come any more."""
        self.life.append("stopAccepting")

    def stop(self, grace: float) -> Deferred[None]:
        """Stop them."""
        self.life.append(("stop", grace))
        return self.stopped


class StaffCase(SynchronousTestCase):
    """Workers that are none, and a place for their sockets."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        self.patch(tempfile, "tempdir", str(self.place))
        # Trial's own are too deep for a Unix socket.
        self.patch(socketdirectory, "_LONGEST_PLACE", len(str(self.place)))
        self.patch(staff, "WorkerGroup", ScriptedGroup)
        self.patch(ServerOptions, "program", "test")
        find = importlib.util.find_spec
        self.patch(
            importlib.util,
            "find_spec",
            lambda name: object() if name == "txredisapi" else find(name),
        )
        self.reactor: Any = MemoryReactorClock()

    def make(self, *arguments: str) -> Staff:
        """Return the workers of a server with these arguments."""
        options = ServerOptions()
        options.parseOptions(
            ["--stream", "tcp:1:interface=127.0.0.1", "--token", "x", "--workers", "2", *arguments]
        )
        return Staff(self.reactor, options, makeProxy(self.reactor), lambda: None)

    def group(self, made: Staff) -> Any:
        """Return the workers."""
        return made._group

    @property
    def left(self) -> list[str]:
        """What is in the place for sockets."""
        return os.listdir(self.place)


class LifeTests(StaffCase):
    """Begin and end."""

    def test_life(self) -> None:
        """There is a directory for their sockets, which only we get into, until they are gone."""
        made = self.make()
        made.listen()
        self.assertEqual(self.left, [])
        self.assertEqual(self.reactor.tcpServers, [])
        made.start()
        (name,) = self.left
        self.assertTrue(name.startswith(PREFIX))
        directory = self.place / name
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        begin, serve = self.group(made).plan.messages(2)
        self.assertEqual((begin[:2], serve), ([BEGIN, 2], [SERVE]))
        self.assertEqual((begin[2]["directory"], begin[2]["linksAt"]), (str(directory), None))
        (directory / "socket").touch()
        stopped = made.stop(5.0)
        self.assertEqual(self.group(made).life, ["start", ("stop", 5.0)])
        self.assertEqual(len(self.left), 1)
        self.group(made).stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.left, [])

    def test_links(self) -> None:
        """The port for links is there before anybody needs it, and until all are gone."""
        made = self.make("--cluster", "redis://127.0.0.1:1")
        made.listen()
        ((kind, _place, timeout),) = self.group(made).life
        self.assertEqual((kind, timeout), ("links", 2.0))
        port = made._linkPort
        assert port is not None
        closed: list[Any] = []
        port.stopListening = lambda: closed.append(port)  # type: ignore[method-assign]
        made.start()
        begin, _serve = self.group(made).plan.messages(1)
        host = port.getHost()
        self.assertEqual(begin[2]["linksAt"], (host.host, host.port))
        made.stopAccepting()
        stopped = made.stop(5.0)
        self.assertEqual(closed, [])
        self.group(made).stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(closed, [port])

    def test_neverStarted(self) -> None:
        """The port is closed all the same."""
        made = self.make("--cluster", "redis://127.0.0.1:1")
        made.listen()
        self.group(made).stopped = succeed(None)
        self.successResultOf(made.stop(0))
        self.assertEqual(self.left, [])

    def test_reload(self) -> None:
        """They are told, and those that come later, too."""
        made = self.make()
        made.start()
        made.reload(hasProblems=True)
        self.assertEqual(self.group(made).life, ["start", "reload"])
        self.assertEqual(len(self.group(made).plan.messages(1)), 3)

    def test_socketOfADeadOne(self) -> None:
        """It is removed when nobody tries it any more: as long as it is there it refuses them."""
        made = self.make()
        made.start()
        (name,) = self.left
        path = self.place / name / (b"m" * 16).hex()
        path.touch()
        gone = self.group(made).plan.gone
        gone(b"m" * 16)
        gone(b"n" * 16)  # it has removed its own
        self.reactor.advance(SOCKET_LIFETIME - 1)
        self.assertTrue(path.exists())
        self.reactor.advance(1)
        self.assertFalse(path.exists())

    def test_company(self) -> None:
        """What they show, and those that came to none of them."""
        made = self.make()
        desk = self.group(made).plan.makeDesk(1, lambda _message: None)
        desk.handlers[FIGURES](Figures(members=1, strangers={"too-slow": 2}).write())  # type: ignore[arg-type]
        company = made.company()
        self.assertEqual(company.figures.strangers, {"too-slow": 2, ELSEWHERE: 4})
        self.assertEqual((company.restarts, company.isClustered), (3, False))
        self.assertTrue(self.make("--cluster", "redis://127.0.0.1:1").company().isClustered)


class PlaceTests(StaffCase):
    """Mistakes of the operator's are one line."""

    def check(self, act: Any, text: str) -> None:
        """It is refused for this reason."""
        error = str(self.assertRaises(ListenerError, act))
        self.assertIn(text, error)
        self.assertIn("directory for their sockets", error)
        self.assertNotIn("\n", error)

    def test_longest(self) -> None:
        """A path with which sockets are just short enough."""
        directory = f"{'x' * self.longest()}/{PREFIX}12345678"
        self.assertEqual(len(f"{directory}/{'0' * 32}"), LONGEST_PATH)

    def longest(self) -> int:
        """Return what it is in life."""
        return LONGEST_PATH - len(f"/{PREFIX}12345678/") - 32

    def test_tooLong(self) -> None:
        self.patch(socketdirectory, "_LONGEST_PLACE", len(str(self.place)) - 1)
        self.check(self.make().listen, "too long")

    def test_none(self) -> None:
        """Nowhere can a file be made."""

        def fail() -> str:
            raise FileNotFoundError(2, "No usable temporary directory found")

        self.patch(tempfile, "gettempdir", fail)
        self.check(self.make().listen, "No usable temporary directory")

    def test_notOurs(self) -> None:
        """The user that we have become may not."""
        made = self.make()
        made.listen()
        self.place.rmdir()
        self.check(made.start, "No such file")


class ServedTests(ServiceCase):
    """What the service does with such mistakes."""

    def service(self) -> Any:
        """Return a service with workers."""
        self.patch(staff, "WorkerGroup", ScriptedGroup)
        self.patch(socketdirectory, "_LONGEST_PLACE", 1000)
        self.patch(ScriptedGroup, "stop", lambda _own, _grace: succeed(None))
        return self.make("--token", "t", "--workers", "2")

    def test_cannotListen(self) -> None:
        """In one line, and nothing is left that listens."""
        made = self.service()
        self.patch(socketdirectory, "_LONGEST_PLACE", 1)
        stopped: list[float] = []
        made._staff.stop = stopped.append
        error = self.assertRaises(SystemExit, made.privilegedStartService)
        self.assertIn("sockets", str(error))
        self.assertEqual(stopped, [0])

    def test_cannotStart(self) -> None:
        """It says why, is never ready, and stops."""
        made = self.service()
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)

        def fail() -> None:
            raise ListenerError("no directory")

        ready: list[None] = []
        made._staff.start = fail
        made.notifier.ready = made.notifier.starting = lambda: ready.append(None)
        self.start(made)
        self.assertEqual([each["reason"] for each in lines if "reason" in each], ["no directory"])
        self.assertEqual(ready, [])
        self.assertFalse(made.isReady)

    def test_ready(self) -> None:
        """It is ready when a worker serves, and has been read anew when it is."""
        made = self.service()
        self.patch(ScriptedGroup, "start", lambda _own: None)
        told: list[str] = []
        for name in ("starting", "ready", "reloading", "reloaded"):
            setattr(made.notifier, name, partial(told.append, name))
        self.start(made)
        made._staff._group.plan.served()  # of one that serves when nobody is let in any more
        self.assertEqual(told, ["starting"])
        made._staff._group.serves = True
        made._staff._group.plan.served()
        self.assertEqual(told, ["starting", "ready"])
        made.reload()
        self.assertEqual(told[2:], ["reloading", "reloaded"])

    def test_cannotListenForLinks(self) -> None:
        """A single process stops being a member, too."""
        made = self.service()
        made._staff = None
        stopped: list[str] = []

        def fail() -> None:
            raise ListenerError("taken")

        made._clustering = SimpleNamespace(listen=fail, stop=lambda: stopped.append("clustering"))
        self.assertRaises(SystemExit, made.privilegedStartService)
        self.assertEqual(stopped, ["clustering"])
