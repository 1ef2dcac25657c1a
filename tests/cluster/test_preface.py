"""The first bytes of a link between machines, however they come in pieces."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import MEMBER_SIZE
from nymearemoteproxy.cluster.preface import Preface
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.memory import Pipe

ID, OTHER = b"i" * MEMBER_SIZE, b"o" * MEMBER_SIZE


class Follower(Protocol):
    """What follows the preface.

    :ivar heard: all that it was given.
    """

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.isConnected = False
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        self.isConnected = True

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class PrefaceTests(SynchronousTestCase):
    """A link that comes in."""

    def make(self) -> Pipe:
        """Return a connection that has just come."""
        self.follower = Follower()
        self.refused: list[None] = []
        pipe = Pipe(IPv4Address("TCP", "192.0.2.1", 1))
        preface: Any = Preface(ID, self.follower, lambda: self.refuse(pipe))
        pipe.protocol = DirectTransport(preface)
        pipe.protocol.makeConnection(pipe)
        return pipe

    def refuse(self, pipe: Pipe) -> None:
        """It is for somebody else: as the caller does then, close."""
        self.refused.append(None)
        pipe.abortConnection()

    def pieces(self, data: bytes, cuts: list[int]) -> list[bytes]:
        """Return data, cut in pieces."""
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        return [data[one:two] for one, two in zip(places, places[1:], strict=False)]

    def test_connected(self) -> None:
        """What follows has the connection from the beginning, to limit the time."""
        self.make()
        self.assertTrue(self.follower.isConnected)

    @given(st.binary(max_size=40), st.lists(st.integers(0, 100), max_size=5))
    def test_forUs(self, more: bytes, cuts: list[int]) -> None:
        """All that comes behind the id is for what follows, and nothing else."""
        pipe = self.make()
        for piece in self.pieces(ID + more, cuts):
            pipe.receive(piece)
        self.assertEqual(b"".join(self.follower.heard), more)
        self.assertNotIn(b"", self.follower.heard)
        self.assertEqual(self.refused, [])
        pipe.lose(ConnectionDone())
        self.assertEqual(len(self.follower.lost), 1)

    @given(st.binary(min_size=MEMBER_SIZE, max_size=40), st.lists(st.integers(0, 100), max_size=5))
    def test_forSomebodyElse(self, data: bytes, cuts: list[int]) -> None:
        """Then it is refused once, and what follows hears nothing of it but the end."""
        data = data if data[:MEMBER_SIZE] != ID else OTHER
        pipe = self.make()
        for piece in self.pieces(data, cuts):
            if not pipe.lost:
                pipe.receive(piece)
        self.assertEqual(self.refused, [None])
        self.assertEqual(self.follower.heard, [])
        self.assertEqual(len(self.follower.lost), 1)

    @given(st.integers(0, MEMBER_SIZE - 1))
    def test_leaves(self, size: int) -> None:
        """Before it has said for whom it is."""
        pipe = self.make()
        if size:
            pipe.receive(ID[:size])
        pipe.lose(ConnectionDone())
        self.assertEqual((self.refused, self.follower.heard), ([], []))
        self.assertEqual(len(self.follower.lost), 1)
