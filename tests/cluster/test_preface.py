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

from nymearemoteproxy.cluster.directory import NAME_SIZE
from nymearemoteproxy.cluster.identity import PREFACE_SIZE, MemberIdentity, nameOf
from nymearemoteproxy.cluster.preface import Preface
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.links import HERE, SECRET, THERE
from tests.support.memory import Pipe

IDENTITY = MemberIdentity(SECRET, HERE)
ID, OTHER = HERE.hex().encode(), THERE.hex().encode()


def preface(wantsTicket: bool = True) -> bytes:
    """Return what a link to us begins with."""
    asker = MemberIdentity(SECRET, THERE)
    if not wantsTicket:
        asker.sessions.keep(nameOf(HERE), None)  # type: ignore[arg-type]
    return asker.prefaceTo(HERE)


class Follower(Protocol):
    """What follows the preface.

    :ivar heard: all that it was given.
    :ivar wishes: whether a ticket was wished for, each time that it was told.
    """

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.isConnected = False
        self.wishes: list[bool] = []
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        self.isConnected = True

    def prefaced(self, wantsTicket: bool) -> Follower:
        """The link is for us; go on."""
        self.wishes.append(wantsTicket)
        return self

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class PrefaceTests(SynchronousTestCase):
    """A link that comes in."""

    def make(self) -> Pipe:
        """Return a connection that has just come."""
        self.follower = Follower()
        self.refused: list[str] = []
        pipe = Pipe(IPv4Address("TCP", "192.0.2.1", 1))
        reading: Any = Preface(IDENTITY, self.follower, lambda reason: self.refuse(pipe, reason))
        pipe.protocol = DirectTransport(reading)
        pipe.protocol.makeConnection(pipe)
        return pipe

    def refuse(self, pipe: Pipe, reason: str) -> None:
        """It is for somebody else: as the caller does then, close."""
        self.refused.append(reason)
        pipe.abortConnection()

    def pieces(self, data: bytes, cuts: list[int]) -> list[bytes]:
        """Return data, cut in pieces."""
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        return [data[one:two] for one, two in zip(places, places[1:], strict=False)]

    def test_connected(self) -> None:
        """What follows has the connection from the beginning, to limit the time."""
        self.make()
        self.assertTrue(self.follower.isConnected)

    @given(st.booleans(), st.binary(max_size=40), st.lists(st.integers(0, 100), max_size=5))
    def test_forUs(self, wantsTicket: bool, more: bytes, cuts: list[int]) -> None:
        """All that comes behind the preface is for what follows, and nothing else."""
        pipe = self.make()
        for piece in self.pieces(preface(wantsTicket) + more, cuts):
            pipe.receive(piece)
        self.assertEqual(self.follower.wishes, [wantsTicket])
        self.assertEqual(b"".join(self.follower.heard), more)
        self.assertNotIn(b"", self.follower.heard)
        self.assertEqual(self.refused, [])
        pipe.lose(ConnectionDone())
        self.assertEqual(len(self.follower.lost), 1)

    @given(st.binary(min_size=NAME_SIZE, max_size=60), st.lists(st.integers(0, 100), max_size=5))
    def test_forSomebodyElse(self, data: bytes, cuts: list[int]) -> None:
        """Then it is refused once, and what follows hears nothing of it but the end."""
        data = data if data[:NAME_SIZE] != ID else OTHER
        self.assertRefused(data, cuts, "it is for another member")

    @given(
        st.binary(min_size=PREFACE_SIZE - NAME_SIZE, max_size=PREFACE_SIZE),
        st.lists(st.integers(0, 100), max_size=5),
    )
    def test_otherSecret(self, rest: bytes, cuts: list[int]) -> None:
        """Likewise: whoever knows the id only is no member."""
        self.assertRefused(ID + rest, cuts, "it has another secret")

    def assertRefused(self, data: bytes, cuts: list[int], reason: str) -> None:
        """Whoever says this is refused."""
        pipe = self.make()
        for piece in self.pieces(data, cuts):
            if not pipe.lost:
                pipe.receive(piece)
        self.assertEqual(self.refused, [reason])
        self.assertEqual(self.follower.heard, [])
        self.assertEqual(len(self.follower.lost), 1)

    @given(st.integers(0, PREFACE_SIZE - 1))
    def test_leaves(self, size: int) -> None:
        """Before it has said for whom it is."""
        pipe = self.make()
        if size:
            pipe.receive(preface()[:size])
        pipe.lose(ConnectionDone())
        self.assertEqual((self.refused, self.follower.heard), ([], []))
        self.assertEqual(len(self.follower.lost), 1)
