"""HTTP of the admin endpoint: what a client may use of memory and time."""

from __future__ import annotations

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.watching.admin import web
from nymearemoteproxy.watching.admin.web import Answer, Question, text
from tests.support.adminhttp import GET, TurningPipe, WebCase


class WebTests(WebCase):
    """Requests and responses."""

    # Questions

    def test_question(self) -> None:
        """What a request says arrives; of a header and a field, one value."""
        self.ask(
            b"GET /a/b?x=1&y=%C3%A4&x=2&z= HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-ONE: 2\r\n\r\n"
        )
        (question,) = self.asked
        self.assertEqual((question.method, question.path), ("GET", "/a/b"))
        self.assertEqual(question.query, {"x": "2", "y": "ä", "z": ""})
        self.assertEqual(question.headers, {"host": "h", "x-one": "1"})
        self.assertEqual(question.host, "192.0.2.1")

    def test_questionOnAUnixSocket(self) -> None:
        """It has no address, and no TCP to tune."""
        self.connect(UNIXAddress("/run/x")).receive(GET)
        self.assertEqual(self.asked[0].host, "")

    def test_tooManyFields(self) -> None:
        self.ask(b"GET /?" + b"&".join([b"x=1"] * 17) + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.asked[0].query, {})

    def test_secretsAreNotShown(self) -> None:
        """A question may end up in a traceback."""
        self.assertNotIn("xyz", repr(Question(headers={"authorization": "xyz"})))

    # Answers

    def test_answer(self) -> None:
        self.result = text(429, "später", Retry_After="6")
        self.assertEqual(
            self.ask(GET),
            b"HTTP/1.1 429 Too Many Requests\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: 8\r\nRetry-After: 6\r\n\r\nsp\xc3\xa4ter\n",
        )

    def test_head(self) -> None:
        """The same without the body."""
        answer = self.ask(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"Content-Length: 3\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n"))

    def test_fault(self) -> None:
        """It is logged; the client learns nothing but that."""
        self.result = KeyError("s3cret")
        answer = self.ask(GET)
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 "))
        self.assertNotIn(b"s3cret", answer)
        self.assertNotIn(b"Traceback", answer)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_noVersionIsTold(self) -> None:
        for request in (GET, b"nonsense\r\n\r\n"):
            self.assertNotIn(b"wisted", self.ask(request))

    def test_persistent(self) -> None:
        """One connection serves many requests."""
        pipe = self.connect()
        for _time in range(3):
            pipe.receive(GET)
            self.assertIn(b" 200 OK", pipe.take())
        self.assertFalse(pipe.disconnecting)

    def test_closesWhenAskedTo(self) -> None:
        for request in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n",
        ):
            pipe = self.connect()
            pipe.receive(request)
            self.assertIn(b" 200 OK", pipe.take())
            self.assertTrue(pipe.disconnecting)

    # Bounds

    def refused(self, request: bytes, status: bytes) -> None:
        """A request is refused, and nothing is asked."""
        pipe = self.connect()
        pipe.receive(request)
        self.assertTrue(pipe.take().startswith(b"HTTP/1.1 " + status))
        self.assertTrue(pipe.disconnecting)
        pipe.receive(GET)
        self.assertEqual((pipe.take(), self.asked), (b"", []))

    def test_bodies(self) -> None:
        """Large ones, and those of unknown size, are not read."""
        post = b"POST / HTTP/1.1\r\nHost: h\r\n"
        self.refused(post + b"Content-Length: 1025\r\n\r\n", b"413 ")
        self.refused(post + b"Transfer-Encoding: chunked\r\n\r\n", b"413 ")
        self.refused(post + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", b"413 ")
        self.refused(post + b"Content-Length: x\r\n\r\n", b"400 ")
        self.refused(post + b"Content-Length: 99999999999999\r\n\r\n" + b"x" * 5000, b"413 ")

    def test_versions(self) -> None:
        """What is no version of HTTP/1 is refused, and not repeated."""
        for version in b"HTTP/1.1x", b"http/1.1", b"HTTP/2.0", b"HTTP/1.1\x1b[31m":
            self.refused(b"GET / " + version + b"\r\nHost: h\r\n\r\n", b"400 Bad Request\r\n")

    def test_hosts(self) -> None:
        """RFC 9112 section 3.2: there is one."""
        for hosts in b"", b"Host: localhost\r\nHost: other\r\n", b"Host: h\r\nhost: h\r\n":
            self.refused(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n", b"400 ")
        self.refused(b"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", b"400 ")

    def test_smallBody(self) -> None:
        """It is read, also as a form, and dropped."""
        form = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 4\r\n\r\nx=12"
        answer = self.ask(b"POST / HTTP/1.1\r\nHost: h\r\n" + form)
        self.assertIn(b" 200 OK", answer)
        self.assertEqual(self.asked[0].query, {})

    def test_cookies(self) -> None:
        """Nobody wants them."""
        self.assertIn(b" 200 ", self.ask(GET.replace(b"\r\n\r\n", b"\r\nCookie: a=b\r\n\r\n")))

    def test_head_tooLarge(self) -> None:
        line = b"X: " + b"x" * 1000 + b"\r\n"
        self.refused(b"GET / HTTP/1.1\r\n" + line * 9 + b"\r\n", b"400 ")
        self.refused(b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 70 + b"\r\n", b"400 ")

    def test_endlessLine(self) -> None:
        pipe = self.connect()
        pipe.receive(b"GET /" + b"x" * 20000)
        self.assertTrue(pipe.disconnecting)
        self.assertEqual(self.asked, [])

    # Answers that take a while

    def test_later(self) -> None:
        """The client waits, and the time that it has for anything does not count."""
        answer = self.result = Deferred()
        pipe = self.connect()
        pipe.receive(GET * 2)
        self.clock.advance(web.ARRIVE + 1)
        self.assertEqual((pipe.take(), len(self.asked)), (b"", 1))
        self.result = text(200, "second")
        answer.callback(text(200, "first"))
        self.clock.advance(0)
        said = pipe.take()
        self.assertLess(said.index(b"first"), said.index(b"second"))

    def test_neverAnswered(self) -> None:
        """Whatever is wrong with us, a connection is not kept for ever."""
        self.result = Deferred()
        pipe = self.connect()
        pipe.receive(GET)
        self.clock.advance(web.ANSWER)
        self.assertTrue(pipe.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobodyWaitsForIt(self) -> None:
        """Who leaves gives the work up."""
        cancelled: list[object] = []
        self.result = Deferred(cancelled.append)
        pipe = self.connect()
        pipe.receive(GET)
        pipe.lose(ConnectionDone())
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stopped(self) -> None:
        """Work that was given up in the middle is no fault."""
        turns = Turns(self.clock)
        self.result = turns.run(iter([None, None]))  # type: ignore[arg-type]
        pipe = self.connect()
        super(TurningPipe, pipe).receive(GET)  # type: ignore[misc]
        pipe.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_faultLater(self) -> None:
        answer = self.result = Deferred()
        pipe = self.connect()
        pipe.receive(GET)
        answer.errback(KeyError("s3cret"))
        self.assertIn(b" 500 ", pipe.take())
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_answerThatCannotBeSent(self) -> None:
        """It is logged, and the connection does not wait for it."""
        self.result = Answer(999, b"")
        pipe = self.connect()
        pipe.receive(GET)
        self.assertTrue(pipe.lost)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    # Time

    def test_slowRequest(self) -> None:
        """The time for a request does not begin anew with every byte."""
        pipe = self.connect()
        for byte in b"GET / HT":
            pipe.receive(bytes([byte]))
            self.clock.advance(web.ARRIVE / 9)  # nine times would be too much
        self.assertFalse(pipe.lost)
        pipe.receive(b"TP/1.1\r\nX: ")
        self.clock.advance(web.ARRIVE / 8)
        self.assertTrue(pipe.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle(self) -> None:
        """It begins with the last response."""
        pipe = self.connect()
        self.clock.advance(web.ARRIVE - 1)
        pipe.receive(GET)
        self.clock.advance(web.ARRIVE - 1)
        self.assertFalse(pipe.lost)
        self.clock.advance(1)
        self.assertTrue(pipe.lost)

    def test_slowReader(self) -> None:
        """However many requests it sends, one response waits, and only so long."""
        pipe = self.connect()
        pipe.full = True
        pipe.receive(GET * 200)
        self.assertEqual(len(self.asked), 1)
        pipe.receive(GET * 1000)
        self.assertEqual(pipe.producerState, "paused")
        self.clock.advance(web.TAKE - 1)
        self.assertFalse(pipe.lost)
        self.clock.advance(1)
        self.assertTrue(pipe.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_readerThatGoesOn(self) -> None:
        """It gets all it has asked for."""
        pipe = self.connect()
        pipe.full = True
        pipe.receive(GET * 3)
        pipe.drain()
        self.assertEqual(pipe.take().count(b"200 OK"), 3)
        pipe.receive(GET)
        self.assertEqual(pipe.take().count(b"200 OK"), 1)
        self.assertEqual(len(self.asked), 4)

    def test_endlessLength(self) -> None:
        """A length with more digits than Python converts ends the connection."""
        pipe = self.connect()
        pipe.receive(b"GET / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n")
        self.assertTrue(pipe.lost or pipe.disconnecting)  # Debian 12 answers with 400
        self.assertEqual(self.asked, [])

    def test_endlessLengthBehindARequest(self) -> None:
        """The same when it is looked at only after a response."""
        pipe = self.connect()
        pipe.receive(GET + b"GET / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n")
        self.assertTrue(pipe.lost or pipe.disconnecting)
        self.assertEqual(len(self.asked), 1)

    def test_manyInOneRead(self) -> None:
        """Each is answered in a turn of the reactor of its own."""
        pipe = self.connect()
        super(TurningPipe, pipe).receive(GET * 1000)
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 1000)

    def test_leavesAtOnce(self) -> None:
        """A connection that is lost before that turn is no fault."""
        pipe = self.connect()
        super(TurningPipe, pipe).receive(GET * 2)
        pipe.lose(ConnectionDone())
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 1)

    def test_takenInTheSameTurn(self) -> None:
        """A response that waits for the client only a moment is finished once."""
        pipe = self.connect()
        pipe.full = True
        super(TurningPipe, pipe).receive(GET)  # type: ignore[misc]
        super(TurningPipe, pipe).drain()  # type: ignore[misc]
        self.clock.advance(0)
        pipe.receive(GET)
        self.assertEqual(pipe.take().count(b"200 OK"), 2)

    def test_readerThatLeaves(self) -> None:
        """Nothing is left of a response that nobody took."""
        pipe = self.connect()
        pipe.full = True
        pipe.receive(GET)
        pipe.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.connect().receive(GET)
        self.assertEqual(len(self.asked), 2)
