"""What systemd is told, and the sockets that it passes on."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.listening import adoption
from nymearemoteproxy.listening.adoption import (
    AdoptedEndpoint,
    initialEnvironment,
    passedSocket,
    takeSocket,
)
from nymearemoteproxy.running import options
from nymearemoteproxy.running.systemd import BEATS_PER_TIMEOUT, STATUS_INTERVAL, Notifier
from nymearemoteproxy.running.systemd import log as notifierLog


class NotifierTests(SynchronousTestCase):
    """The messages of sd_notify(3)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.status = "fine"
        directory = tempfile.mkdtemp(prefix="notify-")
        self.addCleanup(os.rmdir, directory)
        self.path = f"{directory}/socket"
        self.listen()
        self.warnings: list[str] = []
        self.patch(
            notifierLog, "warn", lambda text, **values: self.warnings.append(text.format(**values))
        )

    def listen(self) -> None:
        """Be systemd."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.addCleanup(self.vanish)

    def vanish(self) -> None:
        """Be it no longer."""
        if self.socket.fileno() != -1:
            self.socket.close()
            os.unlink(self.path)

    def make(self, **environment: str) -> Notifier:
        """Return a notifier that tells us."""
        environment = {"NOTIFY_SOCKET": self.path, **environment}
        return Notifier(self.clock, environment, lambda: self.status, lambda: 12.3456789)

    def told(self) -> list[str]:
        """Return what we were told since the last time."""
        messages = []
        try:
            while True:
                messages.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return messages

    def test_messages(self) -> None:
        """Each as it is documented."""
        notifier = self.make()
        self.assertEqual(self.told(), [])
        notifier.ready()
        self.assertEqual(self.told(), ["READY=1\nSTATUS=fine", "STATUS=fine"])
        notifier.reloading()
        self.assertEqual(self.told(), ["RELOADING=1\nMONOTONIC_USEC=12345678"])
        self.status = "very fine"
        notifier.reloaded()
        self.assertEqual(self.told(), ["READY=1\nSTATUS=very fine"])
        notifier.changed()
        self.assertEqual(self.told(), ["STATUS=very fine"])
        notifier.stopping()
        self.assertEqual(self.told(), ["STOPPING=1"])

    def test_start(self) -> None:
        """Until it is ready its status is told, and no reload, whose end would make it ready."""
        notifier = self.make()
        notifier.starting()
        self.assertEqual(self.told(), ["STATUS=fine"])
        notifier.reloading()
        notifier.reloaded()
        self.assertEqual(self.told(), [])
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self.told(), ["STATUS=fine"])
        notifier.ready()
        notifier.ready()
        self.assertEqual(self.told(), ["READY=1\nSTATUS=fine"])
        notifier.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_status(self) -> None:
        """Without a watchdog it is told every ten seconds, once however often it was ready."""
        notifier = self.make()
        notifier.ready()
        notifier.ready()
        self.told()
        self.clock.advance(STATUS_INTERVAL - 0.1)
        self.assertEqual(self.told(), [])
        self.status = "busy"
        self.clock.advance(0.1)
        self.assertEqual(self.told(), ["STATUS=busy"])
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self.told(), ["STATUS=busy"])
        notifier.stopped()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """It hears from us three times in its time."""
        notifier = self.make(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
        notifier.ready()
        self.assertEqual(self.told(), ["READY=1\nSTATUS=fine", "WATCHDOG=1\nSTATUS=fine"])
        self.clock.pump([1.0] * 30)
        self.assertEqual(self.told(), ["WATCHDOG=1\nSTATUS=fine"] * BEATS_PER_TIMEOUT)
        notifier.stopping()
        self.clock.advance(10)
        self.assertEqual(self.told(), ["STOPPING=1", "WATCHDOG=1\nSTATUS=fine"])
        notifier.stopped()
        self.clock.advance(100)
        self.assertEqual(self.told(), [])

    def test_noWatchdog(self) -> None:
        """For another process, for nobody, or in no words that we know."""
        for environment in (
            {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)},
            {"WATCHDOG_USEC": ""},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "-3"},
            {"WATCHDOG_USEC": "soon"},
        ):
            notifier = self.make(**environment)
            notifier.ready()
            self.assertEqual(self.told(), ["READY=1\nSTATUS=fine", "STATUS=fine"])
            notifier.stopped()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_elsewhere(self) -> None:
        """Without systemd nothing happens, and nothing waits."""
        for environment in {}, {"NOTIFY_SOCKET": ""}:
            notifier = Notifier(self.clock, environment, lambda: "", lambda: 0.0)
            notifier.ready()
            notifier.changed()
            notifier.reloading()
            notifier.stopping()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            notifier.stopped()
        self.assertEqual(self.warnings, [])

    def test_abstract(self) -> None:
        """An address that begins with @ is in no directory."""
        name = f"nymea-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(f"\0{name}")
            listener.settimeout(10)
            self.make(NOTIFY_SOCKET=f"@{name}").stopping()
            self.assertEqual(listener.recv(100), b"STOPPING=1")

    def test_nobodyHears(self) -> None:
        """That is told once, and once more when somebody has heard us meanwhile."""
        self.vanish()
        notifier = self.make()
        notifier.ready()
        self.clock.pump([STATUS_INTERVAL] * 5)
        expected = ["cannot tell systemd READY=1: No such file or directory"]
        self.assertEqual(self.warnings, expected)
        self.listen()
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self.told(), ["READY=1\nSTATUS=fine"])  # at last
        self.vanish()
        self.clock.pump([STATUS_INTERVAL] * 5)
        self.assertEqual(
            self.warnings[1:], ["cannot tell systemd STATUS=fine: No such file or directory"]
        )
        notifier.stopped()

    def test_addressTooLong(self) -> None:
        """The reason is told also where the kernel was not asked."""
        self.make(NOTIFY_SOCKET="/" + "x" * 200).stopping()
        self.assertEqual(self.warnings, ["cannot tell systemd STOPPING=1: AF_UNIX path too long"])

    def test_doesNotWait(self) -> None:
        """A systemd that does not read does not stop us."""
        notifier = self.make()
        for _ in range(10_000):
            notifier.changed()
            if self.warnings:
                break
        self.assertEqual(len(self.warnings), 1)


class Visited(Protocol):
    """Somebody came."""

    def connectionMade(self) -> None:
        self.factory.connected.callback(self)  # type: ignore[union-attr]


class AdoptedEndpointTests(TestCase):
    """Sockets that others listen on, too."""

    def adopt(self, shared: socket.socket) -> Any:
        """Listen on a socket."""
        self.addCleanup(shared.close)
        shared.setblocking(False)
        self.connected: Deferred[Any] = Deferred()
        factory = Factory.forProtocol(Visited)
        factory.connected = self.connected  # type: ignore[attr-defined]
        factory.noisy = False
        endpoint = AdoptedEndpoint(reactor, os.dup(shared.fileno()))
        return self.successResultOf(endpoint.listen(factory))

    @inlineCallbacks
    def check(self, shared: socket.socket) -> Any:
        """Check that somebody can come, and after it is closed that another can still listen."""
        port = self.adopt(shared)
        name = shared.getsockname()
        self.assertEqual(port.socket.getsockname(), name)
        with socket.socket(shared.family) as client:
            client.connect(name)
            visited = yield self.connected
            visited.transport.abortConnection()
        yield port.stopListening()
        with socket.socket(shared.family) as client:
            client.connect(name)
            shared.accept()[0].close()

    @inlineCallbacks
    def test_unix(self) -> Any:
        """Mode and file stay."""
        directory = tempfile.mkdtemp(prefix="adopt-")
        path = f"{directory}/socket"
        self.addCleanup(os.rmdir, directory)
        self.addCleanup(os.unlink, path)
        shared = socket.socket(socket.AF_UNIX)
        shared.bind(path)
        os.chmod(path, 0o600)
        shared.listen()
        yield self.check(shared)
        self.assertEqual(Path(path).stat().st_mode & 0o777, 0o600)

    @inlineCallbacks
    def test_abstract(self) -> Any:
        """Those without a file, too; the host is the real name."""
        shared = socket.socket(socket.AF_UNIX)
        shared.bind(f"\0nymea-adopt-{os.getpid()}")
        shared.listen()
        yield self.check(shared)

    @inlineCallbacks
    def test_tcp(self) -> Any:
        """IPv4 and IPv6."""
        yield self.check(socket.create_server(("127.0.0.1", 0)))
        yield self.check(socket.create_server(("::1", 0), family=socket.AF_INET6))

    @inlineCallbacks
    def test_addresses(self) -> Any:
        """Clients' addresses are those of the socket's own family."""
        for made, host in (
            (socket.create_server(("127.0.0.1", 0)), "127.0.0.1"),
            (socket.create_server(("::1", 0), family=socket.AF_INET6), "::1"),
        ):
            port = self.adopt(made)
            with socket.socket(made.family) as client:
                client.connect(made.getsockname())
                visited = yield self.connected
                peer = visited.transport.getPeer()
                self.assertEqual((peer.host, peer.port), client.getsockname()[:2])
                self.assertEqual(port.getHost().host, host)
                visited.transport.abortConnection()
            yield port.stopListening()

    def test_somethingElse(self) -> None:
        """One line says so."""
        connected, other = socket.socketpair()
        for made in (
            *(connected, other, socket.socket(), socket.socket(type=socket.SOCK_DGRAM)),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET),
        ):
            with made:
                endpoint = AdoptedEndpoint(reactor, made.fileno())
                error = self.failureResultOf(endpoint.listen(Factory()), OSError).value
                self.assertIn("listening stream socket", str(error))
        with open(self.mktemp(), "w") as file:
            endpoint = AdoptedEndpoint(reactor, file.fileno())
            self.failureResultOf(endpoint.listen(Factory()), OSError)

    @inlineCallbacks
    def test_queue(self) -> Any:
        """It holds more than the 50 that Twisted wants."""
        directory = tempfile.mkdtemp(prefix="adopt-")
        path = f"{directory}/socket"
        self.addCleanup(os.rmdir, directory)
        self.addCleanup(os.unlink, path)
        shared = socket.socket(socket.AF_UNIX)
        shared.bind(path)
        shared.listen(1)
        for each in shared, socket.create_server(("127.0.0.1", 0), backlog=1):
            port = self.adopt(each)
            port.stopReading()
            clients = []
            for _ in range(100):
                client = socket.socket(each.family)
                client.settimeout(5)
                client.connect(each.getsockname())
                clients.append(client)
            for client in clients:
                client.close()
            yield port.stopListening()


class PassedSocketTests(SynchronousTestCase):
    """Which sockets there are, as sd_listen_fds(3) says."""

    def passed(self, **more: str) -> dict[str, str]:
        """Return an environment with two sockets."""
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", **more}

    def test_index(self) -> None:
        for names in ({}, {"LISTEN_FDNAMES": "one:two"}, {"LISTEN_FDNAMES": "one"}):
            self.assertEqual(passedSocket(self.passed(**names), "0", None), 3)
            self.assertEqual(passedSocket(self.passed(**names), "1", None), 4)

    def test_name(self) -> None:
        environment = self.passed(LISTEN_FDNAMES="one:two")
        self.assertEqual(passedSocket(environment, None, "one"), 3)
        self.assertEqual(passedSocket(environment, None, "two"), 4)

    def test_sameName(self) -> None:
        """As by default those of one unit have."""
        environment = self.passed(LISTEN_FDNAMES="one:one")
        error = self.assertRaises(ValueError, passedSocket, environment, None, "one")
        self.assertIn('2 sockets named "one"; use index=', str(error))

    def test_noSuch(self) -> None:
        for environment, index, name in (
            (self.passed(), "2", None),
            (self.passed(), None, "one"),
            (self.passed(LISTEN_FDNAMES="one:two"), None, "three"),
            (self.passed(LISTEN_FDNAMES="one:two:three"), None, "three"),
            (self.passed(LISTEN_PID="1"), "0", None),
            (self.passed(LISTEN_FDS="two"), "0", None),
            (self.passed(LISTEN_FDS="9" * 20), "9" * 20, None),
            ({}, "0", None),
        ):
            self.assertRaises(LookupError, passedSocket, environment, index, name)

    def test_mistakes(self) -> None:
        for index, name in ((None, None), ("0", "one"), ("first", None), ("-1", None)):
            self.assertRaises(ValueError, passedSocket, self.passed(), index, name)

    def test_once(self) -> None:
        """A socket has one listener, however it is called."""
        self.patch(adoption, "_taken", set())
        environment = self.passed(LISTEN_FDNAMES="one:two")
        self.patch(adoption, "initialEnvironment", lambda: environment)
        self.assertEqual(takeSocket("1", None), 4)
        self.assertEqual(takeSocket("0", None), 3)
        error = self.assertRaises(ValueError, takeSocket, None, "two")
        self.assertEqual(str(error), "another listener has this socket")

    def test_daemon(self) -> None:
        """They were passed to the process that has become one by forking since."""
        environment = self.passed()
        self.patch(os, "getpid", lambda: 1)
        self.assertEqual(passedSocket(environment, "0", None), 3)

    def test_initialEnvironment(self) -> None:
        """What has been taken out meanwhile is there."""
        initial = initialEnvironment()
        self.assertIn("PATH", initial)
        self.patch(os, "environ", {})
        self.assertEqual(initialEnvironment(), initial)

    def test_noProc(self) -> None:
        self.patch(Path, "read_bytes", Mock(side_effect=FileNotFoundError))
        self.assertEqual(initialEnvironment(), dict(os.environ))


class JournalTests(SynchronousTestCase):
    """Whether a token that is shown would be kept by systemd's journal."""

    def test_priority(self) -> None:
        """Why there is no start is an error there, be it found early or late."""
        self.patch(options, "isJournal", lambda *_details: True)
        shown = StringIO()
        with contextlib.redirect_stderr(shown):
            self.assertRaises(SystemExit, options.ServerOptions().parseOptions, ["--nothing"])
            self.assertEqual(options.refused("it is taken").code, options.FAILED)
        early, late = shown.getvalue().splitlines()
        self.assertTrue(early.startswith("<3>nymea-remoteproxy: there is no option"), early)
        self.assertEqual(late, "<3>nymea-remoteproxy: it is taken")

    def test_noToken(self) -> None:
        """None is made then, and the server does not start; the tunnel proxy needs none."""
        self.patch(options, "isJournal", lambda *_details: True)
        made = options.ServerOptions()
        problem = self.assertRaises(SystemExit, made.parseOptions, [])
        self.assertIn("no authentication is given", str(problem))
        made.parseOptions(["--tunnelproxy", "--set=SSL.enabled=no"])
        self.assertIsNone(made.configuration.generatedToken)
        self.assertFalse(made.configuration.inBackground)
