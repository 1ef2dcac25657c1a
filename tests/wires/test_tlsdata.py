"""Owns the checks of data over TLS: whole, in order, in turns, and held while nobody takes it."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import turns
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.wires import tlsbuffers
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.tlstransport import SLICE_SIZE
from tests.support.identities import clientContext
from tests.support.memory import Producer, oneTurn
from tests.support.tlssessions import (
    APPLICATION_DATA,
    NOISE,
    PEER,
    RECORD,
    VERSIONS,
    Forger,
    Recorder,
    Session,
    TlsCase,
    splitRecords,
)

PROPERTY = settings(max_examples=100, deadline=None, database=None)


class SmallRecordTests(SynchronousTestCase):
    """A read may hold thousands of small records; they are looked at in turns."""

    def setUp(self) -> None:
        self.patch(turns, "TURN", 0)
        self.clock = Clock()
        self.session = Session(line=Turns(self.clock)).shaken()
        self.content = NOISE[:4000]
        self.flood = b"".join(self.session.client.encrypt(bytes([octet])) for octet in self.content)
        self.assertGreater(len(self.flood), 5 * SLICE_SIZE)

    @property
    def arrived(self) -> bytes:
        """What the protocol was given so far."""
        return b"".join(self.session.protocol.chunks)

    @property
    def isRead(self) -> bool:
        """Whether more is read from the client."""
        return self.session.lower.producerState == "producing"

    def test_inTurns(self) -> None:
        """Slice by slice, in order; meanwhile nothing more is read."""
        self.session.receive(self.flood)
        seen = len(self.arrived)
        while not self.isRead:
            self.assertLess(seen, len(self.content))
            self.assertTrue(self.content.startswith(self.arrived))
            oneTurn(self.clock)
            self.assertTrue(0 < len(self.arrived) - seen < 1000)
            seen = len(self.arrived)
        self.assertEqual(self.arrived, self.content)
        self.assertGreater(len(self.session.protocol.chunks), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_protocolFails(self) -> None:
        """A fault of the protocol's in a later turn costs the connection."""
        self.session.receive(self.flood)
        self.session.protocol.onData = lambda _data: 1 // 0
        oneTurn(self.clock)
        self.assertTrue(self.session.lower.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_noData(self) -> None:
        """Messages of TLS's own, of which each costs as much as twenty records, are no data."""
        context = clientContext()
        forger = Forger(context)
        self.session = session = Session(context=context, line=Turns(self.clock)).shaken()
        flood = b"".join(forger.keyUpdate() for _ in range(6 * SLICE_SIZE // 27))
        session.receive(flood + forger.seal(APPLICATION_DATA, b"data"))
        for _turn in range(3):
            self.assertFalse(self.isRead)
            self.assertEqual(self.arrived, b"")
            oneTurn(self.clock)
        self.assertTrue(self.isRead)
        self.assertEqual(self.arrived, b"data")

    def test_largerRecords(self) -> None:
        """What records of 512 bytes a read holds is looked at at once."""
        self.session = Session(line=Turns(self.clock)).shaken()
        data = b"".join(self.session.client.encrypt(bytes(512)) for _ in range(180))
        self.session.receive(data)
        self.assertEqual(len(self.session.protocol.chunks), 1)
        self.assertTrue(self.isRead)

    def test_fullRecords(self) -> None:
        """So is what one of full records holds, wherever it begins; those of 1.2 are larger."""
        for version in VERSIONS.values():
            for begin in (0, 1, 7, 100, RECORD, RECORD + 20):
                self.session = Session(context=clientContext(version), line=Turns(self.clock))
                self.session.shaken()
                data = self.session.client.encrypt(NOISE[: 8 * RECORD])
                self.session.receive(data[:begin])
                self.session.receive(data[begin:][: 6 * SLICE_SIZE])
                self.assertTrue(self.isRead, (version, begin))

    def test_paused(self) -> None:
        """While the protocol wants nothing it gets nothing; then the rest, in turns."""
        self.session.protocol.onData = lambda _data: self.session.transport.pauseProducing()
        self.session.receive(self.flood)
        for count in range(1, 4):
            for _ in range(3):
                oneTurn(self.clock)
            self.assertEqual(len(self.session.protocol.chunks), count)
            self.assertFalse(self.isRead)
            self.session.transport.resumeProducing()
            self.assertFalse(self.isRead)
        self.session.protocol.onData = lambda _data: None
        self.clock.advance(0)
        self.assertEqual(self.arrived, self.content)
        self.assertTrue(self.isRead)

    def test_end(self) -> None:
        """What came before close_notify is delivered before it."""
        self.session.receive(self.flood + self.session.client.close())
        self.assertFalse(self.session.lower.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.arrived, self.content)
        self.assertTrue(self.session.lower.disconnecting)

    def test_fault(self) -> None:
        """So it is with a fault."""
        self.session.receive(self.flood + b"\x17\x03\x03\x00\x05wrong")
        self.assertFalse(self.session.lower.disconnecting)
        self.clock.advance(0)
        self.assertEqual(self.arrived, self.content)
        self.assertTrue(self.session.lower.disconnecting)

    def test_aborted(self) -> None:
        """Nothing is delivered after an abort or the loss of the connection."""
        self.session.receive(self.flood)
        seen = self.arrived
        self.session.transport.abortConnection()
        self.clock.advance(0)
        self.session.transport.resumeProducing()
        self.session.lower.lose(ConnectionAborted())
        self.clock.advance(0)
        self.assertEqual(self.arrived, seen)
        self.assertEqual(self.clock.getDelayedCalls(), [])


sizes = st.lists(
    st.one_of(
        st.integers(1, 100),
        st.integers(1, 2 * RECORD + 1000),
        st.sampled_from([RECORD - 1, RECORD, RECORD + 1, 2 * RECORD, SLICE_SIZE]),
    ),
    min_size=1,
    max_size=6,
)
cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=6)


class DataTests(TlsCase):
    """What is sent arrives, in as few pieces as possible."""

    def checkReceiving(self, version: int, amounts: list[int], places: list[float]) -> None:
        """Payloads of these sizes arrive, cut at these places of the encrypted stream.

        Each read delivers what it completes, all of it at once.
        """
        session = Session(context=clientContext(version)).shaken()
        stream, ends, at = b"", [], 0
        for amount in amounts:
            sealed = session.client.encrypt(NOISE[at : at + amount])
            for record in splitRecords(sealed):
                stream += record
                at += min(RECORD, amount)
                amount -= min(RECORD, amount)
                ends.append((len(stream), at))
        self.assertEqual(ends[-1][1], sum(amounts))
        bounds = sorted(int(place * len(stream)) for place in places)
        expected, before, delivered = [], 0, 0
        for bound in [*bounds, len(stream)]:
            if bound > before:
                session.receive(stream[before:bound])
                before = bound
            complete = max((plain for end, plain in ends if end <= bound), default=0)
            if complete > delivered:
                expected.append(NOISE[delivered:complete])
                delivered = complete
            # A comparison that fails must not print all of it.
            self.assertEqual(
                [len(chunk) for chunk in session.protocol.chunks],
                [len(chunk) for chunk in expected],
            )
        self.assertTrue(session.protocol.chunks == expected, "the content differs")
        self.assertOpen(session)

    @PROPERTY
    @given(st.sampled_from(list(VERSIONS.values())), sizes, cuts)
    @example(SSL.TLS1_3_VERSION, [RECORD] * 5, [])
    @example(SSL.TLS1_2_VERSION, [2 * RECORD, 1], [0.5, 0.999])
    def test_receive(self, version: int, amounts: list[int], places: list[float]) -> None:
        self.checkReceiving(version, amounts, places)

    def test_manySmall(self) -> None:
        """A large read with many small records, of which the last, or another one, is cut."""
        for version in VERSIONS.values():
            for size in (1, 31, 700):
                amounts = [size] * (3 * SLICE_SIZE // (size + 30))
                for places in ([], [0.9999], [0.01], [0.0001, 0.9]):
                    self.checkReceiving(version, amounts, places)

    def test_bytewise(self) -> None:
        for version in VERSIONS.values():
            stream = 3 * (29 + 50)
            self.checkReceiving(version, [50] * 3, [place / stream for place in range(stream)])

    def test_slices(self) -> None:
        """OpenSSL is not given more at a time than one turn should be for."""
        session = Session().shaken()
        given: list[int] = []

        class Watched:
            """Looks at what waits to be read."""

            def read(self, size: int) -> bytes:
                given.append(tlsbuffers._INCOMING.pending)
                return tls.read(size)

        tls = session.transport._tls
        self.patch(session.transport, "_tls", Watched())
        session.receive(session.client.encrypt(NOISE))
        self.assertEqual(b"".join(session.protocol.chunks), NOISE)
        self.assertLessEqual(max(given), SLICE_SIZE)

    def test_emptyRecord(self) -> None:
        """It carries nothing, least of all the end (RFC 8446 section 5.1)."""
        session, forger = self.forged()
        empty = forger.seal(APPLICATION_DATA, b"")
        session.receive(empty)
        self.assertEqual(session.protocol.chunks, [])
        session.receive(forger.seal(APPLICATION_DATA, b""), forger.seal(APPLICATION_DATA, b"data"))
        self.assertEqual(session.protocol.chunks, [b"data"])
        self.assertOpen(session)

    @PROPERTY
    @given(st.sampled_from(list(VERSIONS.values())), sizes)
    @example(SSL.TLS1_3_VERSION, [5 * RECORD + 1])
    def test_send(self, version: int, amounts: list[int]) -> None:
        """Each write is one write to the lower transport, however many records it takes."""
        session = Session(context=clientContext(version)).shaken()
        at = 0
        for count, amount in enumerate(amounts, 1):
            session.protocol.transport.write(NOISE[at : at + amount])
            at += amount
            self.assertEqual(len(session.lower.sent), count)
        session.deliver()
        self.assertTrue(session.client.received == NOISE[:at])

    def test_sendPartly(self) -> None:
        """An OpenSSL that takes a record at a time, which the standard library's may become."""
        for size in (RECORD, 3 * RECORD, 3 * RECORD + 1):
            session = Session().shaken()
            seal = session.transport._tls.write

            class Partial:
                """Seals one record."""

                write = staticmethod(lambda data, seal=seal: seal(data[:RECORD]))

            patched = self.patch(session.transport, "_tls", Partial())
            session.protocol.transport.write(NOISE[:size])
            patched.restore()
            self.assertEqual(len(session.lower.sent), 1)
            session.deliver()
            self.assertTrue(session.client.received == NOISE[:size])

    def test_writeInDataReceived(self) -> None:
        for session in self.sessions():
            session.protocol.onData = session.protocol.transport.write
            session.receive(session.client.encrypt(NOISE[:40000]))
            session.deliver()
            self.assertTrue(session.client.received == NOISE[:40000])

    def test_switch(self) -> None:
        """The next protocol gets what arrives next."""
        session = Session().shaken()
        first, second = session.protocol, Recorder()
        first.onData = lambda data: first.transport.switchProtocol(second)
        session.receive(session.client.encrypt(b"one"))
        session.receive(session.client.encrypt(b"two"))
        self.assertEqual((first.chunks, second.chunks), ([b"one"], [b"two"]))
        self.assertIs(second.transport, session.transport)


class PressureTests(TlsCase):
    """A client that does not read."""

    def test_producer(self) -> None:
        session = Session().shaken()
        transport = session.protocol.transport
        producer = Producer()
        transport.registerProducer(producer, True)
        transport.write(b"one")
        self.assertFalse(transport.blocked)
        self.assertEqual(producer.asked, [])
        session.lower.full = True
        transport.write(b"two")
        self.assertTrue(transport.blocked)
        self.assertEqual(producer.asked, ["pause"])
        producer.asked.clear()
        transport.write(b"three")
        self.assertNotIn("resume", producer.asked)
        producer.asked.clear()
        session.lower.drain()
        self.assertFalse(transport.blocked)
        self.assertEqual(producer.asked, ["resume"])
        session.deliver()
        self.assertEqual(session.client.received, b"onetwothree")
        transport.unregisterProducer()
        session.stall()
        self.assertEqual(producer.asked, ["resume"])

    def test_reading(self) -> None:
        session = Session().shaken()
        session.protocol.transport.pauseProducing()
        self.assertEqual(session.lower.producerState, "paused")
        session.protocol.transport.resumeProducing()
        self.assertEqual(session.lower.producerState, "producing")

    def test_below(self) -> None:
        """Addresses, and who knows the socket."""
        session = Session()
        transport = session.protocol.transport
        self.assertEqual(transport.getPeer(), PEER)
        self.assertEqual(transport.getHost(), session.lower.getHost())
        self.assertIsInstance(transport.lowest, DirectTransport)
        self.assertIs(transport.lowest.getHandle(), session.lower)
