"""Owns the checks of the authentication over HTTP: the question, every kind of answer, faults."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from twisted.web.client import RequestNotSent, RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from nymearemoteproxy.authentication.answers import MAX_ANSWER
from nymearemoteproxy.authentication.backend import MAX_SUBJECT, BackendError, Verdict
from nymearemoteproxy.authentication.http import HttpAuthenticator, judge, makeHttpClient
from nymearemoteproxy.authentication.url import isOnThisMachine, readUrl
from nymearemoteproxy.protocol.session import PairingKeys
from tests.support.endtoend import hang

PROPERTY = settings(max_examples=150, deadline=None, database=None)

reactor: Any = globalReactor

TOKEN = "a-token-nobody-may-see-€"
URL = "http://backend.example/check?realm=home"


class Backend(Resource):
    """An authentication server that keeps its requests, and answers as it is told to."""

    isLeaf = True

    def __init__(self, answer: Callable[[Request], bytes | int]) -> None:
        super().__init__()
        self.answer = answer
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.gone: list[Request] = []

    def render(self, request: Request) -> bytes | int:
        self.requests.append(request)
        self.bodies.append(request.content.read())
        request.notifyFinish().addErrback(lambda _: self.gone.append(request))
        return self.answer(request)


def replying(
    body: bytes = b'{"isValid":true}',
    code: int = 200,
    type: bytes | None = b"application/json",
    **headers: bytes,
) -> Callable[[Request], bytes]:
    """Return an answer that is always the same."""

    def answer(request: Request) -> bytes:
        request.setResponseCode(code)
        if type is None:
            request.defaultContentType = None
        else:
            request.setHeader(b"Content-Type", type)
        for name, value in headers.items():
            request.setHeader(name.encode(), value)
        return body

    return answer


class InMemoryCase(SynchronousTestCase):
    """Helpers for the checks with a server in memory."""

    def ask(
        self, answer: Callable[[Request], bytes | int], **options: Any
    ) -> tuple[Deferred[Verdict], Backend]:
        """Ask once."""
        backend = Backend(answer)
        self.client = StubTreq(backend)
        asker = HttpAuthenticator(self.client, URL, 4, **options)
        asked = asker.authenticate(TOKEN)
        self.client.flush()
        return asked, backend

    def assertVerdict(self, answer: Callable[[Request], bytes | int], verdict: Verdict) -> None:
        """The answer is a verdict."""
        self.assertEqual(self.successResultOf(self.ask(answer)[0]), verdict)

    def assertFails(self, answer: Callable[[Request], bytes | int], *words: str) -> None:
        """The answer is a failure of the backend, which the text describes without the token."""
        asked, backend = self.ask(answer)
        text = str(self.failureResultOf(asked, BackendError).value)
        for word in words:
            self.assertIn(word, text)
        self.assertNotIn(TOKEN, text)
        self.assertNotIn("\n", text)
        self.assertEqual(len(backend.requests), 1)


class QuestionTests(InMemoryCase):
    """What the authentication server is asked."""

    def test_json(self) -> None:
        """The token is posted as JSON to the very URL."""
        asked, backend = self.ask(replying())
        self.successResultOf(asked)
        (request,), (body,) = backend.requests, backend.bodies
        self.assertEqual(request.method, b"POST")
        self.assertEqual(request.uri, b"/check?realm=home")
        self.assertEqual(request.getHeader("Host"), "backend.example")
        self.assertTrue((request.getHeader("Content-Type") or "").startswith("application/json"))
        self.assertIsNone(request.getHeader("Authorization"))
        self.assertEqual(json.loads(body), {"token": TOKEN})

    def test_form(self) -> None:
        """RFC 7662's form with client credentials."""
        asked, backend = self.ask(
            replying(b'{"active":true}'), form=True, credentials=("me", "s:cret")
        )
        self.assertEqual(self.successResultOf(asked), Verdict(True))
        (request,), (body,) = backend.requests, backend.bodies
        self.assertEqual(request.getHeader("Content-Type"), "application/x-www-form-urlencoded")
        self.assertEqual(
            request.getHeader("Authorization"),
            "Basic " + base64.b64encode(b"me:s:cret").decode(),
        )
        self.assertEqual(
            dict(pair.split(b"=") for pair in body.split(b"&")),
            {
                b"token": b"a-token-nobody-may-see-%E2%82%AC",
                b"token_type_hint": b"access_token",
            },
        )

    def test_jsonWithCredentials(self) -> None:
        """Credentials go with either kind of question."""
        asked, backend = self.ask(replying(), credentials=("me", "secret"))
        self.successResultOf(asked)
        self.assertTrue((backend.requests[0].getHeader("Authorization") or "").startswith("Basic "))


class AnswerTests(InMemoryCase):
    """What counts as an answer."""

    def test_accepted(self) -> None:
        """nymea's own authorizer and RFC 7662."""
        self.assertVerdict(replying(b'{"isValid":true}'), Verdict(True))
        self.assertVerdict(replying(b'{"active":true,"sub":"anna"}'), Verdict(True, "anna"))

    def test_refused(self) -> None:
        """False is a verdict, no failure."""
        self.assertVerdict(replying(b'{"isValid":false}'), Verdict(False))
        self.assertVerdict(replying(b' {"active":false}\n'), Verdict(False))

    def test_types(self) -> None:
        """Types that say JSON, and no type at all."""
        for type in (
            b"application/json; charset=utf-8",
            b"Application/JSON",
            b"application/token-introspection+json",
            b"application/problem+json ;x=y",
            None,
        ):
            self.assertVerdict(replying(type=type), Verdict(True))

    def test_otherTypes(self) -> None:
        """An answer of another type is none."""
        for type in (
            b"text/html",
            b"text/plain",
            b"application/jwt",
            b"json",
            b"x/application/json",
            b"application/json\xff",
        ):
            self.assertFails(replying(type=type), "type")

    def test_otherStatus(self) -> None:
        """Only 200 is an answer, whatever the body says."""
        for code in (201, 202, 203, 206, 400, 401, 403, 404, 429, 500, 503):
            self.assertFails(replying(code=code), str(code))
        self.assertFails(replying(b"", code=204), "204")

    def test_redirect(self) -> None:
        """The token is not carried elsewhere."""
        for code in (301, 302, 303, 307, 308):
            self.assertFails(replying(code=code, Location=b"http://elsewhere.example/"), str(code))

    def test_notJson(self) -> None:
        """Neither what is no JSON at all, nor what has no object."""
        for body in (b"", b"yes", b'{"isValid":true', b"\xff", b"[" * 20_000, b'{"isValid":True}'):
            self.assertFails(replying(body), "JSON")
        for body in (b"true", b"[]", b'[{"isValid":true}]', b"null", b'"isValid"', b"1"):
            self.assertFails(replying(body), "object")

    def test_size(self) -> None:
        """64 KiB are read, one byte more is too much."""
        largest = b'{"isValid":true}'.ljust(MAX_ANSWER)
        self.assertEqual(MAX_ANSWER, 65536)
        self.assertVerdict(replying(largest), Verdict(True))
        self.assertFails(replying(largest + b" "), "larger", "65536")
        self.assertFails(replying(largest * 20), "larger")

    def test_cancelled(self) -> None:
        """Whoever gives up ends the request: it is dropped, and not sent again."""
        asked, backend = self.ask(hang)
        self.assertNoResult(asked)
        asked.cancel()
        self.client.flush()
        self.failureResultOf(asked)
        self.assertEqual(len(backend.requests), 1)
        self.assertEqual(backend.gone, backend.requests)

    def test_cancelledWithinTheAnswer(self) -> None:
        """Also when the beginning of the answer is there."""

        def begin(request: Request) -> int:
            request.setHeader(b"Content-Type", b"application/json")
            request.write(b'{"isV')
            return NOT_DONE_YET

        asked, backend = self.ask(begin)
        self.assertNoResult(asked)
        asked.cancel()
        self.client.flush()
        self.failureResultOf(asked)
        self.assertEqual(len(backend.requests), 1)
        self.assertEqual(backend.gone, backend.requests)

    def test_brokenOff(self) -> None:
        """An answer that ends too early is none, even if what came could be read."""

        def breakOff(request: Request) -> int:
            request.setHeader(b"Content-Type", b"application/json")
            request.setHeader(b"Content-Length", b"100")
            request.write(b'{"isValid":true}')
            request.transport.loseConnection()
            return NOT_DONE_YET

        self.assertFails(breakOff, "request failed")


class UrlTests(SynchronousTestCase):
    """Where an authentication server may be. What is asked there: `AskedUrlTests`."""

    def test_refused(self) -> None:
        """What could not be asked, at the start and in one line, without secrets of the URL."""
        for text, words in {
            "": "http://",
            "backend.example": "http://",
            "ftp://backend.example/": "http://",
            "http:/backend.example/": "http://",
            "http:backend.example": "http://",
            " http://backend.example/": "http://",
            "http://": "HOST",
            "http:///path": "HOST",
            "http://?a": "HOST",
            "http://:80/": "HOST",
            "http://backend.example:/": "HOST:PORT",
            "http://backend.example:0/": "HOST:PORT",
            "http://backend.example:65536/": "HOST:PORT",
            "http://backend.example:-1/": "HOST:PORT",
            "http://backend.example:+80/": "HOST:PORT",
            "http://backend.example:secret/": "HOST:PORT",
            "http://backend.example:80:80/": "HOST:PORT",
            "http://backend.example:８０/": "HOST:PORT",
            "http://[::1/": "brackets",
            "http://::1/": "brackets",
            "http://::1:80/": "brackets",
            "http://[::1]x:80/": "brackets",
            "http://[::1]:/": "HOST:PORT",
            "http://[::g]/": "brackets",
            "http://[127.0.0.1]/": "brackets",
            "http://[v1.a]/": "brackets",
            "http://[fe80::1%eth0]/": "zone",
            "http://[fe80::1%25eth0]:80/": "zone",
            "http://me:secret@backend.example/": "clientSecretFile",
            "http://secret@[::1]:80/": "clientSecretFile",
            "http://@backend.example/": "clientSecretFile",
            "http://me:secret@:80/": "clientSecretFile",
            "http://me:p/secret@backend.example/": "HOST:PORT",
            "http://backend.example/#secret": "fragment",
            "http://backend.example#": "fragment",
            "http://backend.example/a secret": "spaces",
            "http://backend.example/ ": "spaces",
            "http://backend .example/": "spaces",
            "http://backend.example/a\tb": "spaces",
            "http://backend.example/\n": "spaces",
            "http://backend.example/\0": "spaces",
            "http://backend.example/\u2028": "spaces",
            "http://my_backend/": "name",
            "http://my_backend.example:80/": "name",
            "http://*.example/": "name",
            "http://-a.example/": "name",
            "http://a..example/": "name",
            "http://./": "name",
            "http://%62ackend.example/": "name",
            f"http://{'a' * 64}.example/": "name",
            f"http://{'a.' * 130}example/": "name",
            "http://a\\b/": "name",
        }.items():
            said = str(self.assertRaises(ValueError, readUrl, text))
            self.assertIn(words, said, text)
            self.assertNotIn("secret", said)
            self.assertTrue(said.isprintable(), text)

    def test_inAscii(self) -> None:
        """International names and paths."""
        for text, uri in {
            "https://küche.example/ä?ö=ü": "https://xn--kche-0ra.example/%C3%A4?%C3%B6=%C3%BC",
            "https://Straße.example": "https://xn--strae-oqa.example",
            "https://xn--kche-0ra.example/": "https://xn--kche-0ra.example/",
            "https://backend.example.:8443/": "https://backend.example.:8443/",
            "http://[2001:DB8::1]:8080/ä": "http://[2001:db8::1]:8080/%C3%A4",
        }.items():
            self.assertEqual(readUrl(text).to_text(), uri)

    def test_onThisMachine(self) -> None:
        """Where nobody is on the way."""
        for text in ("http://localhost/", "http://127.3.2.1:80/", "http://[::1]:80/a"):
            self.assertTrue(isOnThisMachine(text), text)
        for text in ("http://localhost.example/", "http://10.0.0.1/", "http://[::2]/", "http://a/"):
            self.assertFalse(isOnThisMachine(text), text)


class BoundTests(SynchronousTestCase):
    """How many questions are asked at once."""

    def test_concurrency(self) -> None:
        """Further ones wait for their turn, and get it."""
        backend = Backend(hang)
        client = StubTreq(backend)
        asker = HttpAuthenticator(client, URL, 2)
        asked = [asker.authenticate(f"token {number}") for number in range(4)]
        client.flush()
        self.assertEqual(len(backend.requests), 2)
        request = backend.requests[0]
        request.setHeader(b"Content-Type", b"application/json")
        request.write(b'{"isValid":true}')
        request.finish()
        client.flush()
        self.assertTrue(self.successResultOf(asked[0]).accepted)
        client.flush()
        self.assertEqual(
            [json.loads(body)["token"] for body in backend.bodies],
            ["token 0", "token 1", "token 2"],
        )
        for waiting in asked[1:]:
            self.assertNoResult(waiting)
            waiting.addErrback(lambda _: None)

    def test_failuresFreeTheirPlace(self) -> None:
        """A question that failed or was given up makes room for the next."""
        backend = Backend(replying(code=500))
        client = StubTreq(backend)
        asker = HttpAuthenticator(client, URL, 1)
        for _ in range(3):
            asked = asker.authenticate(TOKEN)
            client.flush()
            self.failureResultOf(asked, BackendError)
        backend.answer = hang
        first, second = asker.authenticate("first"), asker.authenticate("second")
        client.flush()
        self.assertEqual(len(backend.requests), 4)
        backend.answer = replying()
        first.cancel()
        self.failureResultOf(first)
        client.flush()
        self.assertTrue(self.successResultOf(second).accepted)

    def test_cancelledWhileItWaits(self) -> None:
        """Who gives up before its turn is never asked about."""
        backend = Backend(hang)
        client = StubTreq(backend)
        asker = HttpAuthenticator(client, URL, 1)
        first, second, third = (asker.authenticate(name) for name in ("first", "second", "third"))
        client.flush()
        second.cancel()
        self.failureResultOf(second)
        backend.answer = replying()
        first.cancel()
        self.failureResultOf(first)
        client.flush()
        self.assertTrue(self.successResultOf(third).accepted)
        self.assertEqual([json.loads(body)["token"] for body in backend.bodies], ["first", "third"])


class DeadConnectionTests(SynchronousTestCase):
    """Connections that died while they were kept for reuse."""

    def test_askedAgainOnAFreshOne(self) -> None:
        """However many of them are dead, the second question goes over a new connection."""

        class Dead:
            def __init__(self, error: Exception) -> None:
                self.error = error

            def post(self, _url: str, **_options: object) -> Deferred[Any]:
                return fail(self.error)

        lost = [Failure(ConnectionDone())]
        for error in RequestNotSent(), RequestTransmissionFailed(lost), ResponseNeverReceived(lost):
            fresh = StubTreq(Backend(replying()))
            dead: Any = Dead(error)
            asked = HttpAuthenticator(dead, URL, 1, freshClient=fresh).authenticate(TOKEN)
            fresh.flush()
            self.assertTrue(self.successResultOf(asked).accepted)
            asked = HttpAuthenticator(dead, URL, 1).authenticate(TOKEN)
            self.failureResultOf(asked, BackendError)


class JudgeTests(SynchronousTestCase):
    """Reading a verdict."""

    def assertNone(self, answer: Any) -> None:
        """It is no verdict."""
        self.assertRaises(BackendError, judge, json.dumps(answer).encode())

    def subject(self, **answer: Any) -> str | None:
        """Return the subject of an answer that accepts."""
        verdict = judge(json.dumps({"isValid": True, **answer}).encode())
        self.assertTrue(verdict.accepted)
        return verdict.subject

    def test_booleansOnly(self) -> None:
        """What merely looks like true is none, under either name."""
        for name in ("isValid", "active"):
            for value in (1, 0, "true", "True", "", None, [], [True], {}, 1.0):
                self.assertNone({name: value})
        for answer in ({}, {"valid": True}, {"isvalid": True}, {"result": {"isValid": True}}):
            self.assertNone(answer)

    def test_both(self) -> None:
        """Who gives both must mean both."""
        for valid in (True, False):
            for active in (True, False):
                verdict = judge(json.dumps({"isValid": valid, "active": active}).encode())
                self.assertEqual(verdict.accepted, valid and active)
        self.assertNone({"isValid": True, "active": "yes"})
        self.assertNone({"isValid": None, "active": True})

    def test_subject(self) -> None:
        """The three places it may stand, in this order."""
        deep = {"verifiedParsedToken": {"cognito:username": "deep"}}
        self.assertEqual(self.subject(sub="s", username="u", verifiedData=deep), "s")
        self.assertEqual(self.subject(username="u", verifiedData=deep), "u")
        self.assertEqual(self.subject(verifiedData=deep), "deep")
        self.assertIsNone(self.subject())
        self.assertIsNone(self.subject(name="x", verifiedData={"sub": "x"}))

    def test_noSubject(self) -> None:
        """What is no name is passed over; its place may be any JSON."""
        for nothing in (None, "", 1, True, [], {}, ["x"], "x" * (MAX_SUBJECT + 1)):
            self.assertIsNone(self.subject(sub=nothing))
            self.assertEqual(self.subject(sub=nothing, username="u"), "u")
            self.assertIsNone(self.subject(verifiedData=nothing))
            self.assertIsNone(self.subject(verifiedData={"verifiedParsedToken": nothing}))
            self.assertIsNone(
                self.subject(verifiedData={"verifiedParsedToken": {"cognito:username": nothing}})
            )
        self.assertEqual(self.subject(sub="x" * MAX_SUBJECT), "x" * MAX_SUBJECT)

    def test_subjectOfARefusal(self) -> None:
        """It does not hurt."""
        self.assertEqual(judge(b'{"active":false,"sub":"x"}'), Verdict(False, "x"))

    def test_subjectThatCannotBeWritten(self) -> None:
        """With a lone surrogate it is no text, so that no key can be made of it."""
        try:
            verdict = judge(rb'{"active":true,"sub":"\ud800"}')
        except BackendError:
            return
        PairingKeys(bySubject=True).key(TOKEN, verdict.subject, "")

    @PROPERTY
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda children: (
                st.lists(children, max_size=2)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "isValid",
                            "active",
                            "sub",
                            "username",
                            "verifiedData",
                            "verifiedParsedToken",
                            "cognito:username",
                        ]
                    ),
                    children,
                )
            ),
        )
    )
    def test_anyJson(self, answer: Any) -> None:
        """Whatever it is, it is a verdict or a failure, and accepts only with a true of its own."""
        try:
            verdict = judge(json.dumps(answer).encode())
        except BackendError:
            return
        given_ = [answer[name] for name in ("isValid", "active") if name in answer]
        self.assertEqual(verdict.accepted, set(given_) == {True})

    @PROPERTY
    @given(st.binary(max_size=40))
    def test_anyBytes(self, body: bytes) -> None:
        """Nothing short of a true lets anybody in."""
        try:
            accepted = judge(body).accepted
        except BackendError:
            return
        self.assertFalse(accepted and b"true" not in body.replace(b"\0", b""))


class ScriptedServer(Protocol):
    """One connection to a server that answers each request as a whole with raw bytes."""

    factory: ScriptedFactory

    def connectionMade(self) -> None:
        self.buffer = b""
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if len(body) < size:
            return
        self.buffer = b""
        self.factory.requests.append(body)
        if self.factory.replies:
            self.factory.replies.pop(0)(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.connections.remove(self)
        self.factory.lost += 1


class ScriptedFactory(Factory):
    """Answers as its script says, then never."""

    protocol = ScriptedServer
    noisy = False

    def __init__(self) -> None:
        self.connections: list[ScriptedServer] = []
        self.requests: list[bytes] = []
        self.replies: list[Callable[[ScriptedServer], object]] = []
        self.lost = 0


OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
    b'{"isValid":true}'
)


def raw(data: bytes, close: bool = False) -> Callable[[ScriptedServer], None]:
    """Return a reply of these bytes."""

    def reply(server: ScriptedServer) -> None:
        if data:
            server.transport.write(data)
        if close:
            server.transport.loseConnection()

    return reply


def asynchronous(
    test: Callable[[Any], Coroutine[Deferred[Any], Any, None]],
) -> Callable[[Any], Deferred[None]]:
    """Have trial wait for a coroutine, which Twisted 22.4 does not by itself."""

    @wraps(test)
    def run(self: TestCase) -> Deferred[None]:
        return Deferred.fromCoroutine(test(self))

    return run


class NetworkTests(TestCase):
    """Faults below HTTP, over a real connection."""

    timeout = 300

    def setUp(self) -> None:
        self.server = ScriptedFactory()
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.number = self.port.getHost().port
        self.addCleanup(self.stop)
        self.client = makeHttpClient(reactor, 2)
        self.asker = self.newAsker(f"http://127.0.0.1:{self.number}/")

    def newAsker(self, url: str) -> HttpAuthenticator:
        """Return what asks at this URL."""
        return HttpAuthenticator(self.client, url, 2)

    async def cleanUp(self) -> None:
        """Stop listening, and wait until all connections are gone."""
        await self.client._agent._pool.closeCachedConnections()
        await maybeDeferred(self.port.stopListening)
        await self.until(lambda: not self.server.connections)

    def stop(self) -> Deferred[None]:
        """The same, as trial wants it."""
        return Deferred.fromCoroutine(self.cleanUp())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it is so."""
        while not condition():
            await deferLater(reactor, 0.005, lambda: None)

    async def failureOf(self, asker: HttpAuthenticator | None = None) -> str:
        """Ask, and return the text of the failure."""
        try:
            verdict = await (asker or self.asker).authenticate(TOKEN)
        except BackendError as error:
            self.assertNotIn(TOKEN, str(error))
            self.assertNotIn("\n", str(error))
            return str(error)
        self.fail(f"no failure: {verdict}")

    @asynchronous
    async def test_reused(self) -> None:
        """Connections are kept for the next question."""
        self.server.replies = [raw(OK)] * 3
        for _ in range(3):
            self.assertEqual(await self.asker.authenticate(TOKEN), Verdict(True))
        self.assertEqual(len(self.server.connections) + self.server.lost, 1)

    @asynchronous
    async def test_refused(self) -> None:
        """Nobody listens there."""
        await self.port.stopListening()
        text = await self.failureOf()
        self.assertIn("cannot be reached", text)
        self.assertIn("refused", text.lower())

    @asynchronous
    async def test_unknownHost(self) -> None:
        """There is no such host (RFC 6761 section 6.4)."""
        text = await self.failureOf(self.newAsker("http://backend.invalid/"))
        self.assertIn("cannot be reached", text)

    @asynchronous
    async def test_noTls(self) -> None:
        """https towards a server that speaks no TLS."""
        self.server.replies = [raw(OK)]
        asker = self.newAsker(f"https://127.0.0.1:{self.number}/")

        async def answerAnything() -> None:
            await self.until(lambda: bool(self.server.connections))
            self.server.connections[0].transport.write(OK)

        answered = Deferred.fromCoroutine(answerAnything())
        await self.failureOf(asker)
        await answered
        self.assertEqual(self.server.requests, [])

    @asynchronous
    async def test_noHttp(self) -> None:
        """What answers is no HTTP server."""
        self.server.replies = [raw(b"220 mail ESMTP\r\n", close=True)]
        self.assertIn("request failed", await self.failureOf())

    @asynchronous
    async def test_endOfConnectionEndsTheAnswer(self) -> None:
        """HTTP/1.0 has no other end, and JSON shows by itself whether it is whole."""
        self.server.replies = [
            raw(b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"isValid":true}', True)
        ]
        self.assertEqual(await self.asker.authenticate(TOKEN), Verdict(True))

    @asynchronous
    async def test_endOfConnectionCutsTheAnswer(self) -> None:
        """When it is not whole it is no answer."""
        self.server.replies = [
            raw(b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"isValid":true', True)
        ]
        await self.failureOf()

    @asynchronous
    async def test_chunkedCutShort(self) -> None:
        """A body in chunks shows where it ends, too."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
        self.server.replies = [raw(head + b'\r\n\r\n10\r\n{"isValid":true}\r\n', True)]
        await self.failureOf()

    @asynchronous
    async def test_askedAgainOnce(self) -> None:
        """A connection that was closed without an answer is tried once more, not for ever."""
        self.server.replies = [raw(b"", close=True), raw(OK)]
        self.assertEqual(await self.asker.authenticate(TOKEN), Verdict(True))
        self.assertEqual(len(self.server.requests), 2)
        self.server.replies = [raw(b"", close=True)] * 5
        text = await self.failureOf()
        self.assertIn("request failed", text)
        self.assertEqual(len(self.server.requests), 4)

    @asynchronous
    async def test_cancelled(self) -> None:
        """Giving up closes the connection at once; nothing is asked again."""
        asked = self.asker.authenticate(TOKEN)
        await self.until(lambda: bool(self.server.requests))
        asked.cancel()
        self.failureResultOf(asked)
        await self.until(lambda: self.server.lost == 1)
        await deferLater(reactor, 0.05, lambda: None)
        self.assertEqual(len(self.server.requests), 1)
        self.assertEqual(self.server.connections, [])

    @asynchronous
    async def test_cancelledWithinTheAnswer(self) -> None:
        """Also when the answer has begun."""
        self.server.replies = [raw(OK[:-3])]
        asked = self.asker.authenticate(TOKEN)
        await self.until(lambda: bool(self.server.requests))
        await deferLater(reactor, 0.05, lambda: None)
        asked.cancel()
        self.failureResultOf(asked)
        await self.until(lambda: self.server.lost == 1)
        self.assertEqual(len(self.server.requests), 1)

    @asynchronous
    async def test_tooLargeIsCutOff(self) -> None:
        """A server that never stops is not listened to."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        self.server.replies = [raw(head + b" " * (3 * MAX_ANSWER))]
        self.assertIn("larger", await self.failureOf())
        await self.until(lambda: self.server.lost == 1)


class AskedUrlTests(TestCase):
    """Every kind of URL that is taken at the start gets to the server, as it is meant."""

    timeout = 300

    def setUp(self) -> None:
        self.backend = Backend(replying())

    def listen(self, address: str) -> str:
        """Listen, and return the port."""
        site = Site(self.backend)
        site.noisy = False
        try:
            port = reactor.listenTCP(0, site, interface=address)
        except CannotListenError:
            raise SkipTest(f"there is no {address} here") from None
        self.addCleanup(port.stopListening)
        return str(port.getHost().port)

    async def assertAsked(self, url: str, target: str, host: str, port: str) -> None:
        """The server gets this target, and hears that it is this host."""
        self.backend.requests.clear()
        asker = HttpAuthenticator(makeHttpClient(reactor, 0), url.replace("PORT", port), 1)
        self.assertEqual(await asker.authenticate(TOKEN), Verdict(True), url)
        (request,) = self.backend.requests
        self.assertEqual(request.uri.decode(), target, url)
        self.assertEqual(request.getHeader("Host"), host.replace("PORT", port), url)
        self.assertIsNone(request.getHeader("Authorization"))

    @asynchronous
    async def test_names(self) -> None:
        """Names and IPv4, and what may stand behind them."""
        port = self.listen("127.0.0.1")
        for url, target, host in (
            ("http://127.0.0.1:PORT", "/", "127.0.0.1:PORT"),
            ("http://localhost:PORT/", "/", "localhost:PORT"),
            ("HTTP://LOCALHOST:PORT/", "/", "localhost:PORT"),
            ("http://127.0.0.1:0PORT/", "/", "127.0.0.1:PORT"),
            ("http://127.0.0.1:PORT?a=b", "/?a=b", "127.0.0.1:PORT"),
            ("http://127.0.0.1:PORT/ä?ö=ü", "/%C3%A4?%C3%B6=%C3%BC", "127.0.0.1:PORT"),
            ("http://127.0.0.1:PORT/%2f%zz//./..;a=b", "/%2f%zz//./..;a=b", "127.0.0.1:PORT"),
            ("http://127.0.0.1:PORT/[]|{}^`", "/%5B%5D%7C%7B%7D%5E%60", "127.0.0.1:PORT"),
            ("http://127.0.0.1:PORT/?a=%20+b;c&=&@:", "/?a=%20+b;c&=&@:", "127.0.0.1:PORT"),
        ):
            await self.assertAsked(url, target, host, port)

    @asynchronous
    async def test_ipv6(self) -> None:
        """In each way to write it."""
        port = self.listen("::1")
        for url, target, host in (
            ("http://[::1]:PORT/", "/", "[::1]:PORT"),
            ("http://[::1]:PORT", "/", "[::1]:PORT"),
            ("http://[0:0:0:0:0:0:0:1]:PORT/a", "/a", "[0:0:0:0:0:0:0:1]:PORT"),
            ("http://[::1]:PORT/ä/b?c=ö&d", "/%C3%A4/b?c=%C3%B6&d", "[::1]:PORT"),
        ):
            await self.assertAsked(url, target, host, port)
