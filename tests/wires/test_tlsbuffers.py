"""Owns the checks that connections do not get into each other's way: all go by the same buffers."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.wires import tlsbuffers
from tests.support.identities import clientContext
from tests.support.tlssessions import (
    NOISE,
    VERSIONS,
    Session,
    TlsCase,
    assertBuffersEmpty,
)

PROPERTY = settings(max_examples=60, deadline=None, database=None)

WHOLE, BROKEN, CUT, GOODBYE, ABORTED = "whole", "broken", "cut", "goodbye", "aborted"


@dataclass
class Course:
    """What a client sends, in pieces, and how that ends.

    :ivar payload: what is to arrive.
    :ivar sent: what the server wrote to it.
    """

    session: Session
    ending: str
    payload: bytes
    pieces: list[bytes] = field(default_factory=list)
    sent: bytes = b""
    isAborted: bool = False


courses = st.lists(
    st.tuples(
        st.sampled_from(list(VERSIONS.values())),
        st.sampled_from([WHOLE, BROKEN, CUT, GOODBYE, ABORTED]),
        st.integers(0, 40000),
        st.lists(st.floats(0, 1), max_size=4),
    ),
    min_size=2,
    max_size=5,
)


class InterleavedTests(TlsCase):
    """Many connections, whose bytes come in any order and are cut anywhere."""

    def begin(self, version: int, ending: str, size: int, cuts: list[float], at: int) -> Course:
        course = Course(Session(context=clientContext(version)).shaken(), ending, NOISE[at:][:size])
        client = course.session.client
        stream = client.encrypt(course.payload) if size else b""
        if ending == BROKEN:
            bad = bytearray(client.encrypt(b"broken"))
            bad[-1] ^= 1
            stream += bytes(bad) + client.encrypt(b"behind it")
        elif ending == CUT:
            stream += client.encrypt(bytes(500))[:-1]
        elif ending == GOODBYE:
            stream += client.close() + b"\x17\x03\x03\x00\x30 not for others"
        bounds = [0, *sorted(int(cut * len(stream)) for cut in cuts), len(stream)]
        course.pieces = [stream[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
        course.pieces.reverse()
        return course

    def goOn(self, course: Course) -> None:
        """Let the server have the next piece, and write something."""
        session, piece = course.session, course.pieces.pop()
        if session.lower.disconnecting:
            return  # nothing is read any more
        session.receive(piece)
        if course.ending == ABORTED and not course.pieces:
            session.transport.abortConnection()
            course.isAborted = True
        word = b"%d pieces left" % len(course.pieces)
        before = session.transport._closing
        session.transport.write(word)
        if not before:
            course.sent += word
        assertBuffersEmpty()

    @PROPERTY
    @given(courses, st.randoms())
    def test_each(self, plans: list[Any], random: Any) -> None:
        """Each gets what is its own, whole and in order, and only who broke TLS is cut off."""
        running = [
            self.begin(*plan, at=7000 * number)  # no two have the same payload
            for number, plan in enumerate(plans)
        ]
        left = [course for course in running for _piece in course.pieces]
        random.shuffle(left)
        for course in left:
            self.goOn(course)
        for course in running:
            session = course.session
            self.assertTrue(b"".join(session.protocol.chunks) == course.payload, course.ending)
            if course.ending != ABORTED:
                session.deliver()
                self.assertEqual(session.client.received, course.sent)
            if course.ending == BROKEN:
                self.assertFailed(session, "bad record mac")
            elif course.ending == GOODBYE:
                session.lower.lose(ConnectionDone())
                self.assertLost(session, ConnectionDone)
            elif course.ending == ABORTED:
                session.lower.lose(ConnectionAborted())
            else:
                self.assertOpen(session)
                if course.ending == WHOLE:
                    self.assertTalks(session)

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(list(VERSIONS.values())),
                st.booleans(),
                st.lists(st.floats(0, 1), max_size=3),
            ),
            min_size=2,
            max_size=4,
        ),
        st.randoms(),
    )
    def test_handshakes(self, plans: list[Any], random: Any) -> None:
        """The same while they shake hands, which some do badly."""
        running = []
        for version, isBad, cuts in plans:
            session = Session(context=clientContext(version))
            hello = session.client.shakeHands()
            if isBad:
                hello = hello[:9] + b"\x03\x02" + hello[11:-1] + b"!"
            bounds = [0, *sorted(int(cut * len(hello)) for cut in cuts), len(hello)]
            pieces = [hello[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
            running.append((session, isBad, pieces[::-1]))
        left = [each for each in running for _piece in each[2]]
        random.shuffle(left)
        for session, _isBad, pieces in left:
            piece = pieces.pop()
            if not session.lower.disconnecting:
                session.receive(piece)
        for session, isBad, _pieces in running:
            if isBad and session.lower.disconnecting:
                self.assertEqual(session.protocol.handshakes, 0)
                continue
            while said := session.client.shakeHands(session.lower.take()):
                session.receive(said)
            if not isBad:
                self.assertEqual(session.protocol.handshakes, 1)
                self.assertTalks(session)

    def test_reentrant(self) -> None:
        """One's data is written to another within the call that delivers it, and so is the answer.

        So it is in every tunnel.
        """
        first, second = Session().shaken(), Session().shaken()
        first.protocol.onData = second.protocol.transport.write

        def answer(data: bytes) -> None:
            second.receive(second.client.encrypt(data[::-1]))

        second.protocol.onData = first.protocol.transport.write
        first.protocol.onData = lambda data: (second.protocol.transport.write(data), answer(data))
        first.receive(first.client.encrypt(NOISE[:40000]))
        second.deliver()
        first.deliver()
        self.assertTrue(second.client.received == NOISE[:40000])
        self.assertTrue(first.client.received == NOISE[:40000][::-1])


class Dirty:
    """An OpenSSL that fails in an unexpected way, with something in both buffers."""

    def fail(self, *_details: object) -> None:
        """Fail."""
        tlsbuffers._INCOMING.write(b"received")
        tlsbuffers._OUTGOING.write(b"said")
        raise MemoryError

    do_handshake = read = write = unwrap = fail


class EmptyTests(SynchronousTestCase):
    """Nothing is left for others, whatever happens."""

    def test_unexpected(self) -> None:
        tls: Any = Dirty()
        calls: list[Callable[[], object]] = [
            lambda: tlsbuffers.shakeHands(tls, b"hello"),
            lambda: tlsbuffers.decrypt(tls, b"record", []),
            lambda: tlsbuffers.encrypt(tls, b"data"),
            lambda: tlsbuffers.sayGoodbye(tls),
        ]
        for call in calls:
            self.assertRaises(MemoryError, call)
            assertBuffersEmpty()

    def test_notTaken(self) -> None:
        """An OpenSSL that asks for more and leaves what it has."""

        class Lazy(Dirty):
            """Takes nothing."""

            def fail(self, *_details: object) -> None:
                tlsbuffers._OUTGOING.write(b"said")
                raise ssl.SSLWantReadError

            do_handshake = read = unwrap = fail

        tls: Any = Lazy()
        self.assertEqual(tlsbuffers.shakeHands(tls, b"hello"), (b"said", None, None))
        assertBuffersEmpty()
        self.assertEqual(tlsbuffers.decrypt(tls, b"record", []), (b"said", False, None))
        assertBuffersEmpty()
        self.assertEqual(tlsbuffers.sayGoodbye(tls), b"said")
        assertBuffersEmpty()
