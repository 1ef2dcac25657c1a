"""Members that are cut off from each other, from the Redis, or from both, in real networks."""

from __future__ import annotations

from tests.support.cores import anyUuid, error, visit
from tests.support.endtoend import inThread, secret
from tests.support.networks import (
    CLIENTS,
    DIRECTORY,
    FIRST,
    HUB,
    LINKS,
    Networks,
    whyNot,
)
from tests.support.nodes import LEASE, ClusterCase, Node, Stopwatch

NO_LINKS, NO_DIRECTORY, ALONE, WHOLE = range(4)
"""The four members, by what becomes of them."""


class PartitionTests(ClusterCase):
    """Each of three members is cut off in its own way, and a fourth one is not."""

    skip = ClusterCase.skip or whyNot()

    def begin(self) -> list[Node]:
        """Start all, each at a host of its own."""
        self.networks = Networks(4)
        self.addCleanup(self.networks.close)
        host = self.networks.address(DIRECTORY, HUB)
        here = self.networks.within(None)
        redis = self.startRedis("--bind", host, "--protected-mode", "no", through=here)
        return [self.startAt(number, f"redis://{host}:{redis.port}") for number in range(4)]

    def startAt(self, number: int, redis: str) -> Node:
        """Start a member at a host."""
        address = [self.networks.address(network, FIRST + number) for network in range(3)]
        place = f"tcp:2212:interface={address[CLIENTS]}"
        return self.node(
            *("--set", f"Cluster.listen=tcp:2214:interface={address[LINKS]}"),
            places={"ws": place.replace("2212", "2213"), "tcp": place},
            redis=redis,
            through=self.networks.within(number),
        )

    @inThread
    def testPartition(self) -> None:
        """Whoever is cut off serves its own; the others take its places; then all is as before."""
        nodes = self.begin()
        noLinks, noDirectory, alone, whole = nodes
        pairs = [self.pair(node.tcp, whole.tcp) for node in nodes[:3]]
        own = [self.pair(node.tcp, node.tcp) for node in nodes]
        nonces = [secret("nonce") for _ in nodes]
        waiting = [self.first(node, nonce) for node, nonce in zip(nodes[:3], nonces, strict=False)]
        core = self.register(alone.tcp, uuid := anyUuid())
        self.networks.cut(NO_LINKS, LINKS)
        self.networks.cut(NO_DIRECTORY, DIRECTORY)
        self.networks.cut(ALONE, LINKS)
        self.networks.cut(ALONE, DIRECTORY)
        isCut = Stopwatch()
        with self.within(LEASE + 3, "the place of one that is cut off is free"):
            # Of one that has no directory it is heard by its link that it is there.
            found = self.waiter(whole.tcp, nonces[NO_DIRECTORY])
            self.established(waiting[NO_DIRECTORY], found)
            asking = self.waiter(whole.tcp, nonces[NO_LINKS])
            winners = [self.waiter(whole.tcp, nonces[ALONE]) for _ in range(2)]
            for node in nodes:
                with self.within(2, "clients of one member meet"):
                    self.moves(*self.pair(node.tcp, node.tcp))
            for number in (NO_LINKS, ALONE):
                for client in pairs[number]:
                    self.cutOff(client)
            self.assertLess(isCut.seconds, LEASE + 2)
            self.established(*winners)
        self.moves(*pairs[NO_DIRECTORY])
        self.moves(found, waiting[NO_DIRECTORY])
        self.moves(*winners)
        winner = self.register(whole.tcp, uuid)
        lonely, said = visit(alone.tcp, anyUuid())
        self.assertEqual(said, error("InternalServerError"))
        lonely.close()
        for number, network in (
            (NO_LINKS, LINKS),
            (NO_DIRECTORY, DIRECTORY),
            (ALONE, LINKS),
            (ALONE, DIRECTORY),
        ):
            self.networks.heal(number, network)
        with self.within(5, "all is as before"):
            self.established(asking, waiting[NO_LINKS])
            for client, outcome in ((core.stream, "place-lost"), (waiting[ALONE], "tunnel-exists")):
                client.rest()
                client.close()
                self.assertEqual(alone.server.ended(client), outcome)
            for node in nodes[:3]:
                self.moves(*self.pair(node.tcp, whole.tcp))
        for pair in (*own, winners, pairs[NO_DIRECTORY], (asking, waiting[NO_LINKS])):
            self.moves(*pair)
        self.visitor(alone.tcp, winner, uuid)
