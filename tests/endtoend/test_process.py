"""The real server process: its life, its authentication server, bad input, and its limits."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET, Request

from tests.support.endtoend import (
    BACKEND_ERROR,
    BACKEND_TIMEOUT,
    BINARY,
    CLIENT,
    CLOSE,
    DIALECTS,
    ESTABLISHED_FIRST,
    FIRST,
    PATIENCE,
    PING,
    PONG,
    SECOND,
    SIGHUP,
    SIGINT,
    SIGTERM,
    TEXT,
    UPGRADE,
    Backend,
    Certificate,
    EndToEnd,
    Server,
    SharedServer,
    Stream,
    WebSocket,
    accepted,
    authenticate,
    call,
    connect,
    failed,
    frame,
    hang,
    inThread,
    join,
    reactor,
    refused,
    secret,
    tunnel,
)

STREAM = "tcp:0:interface=127.0.0.1"
TLS_STREAM = "tls:tcp:0:interface=127.0.0.1"
INVALID = '{"id":-1,"status":"error","error":"'


class ConsoleLifeTests(EndToEnd):
    """Start, signals, stop of the console script."""

    twistd = False

    def launch(self, *arguments: str, running: bool = True) -> Server:
        """Start a server with a WebSocket, a TLS WebSocket and a stream listener."""
        return self.start(
            *("--websocket", STREAM, "--websocket", TLS_STREAM, "--stream", STREAM, "-vv"),
            *arguments,
            twistd=self.twistd,
            listeners=3,
            running=running,
        )

    @inThread
    def testStopIdle(self) -> None:
        """SIGTERM right after the log says that the server listens ends it with status 0."""
        server = self.launch("--token", secret(), running=False)
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        server.waitFor("stopped")

    @inThread
    def testInterrupt(self) -> None:
        """Ctrl-C does the same for whoever waits."""
        server = self.launch("--token", (token := secret()))
        client = join(server.url("ws"), token)
        server.signal(SIGINT)
        self.assertEqual(client.goodbye(), (b"", 1013))
        server.wait()
        server.waitFor("stopped")

    @inThread
    def testStopTellsClients(self) -> None:
        """Who waits is told 1013, who has a tunnel 1001, and streams are closed; all at once."""
        server = self.launch("--token", (token := secret()))
        fresh = connect(server.url("wss"))
        one, two = tunnel(server.url("ws"), token, server.url("wss"))
        streams = [join(server.url("tcp"), token, nonce=secret("nonce")) for _ in range(2)]
        waiting = join(server.url("ws"), token, SECOND, nonce=secret("nonce"))
        begun = time.monotonic()
        server.signal(SIGTERM)
        for client, code in ((fresh, 1013), (waiting, 1013), (one, 1001), (two, 1001)):
            self.assertEqual(client.goodbye(), (b"", code))
        for client in streams:
            self.assertEqual(client.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - begun, 4)  # less than shutdownTimeout
        for client in (fresh, waiting, *streams):
            self.assertEqual(server.ended(client), "shutdown-waiting")
        for client in (one, two):
            self.assertEqual(server.ended(client), "shutdown")
        with self.assertRaises(ConnectionRefusedError):
            Stream(server.url("tcp"))

    @inThread
    def testStopWithStubbornClients(self) -> None:
        """Who does not close is cut off after shutdownTimeout; a second signal does no harm."""
        server = self.launch(
            "--token", (token := secret()), "--set", "ProxyServer.shutdownTimeout=700"
        )
        silent = Stream(server.url("tcp"))
        half = Stream(server.url("ws"))
        half.send(UPGRADE[:20])
        one, two = tunnel(server.url("ws"), token)
        begun = time.monotonic()
        server.signal(SIGTERM)
        server.waitFor("stopping")
        server.signal(SIGHUP)
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertGreater(time.monotonic() - begun, 0.6)
        for client in (silent, half, one, two):
            server.ended(client)
            client.close()
        self.assertEqual(len(server.find(r"\bstopping\b")), 1)

    @inThread
    def testImpatientOperator(self) -> None:
        """Ctrl-C after SIGTERM, and again: the log shows no traceback, the clients are told."""
        server = self.launch(
            "--token", (token := secret()), "--set", "ProxyServer.shutdownTimeout=700"
        )
        silent = Stream(server.url("tcp"))
        client = join(server.url("ws"), token)
        for number in (SIGTERM, SIGINT, SIGINT):
            server.signal(number)
            server.waitFor("stopping")
        self.assertEqual(client.goodbye(), (b"", 1013))
        self.assertIn(server.wait(), (0, -SIGINT))
        self.assertEqual(server.ended(silent), "shutdown-waiting")
        silent.close()
        server.waitFor("stopped")

    @inThread
    def testSignalsAtOnce(self) -> None:
        """Signals that come before the first one was dealt with."""
        server = self.launch("--token", secret())
        server.signal(signal.SIGSTOP)
        for number in (SIGHUP, SIGTERM, SIGINT):
            server.signal(number)
        server.signal(signal.SIGCONT)
        self.assertIn(server.wait(), (0, -SIGINT))
        self.assertEqual(len(server.find(r"\bstopping\b")), 1)

    @inThread
    def testReload(self) -> None:
        """SIGHUP reads the token file anew; a broken one changes nothing."""
        old, new, fixed, nonce = secret("old"), secret("new"), secret("fixed"), secret("nonce")
        file = Path(self.file(f"# tokens\n\n  {old}  \n"))
        server = self.launch("--token-file", str(file), "--token", fixed)
        url = server.url("tcp")

        def reload(expected: str) -> None:
            mark = server.mark()
            server.signal(SIGHUP)
            server.waitFor(expected, mark)

        def assertValid(*tokens: str) -> None:
            for token in (old, new, fixed):
                client = connect(url)
                client.sendMessage(authenticate(token, nonce=nonce))
                self.assertEqual(client.message(), (refused, accepted)[token in tokens](FIRST))
                client.close()
                server.ended(client)

        assertValid(old, fixed)
        one, two = tunnel(url, old)
        file.write_text(f"{new}\n")
        reload("reloaded: 2 tokens")
        assertValid(new, fixed)
        one.send(b"the tunnel that is up stays")
        self.assertEqual(two.read(27), b"the tunnel that is up stays")
        for content in (b"", b"# nothing\n", b"\xff\n"):
            file.write_bytes(content)
            reload(f"the tokens stay as they were: .*{re.escape(str(file))}")
            assertValid(new, fixed)
        file.unlink()
        reload("the tokens stay as they were: .*No such file")
        assertValid(new, fixed)
        file.write_text(f"{old}\n{new}\n")
        reload("reloaded: 3 tokens")
        assertValid(old, new, fixed)
        one.close()
        two.close()

    @inThread
    def testReloadNothing(self) -> None:
        """SIGHUP without a token file changes nothing and ends nothing."""
        server = self.launch("--accept-any-token")
        join(server.url("tcp"), secret()).close()
        server.signal(SIGHUP)
        server.waitFor("reloaded: 0 tokens")
        join(server.url("tcp"), secret()).close()


class TwistdLifeTests(ConsoleLifeTests):
    """The same under twistd."""

    twistd = True


class FirstRunTests(EndToEnd):
    """The bare command, and the client commands that it prints."""

    def client(self, line: str) -> subprocess.Popen[bytes]:
        """Run a printed line, though not from the PATH."""
        program, *arguments = shlex.split(line)
        self.assertEqual(os.path.basename(program), "nymea-remoteproxy-client")
        process = subprocess.Popen(
            [*CLIENT, *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

        def stop() -> None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()

        self.addCleanup(stop)
        return process

    def exchange(self, server: Server) -> None:
        """Let the two printed lines exchange some MB, and leave."""
        server.waitFor(r"^ {4}(\S.*)$", count=2)
        lines = [match[1] for match in server.find(r"^ {4}(\S.*)$")]
        one, two = (self.client(line) for line in lines)
        there, back = os.urandom(3_000_001), os.urandom(2_000_003)
        results: dict[str, bytes] = {}

        def write(process: subprocess.Popen[bytes], data: bytes) -> None:
            assert process.stdin is not None
            process.stdin.write(data)
            process.stdin.flush()

        def read(process: subprocess.Popen[bytes], name: str, size: int) -> None:
            assert process.stdout is not None
            results[name] = process.stdout.read(size)

        threads = [
            threading.Thread(target=write, args=(one, there), daemon=True),
            threading.Thread(target=write, args=(two, back), daemon=True),
            threading.Thread(target=read, args=(two, "there", len(there)), daemon=True),
            threading.Thread(target=read, args=(one, "back", len(back)), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), server.text())
        for name, data in (("there", there), ("back", back)):
            self.assertEqual(
                hashlib.sha256(results[name]).hexdigest(), hashlib.sha256(data).hexdigest()
            )
        assert one.stdin is not None
        one.stdin.close()
        self.assertEqual([one.wait(PATIENCE), two.wait(PATIENCE)], [0, 0])
        server.waitFor(r"ended: (client|partner)-left", count=2)

    def check(self, twistd: bool) -> None:
        server = self.start("-p", "0", "-vv", twistd=twistd)
        token = server.waitFor(r"^The token of this run is (\S{20,})$")[1]
        told = server.waitFor(r"SHA-256 fingerprint is ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})$")[1]
        host, port = "127.0.0.1", int(server.urls[0].rpartition(":")[2])
        self.assertEqual(server.urls[0], f"wss://{host}:{port}")
        shown = _certificateOf(host, port)
        self.assertEqual(told.replace(":", "").lower(), hashlib.sha256(shown).hexdigest())
        self.assertIn(token, server.text("err"))
        self.exchange(server)
        log = [text for name, text in server.lines if re.match(r"\d{4}-", text)]
        self.assertFalse([line for line in log if token in line])
        if twistd:
            self.assertNotIn(token, server.text("out"))

    @inThread
    def testConsole(self) -> None:
        """Token, fingerprint, and both client lines work."""
        self.check(False)

    @inThread
    def testTwistd(self) -> None:
        """The same under twistd."""
        self.check(True)

    @inThread
    def testCertificateIsKept(self) -> None:
        """The second start has the same certificate, which only its owner may read, a new token."""
        state = self.temporary()
        seen = []
        for _ in range(2):
            server = self.start("-p", "0", environment={"STATE_DIRECTORY": str(state)})
            seen.append(
                (
                    server.waitFor(r"fingerprint is (\S+)")[1],
                    server.waitFor(r"token of this run is (\S+)")[1],
                )
            )
            server.stop()
        self.assertEqual(seen[0][0], seen[1][0])
        self.assertNotEqual(seen[0][1], seen[1][1])
        [file] = state.iterdir()
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)


def _certificateOf(host: str, port: int) -> bytes:
    """Return the certificate, DER, that a TLS server shows."""
    client = Stream(f"tls://{host}:{port}")
    der = cast(Any, client.socket).getpeercert(True)
    client.close()
    assert isinstance(der, bytes)
    return der


# The authentication server


class BackendCase(SharedServer):
    """A server that asks the fake authentication server of this process."""

    timeout = 60
    backend: Backend

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
                    rf"from {re.escape(client.peer)} cannot be authenticated by the "
                    rf"authentication server: {reason}",
                    self.since,
                )


class HttpAuthenticationTests(BackendCase):
    """Every fault of an authentication server: nobody gets in, and the log says what it did."""

    def arguments(self) -> list[str]:
        port = self.shared().port
        return [
            *("--websocket", STREAM, "-vv", "--server", f"http://127.0.0.1:{port}/judge?x=1"),
            *("--set", "ProxyServer.authenticationTimeout=1500"),
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
            self.assertLess(time.monotonic() - begun, 1.4)  # less than authenticationTimeout
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


# Bad input


class BadInputTests(SharedServer):
    """What no client should send: the documented answer, and one log line."""

    listeners = 4
    token = secret("valid")

    def arguments(self) -> list[str]:
        return [
            *("--websocket", STREAM, "--websocket", TLS_STREAM),
            *("--stream", STREAM, "--stream", TLS_STREAM, "--token", self.token),
            *("--set", "ProxyServer.tlsHandshakeTimeout=1000"),
            *("--set", "ProxyServer.webSocketHandshakeTimeout=1000"),
            *("--set", "ProxyServer.inactiveTimeout=3000"),
        ]

    def open(self, scheme: str, tls: bool | None = None) -> Stream:
        """Return a new client."""
        url = self.server.url(scheme)
        client = Stream(url, tls) if tls is not None else connect(url)
        self.keep(client)
        return client

    def assertEnded(self, client: Stream, *outcomes: str) -> None:
        """The connection has ended this way, and one log line is all there is about it."""
        self.assertIn(self.ended(client), outcomes)
        self.assertEqual(len(self.linesAbout(client)), 1, self.linesAbout(client))

    def assertRefused(
        self, message: bytes, error: str, code: int, *outcomes: str, id: int = -1
    ) -> None:
        """Every kind of client gets this error for this message."""
        for scheme in ("tcp", "tls", "ws", "wss"):
            client = self.open(scheme)
            client.sendMessage(message)
            answer, closeCode = client.goodbye()
            self.assertEqual(answer[-1:], b"\n", message[:80])
            response = json.loads(answer)
            self.assertEqual((response["id"], response["status"]), (id, "error"), message[:80])
            self.assertEqual(set(response), {"id", "status", "error"})
            self.assertRegex(response["error"], error)
            if scheme in ("ws", "wss"):
                self.assertEqual(closeCode, code)
            self.assertEnded(client, *outcomes)

    @inThread
    def testGarbage(self) -> None:
        """Bytes that begin no object; field clients never send a line of text or HTTP."""
        for data in (b"x", b"\x00", b"\xff\xfe", b"[]", b'"', b"GET / HTTP/1.1\r\n\r\n", b"}"):
            self.assertRefused(data, "Invalid JSON", 1002, "invalid-json")

    @inThread
    def testNoJson(self) -> None:
        """Objects that are no JSON."""
        for members in (
            '"id":1,,',
            '"id":1e400,',
            '"id":-1e400,',
            '"id":NaN,',
            '"id":Infinity,',
            '"id":1,"x":-Infinity,',
            f'"id":1{"0" * 400},',
            f'"id":1{"0" * 5000},',
            '"id":01,',
            '"id":1,"x":"\x01",',
            '"id":1,"x":"\x00",',
            '"id":1,"x":"\\x",',
            '"id":1,"x":"\\ud800",',
            '"id":1,"\\udc00":1,',
            '"id":1,"x":"\\udc00\\ud800",',
            "'id':1,",
            "id:1,",
            f'"id":1,"x":{"[" * 10000},',
            f'"id":1,"x":{"[" * 5000}{"]" * 4000},',
        ):
            message = "{" + members + '"method":"RemoteProxy.Hello"}'
            self.assertRefused(message.encode(), "Invalid JSON", 1002, "invalid-json")
        self.assertRefused(b'{"id":1,"x":"\xff"}', "UTF-8", 1002, "invalid-json")
        self.assertRefused(b'{"id":1,"x":"\xed\xa0\x80"}', "UTF-8", 1002, "invalid-json")

    @inThread
    def testDeep(self) -> None:
        """Deep nesting that is proper JSON is refused somehow, and breaks nothing."""
        for text in (
            '{"id":1,"x":%s}' % ("[" * 5000 + "]" * 5000),
            '{"a":' * 1700 + "1" + "}" * 1700,
        ):
            client = self.open("tcp")
            client.sendMessage(text.encode())
            self.assertEqual(json.loads(client.goodbye()[0])["status"], "error")
            self.assertEnded(client, "invalid-json", "invalid-request")

    @inThread
    def testTooLarge(self) -> None:
        """More than 10 KiB for a message, whole or not, is refused as it is being received."""
        for data in (
            b'{"id":1,"x":"' + b"x" * 1024 * 1024,
            b'{"id":1,"x":"' + b"\\" * 20000,
            b'{"a":' * 10000,
            b'{"id":1,"x":"%s"}' % (b"x" * 10240),
        ):
            self.assertRefused(data, "10240 bytes", 1009, "message-too-large")

    @inThread
    def testLargest(self) -> None:
        """Exactly 10 KiB are not too large; white space between objects does not count."""
        message = b'{"id":1,"method":"RemoteProxy.Hello","x":"'
        message += b"x" * (10240 - 2 - len(message)) + b'"}'
        client = self.open("tcp")
        for data in (message, b" " * 1024 * 1024 + message, b"\r\n\t " * 5000 + message + b"\n"):
            client.send(data)
            self.assertIn(b'"success"', client.line())
        client.close()
        self.assertEnded(client, "left-early")

    @inThread
    def testBadRequests(self) -> None:
        """JSON that is no request: the id of the request where there is one, and what is wrong."""
        invalid = "invalid-request"
        hello = "RemoteProxy.Hello"
        auth = "Authentication.Authenticate"
        for message in (
            {"method": hello},
            {"id": "1", "method": hello},
            {"id": 1.0, "method": hello},
            {"id": True, "method": hello},
            {"id": None, "method": hello},
        ):
            self.assertRefused(json.dumps(message).encode(), "id", 1008, invalid)
        for params, error in (
            ({"id": 7}, "method"),
            ({"id": 7, "method": 1}, "method"),
            ({"id": 7, "method": "Hello"}, "method"),
            ({"id": 7, "method": "A.b.c"}, "method"),
            ({"id": 7, "method": "Nope.Hello"}, "[Nn]amespace"),
            ({"id": 7, "method": "RemoteProxy.Nope"}, "[Uu]nknown method"),
            ({"id": 7, "method": hello, "params": []}, "params"),
            ({"id": 7, "method": hello, "params": None}, "params"),
            ({"id": 7, "method": hello, "params": {"surplus": 1}}, '"surplus"'),
            ({"id": 7, "method": auth}, '"token"'),
            ({"id": 7, "method": auth, "params": {"token": 1}}, '"token"'),
            ({"id": 7, "method": auth, "params": {"token": self.token, "nonce": 1}}, '"nonce"'),
            ({"id": 7, "method": auth, "params": {"token": self.token, "uuid": "x"}}, '"name"'),
            ({"id": 7, "method": auth, "params": {"token": self.token, "name": "x"}}, '"uuid"'),
        ):
            self.assertRefused(json.dumps(params).encode(), error, 1008, invalid, id=7)

    @inThread
    def testDuplicateKeys(self) -> None:
        """Of a key given twice the last counts."""
        client = self.open("tcp")
        client.send(b'{"id":1,"method":"No.Such","id":2,"method":"RemoteProxy.Hello"}')
        self.assertEqual(json.loads(client.line())["id"], 2)
        client.close()

    @inThread
    def testOddButRight(self) -> None:
        """Split bytes, several at once, unknown keys, large ids, escapes: all that is allowed."""
        client = self.open("tcp")
        for byte in b'{"id":1,"method":"RemoteProxy.Hello","x":"}\\"{"}':
            client.send(bytes((byte,)))
        self.assertIn(b'"id":1,', client.line())
        client.send(call("RemoteProxy.Hello", 2).strip() + call("RemoteProxy.Introspect", 3) * 2)
        self.assertIn(b'"id":2,', client.line())
        self.assertIn(b'"id":3,', client.line())
        self.assertIn(b'"id":3,', client.line())
        client.send(call("RemoteProxy.Hello", 10**300))
        self.assertIn(b'"id":1%s,' % (b"0" * 300), client.line())
        client.send(b'{"id":-5,"method":"RemoteProxy.Hello","x":"\\ud83d\\ude00 \xf0\x9f\x98\x80"}')
        self.assertIn(b'"id":-5,', client.line())
        client.close()

    @inThread
    def testLongToken(self) -> None:
        """A token of 9 KiB is refused like any other that is wrong."""
        for scheme in ("tcp", "wss"):
            for dialect in DIALECTS:
                client = self.open(scheme)
                client.sendMessage(authenticate(secret() + "x" * 9 * 1024, dialect))
                self.assertEqual(client.goodbye()[0], refused(dialect))
                self.assertEnded(client, "token-refused")

    @inThread
    def testOddTokens(self) -> None:
        """Tokens with NUL, line ends, control characters, or nothing in them are just wrong."""
        for token in ("", "\0", f"{self.token}\n", f" {self.token}", f"{self.token}\0", "é" * 999):
            client = self.open("tcp")
            client.sendMessage(authenticate(token))
            self.assertEqual(client.goodbye()[0], refused(FIRST))
            self.assertEnded(client, "token-refused")

    @inThread
    def testHostileNames(self) -> None:
        """Names reach the partner unchanged, and do not write log lines of their own."""
        name = "a\n2026-01-01T00:00:00+0000 info from 1.2.3.4:5 ended: x\x1b[2J\0 {outcome} %s é 😀"
        one = join(self.server.url("tcp"), self.token, SECOND)
        two = join(self.server.url("ws"), self.token, {"uuid": "{\n}", "name": name})
        self.keep(one, two)
        self.assertEqual(json.loads(one.line())["params"], {"name": name, "uuid": "{\n}"})
        two.message()
        one.close()
        two.goodbye()
        for client in (one, two):
            self.ended(client)
        self.assertEqual(self.server.find("1\\.2\\.3\\.4", self.since), [])

    @inThread
    def testTls(self) -> None:
        """What is no TLS, or half of it, on the TLS listeners."""
        hello = _clientHello()
        for scheme in ("tls", "wss"):
            for data in (b"garbage\r\n" * 10, UPGRADE, call("RemoteProxy.Hello"), b"\0" * 600):
                client = self.open(scheme, tls=False)
                client.send(data)
                client.rest()
                client.close()
                self.assertEnded(client, "tls-handshake-failed")
            for data in (b"", hello[:1], hello[: len(hello) // 2], hello):
                client = self.open(scheme, tls=False)
                client.send(data)
                client.close()
                self.assertEnded(client, "tls-handshake-failed")
        waiting = [self.open(scheme, tls=False) for scheme in ("tls", "wss") for _ in range(3)]
        for client, size in zip(waiting, (0, 1, len(hello) // 2) * 2, strict=True):
            client.send(hello[:size])
        for client in waiting:
            client.rest()
            client.close()
            self.assertEnded(client, "tls-handshake-timeout")

    @inThread
    def testUpgrade(self) -> None:
        """What is no WebSocket upgrade, or half of one."""
        for scheme, tls in (("ws", False), ("wss", True)):
            for data in (
                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxx",
                b"garbage\r\n\r\n",
                b"\0\xff\r\n\r\n",
                b"\r\n\r\n",
                UPGRADE.replace(b"Version: 13", b"Version: 7"),
                UPGRADE.replace(b"GET", b"PUT"),
                UPGRADE.replace(b"dGhl", b"====="),
                UPGRADE.replace(b"Host: localhost", b"Host: \xff\xfe:x"),
                UPGRADE.replace(b"Sec-WebSocket-Key", b"X"),
            ):
                client = self.open(scheme, tls=tls)
                client.send(data)
                answer = client.rest()
                self.assertRegex(answer, rb"^HTTP/1\.1 [45]\d\d |^$", data)
                client.close()
                self.assertEnded(client, "websocket-handshake-failed")
            for data in (b"", UPGRADE[:1], UPGRADE[:40], UPGRADE[:-1]):
                client = self.open(scheme, tls=tls)
                client.send(data)
                client.close()
                self.assertEnded(client, "left-early")
            client = self.open(scheme, tls=tls)
            client.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 1024 * 1024)
            self.assertRegex(client.rest(), rb"^HTTP/1\.1 4\d\d |^$")
            client.close()
            self.assertEnded(client, "message-too-large")
        waiting = [
            self.open(scheme, tls=tls)
            for scheme, tls in (("ws", False), ("wss", True))
            for _ in range(3)
        ]
        for client, size in zip(waiting, (0, 1, 40) * 2, strict=True):
            client.send(UPGRADE[:size])
        for client in waiting:
            client.rest()
            client.close()
            self.assertEnded(client, "websocket-handshake-timeout")

    @inThread
    def testDripping(self) -> None:
        """Deadlines are absolute: who sends a byte now and then is closed all the same."""
        silent, dripping, calling = (self.open("tcp") for _ in range(3))
        begun = time.monotonic()
        done = threading.Event()

        def drip() -> None:
            for byte in b" " * 5 + b'{"id":1,"method"' + b" " * 100:
                dripping.send(bytes((byte,)))
                if done.wait(0.1):
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        self.assertEqual(dripping.rest(), b"")
        done.set()
        thread.join()
        self.assertLess(time.monotonic() - begun, 8)
        self.assertEqual(silent.goodbye()[0], b"")
        calling.close()
        dripping.close()
        self.assertEnded(silent, "inactive-timeout")
        self.assertEnded(dripping, "inactive-timeout")

    FRAMES: tuple[tuple[bytes, int], ...] = (
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(TEXT, b"{}", reserved=1), 1002),
        (frame(TEXT, b"{}", reserved=4), 1002),
        (frame(PING, b"", reserved=2), 1002),
        (frame(3, b"{}"), 1002),
        (frame(11, b""), 1002),
        (frame(15, b""), 1002),
        (frame(0, b"continues nothing"), 1002),
        (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PONG, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CLOSE, b"", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, b"\x00\x00"), 1002),
        (frame(CLOSE, (999).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1004).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1006).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1015).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (2999).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (5000).to_bytes(2, "big")), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (b"\x81\xfe\x00\x05" + b"\0" * 9, 1002),
        (b"\x81\xff" + b"\0" * 6 + b"\x01\x00" + b"\0" * 4, 1002),
        (b"\x81\xff\x80" + b"\0" * 7 + b"\0" * 4, 1002),
    )

    @inThread
    def testFrames(self) -> None:
        """Broken frames before the tunnel."""
        for scheme in ("ws", "wss"):
            for data, code in self.FRAMES:
                client = self.open(scheme)
                client.send(data)
                self.assertEqual(client.goodbye(), (b"", code), data[:40])
                self.assertEnded(client, "websocket-protocol-error")

    @inThread
    def testFramesWhileWaiting(self) -> None:
        """The same while the client waits for its partner."""
        for n, (data, code) in enumerate(self.FRAMES):
            client = join(self.server.url("ws"), self.token, nonce=secret(f"nonce{n}"))
            self.keep(client)
            client.send(data)
            answer = client.goodbye()
            # Data out of turn is a fault of its own; which of two is named first is free.
            self.assertIn(answer, [(b"", code), (b"", 1008)], data[:40])
            self.assertEnded(client, "websocket-protocol-error", "data-before-tunnel")

    @inThread
    def testFramesInTunnel(self) -> None:
        """The same in a tunnel; what came before the fault reaches the partner, which is told."""
        for data, code in self.FRAMES:
            one, two = tunnel(self.server.url("ws"), self.token)
            self.keep(one, two)
            one.send(frame(BINARY, b"before") + data)
            self.assertEqual(one.goodbye(), (b"", code), data[:40])
            received, partnersCode = two.goodbye()
            self.assertTrue(received.startswith(b"before"), received)
            self.assertEqual(partnersCode, 1000)
            self.assertEqual(cast(WebSocket, two).reason, b"tunnel partner disconnected")
            self.assertEnded(one, "websocket-protocol-error")
            self.assertEnded(two, "partner-left")

    @inThread
    def testControlFramesAreNoData(self) -> None:
        """Ping and pong are allowed at any time, also inside of a message."""
        client = cast(WebSocket, self.open("ws"))
        message = authenticate(self.token)
        client.send(frame(PING, b"one") + frame(TEXT, message[:10], fin=False))
        client.send(frame(PING, b"x" * 125) + frame(PONG, b"unasked") + frame(0, message[10:]))
        self.assertEqual(client.frame(), (PONG, b"one"))
        answers = {client.frame(), client.frame()}
        self.assertEqual(answers, {(PONG, b"x" * 125), (TEXT, accepted(FIRST))})
        client.send(frame(PING, b"waiting") + frame(PONG, b""))
        self.assertEqual(client.frame(), (PONG, b"waiting"))
        client.send(frame(CLOSE, (3999).to_bytes(2, "big") + b"bye"))
        opcode, payload = client.frame()
        self.assertEqual(opcode, CLOSE)
        self.assertIn(int.from_bytes(payload[:2], "big"), (1000, 3999))
        self.assertEqual(client.rest(), b"")
        client.close()
        self.assertEnded(client, "left-early")

    @inThread
    def testDataWhileWaiting(self) -> None:
        """Who sends instead of waiting is closed, and nothing of it reaches the partner."""
        for scheme in ("tcp", "tls", "ws", "wss"):
            for data in (b"x", b"{}", call("RemoteProxy.Hello"), b"\n x"):
                client = join(self.server.url(scheme), self.token)
                self.keep(client)
                client.sendMessage(data)
                self.assertEqual(client.goodbye(), (b"", 1008 if "ws" in scheme else None))
                self.assertEnded(client, "data-before-tunnel")

    @inThread
    def testDataWithAuthenticate(self) -> None:
        """The same when it comes in one write with the request; it is no payload."""
        for scheme in ("tcp", "ws"):
            client = self.open(scheme)
            if scheme == "ws":
                client.send(frame(TEXT, authenticate(self.token)) + frame(TEXT, b"early"))
            else:
                client.send(authenticate(self.token) + b"early")
            self.assertEqual(client.goodbye(), (b"", 1008 if scheme == "ws" else None))
            self.assertEnded(client, "data-before-tunnel")

    @inThread
    def testVanishing(self) -> None:
        """Resets at every stage end one connection each, and nothing else."""

        def reset(client: Stream) -> None:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

        for scheme in ("tcp", "tls", "ws", "wss"):
            for begin in (
                lambda url: connect(url),
                lambda url: join(url, self.token),
                lambda url: tunnel(url, self.token)[0],
            ):
                client = begin(self.server.url(scheme))
                reset(client)
                self.assertEnded(client, "left-early", "connection-lost", "partner-left")
        client = self.open("tcp")
        client.send(call("RemoteProxy.Hello"))
        self.assertIn(b'"success"', client.line())


def _clientHello() -> bytes:
    """Return the first bytes of a TLS client."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


# Limits


class LimitTests(EndToEnd):
    """Each limit: the connection is closed, the log names the limit."""

    token = secret("valid")

    def launch(self, *settings: str, exempt: str = "") -> Server:
        """Start a server with these limits, which count loopback unless `exempt` says otherwise."""
        arguments = ["--stream", STREAM, "--websocket", STREAM, "-vv", "--token", self.token]
        for setting in (f"exemptNetworks={exempt}", *settings):
            arguments += ["--set", f"Limits.{setting}"]
        self.server = self.start(*arguments, listeners=2)
        return self.server

    def open(self) -> Stream:
        """Return a client that the server has let in."""
        client = Stream(self.server.url("tcp"))
        self.keep(client)
        client.send(call("RemoteProxy.Hello"))
        self.assertIn(b'"success"', client.line())
        return client

    def assertRefused(self, outcome: str, logged: bool = True, scheme: str = "tcp") -> None:
        """A further client is closed before anything is said."""
        client = Stream(self.server.url(scheme))
        self.assertEqual(client.rest(), b"")
        client.close()
        if logged:
            self.server.waitFor(rf"from {re.escape(client.peer)} refused: {outcome}$")

    def assertRoom(self, client: Stream) -> None:
        """When a client leaves there is room for another."""
        client.close()
        self.server.ended(client)
        self.open().close()

    @inThread
    def testConnections(self) -> None:
        """maxConnections counts everybody."""
        self.launch("maxConnections=2", exempt="127.0.0.0/8")
        waiting = join(self.server.url("ws"), self.token)
        self.keep(waiting)
        client = self.open()
        self.assertRefused("too-many-connections")
        self.assertRefused("too-many-connections", False, "ws")
        self.assertRoom(client)

    @inThread
    def testUnauthenticated(self) -> None:
        """maxUnauthenticated counts only who has not authenticated."""
        self.launch("maxUnauthenticated=2", exempt="127.0.0.0/8")
        self.keep(*(join(self.server.url("ws"), self.token, nonce=str(n)) for n in range(3)))
        client = self.open()
        self.open()
        self.assertRefused("too-many-unauthenticated")
        self.assertRoom(client)

    @inThread
    def testConnectionsPerAddress(self) -> None:
        """maxConnectionsPerAddress counts those of one address."""
        self.launch("maxConnectionsPerAddress=2")
        client = self.open()
        self.keep(join(self.server.url("ws"), self.token))
        self.assertRefused("too-many-from-address")
        self.assertRoom(client)

    @inThread
    def testUnauthenticatedPerAddress(self) -> None:
        """maxUnauthenticatedPerAddress counts those that have not authenticated."""
        self.launch("maxUnauthenticatedPerAddress=2")
        self.keep(*(join(self.server.url("ws"), self.token, nonce=str(n)) for n in range(3)))
        client = self.open()
        self.open()
        self.assertRefused("too-many-unauthenticated-from-address")
        self.assertRoom(client)

    @inThread
    def testAttempts(self) -> None:
        """attemptsPerSecondPerAddress: a burst of that many, then no more.

        Of two refusals of one kind the log tells the first.
        """
        self.launch("attemptsPerSecondPerAddress=3")
        clients = [Stream(self.server.url("tcp")) for _ in range(12)]
        self.keep(*clients)
        for client in clients:
            client.send(call("RemoteProxy.Hello"))
        answers = []
        for client in clients:
            try:
                answers.append(client.line())
            except AssertionError:
                answers.append(b"")
        self.assertNotIn(b"", answers[:3])
        self.assertIn(b"", answers[3:])
        self.server.waitFor("refused: too-many-attempts$")
        self.assertEqual(len(self.server.find("refused: too-many-attempts")), 1)

    @inThread
    def testExempt(self) -> None:
        """Limits per address do not apply to exempt networks, which loopback is by default."""
        self.launch(
            "maxConnectionsPerAddress=1",
            "maxUnauthenticatedPerAddress=1",
            "attemptsPerSecondPerAddress=1",
            exempt="127.0.0.0/8, ::1/128",
        )
        for _ in range(5):
            self.open()

    @inThread
    def testMessageSize(self) -> None:
        """maxControlMessageSize, to the byte."""
        self.launch("maxControlMessageSize=100")
        for scheme in ("tcp", "ws"):
            client = connect(self.server.url(scheme))
            self.keep(client)
            message = call("RemoteProxy.Hello").strip()
            client.sendMessage(message[:-1] + b" " * (100 - len(message)) + b"}")
            self.assertIn(b'"success"', client.message())
            client.sendMessage(message[:-1] + b" " * (101 - len(message)) + b"}")
            self.assertEqual(
                client.goodbye(),
                (
                    b'{"id":-1,"status":"error","error":"Message larger than 100 bytes."}\n',
                    1009 if scheme == "ws" else None,
                ),
            )
            self.assertEqual(self.server.ended(client), "message-too-large")

    @inThread
    def testBehindProxy(self) -> None:
        """Behind a PROXY header the limits count the client's own address."""
        self.server = self.start(
            *("--stream", "haproxy:" + STREAM, "--websocket", STREAM, "--token", self.token),
            *("--set", "Limits.maxConnectionsPerAddress=1"),
            listeners=2,
        )

        def arrive(source: str) -> Stream:
            client = Stream(self.server.url("tcp"))
            self.keep(client)
            port = client.peer.rpartition(":")[2]
            client.peer = f"{source}:{port}" if "." in source else f"[{source}]:{port}"
            family = b"TCP4" if "." in source else b"TCP6"
            other = b"192.0.2.99" if "." in source else b"2001:db8::99"
            addresses = b"%s %s %s 1" % (source.encode(), other, port.encode())
            client.send(b"PROXY %s %s\r\n" % (family, addresses))
            client.send(call("RemoteProxy.Hello"))
            return client

        for source in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
            self.assertIn(b'"success"', arrive(source).line())
        for source in ("192.0.2.1", "2001:db8::ffff:2"):
            client = arrive(source)
            self.assertEqual(client.rest(), b"")
            peer = re.escape(client.peer)
            self.server.waitFor(rf"from {peer} ended: too-many-from-address ")
