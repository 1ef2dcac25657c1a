"""Clients that come to different members meet."""

from __future__ import annotations

from tests.support.clusters import InCluster


class MeetingTests(InCluster):
    """Token tunnels between two members."""

    def test_streams(self) -> None:
        """What one sends the other one gets, both ways, until both have left."""
        one, two = self.join("TCP", "TCP")
        one.receive(b"hello")
        self.assertEqual(two.take(), b"hello")
        two.receive(b"goodbye")
        self.assertEqual(one.take(), b"goodbye")
