"""The real server process and its authentication server."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET, Request

from tests.support.cores import Core, anyUuid, error, visit
from tests.support.endtoend import (
    BACKEND_ERROR,
    BACKEND_TIMEOUT,
    DIALECTS,
    ESTABLISHED_FIRST,
    FIRST,
    PATIENCE,
    SECOND,
    STREAM,
    Backend,
    Certificate,
    SharedServer,
    Stream,
    accepted,
    authenticate,
    connect,
    failed,
    hang,
    inThread,
    reactor,
    refused,
    secret,
)


class BackendCase(SharedServer):
    """A server that asks the fake authentication server of this process.

    :cvar backendsName: what the log calls it.
    """

    backend: Backend
    backendsName = "the authentication server"

    @classmethod
    def shared(cls) -> Backend:
        """Return the class's backend; it keeps its port, which the server was told."""
        if "backend" not in cls.__dict__:
            cls.backend = Backend()
        return cls.backend

    def context(self) -> Any:
        """Return what the authentication server speaks TLS with."""
        return None

    def setUp(self) -> Any:
        backend = self.shared()
        backend.asked.clear()
        backend.answer = lambda request: b'{"isValid": true}'

        def listen(_ready: object) -> Any:
            self.addCleanup(deferToThread, backend.stop)
            return deferToThread(backend.listen, self.context())

        return super().setUp().addCallback(listen)

    def ask(self, token: str, dialect: dict[str, str], **more: str) -> Stream:
        """Return a client that has asked to be let in."""
        client = connect(self.server.urls[0])
        self.keep(client)
        client.sendMessage(authenticate(token, dialect, **more))
        return client

    def assertFails(self, reason: str | None, error: str = "ProxyError") -> None:
        """Nobody gets in, in either dialect, and the log says why."""
        text = BACKEND_TIMEOUT if error == "Timeout" else BACKEND_ERROR
        outcome = "authentication-timeout" if error == "Timeout" else "authentication-error"
        clients = [(self.ask(secret(), dialect), dialect) for dialect in DIALECTS]
        for client, dialect in clients:
            self.assertEqual(client.goodbye(), (failed(dialect, error, text), 1013))
            self.assertEqual(self.ended(client), outcome)
            if reason is not None:
                self.server.waitFor(
                    rf"from {re.escape(client.peer)} cannot be authenticated by "
                    rf"{self.backendsName}: {reason}",
                    self.since,
                )


class HttpAuthenticationTests(BackendCase):
    """Every fault of an authentication server: nobody gets in, and the log says what it did."""

    def arguments(self) -> list[str]:
        port = self.shared().port
        return [
            *("--websocket", STREAM, "-vv", "--server", f"http://127.0.0.1:{port}/judge?x=1"),
            *("--set", "ProxyServer.authenticationTimeout=4000"),
        ]

    @inThread
    def testAccepts(self) -> None:
        """The request is as documented; connections are reused."""
        for n, dialect in enumerate((*DIALECTS, *DIALECTS)):
            token = secret("übung")
            client = self.ask(token, dialect)
            self.assertEqual(client.message(), accepted(dialect))
            asked = self.backend.waitFor(n + 1)[n]
            self.assertEqual((asked.method, asked.path), (b"POST", b"/judge"))
            self.assertRegex(asked.type or "", "^application/json(; ?charset=UTF-8)?$")
            self.assertEqual(asked.authorization, None)
            self.assertEqual(json.loads(asked.body), {"token": token})
            client.close()
        self.assertEqual(len({asked.connection for asked in self.backend.asked}), 1)

    @inThread
    def testTunnel(self) -> None:
        """Two clients of both dialects meet."""
        token = secret()
        one, two = self.ask(token, FIRST), self.ask(token, SECOND)
        self.assertEqual(one.message(), accepted(FIRST))
        self.assertEqual(two.message(), accepted(SECOND))
        self.assertEqual(one.message(), ESTABLISHED_FIRST)
        notification = json.loads(two.message())
        self.assertIsInstance(notification.pop("id"), int)
        self.assertEqual(
            notification,
            {
                "notification": "RemoteProxy.TunnelEstablished",
                "params": {"name": "", "uuid": ""},
            },
        )

    @inThread
    def testRefuses(self) -> None:
        """false, however said, refuses; the token is blamed."""
        for answer in (
            b'{"isValid": false}',
            b'{"active": false}',
            b'{"isValid": true, "active": false}',
            b' {"sub": "me", "isValid": false}\n',
        ):
            self.backend.answer = lambda request, answer=answer: answer  # type: ignore[misc]
            for dialect in DIALECTS:
                client = self.ask(secret(), dialect)
                self.assertEqual(client.goodbye(), (refused(dialect), 1008))
                self.assertEqual(self.ended(client), "token-refused")

    @inThread
    def testStatus(self) -> None:
        """Any status but 200 is a failure, whatever the body says."""
        for code in (500, 401, 403, 404, 201, 204, 302, 307):

            def answer(request: Request, code: int = code) -> bytes:
                request.setResponseCode(code)
                if 300 <= code < 400:
                    request.setHeader("location", "/elsewhere")
                return b"" if code == 204 else b'{"isValid": true}'

            self.backend.answer = answer
            self.backend.asked.clear()
            self.assertFails(f".*{code}")
            self.assertEqual(len(self.backend.asked), 2)  # it followed no redirect

    @inThread
    def testNonsense(self) -> None:
        """Answers that are no verdict."""
        for answer, reason in (
            (b"", ".*Invalid JSON"),
            (b"yes", ".*Invalid JSON"),
            (b'{"isValid": true', ".*Invalid JSON"),
            (b'{"isValid": true} {"isValid": true}', ".*Invalid JSON"),
            (b"\xff\xfe\x00", ".*Invalid JSON"),
            (b"[" * 60000, ".*Invalid JSON"),
            (b"true", ".*JSON"),
            (b'["isValid"]', ".*JSON"),
            (b"{}", ".*isValid or active"),
            (b'{"isValid": "true"}', ".*isValid or active"),
            (b'{"isValid": 1}', ".*isValid or active"),
            (b'{"isValid": null}', ".*isValid or active"),
            (b'{"active": true, "isValid": "yes"}', ".*isValid or active"),
            (b'{"isvalid": true}', ".*isValid or active"),
        ):
            self.backend.answer = lambda request, answer=answer: answer  # type: ignore[misc]
            self.assertFails(reason)

    @inThread
    def testWrongType(self) -> None:
        """An answer that calls itself anything but JSON."""
        for kind in ("text/html", "text/plain; charset=utf-8", "application/jsonp"):

            def answer(request: Request, kind: str = kind) -> bytes:
                request.setHeader("content-type", kind)
                return b'{"isValid": true}'

            self.backend.answer = answer
            self.assertFails(".*application/json")

    @inThread
    def testTooLarge(self) -> None:
        """100 KiB are no verdict, announced or not."""
        body = b'{"isValid": true, "more": "%s"}' % (b"x" * 100 * 1024)
        self.backend.answer = lambda request: body
        self.assertFails(".*larger than 65536 bytes")

        def unannounced(request: Request) -> int:
            request.write(body)
            request.finish()
            return NOT_DONE_YET

        self.backend.answer = unannounced
        self.assertFails(".*larger than 65536 bytes")

    @inThread
    def testHangs(self) -> None:
        """No answer in time; the question is given up, and not asked again."""
        self.backend.answer = hang
        self.assertFails(None, "Timeout")
        for asked in self.backend.asked[:2]:
            self.assertTrue(asked.gone.wait(PATIENCE))
        self.assertNotAskedAgain(2)

    @inThread
    def testEndless(self) -> None:
        """An answer that comes byte by byte for ever is given up at the same time."""

        def endless(request: Request) -> int:
            def drip() -> None:
                request.write(b" ")
                nonlocal later
                later = reactor.callLater(0.05, drip)

            later: Any = None
            request.notifyFinish().addBoth(lambda _result: later.cancel())
            drip()
            return NOT_DONE_YET

        self.backend.answer = endless
        self.assertFails(None, "Timeout")
        for asked in self.backend.asked:
            self.assertTrue(asked.gone.wait(PATIENCE))

    @inThread
    def testClosesWithoutAnswer(self) -> None:
        """The connection is closed or reset instead of an answer, or in the middle of one."""

        def close(request: Request) -> int:
            cast(Any, request.channel).transport.loseConnection()
            return NOT_DONE_YET

        def reset(request: Request) -> int:
            cast(Any, request.channel).transport.abortConnection()
            return NOT_DONE_YET

        def half(request: Request) -> int:
            request.setHeader("content-length", "100")
            request.write(b'{"isValid": true}')
            cast(Any, request.channel).transport.loseConnection()
            return NOT_DONE_YET

        for answer in (close, reset, half):
            self.backend.answer = answer
            self.assertFails("the request failed")

    @inThread
    def testClosedPort(self) -> None:
        """Nobody listens there; as soon as somebody does, clients get in again."""
        self.backend.stop()
        self.assertFails("it cannot be reached")
        self.backend.listen()
        client = self.ask(secret(), FIRST)
        self.assertEqual(client.message(), accepted(FIRST))

    @inThread
    def testNoHttp(self) -> None:
        """Something else listens there, which does not speak HTTP."""
        self.backend.stop()
        other = socket.create_server(("127.0.0.1", self.backend.port))

        def serve() -> None:
            for _ in range(4):
                try:
                    connection = other.accept()[0]
                except OSError:
                    return
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        try:
            self.assertFails("the request failed")
        finally:
            other.shutdown(socket.SHUT_RDWR)
            other.close()

    def assertNotAskedAgain(self, count: int) -> None:
        """After `count` questions that were given up, another one is the next that comes."""
        self.backend.answer = lambda request: b'{"isValid": true}'
        self.assertEqual(self.ask(secret(), FIRST).message(), accepted(FIRST))
        self.assertEqual(len(self.backend.asked), count + 1)

    @inThread
    def testClientLeaves(self) -> None:
        """A client that leaves while the authentication server hangs takes its question along."""
        for dialect in DIALECTS:
            self.backend.asked.clear()
            self.backend.answer = hang
            client = self.ask(secret(), dialect)
            [asked] = self.backend.waitFor(1)
            begun = time.monotonic()
            client.close()
            self.assertTrue(asked.gone.wait(PATIENCE))
            self.assertLess(time.monotonic() - begun, 3.9)  # less than authenticationTimeout
            self.assertEqual(self.ended(client), "left-early")
            self.assertNotAskedAgain(1)

    @inThread
    def testDataMeanwhile(self) -> None:
        """So does a client that sends data instead of waiting."""
        self.backend.answer = hang
        client = self.ask(secret(), SECOND)
        [asked] = self.backend.waitFor(1)
        client.sendMessage(b"{}")
        self.assertEqual(client.goodbye(), (b"", 1008))
        self.assertEqual(self.ended(client), "data-before-tunnel")
        self.assertTrue(asked.gone.wait(PATIENCE))
        self.assertNotAskedAgain(1)

    @inThread
    def testManyAtOnce(self) -> None:
        """More questions than connections: all are answered, over 16 connections at the most."""
        clients = [self.ask(secret(), FIRST) for _ in range(40)]
        for client in clients:
            self.assertEqual(client.message(), accepted(FIRST))
        self.assertEqual(len(self.backend.asked), 40)
        self.assertLessEqual(len({asked.connection for asked in self.backend.asked}), 16)


class HttpsAuthenticationTests(BackendCase):
    """An authentication server whose certificate nobody vouches for."""

    def arguments(self) -> list[str]:
        port = self.shared().port
        return ["--websocket", STREAM, "-vv", "--server", f"https://localhost:{port}/"]

    def context(self) -> Any:
        files = Certificate(str(self.temporary()))
        pem = Path(files.both).read_bytes()
        return PrivateCertificate.loadPEM(pem).options()

    @inThread
    def testUntrusted(self) -> None:
        """The token is never sent."""
        self.assertFails("the request failed")
        self.assertEqual(self.backend.asked, [])


class FormRequestTests(BackendCase):
    """RFC 7662's form with client credentials; pairing by account."""

    password = secret("password")

    def arguments(self) -> list[str]:
        port = self.shared().port
        return [
            *("--websocket", STREAM, "-vv", "--server", f"http://127.0.0.1:{port}/introspect"),
            *("--set", "Authentication.request=form", "--set", "Authentication.clientId=me"),
            *("--set", f"Authentication.clientSecretFile={self.secretFile()}"),
            *("--set", "Authentication.pairing=subject"),
            *("--tunnelproxy", "--set", "TunnelProxy.authentication=everybody"),
        ]

    def secretFile(self) -> str:
        """Return the file with the client's password."""
        return self.file(f"{self.password}\nsecond line\n")

    def byAccount(self, request: Request) -> bytes:
        """Answer with the account that the token names between two dashes."""
        assert request.content is not None
        request.content.seek(0)
        [token] = parse_qs(request.content.read().decode())["token"]
        return json.dumps({"active": True, "sub": token.split("-")[1]}).encode()

    @inThread
    def testRequest(self) -> None:
        """The form and the credentials are as RFC 7662 and RFC 7617 have them."""
        self.backend.answer = self.byAccount
        token = secret("anna") + " &=ü%"
        client = self.ask(token, FIRST)
        self.assertEqual(client.message(), accepted(FIRST))
        [asked] = self.backend.waitFor(1)
        self.assertEqual(asked.method, b"POST")
        assert asked.type is not None and asked.authorization is not None
        self.assertEqual(asked.type.partition(";")[0], "application/x-www-form-urlencoded")
        self.assertEqual(
            parse_qs(asked.body.decode()),
            {"token": [token], "token_type_hint": ["access_token"]},
        )
        kind, _, encoded = asked.authorization.partition(" ")
        self.assertEqual(kind, "Basic")
        self.assertEqual(base64.b64decode(encoded).decode(), f"me:{self.password}")

    @inThread
    def testPairing(self) -> None:
        """Two tokens of one account pair; the nonce keeps tunnels apart, accounts too."""
        self.backend.answer = self.byAccount
        nonce = secret("nonce")
        one = self.ask(secret("anna"), FIRST)
        other = self.ask(secret("berta"), FIRST)
        apart = self.ask(secret("anna"), SECOND, nonce=nonce)
        for client, dialect in ((one, FIRST), (other, FIRST), (apart, SECOND)):
            self.assertEqual(client.message(), accepted(dialect))
        two = self.ask(secret("anna"), FIRST)
        self.assertEqual(two.message(), accepted(FIRST))
        self.assertEqual(one.message(), ESTABLISHED_FIRST)
        self.assertEqual(two.message(), ESTABLISHED_FIRST)
        third = self.ask(secret("anna"), FIRST)
        self.assertEqual(third.goodbye(), (accepted(FIRST), 1008))
        self.assertEqual(self.ended(third), "tunnel-exists")
        last = self.ask(secret("anna"), FIRST, nonce=nonce)
        self.assertEqual(last.message(), accepted(FIRST))
        self.assertEqual(last.message(), ESTABLISHED_FIRST)
        one.sendMessage(b"still there")
        self.assertEqual(two.message(), b"still there")

    @inThread
    def testTunnelProxy(self) -> None:
        """Its clients reach the server of their own account, and no other."""
        self.backend.answer = self.byAccount
        url, uuid = self.server.urls[0], anyUuid()
        core = Core(url, uuid, token=secret("anna"))
        self.keep(core.stream)
        self.assertEqual(core.answer["tunnelProxyError"], error("NoError"))
        for account, told in (("berta", "ServerNotFound"), ("anna", "NoError")):
            client, said = visit(url, uuid, token=secret(account))
            self.keep(client)
            self.assertEqual(said, error(told), account)
            if account == "berta":
                self.assertEqual(client.goodbye(), (b"", 1013))
                self.assertEqual(self.ended(client), "server-not-found")
        message = core.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientConnected")
        client.sendMessage(b"hello")
        self.assertEqual(core.take(message["params"]["socketAddress"], 5), b"hello")
        stranger, said = visit(url, uuid)
        self.assertEqual(said, error("ForbiddenCall"))
        self.assertEqual(self.ended(stranger), "token-refused")

    @inThread
    def testNoSubject(self) -> None:
        """An account without a name would pair with every other such: it is a failure."""
        for answer in (b'{"active": true}', b'{"active": true, "sub": ""}'):
            self.backend.answer = lambda request, answer=answer: answer  # type: ignore[misc]
            self.assertFails(None)

    @inThread
    def testOtherNames(self) -> None:
        """The account is also read from username and from nymea's cognito answer."""
        self.backend.answer = lambda request: b'{"active": true, "username": "anna"}'
        one = self.ask(secret(), FIRST)
        self.assertEqual(one.message(), accepted(FIRST))
        self.backend.answer = lambda request: json.dumps(
            {
                "isValid": True,
                "verifiedData": {"verifiedParsedToken": {"cognito:username": "anna"}},
            }
        ).encode()
        two = self.ask(secret(), FIRST)
        self.assertEqual(two.message(), accepted(FIRST))
        self.assertEqual(two.message(), ESTABLISHED_FIRST)
        self.assertEqual(one.message(), ESTABLISHED_FIRST)
