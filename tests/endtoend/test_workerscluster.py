"""Two machines with two workers each, as one cluster with a real Redis."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import re
import signal
import socket
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.endtoend.test_workers import children, isAlive
from tests.support.cores import Core, TunnelProxyCase, anyUuid, error
from tests.support.endtoend import (
    ESTABLISHED_FIRST,
    ROOT,
    SIGTERM,
    SIGUSR2,
    SLACK,
    STREAM,
    TLS_STREAM,
    TWISTD,
    Program,
    Server,
    Stream,
    WebSocket,
    accepted,
    authenticate,
    connect,
    inThread,
    secret,
    until,
)
from tests.support.nodes import LEASE
from tests.support.redis import RedisServer, freePort, reasonToSkip

LOADING = 60.0
"""Seconds that workers may take to start; a second of CPU each."""

WORKERS = 2


def isForAll(path: Path) -> bool:
    """Tell whether each user gets there."""
    return all(each.stat().st_mode & 1 for each in (path, *path.parents))


class Node:
    """One machine: a server with workers.

    :ivar server: its parent process.
    :ivar urls: where clients come in.
    """

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.urls = server.urls
        self._directory = directory

    def url(self, scheme: str) -> str:
        """Return where clients come in by this."""
        return self.server.url(scheme)

    def worker(self, index: int) -> int:
        """Return the process id of a worker that serves."""
        found = self.server.find(rf"worker {index} serves, it is process (\d+)")
        return int(found[-1][1])

    def metrics(self) -> dict[str, float]:
        """Return what the admin endpoint shows, without labels."""
        (url,) = self.server.find(r"admin endpoint .*(http://\S+)")
        with urllib.request.urlopen(url[1].rstrip("/") + "/metrics") as answer:
            lines = answer.read().decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {name: float(value) for name, _space, value in pairs}

    def tunnelLines(self) -> list[dict[str, Any]]:
        """Return what was accounted."""
        path = self._directory / "tunnels.json"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class WorkersClusterCase(TunnelProxyCase):
    """Helpers for machines with workers.

    :ivar members: the others call the members so, by machine.
    """

    skip = reasonToSkip()

    def startRedis(self) -> RedisServer:
        """Start a Redis that ends with this test."""
        redis = RedisServer("--maxmemory-policy", "noeviction")
        self.addCleanup(redis.close)
        return redis

    def launch(self, url: str, count: int = 2, *arguments: str) -> list[Node]:
        """Start machines together; `self.token` is let in."""
        self.token = secret()
        with ThreadPoolExecutor(count) as pool:
            started = [pool.submit(self.node, url, *arguments) for _ in range(count)]
            return [one.result() for one in started]

    def node(self, url: str, *arguments: str) -> Node:
        """Start one machine, and wait until its workers serve."""
        directory = self.temporary()
        settings = (
            "ProxyServer.aloneTimeout=60000",
            "Limits.exemptNetworks=127.0.0.0/8",
            f"Accounting.tunnelLog={directory}/tunnels.json",
        )
        server = self.start(
            *("--websocket", STREAM, "--websocket", TLS_STREAM),
            *("--stream", STREAM, "--stream", TLS_STREAM),
            *("--cluster", url, "--workers", str(WORKERS), "--tunnelproxy"),
            *("--token", self.token, "--admin", STREAM),
            *itertools.chain(*(("--set", setting) for setting in settings)),
            *arguments,
            listeners=4,
            environment={"TMPDIR": str(directory)},
        )
        self.serving(server)
        return Node(server, directory)

    def serving(self, server: Program, mark: int = 0, count: int = WORKERS) -> None:
        """Wait until workers serve: all that they import takes its time on a busy machine."""
        deadline = time.monotonic() + LOADING
        while len(server.find(r"worker \d+ serves", mark)) < count:
            self.assertLess(time.monotonic(), deadline, server.text())
            self.assertIsNone(server.process.poll(), server.text())
            time.sleep(0.05)

    # Clients

    def clients(self, url: str, count: int = WORKERS) -> list[Stream]:
        """Return clients of one machine, as many in each of its workers; those are idle."""
        clients = [connect(url) for _ in range(count)]
        self.keep(*clients)
        for client in clients:
            client.socket.settimeout(LEASE + SLACK)
        return clients

    def ask(self, client: Stream, nonce: str) -> None:
        """Have a client wait for its partner."""
        client.sendMessage(authenticate(self.token, nonce=nonce))
        self.assertEqual(client.message(), accepted({}))

    def established(self, *clients: Stream) -> None:
        """Wait until they have their tunnel."""
        for client in clients:
            self.assertEqual(client.message(), ESTABLISHED_FIRST)

    def pair(self, one: Stream, other: Stream) -> tuple[Stream, Stream]:
        """Let two clients have a tunnel; the first one comes first."""
        nonce = secret("nonce")
        self.ask(one, nonce)
        self.ask(other, nonce)
        self.established(one, other)
        return one, other

    def moves(self, one: Stream, two: Stream) -> None:
        """Bytes go to and fro between these two, and are theirs."""
        for here, there in ((one, two), (two, one)):
            words = secret("words").encode()
            here.sendMessage(words)
            got = there.message() if isinstance(there, WebSocket) else there.read(len(words))
            self.assertEqual(got, words)

    def cutOff(self, client: Stream) -> None:
        """Wait until a client is closed, in a way that nobody can take for an orderly one."""
        if isinstance(client, WebSocket):
            self.assertEqual(client.goodbye()[1], 1013)
            return
        with contextlib.suppress(ConnectionResetError):
            while client.socket.recv(65536):
                pass
            raise AssertionError("an orderly end")

    def isOpen(self, client: Stream) -> bool:
        """Tell whether nobody has closed a client, which is sent nothing."""
        client.socket.setblocking(False)
        try:
            return client.socket.recv(1, socket.MSG_PEEK) != b""
        except (BlockingIOError, OSError) as error:
            return isinstance(error, BlockingIOError)
        finally:
            client.socket.settimeout(LEASE + SLACK)

    def total(self, nodes: list[Node], name: str) -> float:
        """Return a metric of all machines together."""
        return sum(node.metrics().get(f"nymea_remoteproxy_{name}", 0) for node in nodes)


class MeetingTests(WorkersClusterCase):
    """Whoever comes where."""

    @inThread
    def testPairs(self) -> None:
        """Clients of any two workers, by any two transports; each tunnel is one, everywhere."""
        nodes = self.launch(f"redis://127.0.0.1:{self.startRedis().port}")
        west, east = nodes
        pairs = []
        schemes = ("ws", "wss", "tcp", "tls")
        for near, far in itertools.product(schemes, schemes):
            here, there = self.clients(west.url(near)), self.clients(east.url(far))
            # Each worker of one has a tunnel with each of the other, over the sixteen of these.
            for one, two in zip(here, reversed(there), strict=True):
                pairs.append(self.pair(one, two))
        # Within one machine, between its workers.
        pairs.append(self.pair(*self.clients(west.url("tcp"))))
        for pair in pairs:
            self.moves(*pair)
        count = len(pairs)
        until(lambda: self.total(nodes, "tunnels") == count, "tunnels are not counted once")
        self.assertEqual(self.total(nodes, "tunnels_established_total"), count)
        for one, two in pairs:
            one.close()
            two.close()
        until(lambda: self.total(nodes, "tunnels") == 0, "tunnels do not end")
        until(
            lambda: sum(len(node.tunnelLines()) for node in nodes) == count,
            "there is not one line for each tunnel",
        )
        for line in itertools.chain(*(node.tunnelLines() for node in nodes)):
            self.assertEqual(len(line["sides"]), 2, line)
            self.assertTrue(all(side["received"] > 0 for side in line["sides"]), line)
        self.assertEqual(self.total(nodes, "tunnels_established_total"), count)

    @inThread
    def testServers(self) -> None:
        """A registered server is found from each worker of both machines."""
        west, east = self.launch(f"redis://127.0.0.1:{self.startRedis().port}")
        uuid = anyUuid()
        core = self.register(west.url("ws"), uuid)
        for url in (east.url("tcp"), east.url("wss"), west.url("tls"), west.url("ws")):
            client, address = self.join(url, uuid, core)
            self.works(core, client, address)
        for url in (east.url("tcp"), west.url("tcp")):
            for _ in range(WORKERS):
                second = Core(url, uuid)
                self.keep(second.stream)
                self.assertEqual(second.answer["tunnelProxyError"], error("AlreadyRegistered"))


class EndTests(WorkersClusterCase):
    """Machines and workers that go."""

    @inThread
    def testDrain(self) -> None:
        """What a machine that drains carries goes on, in both directions of links."""
        nodes = self.launch(f"redis://127.0.0.1:{self.startRedis().port}")
        west, east = nodes
        pairs = []
        for _ in range(2):
            here, there = self.clients(west.url("tcp")), self.clients(east.url("ws"))
            pairs += [self.pair(here[0], there[0]), self.pair(there[1], here[1])]
        uuid = anyUuid()
        core = self.register(west.url("ws"), uuid)
        client, address = self.join(east.url("tcp"), uuid, core)
        (idle,) = self.clients(west.url("tcp"), 1)
        mark = west.server.mark()
        west.server.signal(SIGUSR2)
        west.server.waitFor("draining: no new clients", mark)
        self.assertEqual(idle.goodbye(), (b"", None))
        for pair in pairs:
            self.moves(*pair)
        self.works(core, client, address)
        # A server with a client stays, and so another one can still come to it, by a new link.
        second, another = self.join(east.url("tls"), uuid, core)
        self.works(core, second, another)
        self.pair(*self.clients(east.url("tcp")))
        for each in (core.stream, *itertools.chain(*pairs)):
            each.close()
        self.assertEqual(west.server.wait(), 0)
        west.server.waitFor("drained: the last tunnel has ended", mark)
        self.assertEqual(west.server.find("is gone|worker-lost|Traceback"), [])

    @inThread
    def testKilled(self) -> None:
        """A worker that is killed costs what it had; what it held is free after the lease."""
        redis = self.startRedis()
        nodes = self.launch(f"redis://127.0.0.1:{redis.port}")
        west, east = nodes
        here, there = self.clients(west.url("tcp"), 4), self.clients(east.url("ws"), 4)
        pairs = [self.pair(one, two) for one, two in zip(here, there, strict=True)]
        waiting = self.clients(west.url("tcp"))
        nonces = [secret("nonce") for _ in waiting]
        for client, nonce in zip(waiting, nonces, strict=True):
            self.ask(client, nonce)
        mark = west.server.mark()
        killed = time.monotonic()
        os.kill(west.worker(1), signal.SIGKILL)
        west.server.waitFor(r"worker 1 is gone with \d+ connections?: ", mark)
        west.server.waitFor("ended: worker-lost ", mark, count=3)
        lost = {match[1] for match in west.server.find(r"from (\S+) ended: worker-lost ", mark)}
        self.assertEqual(len(lost), 3)
        for one, two in pairs:
            if one.peer in lost:
                self.cutOff(two)
                self.assertEqual(east.server.ended(two), "link-lost")
            else:
                self.moves(one, two)
        self.assertLess(time.monotonic() - killed, 5 + SLACK)
        ((held, nonce),) = [
            each for each in zip(waiting, nonces, strict=True) if each[0].peer not in lost
        ]
        (free,) = set(nonces) - {nonce}
        # The one that nobody holds any more: two others meet there. It may take the lease.
        others = self.clients(east.url("tcp"))
        for client in others:
            self.ask(client, free)
        # What the other worker holds is its own.
        (partner,) = self.clients(east.url("tcp"), 1)
        self.ask(partner, nonce)
        self.established(held, partner)
        self.moves(held, partner)
        self.established(*others)
        self.assertLess(time.monotonic() - killed, LEASE + SLACK)
        self.moves(*others)
        self.serving(west.server, mark, 1)
        # The new one takes links as well: clients come to it in turn.
        for one, two in zip(
            self.clients(east.url("tcp"), 4), self.clients(west.url("tcp"), 4), strict=True
        ):
            self.moves(*self.pair(two, one))
        for node in nodes:
            self.assertEqual(node.server.find("Traceback"), [])

    @inThread
    def testStop(self) -> None:
        """All say goodbye, nothing is left: no process, no directory, no entry, no place."""
        redis = self.startRedis()
        west, east = self.launch(f"redis://127.0.0.1:{redis.port}")
        (one,), (two,) = self.clients(west.url("ws"), 1), self.clients(east.url("ws"), 1)
        self.pair(one, two)
        (waiting,) = self.clients(west.url("ws"), 1)
        before = len(redis.do("KEYS", "*:place:*").split())
        self.ask(waiting, secret("nonce"))
        until(
            lambda: len(redis.do("KEYS", "*:place:*").split()) > before,
            "the place of the one that waits is not in the directory",
        )
        pids = [pid for node in (west, east) for pid in children(node.server)]
        for node in (west, east):
            node.server.signal(SIGTERM)
        self.assertEqual(waiting.goodbye()[1], 1013)
        for client in (one, two):
            # Of the server, or of the partner that was told to go a moment before.
            self.assertIn(client.goodbye()[1], (1000, 1001, 1013))
        for node in (west, east):
            self.assertEqual(node.server.wait(), 0)
            left = [path.name for path in node._directory.iterdir()]
            self.assertEqual([name for name in left if name.startswith("nymea")], [])
            self.assertEqual(node.server.find("killed|is gone"), [])
        self.assertFalse(any(map(isAlive, pids)))
        self.assertEqual(redis.do("KEYS", "*:member:*"), "")
        self.assertEqual(redis.do("KEYS", "*:place:*"), "")

    @inThread
    def testParentKilled(self) -> None:
        """Its workers leave as if it had told them to, and leave nothing."""
        redis = self.startRedis()
        (node,) = self.launch(f"redis://127.0.0.1:{redis.port}", 1)
        pids = children(node.server)
        node.server.signal(signal.SIGKILL)
        until(lambda: not any(map(isAlive, pids)), "they live on")
        left = [path.name for path in node._directory.iterdir()]
        self.assertEqual([name for name in left if name.startswith("nymea")], [])
        self.assertEqual(redis.do("KEYS", "*:member:*"), "")

    @inThread
    def testStopWhileStarting(self) -> None:
        """SIGTERM before the workers serve."""
        self.token = secret()
        directory = self.temporary()
        server = self.start(
            *("--websocket", STREAM, "--token", self.token, "--workers", "2"),
            *("--cluster", f"redis://127.0.0.1:{self.startRedis().port}"),
            environment={"TMPDIR": str(directory)},
        )
        pids = children(server)
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertFalse(any(map(isAlive, pids)))
        self.assertEqual(list(directory.iterdir()), [])


class PrivilegeTests(WorkersClusterCase):
    """A parent that was root when it listened."""

    skip = reasonToSkip()
    if os.geteuid():
        skip = "only root may become another user"
    elif not isForAll(Path(sys.executable).resolve()) or not isForAll(ROOT):
        skip = "other users may not run this Python, or this checkout"

    @inThread
    def testUser(self) -> None:
        """Workers, sockets and links are those of the user that it has become."""
        user = pwd.getpwnam("nobody")
        redis = self.startRedis()
        self.token = secret()
        nodes = []
        for _ in range(2):
            directory = self.temporary()
            os.chown(directory, user.pw_uid, user.pw_gid)
            program = self.launchProgram(
                [
                    *(*TWISTD[:-1], "--uid", str(user.pw_uid), "--gid", str(user.pw_gid)),
                    *(TWISTD[-1], "--websocket", STREAM, "--token", self.token, "--workers", "2"),
                    *("--cluster", f"redis://127.0.0.1:{redis.port}"),
                ],
                {"TMPDIR": str(directory), "HOME": str(directory)},
            )
            self.serving(program)
            nodes.append((program, directory))
        for program, directory in nodes:
            for pid in (program.pid, *children(program)):
                self.assertEqual(os.stat(f"/proc/{pid}").st_uid, user.pw_uid)
            (place,) = directory.glob("nymea*")
            self.assertEqual(len(list(place.iterdir())), WORKERS)
            self.assertEqual({each.stat().st_uid for each in place.iterdir()}, {user.pw_uid})
        urls = [program.waitFor(r"listening on (\S+)")[1] for program, _directory in nodes]
        for one, two in zip(self.clients(urls[0]), self.clients(urls[1]), strict=True):
            self.moves(*self.pair(one, two))
        for one, two in zip(*[iter(self.clients(urls[0], 4))] * 2, strict=True):
            self.moves(*self.pair(one, two))
        for program, directory in nodes:
            program.signal(SIGTERM)
            self.assertEqual(program.wait(), 0)
            self.assertEqual(list(directory.glob("nymea*")), [])

    @inThread
    def testUserWithoutPlace(self) -> None:
        """Where that user may make no directory one line says so, and it stops."""
        directory = self.temporary()
        program = self.launchProgram(
            [
                *(*TWISTD[:-1], "--uid", "65534", "--gid", "65534"),
                *(TWISTD[-1], "--websocket", STREAM, "--token", secret(), "--workers", "2"),
            ],
            {"TMPDIR": str(directory)},
        )
        program.waitFor("workers need a directory for their sockets: .*Permission denied")
        program.wait()
        self.assertEqual(len(program.find("need a directory")), 1)
        self.assertEqual(list(directory.iterdir()), [])


class DirectoryTests(WorkersClusterCase):
    """A directory that is not there."""

    @inThread
    def testNoRedis(self) -> None:
        """Workers serve all the same; it is told by each, and shown; when it is back all meet."""
        port = freePort()
        (node,) = self.launch(f"redis://127.0.0.1:{port}", 1)
        one, two, three = self.clients(node.url("tcp"), 3)  # the first and the third in one worker
        self.pair(one, three)
        self.moves(one, three)
        nonce = secret("nonce")
        self.ask(two, nonce)
        (four,) = self.clients(node.url("tcp"), 1)
        node.server.waitFor("The directory .* fails", count=WORKERS)
        redis = RedisServer("--maxmemory-policy", "noeviction", "--port", str(port))
        self.addCleanup(redis.close)
        node.server.waitFor("The directory .* answers again", count=WORKERS)
        self.ask(four, nonce)
        (five,) = self.clients(node.url("tcp"), 1)
        if not self.isOpen(four):
            raise AssertionError("closed")
        self.keep(five)
        self.established(two, four)
        self.moves(two, four)

    @inThread
    def testSecretChanges(self) -> None:
        """A directory that is emptied gets another secret: then new links are made with that."""
        redis = self.startRedis()
        nodes = self.launch(f"redis://127.0.0.1:{redis.port}")
        west, east = nodes
        kept = self.pair(self.clients(west.url("tcp"), 1)[0], self.clients(east.url("tcp"), 1)[0])
        marks = [node.server.mark() for node in nodes]
        redis.kill()
        redis.start()
        # Whoever is first there puts its own back; so have it that nobody knows this one.
        redis.do("SET", "nymea-remoteproxy:secret", "5" * 64)
        for node, mark in zip(nodes, marks, strict=True):
            node.server.waitFor("The directory .* answers again", mark, count=WORKERS)
        for _ in range(2):
            here, there = self.clients(west.url("tcp")), self.clients(east.url("tcp"))
            for one, two in zip(here, there, strict=True):
                self.moves(*self.pair(one, two))
        self.moves(*kept)
        text = "\n".join(node.server.text() for node in nodes)
        self.assertEqual(len(re.findall("has another secret than before", text)), 2 * WORKERS)
