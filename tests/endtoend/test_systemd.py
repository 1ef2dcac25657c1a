"""The real server process under systemd: its sockets, and what it tells."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from tests.support.endtoend import (
    CLIENT,
    CONSOLE,
    PATIENCE,
    SIGHUP,
    SIGTERM,
    SIGUSR2,
    STREAM,
    TLS,
    TWISTD,
    UPGRADE,
    EndToEnd,
    Program,
    Server,
    Stream,
    accepted,
    authenticate,
    call,
    inThread,
    join,
    secret,
    tunnel,
    until,
)
from tests.support.lives import DRAINING, hello, reload
from tests.support.moving import Traffic

AT_JOURNAL = """
import os, sys
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes a program whose standard error is what systemd calls its journal."""


class ActivationTests(EndToEnd):
    """Sockets that systemd made: a new process serves newcomers while the old one drains."""

    twistd = False
    more: tuple[str, ...] = ()

    @inThread
    def setUp(self) -> None:
        self.token = secret()
        self.path = str(self.temporary() / "socket")
        self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=MANY)]
        self.sockets.append(socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=MANY))
        self.sockets.append(made := socket.socket(socket.AF_UNIX))
        made.bind(self.path)
        os.chmod(self.path, 0o640)
        made.listen(MANY)
        for each in self.sockets:
            self.addCleanup(each.close)

    def activate(self, name: str, *sockets: str, names: str = "") -> Server:
        """Start a server with these sockets.

        They need no names, and a domain that is missing or wrong makes no difference.
        """
        one, two, three = sockets or (
            "systemd:domain=INET:index=0",
            "systemd:domain=INET:index=1",
            "systemd:index=2",
        )
        server = self.start(
            *("--websocket", one, "--websocket", f"tls:{two}", "--stream", three),
            *("--token", self.token, "--set", f"ProxyServer.name={name}"),
            *("--set", "ProxyServer.tlsHandshakeTimeout=60000"),
            *("--set", "ProxyServer.inactiveTimeout=60000"),
            *("--set", "ProxyServer.webSocketHandshakeTimeout=60000"),
            *self.more,
            twistd=self.twistd,
            listeners=3,
            sockets=self.sockets,
            environment={"LISTEN_FDNAMES": names},
        )
        port, port6 = (each.getsockname()[1] for each in self.sockets[:2])
        expected = [f"ws://127.0.0.1:{port}", f"wss://[::1]:{port6}", f"unix:{self.path}"]
        self.assertEqual(server.urls, expected)
        return server

    def assertServed(self, server: Server, name: str) -> None:
        """Check that every listener is served by the one with this name."""
        for url in server.urls:
            self.assertEqual(hello(url)["name"], name)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)

    @inThread
    def testHandOver(self) -> None:
        """Both listen for a while; nobody finds a closed door, and the old tunnels live."""
        old = self.activate("old")
        self.assertServed(old, "old")
        tunnels = [
            tunnel(old.urls[0], self.token, old.urls[1]),
        ]
        traffic = Traffic(tunnels)
        visits = Visits(old.urls)
        self.addCleanup(visits.stop)
        visits.waitFor("old")
        new = self.activate("new")
        visits.waitFor("new")
        old.signal(SIGUSR2)
        self.waitUntilClosed(old)
        mark = visits.mark()
        traffic.moves()
        visits.waitFor("new", since=mark, count=100)
        visits.stop()
        self.assertEqual(set(visits.since(mark)), {"new"})
        self.assertNotIn("refused", visits.since(0))
        traffic.finish()
        self.assertServed(new, "new")
        for client in tunnels[0]:
            client.close()
        self.assertEqual(old.wait(), 0)
        self.assertServed(new, "new")
        new.signal(SIGTERM)
        self.assertEqual(new.wait(), 0)
        self.assertTrue(Path(self.path).exists())

    @inThread
    def testWatchersFollow(self) -> None:
        """The monitor socket and the admin endpoint become the new one's, at the same places."""
        admin, monitor = (str(self.temporary() / name) for name in ("admin", "monitor"))
        self.more = ("--admin", f"unix:{admin}", "--set", f"ProxyServer.monitorSocket={monitor}")

        def ask(path: str, request: bytes) -> bytes:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(path)
                asking.sendall(request)
                if path is monitor:
                    asking.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: asking.recv(65536), b""))

        def assertWatched(name: str) -> None:
            told = json.loads(ask(monitor, b'{"method":"refresh"}'))
            self.assertEqual(told["serverName"], name)
            get = b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            self.assertIn(f'"name":"{name}"'.encode(), ask(admin, get))

        old = self.activate("old")
        assertWatched("old")
        one, two = tunnel(old.urls[0], self.token, old.urls[2])
        old.signal(SIGUSR2)
        self.waitUntilClosed(old)
        until(lambda: not os.path.exists(admin), "the admin endpoint is still there")
        self.activate("new")
        assertWatched("new")
        one.close()
        two.close()
        self.assertEqual(old.wait(), 0)
        assertWatched("new")

    @inThread
    def testQueue(self) -> None:
        """Who comes while nobody accepts, and be it many, is served by the next process."""
        old = self.activate("old")
        one, two = tunnel(old.urls[0], self.token, old.urls[2])
        old.signal(SIGUSR2)
        old.waitFor(DRAINING)
        self.waitUntilClosed(old)
        waiting = {url: [Stream(url, tls=False) for _ in range(MANY)] for url in old.urls}
        new = self.activate("new")
        web, secure, unix = waiting.values()
        for client in web:
            client.send(UPGRADE)
            self.assertIn(b" 101 ", client.readUntil(b"\r\n\r\n"))
        for client in secure:
            client.socket = TLS.wrap_socket(client.socket)
        for client in unix:
            client.send(call("RemoteProxy.Hello"))
            self.assertEqual(json.loads(client.message())["params"]["name"], "new")
        for client in itertools.chain(web, secure, unix):
            client.close()
        self.assertServed(new, "new")
        one.sendMessage(b"still here")
        self.assertEqual(two.read(10), b"still here")
        one.close()
        two.close()
        self.assertEqual(old.wait(), 0)
        self.assertServed(new, "new")

    def waitUntilClosed(self, server: Server) -> None:
        """Wait until a process does not listen any more."""
        inodes = {f"socket:[{os.fstat(shared.fileno()).st_ino}]" for shared in self.sockets}

        def held() -> set[str]:
            files = set()
            for file in Path(f"/proc/{server.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # it may be closed meanwhile
                    files.add(os.readlink(file))
            return files

        until(lambda: not inodes & held(), "it still listens")

    @inThread
    def testNames(self) -> None:
        """By name; and clients' addresses are their own."""
        names = ("web", "web6", "stream")
        server = self.activate(
            "named", *(f"systemd:name={name}" for name in names), names=":".join(names)
        )
        self.assertServed(server, "named")
        client = Stream(server.urls[1], tls=False)
        client.close()
        self.assertEqual(server.ended(client), "tls-handshake-failed")

    @inThread
    def testBehindProxy(self) -> None:
        """With PROXY headers, too, the file stays as it is."""
        server = self.start(
            *("--stream", "haproxy:systemd:domain=UNIX:index=2", "--websocket", STREAM),
            *("--token", self.token),
            listeners=2,
            sockets=self.sockets,
        )
        client = Stream(server.url("unix"))
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n" + authenticate(self.token))
        self.assertEqual(client.message(), accepted({}))
        server.signal(SIGTERM)
        client.goodbye()
        self.assertEqual(server.wait(), 0)
        server.waitFor("from 192.0.2.7:1 ended")
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)
        Stream(f"unix:{self.path}").close()  # into the queue

    @inThread
    def testSomethingElse(self) -> None:
        """A socket on which nobody can come: one line, and the end."""
        with socket.socket(type=socket.SOCK_DGRAM) as made:
            made.bind(("127.0.0.1", 0))
            program = Program(
                [*CONSOLE, "--websocket", "systemd:index=0", "--token", "t"],
                stateHome=str(self.temporary()),
                sockets=[made],
            )
            self.addCleanup(program.stop)
            self.assertEqual(program.wait(), 1)
        self.assertRegex(
            program.text(),
            r"^nymea-remoteproxy: cannot listen on systemd:index=0: systemd passed something else "
            "than a listening stream socket$",
        )

    @inThread
    def testForAnotherProcess(self) -> None:
        """No such socket: one line, and the end."""
        program = self.run_(
            [*CONSOLE, "--websocket", "systemd:domain=INET:index=0", "--token", "t"]
        )
        self.assertEqual(program.wait(), 1)
        self.assertIn("systemd passed no such socket", program.text())


class TwistdActivationTests(ActivationTests):
    """The same under twistd."""

    twistd = True

    @inThread
    def testDaemon(self) -> None:
        """It is another process than the one that the sockets were passed to."""
        directory = self.temporary()
        pidFile = directory / "pid"
        program = Program(
            [
                *(*TWISTD[:3], f"--pidfile={pidFile}", f"--logfile={directory}/log", TWISTD[-1]),
                *("--websocket", "systemd:index=0", "--token", self.token),
                *("--set", "ProxyServer.name=daemon"),
            ],
            sockets=self.sockets,
        )
        self.addCleanup(program.stop)
        self.assertEqual(program.wait(), 0, program.text())
        daemon = int(pidFile.read_text())
        self.addCleanup(until, lambda: not pidFile.exists(), "it does not end")
        self.addCleanup(os.kill, daemon, SIGTERM)
        port = self.sockets[0].getsockname()[1]
        self.assertEqual(hello(f"ws://127.0.0.1:{port}")["name"], "daemon")


WITHOUT_WORKERS = """
import sys
from nymearemoteproxy.running import staff
from nymearemoteproxy.running.cli import main
staff.MODULE = "nymearemoteproxy.nothing"
main(sys.argv[1:])
"""
"""The server whose workers end at once."""

MANY = 150
"""More than the 50 connections that Twisted has the kernel queue."""


class Visits:
    """People who come again and again, to each of these places, and ask who is there."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._results: list[tuple[int, str]] = []
        self._begun = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(url,)) for url in urls]
        for thread in self._threads:
            thread.start()

    def mark(self) -> int:
        """Return a position before which all have begun that are under way."""
        return next(self._begun)

    def since(self, mark: int) -> list[str]:
        """Return who served those that began since then, or what went wrong."""
        return [who for begun, who in self._results if begun >= mark]

    def waitFor(self, who: str, since: int = 0, count: int = 1) -> None:
        """Wait until so many were served by them."""
        until(lambda: self.since(since).count(who) >= count, f"{who} serves nobody")

    def stop(self) -> None:
        """Nobody comes any more."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, url: str) -> None:
        while not self._over.is_set():
            begun = next(self._begun)
            try:
                who = hello(url)["name"]
            except ConnectionRefusedError:
                who = "refused"
            except Exception as error:
                who = repr(error)
            self._results.append((begun, who))


class Systemd:
    """What systemd is told."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.settimeout(PATIENCE)
        self.address = address

    def next(self) -> dict[str, str]:
        """Return the next message."""
        lines = self.socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def waitFor(self, name: str) -> dict[str, str]:
        """Return the next message with this in it; nobody has said STOPPING before."""
        while name not in (message := self.next()):
            if "STOPPING" in message:
                raise AssertionError(message)
        return message

    def close(self) -> None:
        """Hear nothing more."""
        self.socket.close()


class NotifyTests(EndToEnd):
    """What the service tells systemd."""

    measured = True

    def listen(self, address: str = "") -> Systemd:
        """Return a systemd that listens at a path, or at this address."""
        systemd = Systemd(address or str(self.temporary() / "notify"))
        self.addCleanup(systemd.close)
        return systemd

    def launch(self, systemd: Systemd, *arguments: str, **environment: str) -> Server:
        """Start a server that notifies it."""
        return self.start(
            *("--websocket", STREAM, "--token", self.token, *arguments),
            environment={"NOTIFY_SOCKET": systemd.address, **environment},
        )

    def setUp(self) -> None:
        self.token = secret()

    @inThread
    def testReady(self) -> None:
        """It is ready when clients can come, and says nothing before."""
        systemd = self.listen()
        path = str(self.temporary() / "socket")
        program = self.launchProgram(
            [*CONSOLE, "--websocket", STREAM, "--stream", f"unix:{path}", "--token", self.token],
            {"NOTIFY_SOCKET": systemd.address},
        )
        self.assertEqual(systemd.next(), {"READY": "1", "STATUS": "0 connections"})
        join(f"unix:{path}", self.token).close()
        program.signal(SIGTERM)
        systemd.waitFor("STOPPING")
        self.assertEqual(program.wait(), 0)

    @inThread
    def testWorkers(self) -> None:
        """With workers it is ready when one of them serves; until then it says how many do."""
        systemd = self.listen()
        program = self.launchProgram(
            [*CONSOLE, "--websocket", STREAM, "--token", self.token, "--workers", "2"],
            {"NOTIFY_SOCKET": systemd.address},
        )
        self.assertEqual(systemd.next(), {"STATUS": "0 connections, 0 of 2 workers"})
        message = systemd.waitFor("READY")
        self.assertRegex(message["STATUS"], "^0 connections, [12] of 2 workers$")
        program.waitFor(r"worker \d serves")
        program.signal(SIGTERM)
        systemd.waitFor("STOPPING")
        self.assertEqual(program.wait(), 0)

    @inThread
    def testJournal(self) -> None:
        """Lines for it have a priority and no date, and none is Twisted's."""
        program = self.launchProgram(
            [sys.executable, "-c", AT_JOURNAL, *CONSOLE, "--websocket", STREAM]
            + ["--token", self.token, "--set", "AWS.region=x"],
            {},
        )
        program.waitFor("<6>listening on ")
        program.waitFor("<6>who may in: who has the token")
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)
        lines = program.text().splitlines()
        self.assertIn("<6>stopped", lines[-1])
        self.assertTrue(any(line.startswith("<4>[AWS] is ignored") for line in lines), lines)
        for line in lines:
            self.assertRegex(line, r"^<[46]>(?!\d{4}-)")
            self.assertNotRegex(line, "starting on|Closed|Main loop")

    @inThread
    def testJournalOfClient(self) -> None:
        """Why it has ended is an error there."""
        program = self.launchProgram(
            [sys.executable, "-c", AT_JOURNAL, *CLIENT, "--url", "http://h", "--token", "t"], {}
        )
        self.assertEqual(program.wait(), 1)
        self.assertRegex(program.text(), r"\A<3>nymea-remoteproxy-client: [^\n]+\Z")

    @inThread
    def testReloadFails(self) -> None:
        """The status tells of it, until a reload finds nothing wrong."""
        systemd = self.listen()
        tokens = self.temporary() / "tokens"
        tokens.write_text(self.token)
        program = self.launchProgram(
            [*CONSOLE, "--websocket", STREAM, "--token-file", str(tokens)],
            {"NOTIFY_SOCKET": systemd.address},
        )
        systemd.waitFor("READY")
        for content, said in (
            ("", ", the last reload found 1 mistake, see the log"),
            (
                self.token,
                "",
            ),
        ):
            tokens.write_text(content)
            program.signal(SIGHUP)
            systemd.waitFor("RELOADING")
            self.assertEqual(systemd.waitFor("READY")["STATUS"], f"0 connections{said}")
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)

    @inThread
    def testWorkersDoNotStay(self) -> None:
        """Where no worker comes up it is never ready, and the log says why; it can be stopped."""
        systemd = self.listen()
        program = self.launchProgram(
            [
                *(sys.executable, "-c", WITHOUT_WORKERS, "--websocket", STREAM),
                *("--token", self.token, "--workers", "2"),
            ],
            {"NOTIFY_SOCKET": systemd.address},
        )
        program.waitFor("worker 1 does not stay: .* it ended with status 1")
        program.signal(SIGTERM)
        while "STOPPING" not in (message := systemd.next()):
            self.assertNotIn("READY", message)
        self.assertEqual(program.wait(), 0)

    @inThread
    def testNotReady(self) -> None:
        """A start that fails is never ready."""
        systemd = self.listen()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            place = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            program = self.run_(
                [*CONSOLE, "--websocket", place, "--token", self.token],
                NOTIFY_SOCKET=systemd.address,
            )
            self.assertEqual(program.wait(), 1)
        systemd.socket.setblocking(False)
        self.assertRaises(BlockingIOError, systemd.next)

    @inThread
    def testLife(self) -> None:
        """Reload, drain and stop, in the abstract namespace."""
        systemd = self.listen(f"@nymea-{os.getpid()}-{time.monotonic_ns()}")
        server = self.launch(systemd, WATCHDOG_USEC="1000000000")  # so that no beat helps
        self.assertEqual(systemd.next()["READY"], "1")
        self.assertEqual(systemd.next()["WATCHDOG"], "1")
        one, two = tunnel(server.url("ws"), self.token)
        for expected in ("2 connections", "draining, 2 connections"):
            before = time.monotonic_ns() // 1000
            server.signal(SIGHUP)
            message = systemd.waitFor("RELOADING")
            after = time.monotonic_ns() // 1000
            self.assertEqual(message.pop("RELOADING"), "1")
            self.assertTrue(before <= int(message.pop("MONOTONIC_USEC")) <= after)
            self.assertEqual(message, {})
            self.assertEqual(systemd.next(), {"READY": "1", "STATUS": expected})
            if "draining" not in expected:
                server.signal(SIGUSR2)
                self.assertEqual(systemd.waitFor("STATUS")["STATUS"], "draining, 2 connections")
        one.close()
        two.close()
        self.assertEqual(systemd.waitFor("STOPPING"), {"STOPPING": "1"})
        self.assertEqual(server.wait(), 0)
        systemd.socket.setblocking(False)
        self.assertRaises(BlockingIOError, systemd.next)

    @inThread
    def testWatchdog(self) -> None:
        """It hears three times in its time, also while tunnels are being told goodbye."""
        systemd = self.listen()
        server = self.launch(
            systemd, "--set", "ProxyServer.shutdownTimeout=1000", WATCHDOG_USEC="900000"
        )
        systemd.waitFor("WATCHDOG")
        one, two = tunnel(server.url("ws"), self.token)
        self.keep(one, two)
        times = []
        for _ in range(5):
            message = systemd.waitFor("WATCHDOG")
            times.append(time.monotonic())
        self.assertEqual(message, {"WATCHDOG": "1", "STATUS": "2 connections"})
        self.assertGreater(times[-1] - times[0], 4 * 0.3 - 0.1)
        self.assertLess(max(b - a for a, b in itertools.pairwise(times)), 0.9)
        server.signal(SIGTERM)
        systemd.waitFor("STOPPING")
        systemd.waitFor("WATCHDOG")
        self.assertEqual(server.wait(), 0)

    @inThread
    def testWatchdogOfAnother(self) -> None:
        """One that is meant for another process gets nothing."""
        systemd = self.listen()
        server = self.launch(systemd, WATCHDOG_USEC="30000", WATCHDOG_PID="1")
        server.signal(SIGTERM)
        messages = []
        while "STOPPING" not in (message := systemd.next()):
            messages.append(message)
        self.assertEqual([set(each) for each in messages], [{"READY", "STATUS"}, {"STATUS"}])
        self.assertEqual(server.wait(), 0)

    @inThread
    def testNobodyListens(self) -> None:
        """That is told once, and does no harm."""
        systemd = self.listen()
        systemd.close()
        for address in systemd.address, f"{systemd.address}/below", "@nobody", "/" + "x" * 200:
            server = self.start(
                *("--websocket", STREAM, "--token", self.token),
                environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000"},
            )
            for _ in range(3):
                reload(server)
            join(server.url("ws"), self.token).close()
            server.signal(SIGTERM)
            self.assertEqual(server.wait(), 0)
            self.assertEqual(len(server.find(r" warn +cannot tell systemd READY=1: \w")), 1)
            self.assertEqual(len(server.find("cannot tell systemd")), 1)
