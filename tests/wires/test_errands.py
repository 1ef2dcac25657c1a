"""What a session asks for that takes time, over a connection."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone

from nymearemoteproxy.authentication.backend import Verdict
from tests.support.inmemory import InMemory
from tests.support.observed import Observer


class AuthenticationTests(InMemory):
    """What is told of authentications."""

    def test_time(self) -> None:
        """How long each took; an observer that fails keeps nobody out."""
        observer = Observer()
        self.proxy.registry.observers += [None, observer]  # type: ignore[list-item]
        self.backend.answers = False
        client = self.open("TCP")
        self.authenticate(client)
        self.clock.advance(0.25)
        self.assertEqual(observer.seconds, [])
        self.backend.pending.pop().callback(Verdict(True))
        self.assertEqual(client.take(), b'{"id":1,"status":"success"}\n')
        self.assertEqual(observer.seconds, [0.25])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        client.lose(ConnectionDone())
