"""Clients that come to different members meet."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.cluster.directory import DirectoryError, Member
from nymearemoteproxy.cluster.liveness import CONTROL_TIMEOUT, HEARTBEAT
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
