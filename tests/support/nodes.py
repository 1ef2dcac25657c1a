"""Several real server processes that are members of one cluster, with a real Redis.

Clients are real as well. What is to happen within some seconds is waited for, timed and noted in
trial's log; how much longer it may take on a machine that has other things to do is `SLACK`.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.logger import Logger

from tests.support.cores import Core, TunnelProxyCase
from tests.support.endtoend import (
    ESTABLISHED_FIRST,
    SIGTERM,
    SLACK,
    STREAM,
    Server,
    Stream,
    WebSocket,
    join,
    secret,
    until,
)
from tests.support.gateways import Gateway
from tests.support.redis import RedisServer, freePort, reasonToSkip

log = Logger()

LEASE = 15.0
"""Seconds after which a member that is silent counts as gone."""

LONG = 40.0
"""Seconds that a client waits for what may take as long as a lease."""


class Node:
    """One server process, a member of the cluster.

    :ivar server: the process.
    :ivar ws: the URL of its WebSocket listener.
    :ivar tcp: the URL of its plain stream.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ws, self.tcp = server.url("ws"), server.url("tcp")

    @property
    def id(self) -> str:
        """What the others call it."""
        return self.server.waitFor(r"member ([0-9a-f]{32}) of the cluster")[1]

    def kill(self) -> None:
        """End it as the kernel does that is out of memory."""
        self.server.signal(signal.SIGKILL)
        self.server.process.wait()

    def freeze(self) -> None:
        """Let it do nothing, while its kernel still takes connections and data."""
        self.server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.server.process.poll() is None:
            self.server.signal(signal.SIGCONT)

    def stop(self) -> int:
        """Have it end in order; return its status."""
        self.server.signal(SIGTERM)
        return self.server.wait()


class Stopwatch:
    """How long something took.

    :ivar seconds: since it was started.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class ClusterCase(TunnelProxyCase):
    """Servers that are members of one cluster."""

    redis: RedisServer
    skip = reasonToSkip()

    def gateway(self, target: int) -> Gateway:
        """Return a proxy for a port, which ends with this test."""
        gateway = Gateway(target)
        self.addCleanup(gateway.close)
        return gateway

    def nodeBehind(self, *arguments: str) -> tuple[Node, Gateway]:
        """Start a member whose links come in by a gateway."""
        port = freePort()
        gateway = self.gateway(port)
        node = self.node(
            *("--set", f"Cluster.listen=tcp:{port}:interface=127.0.0.1"),
            *("--set", f"Cluster.address=127.0.0.1:{gateway.port}"),
            *arguments,
        )
        return node, gateway

    def startRedis(self, *options: str, **more: Any) -> RedisServer:
        """Start a Redis that ends with this test; `self.redis` is the last one."""
        self.redis = RedisServer("--maxmemory-policy", "noeviction", *options, **more)
        self.addCleanup(self.redis.close)
        return self.redis

    def launch(
        self, count: int = 3, *arguments: str, redis: str = "", listeners: int = 2
    ) -> list[Node]:
        """Start members together; `self.token` is let in."""
        self.token = getattr(self, "token", None) or secret()
        with ThreadPoolExecutor(count) as pool:
            more = {"redis": redis, "listeners": listeners}
            started = [pool.submit(self.node, *arguments, **more) for _ in range(count)]
            return [one.result() for one in started]

    def node(
        self,
        *arguments: str,
        redis: str = "",
        places: dict[str, str] | None = None,
        listeners: int = 2,
        through: Sequence[str] = (),
    ) -> Node:
        """Start one more member."""
        self.token = getattr(self, "token", None) or secret()
        url = redis or f"redis://127.0.0.1:{self.redis.port}"
        at = places or {"ws": STREAM, "tcp": STREAM}
        server = self.start(
            *("--websocket", at["ws"], "--stream", at["tcp"], "--cluster", url, "--tunnelproxy"),
            *("--token", self.token, "--set", "ProxyServer.aloneTimeout=60000"),
            *("--set", "Limits.exemptNetworks=127.0.0.0/8"),
            *arguments,
            listeners=listeners,
            through=through,
        )
        node = Node(server)
        self.addCleanup(node.thaw)
        return node

    # Clients

    def waiter(self, url: str, nonce: str) -> Stream:
        """Return a client that waits, and is closed with the test."""
        client = join(url, self.token, nonce=nonce)
        client.socket.settimeout(LONG)
        self.keep(client)
        return client

    def webSocket(self, node: Node, nonce: str) -> WebSocket:
        """Return one that waits, of whose end it is known how it was meant."""
        client = self.waiter(node.ws, nonce)
        assert isinstance(client, WebSocket)
        return client

    def first(self, node: Node, nonce: str, url: str = "") -> Stream:
        """Return a client that waits and whose key is known to be at home with its member."""
        before = self.places(node)
        client = self.waiter(url or node.tcp, nonce)
        until(lambda: bool(self.places(node) - before), "its place is not claimed")
        return client

    def places(self, node: Node) -> set[str]:
        """Return the places that a member holds, as the directory has it."""
        names = [name for name in self.redis.do("KEYS", "*:place:*").split("\n") if name]
        holders = self.redis.do("MGET", *names).split("\n") if names else []
        return {
            name for name, holder in zip(names, holders, strict=True) if holder.startswith(node.id)
        }

    def established(self, *clients: Stream) -> None:
        """Wait until they have their tunnel."""
        for client in clients:
            self.assertEqual(client.message(), ESTABLISHED_FIRST)

    def pair(self, one: str, other: str, nonce: str | None = None) -> tuple[Stream, Stream]:
        """Return two clients with a tunnel; either one's member may be their home."""
        nonce = nonce or secret("nonce")
        clients = self.waiter(one, nonce), self.waiter(other, nonce)
        self.established(*clients)
        return clients

    def visitor(self, url: str, core: Core, uuid: str) -> Stream:
        """Return a client of a server, which has heard of it."""
        client, _address = self.join(url, uuid, core)
        client.socket.settimeout(LONG)
        return client

    def moves(self, one: Stream, two: Stream) -> None:
        """Bytes go to and fro between these two, and are theirs."""
        for here, there in ((one, two), (two, one)):
            words = secret("words").encode()
            here.sendMessage(words)
            self.assertEqual(self.words(there, len(words)), words)

    def words(self, client: Stream, size: int) -> bytes:
        """Return what has come for a client."""
        return client.message() if isinstance(client, WebSocket) else client.read(size)

    def cutOff(self, client: Stream) -> None:
        """Wait until a client is closed, in a way that nobody can take for an orderly one."""
        if isinstance(client, WebSocket):
            self.assertEqual(client.goodbye()[1], 1013)
            return
        with contextlib.suppress(TimeoutError):
            while True:
                try:
                    data = client.socket.recv(65536)
                except ConnectionResetError:
                    return
                if not data:
                    raise AssertionError("an orderly end")
        raise AssertionError("it is not closed")

    def isOpen(self, client: Stream) -> bool:
        """Tell whether nobody has closed a client, which is sent nothing."""
        client.socket.setblocking(False)
        try:
            return client.socket.recv(1, socket.MSG_PEEK) != b""
        except (BlockingIOError, OSError) as error:
            return isinstance(error, BlockingIOError)
        finally:
            client.socket.settimeout(LONG)

    # Time

    @contextlib.contextmanager
    def within(self, seconds: float, what: str) -> Iterator[Stopwatch]:
        """What is done must take no longer."""
        watch = Stopwatch()
        yield watch
        took = watch.seconds
        log.info("TIME {took:.2f} of {seconds} s: {what}", took=took, seconds=seconds, what=what)
        self.assertLess(took, seconds + SLACK, what)
