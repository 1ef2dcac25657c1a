"""A Redis that fails in every way there is: the relaying goes on, and then all is there again."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.cores import Core, anyUuid, error, visit
from tests.support.endtoend import Stream, inThread, secret, until
from tests.support.gateways import Gateway
from tests.support.nodes import ClusterCase, Node
from tests.support.redis import freePort

NONSENSE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


class DirectoryCase(ClusterCase):
    """Two members, with a gateway before their Redis.

    :ivar far: a tunnel between the two.
    :ivar cores: a registered server of each.
    """

    gate: Gateway
    nodes: list[Node]
    far: tuple[Stream, Stream]
    cores: list[tuple[Core, str]]

    def begin(self) -> None:
        """Start all, and fill it."""
        self.startRedis()
        self.gate = self.gateway(self.redis.port)
        self.nodes = self.launch(2, redis=f"redis://127.0.0.1:{self.gate.port}")
        one, two = self.nodes
        self.far = self.pair(one.tcp, two.tcp)
        self.cores = [
            (self.register(node.tcp, uuid), uuid) for node in self.nodes for uuid in [anyUuid()]
        ]
        self.assertFound()

    def ask(self, node: Node, uuid: str) -> str:
        """Return what a client of a server is told."""
        client, said = visit(node.tcp, uuid)
        client.close()
        return said

    def assertFound(self) -> None:
        """Each server is found from the other member."""
        (_one, first), (_two, second) = self.cores
        answers = set()
        until(
            lambda: (
                answers.add(said := self.ask(self.nodes[1], first))  # type: ignore[func-returns-value]
                or said == self.ask(self.nodes[0], second) == error("NoError")
            ),
            "the servers are not found",
        )
        self.assertNotIn(error("ServerNotFound"), answers)

    def assertRelays(self, canFind: bool = False) -> list[Stream]:
        """All goes on that one member can do by itself; return two who wait, at both."""
        self.moves(*self.far)
        for node in self.nodes:
            with self.within(2, "clients of one member meet"):
                self.moves(*self.pair(node.ws, node.tcp))
            with self.within(2, "a server registers"):
                core = self.register(node.ws, uuid := anyUuid())
            with self.within(2, "its client is connected"):
                self.visitor(node.tcp, core, uuid)
        (_one, first), (_two, second) = self.cores
        allowed = {error("InternalServerError")} | ({error("NoError")} if canFind else set())
        with self.within(2, "a client of another member's server is told"):
            self.assertIn(self.ask(self.nodes[1], first), allowed)
        self.assertIn(self.ask(self.nodes[0], second), allowed)
        self.moves(*self.far)
        nonce = secret("nonce")
        return [self.waiter(node.tcp, nonce) for node in self.nodes]

    def fails(self, name: str, harm: Callable[[], object], heal: Callable[[], object]) -> None:
        """Harm it, look, heal it, and look."""
        marks = [node.server.mark() for node in self.nodes]
        harm()
        waiting = self.assertRelays(canFind=name == "full")
        for node, mark in zip(self.nodes, marks, strict=True):
            node.server.waitFor("The directory .* fails: ", mark)
        heal()
        with self.within(3, f"all is claimed anew: {name}"):
            self.established(*waiting)
            self.assertFound()
        self.moves(*waiting)
        self.moves(*self.far)
        with self.within(3, f"nothing is missing: {name}"):
            for node in self.nodes:
                until(lambda: len(self.places(node)) >= 1, "its places are not there")  # noqa: B023 - at once
        for node, mark in zip(self.nodes, marks, strict=True):
            node.server.waitFor("The directory .* answers again", mark)
            self.assertEqual(len(node.server.find("The directory .* fails: ", mark)), 1, name)


class DirectoryFaultTests(DirectoryCase):
    """One fault after the other."""

    @inThread
    def testGone(self) -> None:
        """It ends and comes back empty; it is frozen."""
        self.begin()
        self.fails("restarted", self.redis.kill, self.redis.start)
        self.fails("frozen", self.redis.freeze, self.redis.thaw)

    @inThread
    def testRefuses(self) -> None:
        """It has no memory left; it is read-only; it wants a password."""
        self.begin()
        do = self.redis.do
        self.fails(
            "full",
            lambda: do("CONFIG", "SET", "maxmemory", "1"),
            lambda: do("CONFIG", "SET", "maxmemory", "0"),
        )
        self.fails(
            "read-only",
            lambda: do("REPLICAOF", "127.0.0.1", "1"),
            lambda: do("REPLICAOF", "NO", "ONE"),
        )

    @inThread
    def testSlow(self) -> None:
        """It answers, but after the deadline; it answers nonsense."""
        self.begin()

        def slow(seconds: float) -> None:
            self.gate.delay = seconds

        def garble(what: Callable[[bytes], bytes]) -> None:
            self.gate.garble = what
            self.gate.cut()

        self.fails("slow", lambda: slow(1.5), lambda: slow(0))
        self.fails(
            "nonsense", lambda: garble(lambda _data: NONSENSE), lambda: garble(lambda data: data)
        )

    @inThread
    def testEmptied(self) -> None:
        """Whose contents somebody has thrown away is filled when the leases are renewed."""
        self.begin()
        self.redis.do("FLUSHALL")
        with self.within(5, "all is claimed anew: flushed"):
            until(
                lambda: all(len(self.places(node)) >= 1 for node in self.nodes),
                "its places are not there",
            )
        self.moves(*self.far)

    @inThread
    def testEmptyAndAlone(self) -> None:
        """While others have not put theirs again, a server is not said to be nowhere."""
        self.startRedis()
        gate = self.gateway(self.redis.port)
        away, there = self.node(redis=f"redis://127.0.0.1:{gate.port}"), self.node()
        core = self.register(away.tcp, uuid := anyUuid())
        until(lambda: self.ask(there, uuid) == error("NoError"), "it is not found")
        gate.target = freePort()
        gate.cut()
        self.redis.kill()
        there.server.waitFor("The directory .* fails: ")
        self.redis.start()
        there.server.waitFor("The directory .* answers again")
        self.assertEqual(self.ask(there, uuid), error("InternalServerError"))
        gate.target = self.redis.port
        until(lambda: self.ask(there, uuid) == error("NoError"), "it is not found again")
        core.stream.close()

    @inThread
    def testWrongPassword(self) -> None:
        """The server starts, says so, and serves its own clients."""
        self.startRedis("--requirepass", "right", password="right")
        path = self.file("wrong")
        url = f"redis://127.0.0.1:{self.redis.port}"
        (node,) = self.launch(1, "--set", f"Cluster.directoryPasswordFile={path}", redis=url)
        node.server.waitFor("The directory .* fails: it refuses user and password")
        with self.within(2, "clients of one member meet"):
            self.moves(*self.pair(node.ws, node.tcp))
        self.assertEqual(self.ask(node, anyUuid()), error("InternalServerError"))
        self.assertNotIn("wrong", node.server.text().replace("wrong password", ""))
        self.redis.do("CONFIG", "SET", "requirepass", "wrong")
        with self.within(3, "it is asked again"):
            node.server.waitFor("The directory .* answers again")
