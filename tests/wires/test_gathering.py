"""Owns the checks of what goes out together: what a WebSocket client is told at one moment."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IAddress

from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe
from tests.support.wires import splitFrame


class Counting(Pipe):
    """A connection that keeps its writes apart.

    :ivar writes: those that were sent.
    """

    def __init__(self, peer: IAddress) -> None:
        super().__init__(peer)
        self.writes: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.writes.append(data)
        return super().send(data)


def names(messages: list[bytes]) -> list[str]:
    """Return what each message is."""
    read: list[dict[str, Any]] = [json.loads(message) for message in messages]
    return [each.get("notification") or each["status"] for each in read]


def frames(data: bytes) -> list[bytes]:
    """Return the payload of each frame; every one of ours is a whole message."""
    found = []
    while data:
        split = splitFrame(data)
        assert split is not None and split[1]
        found.append(split[2])
        data = split[3]
    return found


class GatheringTests(InMemory):
    """Answers, notifications and farewells."""

    def makePipe(self, peer: IAddress) -> Counting:
        return Counting(peer)

    def opened(self, kind: str) -> Any:
        """Return a client that has been sent nothing but the answer to its upgrade."""
        pipe: Any = self.open(kind)
        pipe.writes.clear()
        return pipe

    def test_whoWaits(self) -> None:
        """The answer goes out at once, and the notification when the partner comes."""
        for kind in "TCP", "WebSocket":
            one, two = self.opened(kind), self.opened(kind)
            self.authenticate(one, uuid="1", name="one")
            self.assertEqual(len(one.writes), 1)
            self.authenticate(two, uuid="2", name="two")
            self.assertEqual(len(one.writes), 2)
            self.proxy.registry.dismissal.abortAll()

    def test_whosePartnerWaits(self) -> None:
        """Gets both in one write over WebSocket, where each is a frame; over a stream in two."""
        for kind in "TCP", "WebSocket":
            one, two = self.opened(kind), self.opened(kind)
            self.authenticate(one, uuid="1", name="one")
            self.authenticate(two, uuid="2", name="two")
            messages = two.writes if kind == "TCP" else frames(b"".join(two.writes))
            self.assertEqual(len(two.writes), 2 if kind == "TCP" else 1)
            self.assertEqual(names(messages), ["success", "RemoteProxy.TunnelEstablished"])
            for message in messages:
                self.assertTrue(message.endswith(b"}\n"))
            self.proxy.registry.dismissal.abortAll()

    def test_thirdClient(self) -> None:
        """Its answer is sent before it is told that the tunnel exists already."""
        self.join("TCP", "TCP")
        pipe = self.opened("WebSocket")
        before = pipe.phase.record.sent
        self.authenticate(pipe)
        answer, close = (frames(data)[0] for data in pipe.writes)
        self.assertEqual(names([answer]), ["success"])
        self.assertIn(Outcome.TUNNEL_EXISTS.reason.encode(), close)
        self.assertEqual(pipe.phase.record.sent - before, sum(map(len, pipe.writes)))
