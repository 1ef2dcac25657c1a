"""Lines on a link, however they are cut, and the one timer."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.conversation import Conversation
from nymearemoteproxy.protocol.linkmessages import LINE_SIZE
from nymearemoteproxy.protocol.linkrecords import LinkFault

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), min_size=1)


class Transport(StringTransport):
    """A transport that can be aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Listener(Conversation):
    """One end, which keeps what it hears.

    :ivar most: lines that it listens to.
    """

    def __init__(self, clock: Clock, most: int = 1000) -> None:
        super().__init__(clock)
        self.heard: list[bytes] = []
        self.most = most

    @property
    def isOver(self) -> bool:
        return len(self.heard) >= self.most

    def lineReceived(self, line: bytes) -> None:
        if line == b"wrong":
            raise LinkFault("it should not have")
        self.heard.append(line)


class ConversationTests(SynchronousTestCase):
    """One end."""

    def listen(self, most: int = 1000) -> tuple[Listener, Transport]:
        self.clock = Clock()
        listener, transport = Listener(self.clock, most), Transport()
        listener.makeConnection(transport)
        return listener, transport

    @given(LINES, st.data())
    def test_cut(self, lines: list[bytes], data: Any) -> None:
        """However the bytes come, the same lines are heard; the rest is left, once."""
        most = data.draw(st.integers(1, len(lines)))
        sent = b"".join(line + b"\n" for line in lines)
        listener, _transport = self.listen(most)
        while sent:
            size = data.draw(st.integers(1, len(sent)))
            listener.dataReceived(sent[:size])
            sent = sent[size:]
        self.assertEqual(listener.heard, lines[:most])
        self.assertEqual(listener.rest(), b"".join(line + b"\n" for line in lines[most:]))
        self.assertEqual(listener.rest(), b"")

    def test_faults(self) -> None:
        """A line that should not be, or has no end, ends it, and nobody waits any more."""
        for sent in b"first\nwrong\nnext\n", b"first\n" + b"x" * (LINE_SIZE + 1):
            listener, transport = self.listen()
            listener.setTimer(1, self.fail)
            listener.dataReceived(sent)
            self.assertEqual(listener.heard, [b"first"])
            self.assertTrue(transport.aborted)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timer(self) -> None:
        """There is one: a new one replaces it, and it can be put off."""
        listener, _transport = self.listen()
        called: list[str] = []
        listener.setTimer(1, called.append, "first")
        listener.setTimer(2, called.append, "second")
        self.clock.advance(1.5)
        listener.prolong(2)
        self.clock.advance(1.9)
        self.assertEqual(called, [])
        self.clock.advance(0.2)
        self.assertEqual(called, ["second"])
        listener.clearTimer()

    def test_lost(self) -> None:
        """With the connection the timer is gone."""
        listener, _transport = self.listen()
        listener.setTimer(1, self.fail)
        listener.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
