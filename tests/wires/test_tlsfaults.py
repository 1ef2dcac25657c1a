"""Owns the checks of faults in TLS, of the other side's and of OpenSSL's."""

from __future__ import annotations

import ssl

from twisted.internet.error import ConnectionAborted

from nymearemoteproxy.wires.tlstransport import SLICE_SIZE
from tests.support.tlssessions import NOISE, RECORD, Session, TlsCase, splitRecords


class FaultTests(TlsCase):
    """Clients that break TLS, and an OpenSSL that fails."""

    def corrupt(self, session: Session) -> list[bytes]:
        """Return a good record, a corrupted one, and another one."""
        good, bad, next = (session.client.encrypt(data) for data in (b"good", b"bad", b"next"))
        return [good, bad[:-1] + bytes([bad[-1] ^ 1]), next]

    def assertToldClient(self, session: Session) -> None:
        """The client gets an alert, and only one."""
        self.assertEqual(len(splitRecords(session.lower.value())), 1)
        session.deliver()
        self.assertIn("bad record mac", session.client.fault.lower())

    def test_corrupted(self) -> None:
        """What was good before it is delivered, and nothing behind it."""
        for session in self.sessions():
            session.receive(*self.corrupt(session))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_corruptedLarge(self) -> None:
        """The same in a read that is given to OpenSSL in slices."""
        for session in self.sessions():
            first = session.client.encrypt(NOISE[: 2 * SLICE_SIZE])
            session.receive(first, *self.corrupt(session), session.client.encrypt(NOISE))
            self.assertTrue(b"".join(session.protocol.chunks) == NOISE[: 2 * SLICE_SIZE] + b"good")
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_closed(self) -> None:
        """Nothing is said after a fault."""
        for session in self.sessions():
            _good, bad, _next = self.corrupt(session)
            session.receive(bad)
            session.lower.take()
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual(session.protocol.chunks, [])
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertFailed(session, "bad record mac")

    def test_closing(self) -> None:
        """A fault instead of the goodbye that we wait for."""
        for session in self.sessions():
            session.protocol.transport.loseConnection()
            self.assertOpen(session)
            session.lower.take()
            session.receive(*self.corrupt(session))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertFailed(session, "bad record mac")

    def test_writeInDataReceived(self) -> None:
        """What the good data is answered cannot be sent any more; what was wrong is still told."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.transport.write
            session.receive(*self.corrupt(session))
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_loseInDataReceived(self) -> None:
        for session in self.sessions():
            session.protocol.onData = session.protocol.lose
            session.receive(*self.corrupt(session))
            self.assertToldClient(session)
            self.assertFailed(session, "bad record mac")

    def test_stalled(self) -> None:
        """A client that would not take the alert is cut off; the reason is told all the same."""
        for session in self.sessions():
            session.stall()
            session.receive(*self.corrupt(session))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertTrue(session.lower.aborted)
            session.lower.lose(ConnectionAborted())
            [loss] = session.protocol.losses
            self.assertIsInstance(loss.value, ssl.SSLError)

    def test_alert(self) -> None:
        """The client gives up."""
        for session in self.sessions():
            session.client.take(b"\x17\x03\x03\x00\x20" + b"?" * 32)
            self.assertTrue(session.client.fault)
            session.receive(session.client.output())
            self.assertEqual(session.lower.take(), b"", "it was answered")
            self.assertFailed(session, "alert")

    def test_openSslFails(self) -> None:
        """Whoever writes is not bothered, whichever of the records fails."""
        for works in (0, 1, 2):
            session = Session().shaken()
            broken = Broken(works)
            self.patch(session.transport, "_tls", broken)
            session.protocol.transport.write(b"data" * RECORD)
            self.assertEqual(session.lower.take(), b"")
            session.protocol.transport.write(b"more")
            self.assertEqual(broken.asked, works + 1)
            self.assertFailed(session, "it is broken")


class Broken:
    """An OpenSSL that fails.

    :param works: how many records are sealed before.
    """

    def __init__(self, works: int) -> None:
        self.works = works
        self.asked = 0

    def write(self, data: bytes) -> int:
        """Take a record, or fail."""
        self.asked += 1
        if self.asked > self.works:
            raise ssl.SSLError(1, "it is broken")
        return min(RECORD, len(data))
