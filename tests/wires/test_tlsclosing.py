"""Owns the checks of how connections over TLS end: by a goodbye, an abort or a loss."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from nymearemoteproxy.wires.tlstransport import MAX_UNSENT_ANSWERS, SLICE_SIZE
from tests.support.identities import clientContext
from tests.support.tlssessions import (
    ALERT,
    APPLICATION_DATA,
    CLIENT_HELLO,
    CLOSE_NOTIFY,
    HANDSHAKE,
    KEY_UPDATE,
    VERSIONS,
    Session,
    TlsCase,
    splitRecords,
)


class CloseTests(TlsCase):
    """How connections end, orderly or not."""

    def assertClientClosed(self, session: Session) -> None:
        """The client was told goodbye, and the lower connection is being closed."""
        session.deliver()
        self.assertTrue(session.client.closed)
        self.assertTrue(session.lower.disconnecting)
        self.assertEqual(session.protocol.losses, [])
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionDone)

    def test_client(self) -> None:
        """Data before close_notify is delivered, the goodbye answered."""
        for session in self.sessions():
            session.receive(session.client.encrypt(b"last words"), session.client.close())
            self.assertEqual(session.protocol.chunks, [b"last words"])
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_clientAlone(self) -> None:
        """close_notify in a read of its own, or cut."""
        for session in self.sessions():
            goodbye = session.client.close()
            session.receive(goodbye[:7])
            self.assertOpen(session)
            session.receive(goodbye[7:])
            self.assertClientClosed(session)

    def test_answerLastWords(self) -> None:
        """What is written when the last data arrives still goes out, before our goodbye."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.transport.write
            session.receive(session.client.encrypt(b"last words"), session.client.close())
            self.assertClientClosed(session)
            self.assertEqual(session.client.received, b"last words")

    def test_writeAfterClient(self) -> None:
        """Both directions have ended."""
        for session in self.sessions():
            session.receive(session.client.close())
            session.lower.take()
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            session.lower.lose(ConnectionDone())
            self.assertLost(session, ConnectionDone)

    def test_dataBehindClose(self) -> None:
        """It is ignored, in the same read as close_notify and in a later one, however much."""
        for size in (10, 3 * SLICE_SIZE):
            session, forger = self.forged()
            good = forger.seal(APPLICATION_DATA, b"good")
            goodbye = forger.seal(ALERT, CLOSE_NOTIFY)
            late = [forger.seal(APPLICATION_DATA, b"l" * 1000) for _ in range(size // 1000 + 1)]
            session.receive(good, goodbye, *late)
            session.receive(forger.seal(APPLICATION_DATA, b"later"))
            self.assertEqual(session.protocol.chunks, [b"good"])
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_fin(self) -> None:
        """Without close_notify something may be missing."""
        for session in self.sessions():
            session.receive(session.client.encrypt(b"data"))
            session.lower.lose(ConnectionDone())
            self.assertEqual(session.protocol.chunks, [b"data"])
            self.assertLost(session, ConnectionLost)

    def test_reset(self) -> None:
        """What the lower connection tells is passed on."""
        session = Session().shaken()
        reason = ConnectionLost("reset")
        session.lower.lose(reason)
        self.assertIs(self.assertLost(session, ConnectionLost), reason)

    def test_afterwards(self) -> None:
        """What is asked of a connection that is lost does not matter, and nothing arrives."""
        session = Session().shaken()
        session.lower.lose(ConnectionLost())
        session.receive(session.client.encrypt(b"late"))
        self.assertEqual(session.protocol.chunks, [])
        session.protocol.transport.write(b"late")
        session.protocol.transport.loseConnection()
        self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
        self.assertLost(session, ConnectionLost)

    def test_server(self) -> None:
        """We close: the goodbye goes out, the connection stays until the client's comes."""
        for session in self.sessions():
            transport = session.protocol.transport
            transport.write(b"our last words")
            transport.loseConnection()
            session.deliver()
            self.assertEqual(session.client.received, b"our last words")
            self.assertTrue(session.client.closed)
            self.assertTrue(session.lower.halfClosed, "clients wait for the end of the stream")
            self.assertOpen(session)
            session.receive(session.client.encrypt(b"client's last"))
            session.receive(session.client.encrypt(b"words"))
            self.assertEqual(session.protocol.chunks, [b"client's last", b"words"])
            self.assertOpen(session)
            session.receive(session.client.encrypt(b"!"), session.client.close())
            self.assertEqual(session.protocol.chunks[2:], [b"!"])
            self.assertEqual(session.lower.take(), b"")
            self.assertClientClosed(session)

    def test_serverCutRecord(self) -> None:
        """We close while a record has arrived in part; the rest of it is still read."""
        for version in VERSIONS.values():
            for cut in (3, 20):
                session = Session(context=clientContext(version)).shaken()
                record = session.client.encrypt(b"data")
                session.receive(record[:cut])
                session.protocol.transport.loseConnection()
                session.receive(record[cut:], session.client.close())
                self.assertEqual(session.protocol.chunks, [b"data"])
                self.assertClientClosed(session)

    def test_serverInDataReceived(self) -> None:
        """We close when data arrives; what follows is delivered all the same."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.lose
            session.receive(session.client.encrypt(b"one"), session.client.encrypt(b"two"))
            session.receive(session.client.encrypt(b"three"), session.client.close())
            self.assertEqual(session.protocol.chunks, [b"onetwo", b"three"])
            self.assertClientClosed(session)

    def test_serverThenFin(self) -> None:
        """A client that does not answer our goodbye may have had more to say."""
        session = Session().shaken()
        session.protocol.transport.loseConnection()
        session.lower.lose(ConnectionDone())
        self.assertLost(session, ConnectionLost)

    def test_halfClose(self) -> None:
        """To end only what we send is the same."""
        for session in self.sessions():
            session.protocol.transport.loseWriteConnection()
            session.deliver()
            self.assertTrue(session.client.closed)
            self.assertTrue(session.lower.halfClosed)
            session.receive(session.client.encrypt(b"client's last words"))
            self.assertEqual(session.protocol.chunks, [b"client's last words"])
            self.assertOpen(session)

    def test_serverTwice(self) -> None:
        """One goodbye is enough, and nothing is written behind it."""
        for session in self.sessions():
            session.protocol.transport.loseConnection()
            session.deliver()
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertOpen(session)

    def test_both(self) -> None:
        """Goodbyes that cross are each other's answers."""
        for session in self.sessions():
            goodbye = session.client.close()
            session.protocol.transport.loseConnection()
            session.receive(goodbye)
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_bothInDataReceived(self) -> None:
        """We close when data arrives, and the client's goodbye came with it."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.lose
            session.receive(session.client.encrypt(b"data"), session.client.close())
            self.assertEqual(len(splitRecords(session.lower.value())), 1)
            self.assertClientClosed(session)

    def test_keyUpdateAfterOurs(self) -> None:
        """The client's records go on as it likes, until its goodbye."""
        session, forger = self.forged()
        session.protocol.transport.loseConnection()
        session.receive(forger.keyUpdate(), forger.seal(APPLICATION_DATA, b"data"))
        session.receive(forger.seal(ALERT, CLOSE_NOTIFY))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertClientClosed(session)

    def test_manyKeyUpdatesAfterOurs(self) -> None:
        """They want answers, which can come no more: nothing is sent, kept or taken amiss."""
        session, forger = self.forged()
        session.protocol.transport.loseConnection()
        session.lower.take()
        for _ in range(MAX_UNSENT_ANSWERS // len(KEY_UPDATE)):
            session.receive(forger.keyUpdate())
        session.receive(forger.seal(APPLICATION_DATA, b"data"))
        self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertOpen(session)

    def test_renegotiationAfterOurs(self) -> None:
        """The same with a client of TLS 1.2 that asks for it."""
        session, forger = self.forgedOld()
        session.protocol.transport.loseConnection()
        session.lower.take()
        session.receive(
            forger.seal(HANDSHAKE, CLIENT_HELLO), forger.seal(APPLICATION_DATA, b"data")
        )
        self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertOpen(session)

    def test_waits(self) -> None:
        """The goodbye does not overtake what the client has not taken yet."""
        for close in (
            lambda session: session.protocol.transport.loseConnection(),
            lambda session: session.receive(session.client.close()),
        ):
            for session in self.sessions():
                session.stall()
                close(session)
                self.assertFalse(session.lower.aborted)
                self.assertEqual(session.lower.take(), b"")
                session.lower.drain()
                session.deliver()
                self.assertEqual(session.client.received, b"stalled")
                self.assertTrue(session.client.closed)

    def test_abort(self) -> None:
        """At once, and without a goodbye."""
        for session in self.sessions():
            session.protocol.transport.abortConnection()
            self.assertTrue(session.lower.aborted)
            session.protocol.transport.write(b"late")
            session.protocol.transport.loseConnection()
            self.assertEqual((session.lower.take(), session.lower.waiting), (b"", []))
            self.assertFalse(session.lower.halfClosed)
            session.lower.lose(ConnectionAborted())
            self.assertLost(session, ConnectionAborted)

    def test_abortAfterClosing(self) -> None:
        """The client does not close, and we have waited long enough."""
        for session in self.sessions():
            session.protocol.transport.loseConnection()
            session.protocol.transport.abortConnection()
            self.assertTrue(session.lower.aborted)
            session.receive(session.client.close())
            self.assertFalse(session.lower.disconnecting)

    def test_abortInDataReceived(self) -> None:
        """Nothing else happens, even if more was in the same read."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.abort
            session.receive(session.client.encrypt(b"data"), session.client.close())
            self.assertFalse(session.lower.disconnecting or session.lower.halfClosed)
            session.lower.lose(ConnectionAborted())
            self.assertEqual(session.protocol.chunks, [b"data"])
            self.assertLost(session, ConnectionAborted)

    def test_abortBeforeAFault(self) -> None:
        """It is the abort that ended the connection, not what was behind it."""
        for session in self.sessions():
            session.protocol.onData = session.protocol.abort
            good, bad = session.client.encrypt(b"data"), session.client.encrypt(b"bad")
            session.receive(good, bad[:-1], bytes([bad[-1] ^ 1]))
            self.assertEqual(session.protocol.chunks, [b"data"])
            self.assertFalse(session.lower.disconnecting)
            session.lower.lose(ConnectionAborted())
            self.assertLost(session, ConnectionAborted)

    def test_readAfterAbort(self) -> None:
        """Twisted may have read already when we abort."""
        for session in self.sessions():
            session.protocol.transport.abortConnection()
            session.receive(session.client.encrypt(b"data"))
            session.receive(session.client.close())
            self.assertEqual(session.protocol.chunks, [])
            self.assertFalse(session.lower.disconnecting)
