"""The end of a tunnel without encryption, and partners that want it, in memory."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.local.farend import FarEnd
from tests.support.encryption import NAME, REFUSAL, hello
from tests.support.nearby import Line


class Collecting(FarEnd):
    """Collects what is delivered."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.delivered = b""

    def deliver(self, data: bytes) -> None:
        self.delivered += data


class UnencryptedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.end = Collecting()
        self.line = Line(self.end)
        self.end.makeConnection(self.line)  # type: ignore[arg-type]

    def test_partnerWantsEncryption(self) -> None:
        """However its hello is cut: it is told in clear, and nothing of it is delivered."""
        for cut in (0, 10, 200):
            self.setUp()
            whole = hello(NAME)
            for part in filter(None, (whole[:cut], whole[cut:], b"more")):
                self.end.dataReceived(part)
            self.assertEqual(self.line.value(), REFUSAL)
            self.assertTrue(self.line.disconnecting)
            self.assertEqual(self.end.delivered, b"")
            self.assertIn("wants encryption from end to end", str(self.end.unencrypted))

    def test_refused(self) -> None:
        self.end.send(b"GET / HTTP/1.1\r\n")
        self.end.dataReceived(REFUSAL)
        self.assertEqual(self.end.delivered, b"")
        self.assertIn("give --end-fingerprint or --end-ca", str(self.end.unencrypted))

    def test_othersTls(self) -> None:
        """Of the programs at the ends it is not our business, alerts neither."""
        self.end.send(hello("http/1.1"))
        self.end.dataReceived(REFUSAL)
        self.assertEqual((self.end.delivered, self.end.unencrypted), (REFUSAL, None))
        self.setUp()
        whole = hello("http/1.1")
        self.end.dataReceived(whole[:100])
        self.end.dataReceived(whole[100:])
        self.assertEqual((self.end.delivered, self.end.unencrypted), (whole, None))

    def test_unfinished(self) -> None:
        """What is held until all of it is there is delivered at the end."""
        begun = hello("http/1.1")[:100]
        self.end.dataReceived(begun)
        self.assertEqual(self.end.delivered, b"")
        self.end.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.end.delivered, self.end.unencrypted), (begun, None))
