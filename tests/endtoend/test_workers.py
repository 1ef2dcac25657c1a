"""Several processes that serve together, as real ones.

Clients that are to meet are in one worker here: with two of them every second one that comes is.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.endtoend import (
    CONSOLE,
    ESTABLISHED_FIRST,
    FIRST,
    SIGHUP,
    SIGINT,
    SIGTERM,
    SIGUSR2,
    SLACK,
    STREAM,
    TLS_STREAM,
    EndToEnd,
    Program,
    Server,
    Stream,
    accepted,
    authenticate,
    connect,
    inThread,
    join,
    refused,
    secret,
    until,
)

ALONE = """
import sys
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.service import makeService
options = ServerOptions()
options.parseOptions(["--websocket", f"unix:{sys.argv[1]}", "--token", "x"])
service = makeService(options)
service.privilegedStartService()
print([name for name in sys.modules if "nymearemoteproxy.workers" in name])
"""
"""Starts as the server does, and says what it has imported that only several processes need."""


def children(server: Program) -> list[int]:
    """Return the processes that it has started."""
    text = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def isAlive(pid: int) -> bool:
    """Tell whether it runs; one that has ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def isClosed(client: Stream) -> bool:
    """Tell whether the server has closed, in whichever way."""
    return client.rest() is not None


class WorkersCase(EndToEnd):
    """A server with two workers."""

    measured = True
    twistd = False

    def launch(self, *arguments: str, workers: int = 2) -> Server:
        """Start it; `self.token` is let in."""
        self.token = secret()
        self.path = str(self.temporary() / "socket")
        self.tokens = self.file(self.token)
        server = self.start(
            *("--websocket", STREAM, "--websocket", TLS_STREAM, "--stream", STREAM),
            *("--stream", TLS_STREAM, "--stream", f"unix:{self.path}"),
            *("--token-file", self.tokens, "--workers", str(workers)),
            *arguments,
            twistd=self.twistd,
            listeners=5,
        )
        server.waitFor(r"worker \d+ serves", count=workers)
        server.baseline = server.openFiles()
        return server

    def worker(self, server: Server, index: int) -> int:
        """Return the process id of a worker that serves."""
        return int(server.find(rf"worker {index} serves, it is process (\d+)")[-1][1])

    def pair(self, url: str) -> tuple[Stream, Stream, Stream]:
        """Return two clients in one worker with a tunnel, and one in the other, between them."""
        nonce = secrets.token_hex(4)
        one = join(url, self.token, nonce=nonce)
        another, two = connect(url), join(url, self.token, nonce=nonce)
        for client in (one, two):
            self.assertEqual(client.message(), ESTABLISHED_FIRST)
        self.keep(one, another, two)
        return one, another, two


class WorkersTests(WorkersCase):
    """What clients see."""

    @inThread
    def testTunnels(self) -> None:
        """Every listener's connections are served, and are named as by a single process."""
        server = self.launch()
        urls = [*server.urls[:4], f"unix:{self.path}"]
        for url in urls:
            mark = server.mark()
            one, another, two = self.pair(url)
            one.sendMessage(b"hello")
            self.assertEqual(two.message() if url.startswith("w") else two.read(5), b"hello")
            for client in (one, another, two):
                client.close()
            server.waitFor("ended: ", mark, count=3)
            if not url.startswith("unix:"):
                for client in (one, another, two):
                    server.ended(client, mark)
        server.settle()

    @inThread
    def testSpread(self) -> None:
        """Each worker gets as many connections as any other."""
        server = self.launch(workers=3)
        pids = [self.worker(server, index) for index in (1, 2, 3)]
        before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
        clients = [connect(server.urls[index % 4]) for index in range(12)]
        self.keep(*clients)
        until(
            lambda: (
                [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
                == [count + 4 for count in before]
            ),
            "they are not spread evenly",
        )

    @inThread
    def testStop(self) -> None:
        """All say goodbye, and end with status 0."""
        server = self.launch()
        clients = [join(server.url("ws"), self.token, nonce=secret("nonce")) for _ in range(4)]
        pids = children(server)
        server.signal(SIGTERM)
        for client in clients:
            self.assertEqual(client.goodbye(), (b"", 1013))
        self.assertEqual(server.wait(), 0)
        self.assertEqual(len(server.find("ended: shutdown-waiting ")), 4)
        self.assertEqual(server.find("worker-lost|is gone"), [])
        self.assertFalse(any(map(isAlive, pids)))

    @inThread
    def testStopUnderWay(self) -> None:
        """Workers that are only starting end as well."""
        self.token = secret()
        server = self.start("--websocket", STREAM, "--token", self.token, "--workers", "2")
        pids = children(server)
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertFalse(any(map(isAlive, pids)))

    @inThread
    def testInterrupt(self) -> None:
        """Ctrl-C reaches all processes at a terminal; only the parent minds it."""
        server = self.launch()
        client = join(server.url("ws"), self.token)
        for pid in children(server):
            os.kill(pid, SIGINT)
            os.kill(pid, SIGHUP)
        server.signal(SIGINT)
        self.assertEqual(client.goodbye(), (b"", 1013))
        server.wait()
        server.waitFor("stopped")
        self.assertEqual(server.find("worker-lost|is gone"), [])

    @inThread
    def testDrain(self) -> None:
        """SIGUSR2 sends away who has no tunnel, in all workers; sockets of systemd's stay."""
        self.token = secret()
        listening = socket.create_server(("127.0.0.1", 0))
        path = str(self.temporary() / "socket")
        local = socket.socket(socket.AF_UNIX)
        local.bind(path)
        local.listen()
        for each in (listening, local):
            self.addCleanup(each.close)
        server = self.start(
            *("--stream", "systemd:index=0", "--websocket", "systemd:index=1"),
            *("--workers", "2", "--token", self.token),
            listeners=2,
            sockets=(listening, local),
        )
        server.waitFor(r"worker \d+ serves", count=2)
        one, another, two = self.pair(server.url("tcp"))
        mark = server.mark()
        server.signal(SIGUSR2)
        server.waitFor("draining: no new clients", mark)
        self.assertEqual(another.goodbye(), (b"", None))
        one.send(b"still there")
        self.assertEqual(two.read(11), b"still there")
        with socket.create_connection(listening.getsockname()):
            self.assertTrue(Path(path).exists())
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)
        server.waitFor("drained: the last tunnel has ended", mark)

    @inThread
    def testNothingOfItWithOne(self) -> None:
        """A process that serves alone has imported nothing of this."""
        program = self.run_([sys.executable, "-c", ALONE, str(self.temporary() / "socket")])
        self.assertEqual(program.wait(), 0, program.text())
        self.assertEqual(program.text("out"), "[]")

    @inThread
    def testDiscreet(self) -> None:
        """No secret is in the list of processes, nor in their environment."""
        server = self.launch()
        for pid in children(server):
            for name in ("cmdline", "environ"):
                content = Path(f"/proc/{pid}/{name}").read_bytes()
                self.assertNotIn(self.token.encode(), content)


class DeathTests(WorkersCase):
    """Processes that die."""

    @inThread
    def testWorkerDies(self) -> None:
        """Its own connections end, and no others; another one takes its place."""
        server = self.launch()
        one, _one, two = self.pair(server.url("tcp"))
        three, _three, four = self.pair(server.url("tcp"))
        mark = server.mark()
        os.kill(self.worker(server, 1), signal.SIGKILL)
        server.waitFor(r"worker 1 is gone with \d+ connections?: it was ended by SIGKILL", mark)
        ended = {match[1] for match in server.find(r"from (\S+) ended: worker-lost ", mark)}
        for client in (one, two, three, four):
            if client.peer in ended:
                self.assertTrue(isClosed(client))
        pairs = [pair for pair in ((one, two), (three, four)) if pair[0].peer not in ended]
        self.assertEqual(len(pairs), 1)
        for here, there in pairs:
            here.send(b"still there")
            self.assertEqual(there.read(11), b"still there")
        server.waitFor("worker 1 serves", mark)
        self.pair(server.url("ws"))

    @inThread
    def testWorkerIsEnded(self) -> None:
        """SIGTERM has it say goodbye; another one takes its place."""
        server = self.launch()
        client = join(server.url("ws"), self.token)
        mark = server.mark()
        for index in (1, 2):
            os.kill(self.worker(server, index), SIGTERM)
        self.assertEqual(client.goodbye(), (b"", 1013))
        server.waitFor("worker 1 is gone with 0 connections: it ended by itself", mark)
        server.waitFor("worker [12] serves", mark, count=2)
        self.assertEqual(server.ended(client), "shutdown-waiting")

    @inThread
    def testParentDies(self) -> None:
        """All processes are gone within three seconds, and so are the connections."""
        server = self.launch()
        clients = [connect(server.url("tcp")) for _ in range(4)]
        pids = children(server)
        began = time.monotonic()
        server.signal(signal.SIGKILL)
        for client in clients:
            self.assertTrue(isClosed(client))
        until(lambda: not any(map(isAlive, pids)), "they live on")
        self.assertLess(time.monotonic() - began, 3 + SLACK)

    @inThread
    def testAllDie(self) -> None:
        """What they leave is removed by the next start; that of one that lives is not."""
        place = self.temporary()
        token, environment = secret(), {"TMPDIR": str(place)}
        # With -v Twisted tells where workers listen.
        options = ("--websocket", STREAM, "--token", token, "--workers", "2", "-v")
        killed, living = (self.start(*options, environment=environment) for _ in range(2))
        for server in (killed, living):
            server.waitFor(r"worker \d serves", count=2)
        own = {path for path in place.iterdir() if path.name in living.text()}
        self.assertEqual((len(own), len(list(place.iterdir()))), (1, 2))
        for pid in (killed.pid, *children(killed)):
            os.kill(pid, signal.SIGKILL)
        killed.process.wait()
        self.assertEqual(len(list(place.iterdir())), 2)
        after = self.start(*options, environment=environment)
        after.waitFor("removed .* which a server that was killed has left")
        after.waitFor(r"worker \d serves", count=2)
        for server in (after, living):
            one, another = (join(server.url("ws"), token, nonce="n" * 8) for _ in range(2))
            self.assertEqual(one.message(), ESTABLISHED_FIRST)
            self.assertEqual(another.message(), ESTABLISHED_FIRST)
            one.close()
            another.close()
            server.signal(SIGTERM)
            self.assertEqual(server.wait(), 0)
        self.assertEqual(list(place.iterdir()), [])

    @inThread
    def testLoop(self) -> None:
        """One that dies again and again is told of once; the other one serves."""
        server = self.launch()
        for _ in range(4):
            mark = server.mark()
            os.kill(self.worker(server, 1), signal.SIGKILL)
            server.waitFor("worker 1 serves", mark)
        self.assertEqual(len(server.find("worker 1 is gone")), 2)
        self.assertEqual(len(server.find("worker 1 does not stay: .* SIGKILL")), 1)
        self.pair(server.url("tcp"))
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)


class HeritageTests(WorkersCase):
    """What workers have from their parent."""

    def tokenCounts(self, server: Server, token: str, isIn: bool) -> None:
        """Both workers accept a token, or neither."""
        for _ in range(2):
            client = connect(server.url("tcp"))
            client.sendMessage(authenticate(token, nonce=secret("nonce")))
            self.assertEqual(client.message(), accepted(FIRST) if isIn else refused(FIRST))
            self.keep(client)

    @inThread
    def testReload(self) -> None:
        """SIGHUP is for all."""
        server = self.launch()
        new = secret()
        self.tokenCounts(server, new, False)
        Path(self.tokens).write_text(new)
        mark = server.mark()
        server.signal(SIGHUP)
        server.waitFor("reloaded: 1 token", mark)
        self.tokenCounts(server, new, True)
        self.tokenCounts(server, self.token, False)

    @inThread
    def testLaterOnes(self) -> None:
        """One that starts later is as the others are, whatever has become of the files."""
        server = self.launch()
        second, third = secret(), secret()
        Path(self.tokens).write_text(second)
        mark = server.mark()
        server.signal(SIGHUP)
        server.waitFor("reloaded: 1 token", mark)
        Path(self.tokens).unlink()
        server.signal(SIGHUP)
        server.waitFor("reloaded, but not everything", mark)
        Path(self.tokens).write_text(third)
        for index in (1, 2):
            mark = server.mark()
            os.kill(self.worker(server, index), signal.SIGKILL)
            server.waitFor(f"worker {index} serves", mark)
        self.tokenCounts(server, second, True)
        self.tokenCounts(server, third, False)

    @inThread
    def testMade(self) -> None:
        """The token and the certificate that are made are the same for all."""
        server = self.start("--port", "0", "--workers", "2")
        server.waitFor(r"worker \d serves", count=2)
        token = server.waitFor(r"token of this run is (\S+)")[1]
        one = join(server.urls[0], token)
        another = join(server.urls[0], token, nonce=secret("nonce"))
        self.keep(one, another)

    @inThread
    def testLog(self) -> None:
        """What a worker logs is in the one log, in its format, and says whose it is."""
        log = Path(self.file(""))
        path, token = self.temporary() / "socket", secret()
        self.launchProgram(
            [*CONSOLE, "--workers", "2", "-vv", "--stream", f"unix:{path}", "--token", token]
            + ["--port", "0", "--logging", str(log), "--set", "ProxyServer.logFormat=json"]
        )

        def lines(text: str) -> list[dict[str, Any]]:
            every = [json.loads(line) for line in log.read_text().splitlines()]
            return [line for line in every if text in line["text"]]

        until(lambda: len(lines("serves")) == 2, "the workers do not serve")
        self.token = token
        one, _another, two = self.pair(f"unix:{path}")
        one.send(b"hello")
        self.assertEqual(two.read(5), b"hello")
        until(lambda: bool(lines("connection 1 →")), "the worker's log is missing")
        (line,) = lines("connection 1 →")
        self.assertEqual((line["worker"], line["level"], line["number"]), (1, "debug", 1))


class TwistdWorkersTests(WorkersCase):
    """The same under twistd."""

    twistd = True

    testTunnels = WorkersTests.testTunnels
    testStop = WorkersTests.testStop
    testWorkerDies = DeathTests.testWorkerDies
