"""How a worker becomes a member of its group."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.linking import LinkError
from nymearemoteproxy.running.neighbourhood import Neighbourhood
from nymearemoteproxy.workers.questions import Questions
from tests.support.parts import makeProxy

SECRET = b"s" * 32
TIMEOUT = 1.0


class NeighbourhoodTests(SynchronousTestCase):
    """A worker and a parent that is the test.

    :ivar asked: what the parent is asked.
    """

    def setUp(self) -> None:
        self.place = tempfile.mkdtemp()  # trial's own are too deep for a Unix socket
        self.addCleanup(shutil.rmtree, self.place, True)
        self.reactor: Any = MemoryReactorClock()
        self.asked: list[Any] = []
        self.questions = Questions(self.reactor, self.asked.append, TIMEOUT)

    def make(self) -> Neighbourhood:
        """Return the membership of a worker."""
        proxy = makeProxy(self.reactor)
        made = Neighbourhood(self.reactor, proxy, self.questions, SECRET, self.place, "worker 1")
        self.addCleanup(made._port.socket.close)
        return made

    def test_enters(self) -> None:
        """The others find it by a socket that is named after it."""
        made = self.make()
        path = os.path.join(self.place, made.id.hex())
        self.assertEqual(made._port.getHost(), UNIXAddress(path))
        made.start()
        (kind, _number, (id, address, *_more)) = self.asked[0]
        self.assertEqual((kind, id, address), ("renew", made.id.hex(), f"unix:{path}"))
        self.assertEqual(made.directory.secret, SECRET)

    def test_parentIsSlow(self) -> None:
        """It hears of it all the same: nothing is a fault."""
        made = self.make()
        made.start()
        self.reactor.advance(TIMEOUT)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(made.figures().unanswered, 1)
        self.questions.handlers["answer"](1, None)
        self.assertEqual(made.figures().unanswered, 0)

    def test_links(self) -> None:
        """Whoever comes there is answered, and those who may not are counted."""
        made = self.make()
        factory = made._port.factory
        self.assertIsNone(factory.identity)
        self.assertIs(type(factory.build(None)), type(made.membership.answerer(None)))
        factory.refused["other-user"] = 2
        self.assertEqual(made.figures().strangers, {"other-user": 2})

    def test_stop(self) -> None:
        """The socket is there until it has left."""
        made = self.make()
        made.start()
        self.questions.handlers["answer"](1, None)
        closed: list[str] = []
        made._port.stopListening = lambda: closed.append("port")  # type: ignore[method-assign]
        self.successResultOf(made.stop())
        self.assertEqual(closed, ["port"])
        self.reactor.advance(TIMEOUT)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_noPlace(self) -> None:
        """A directory that others get into is refused in one line."""
        os.chmod(self.place, 0o755)
        self.assertIn("mode 700", str(self.assertRaises(LinkError, self.make)))
