"""Workers that die and freeze with tunnels between each other, and with another machine."""

from __future__ import annotations

import os
import signal

from tests.support.endtoend import STREAM, Server, inThread, secret
from tests.support.nodes import ClusterCase, Node

SILENT = 10
"""Seconds after which a worker that is stuck is killed."""


class WorkerFaultTests(ClusterCase):
    """A group of two workers, alone and as members of a cluster."""

    def workers(self, *arguments: str) -> Node:
        """Start a group."""
        self.token = getattr(self, "token", None) or secret()
        server = self.start(
            *("--websocket", STREAM, "--stream", STREAM, "--token", self.token, "--workers", "2"),
            *("--set", "Limits.exemptNetworks=127.0.0.0/8"),
            *("--set", "ProxyServer.aloneTimeout=60000"),
            *arguments,
            listeners=2,
        )
        server.waitFor(r"worker \d serves", count=2)
        return Node(server)

    def process(self, server: Server, index: int) -> int:
        """Return the process id of a worker."""
        return int(server.find(rf"worker {index} serves, it is process (\d+)")[-1][1])

    def fails(self, node: Node, number: int, seconds: float, other: Node | None = None) -> None:
        """Have a worker fail, and look who notices."""
        pairs = [self.pair(node.tcp, (other or node).tcp) for _ in range(4)]
        waiting = {nonce: self.waiter(node.tcp, nonce) for nonce in map(secret, "abcd")}
        others = [self.pair(other.tcp, other.ws)] if other else []
        mark = node.server.mark()
        pid = self.process(node.server, 1)
        os.kill(pid, number)
        with self.within(seconds, "a worker that fails is gone, with its connections"):
            node.server.waitFor("worker 1 is gone with", mark, patience=seconds + 5)
        lost = {match[1] for match in node.server.find(r"from (\S+) ended: worker-lost", mark)}
        self.assertTrue(lost)
        with self.within(5, "partners are closed"):
            for pair in pairs:
                if not lost.intersection(client.peer for client in pair):
                    self.moves(*pair)
                    continue
                for client in pair:
                    if client.peer in lost:
                        client.rest()
                    else:
                        self.cutOff(client)
        with self.within(5, "the places of a worker that is gone are free"):
            for nonce, client in waiting.items():
                if client.peer in lost:
                    self.moves(*self.pair(node.tcp, (other or node).tcp, nonce))
                else:
                    partner = self.waiter((other or node).ws, nonce)
                    self.established(client, partner)
                    self.moves(client, partner)
        for pair in others:
            self.moves(*pair)
        node.server.waitFor("worker 1 serves", mark)

    @inThread
    def testKilled(self) -> None:
        """Alone."""
        self.fails(self.workers(), signal.SIGKILL, 1)

    @inThread
    def testFrozen(self) -> None:
        """It is killed after ten seconds of silence."""
        self.fails(self.workers(), signal.SIGSTOP, SILENT + 2)

    @inThread
    def testKilledInCluster(self) -> None:
        """Its partners are on another machine."""
        self.startRedis()
        url = f"redis://127.0.0.1:{self.redis.port}"
        self.fails(self.workers("--cluster", url), signal.SIGKILL, 1, self.node())

    @inThread
    def testFrozenInCluster(self) -> None:
        """Its lease would be longer than that."""
        self.startRedis()
        url = f"redis://127.0.0.1:{self.redis.port}"
        self.fails(self.workers("--cluster", url), signal.SIGSTOP, SILENT + 2, self.node())
