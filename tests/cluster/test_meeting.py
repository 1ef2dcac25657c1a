"""Clients that come to different members meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.cluster.directory import DirectoryError, Member
from nymearemoteproxy.cluster.liveness import CONTROL_TIMEOUT, HEARTBEAT
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.protocol.linkmessages import LINE_SIZE
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.clusters import InCluster

Look = Callable[[bytes], Deferred[Member | None]]


class MeetingTests(InCluster):
    """Token tunnels between two members."""

    def test_streams(self) -> None:
        """What one sends the other one gets, both ways, until both have left."""
        one, two = self.join("TCP", "TCP")
        one.receive(b"hello")
        self.assertEqual(two.take(), b"hello")
        two.receive(b"goodbye")
        self.assertEqual(one.take(), b"goodbye")

    def test_askerIsNotFound(self) -> None:
        """A directory that fails, or is emptied, when a tunnel has just begun does not end it."""
        looks: list[Look] = [lambda _id: fail(DirectoryError("no")), lambda _id: succeed(None)]
        for look in looks:
            isLooking = self.patch(self.nodes[0].directory, "member", look)
            one, two = self.join("TCP", "TCP")
            for _ in range(int(3 * CONTROL_TIMEOUT / HEARTBEAT)):
                self.clock.advance(HEARTBEAT)
                self.network.run()
            two.receive(b"hello")
            self.network.run()
            self.assertEqual(one.take(), b"hello")
            isLooking.restore()
            one.lose(ConnectionDone())
            two.lose(ConnectionDone())
            self.network.run()


class LongNameTests(InCluster):
    """Clients of members that have no limit for a name."""

    def makeProxy(self, *parts: Any) -> Proxy:
        proxy = super().makeProxy(*parts)
        proxy.policy = replace(proxy.policy, messageLimit=0)
        return proxy

    def come(self, name: str) -> Any:
        """Let a client come with this name."""
        pipe = self.open("TCP")
        self.authenticate(pipe, uuid=name[:3], name=name)
        self.network.run()
        return pipe

    def test_long(self) -> None:
        """With the highest limit that can be set all names fit."""
        for first, second in (("one", "two" * 350_000), ("one" * 350_000, "two")):
            one, two = self.come(first), self.come(second)
            self.assertIn(second.encode(), one.take())
            self.assertIn(first.encode(), two.take())
            one.lose(ConnectionDone())
            two.lose(ConnectionDone())
            self.network.run()

    def test_asksInVain(self) -> None:
        """Whoever has one that is too long for a line is sent away, and nobody else."""
        one, two = self.come("one"), self.come("t" * LINE_SIZE)
        two.lose(ConnectionDone())
        self.assertOutcomes(Outcome.MESSAGE_TOO_LARGE)
        self.nextProxy()
        three = self.come("three")
        for pipe in (one, three):
            self.assertIn(b"TunnelEstablished", pipe.take())

    def test_comesFirst(self) -> None:
        """It does not wait for who could not be told of it."""
        one, two = self.come("o" * LINE_SIZE), self.come("two")
        one.lose(ConnectionDone())
        self.assertOutcomes(Outcome.MESSAGE_TOO_LARGE)
        three = self.come("three")
        for pipe in (two, three):
            self.assertIn(b"TunnelEstablished", pipe.take())
