"""What goes through a channel, and how much of it may wait."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.workers import channel
from nymearemoteproxy.workers.channel import MessageChannel

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
MESSAGES = st.lists(st.lists(JSON, min_size=1, max_size=4), max_size=5)


class ChannelCase(SynchronousTestCase):
    """A channel on a transport in memory."""

    def setUp(self) -> None:
        self.received: list[Any] = []
        self.lost = 0
        self.clock = Clock()
        self.channel = MessageChannel(self.clock, self.received.append, self.hearLoss)
        self.transport: Any = StringTransport()
        self.channel.makeConnection(self.transport)

    def hearLoss(self) -> None:
        """The channel is lost."""
        self.lost += 1

    def sent(self) -> list[Any]:
        """Return the messages that the transport has been given by the next turn."""
        self.clock.advance(0)
        return [json.loads(line) for line in self.transport.value().splitlines()]


class ChannelTests(ChannelCase):
    """Messages."""

    @given(MESSAGES, st.data())
    def test_anyPieces(self, messages: list[list[Any]], data: st.DataObject) -> None:
        """They arrive as they were sent, however the bytes are cut."""
        self.setUp()
        for message in messages:
            self.channel.send(message)
        self.clock.advance(0)
        content = self.transport.value()
        self.transport.clear()
        cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6).map(sorted))
        for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            self.channel.dataReceived(content[begin:end])
        self.assertEqual(self.received, messages)

    def test_waiting(self) -> None:
        """What the transport does not take waits, and goes out in its order."""
        self.channel.send([1])
        self.clock.advance(0)
        self.channel.pauseProducing()
        self.assertFalse(self.channel.isBusy)
        self.channel.send([2, "x" * channel.LITTLE])
        self.channel.send([3])
        self.assertTrue(self.channel.isBusy)
        self.assertEqual(self.sent(), [[1]])
        self.channel.resumeProducing()
        self.assertEqual([message[0] for message in self.sent()], [1, 2, 3])
        self.assertEqual(self.channel.waiting, 0)

    def test_pausedWhileItResumes(self) -> None:
        """The transport may have enough after one of them."""
        self.patch(channel, "AT_ONCE", 1)
        self.channel.pauseProducing()
        self.channel.send([1])
        self.channel.send([2])
        write = self.transport.write

        def full(data: bytes) -> None:
            write(data)
            self.channel.pauseProducing()

        self.transport.write = full
        self.channel.resumeProducing()
        self.assertEqual(self.sent(), [[1]])
        self.channel.resumeProducing()
        self.assertEqual(self.sent(), [[1], [2]])

    def test_together(self) -> None:
        """What is said in one turn of the reactor is written at once, in the next one."""
        written: list[bytes] = []
        self.transport.write = written.append
        for number in range(3):
            self.channel.send([number])
        self.assertEqual((written, self.channel.waiting), ([], 12))
        self.clock.advance(0)
        self.assertEqual((written, self.channel.waiting), ([b"[0]\n[1]\n[2]\n"], 0))
        self.channel.send([3])
        self.channel.finish()
        self.assertEqual(written[1:], [b"[3]\n"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tooMuch(self) -> None:
        """Whoever takes nothing is given up."""
        self.patch(channel, "MOST_WAITING", 100)
        self.channel.pauseProducing()
        self.channel.send(["x" * 90])
        self.assertFalse(self.transport.disconnected)
        self.channel.send(["x" * 90])
        self.assertTrue(self.transport.disconnected)

    def test_tooLong(self) -> None:
        """A message that does not end is no message."""
        self.patch(channel, "LONGEST", 100)
        self.channel.dataReceived(b"x" * 60)
        self.assertFalse(self.transport.disconnected)
        self.channel.dataReceived(b"x" * 60)
        self.assertTrue(self.transport.disconnected)

    def test_finish(self) -> None:
        """It is closed when all is sent, and takes no more."""
        self.channel.pauseProducing()
        self.channel.send([1])
        self.channel.finish()
        self.channel.send([2])
        self.assertFalse(self.transport.disconnecting)
        self.channel.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.sent(), [[1]])

    def test_lost(self) -> None:
        """Then nothing is sent."""
        self.channel.pauseProducing()
        self.channel.send([1])
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.channel.send([2])
        self.assertEqual((self.lost, self.sent(), self.channel.waiting), (1, [], 0))

    def test_lostWithinATurn(self) -> None:
        """Then what was to be written is not, and no timer is left."""
        self.channel.send([1])
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.lost, self.sent(), self.channel.waiting), (1, [], 0))
