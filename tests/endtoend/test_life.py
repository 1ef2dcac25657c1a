"""The life of the real server process: reload, drain, systemd, all with tunnels full of data."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET, Request

from tests.support.cores import Core, TunnelProxyCase, anyUuid, error, visit
from tests.support.endtoend import (
    CONSOLE,
    INVALID_TOKEN,
    PATIENCE,
    SECOND,
    SIGHUP,
    SIGTERM,
    SIGUSR2,
    TLS,
    TWISTD,
    UPGRADE,
    Backend,
    Certificate,
    EndToEnd,
    Program,
    Server,
    Stream,
    accepted,
    authenticate,
    call,
    connect,
    inThread,
    join,
    reactor,
    refused,
    secret,
    tunnel,
    until,
)
from tests.support.moving import Traffic

STREAM = "tcp:0:interface=127.0.0.1"
TLS_STREAM = f"tls:{STREAM}"
DRAINING = "draining: no new clients"


def fingerprint(url: str) -> bytes:
    """Return the SHA-256 fingerprint of the certificate that a listener shows."""
    client = Stream(url)
    try:
        assert isinstance(client.socket, ssl.SSLSocket)
        return hashlib.sha256(client.socket.getpeercert(True) or b"").digest()
    finally:
        client.close()


def hello(url: str) -> dict[str, Any]:
    """Return what a server says of itself."""
    client = connect(url)
    try:
        client.sendMessage(call("RemoteProxy.Hello"))
        params: dict[str, Any] = json.loads(client.message())["params"]
        return params
    finally:
        client.close()


def reload(server: Server, expected: str = "reloaded") -> int:
    """Have everything read anew; return the position of what the server wrote about it."""
    mark = server.mark()
    server.signal(SIGHUP)
    server.waitFor(expected, mark)
    return mark


def errors(server: Program, since: int) -> list[str]:
    """Return the texts of the log lines of level error."""
    return [match[1] for match in server.find(r"(?:^\S+ error +|#error\] )(.*)$", since)]


class LifeCase(EndToEnd):
    """Helpers for servers with a listener of every kind."""

    twistd = False

    def launch(self, *arguments: str) -> Server:
        """Start it; `self.token` is let in."""
        self.token = secret()
        self.path = str(self.temporary() / "socket")
        return self.start(
            *("--websocket", STREAM, "--websocket", TLS_STREAM, "--stream", STREAM),
            *("--stream", TLS_STREAM, "--stream", f"unix:{self.path}", "--token", self.token),
            *arguments,
            twistd=self.twistd,
            listeners=5,
        )

    def fill(self, server: Server) -> tuple[Traffic, list[tuple[Stream, Stream]]]:
        """Fill tunnels between all kinds of transports with data."""
        kinds = (("ws", "wss"), ("wss", "tls"), ("tcp", "unix"), ("tls", "ws"), ("unix", "tcp"))
        tunnels = []
        for one, other in kinds:
            token = self.token
            pair = (
                join(server.url(one), token, nonce=f"{one}-{other}"),
                join(server.url(other), token, nonce=f"{one}-{other}"),
            )
            for client in pair:
                self.assertIn(b"Tunnel.Established", client.message())
            self.keep(*pair)
            tunnels.append(pair)
        return Traffic(tunnels), tunnels


class ReloadTests(LifeCase):
    """SIGHUP."""

    @inThread
    def testTunnelsGoOn(self) -> None:
        """Nothing of what is under way in a tunnel is lost or changed, and no tunnel ends."""
        server = self.launch()
        traffic, tunnels = self.fill(server)
        for _ in range(3):
            reload(server, "reloaded: 1 tokens, 0 server uuids, 1 certificates")
            traffic.moves()
        traffic.finish()
        self.assertEqual(server.find(" ended: "), [])
        for one, two in tunnels:
            one.close()
            two.close()
        server.settle()

    @inThread
    def testNewCertificate(self) -> None:
        """Who comes gets the new certificate; tunnels over TLS that are up go on."""
        folder = str(self.temporary())
        old = Certificate(folder)
        server = self.launch("--certificate", old.both)
        traffic, _tunnels = self.fill(server)
        for scheme in "wss", "tls":
            self.assertEqual(fingerprint(server.url(scheme)), old.fingerprint)
        new = Certificate(folder)
        self.assertNotEqual(new.fingerprint, old.fingerprint)
        reload(server)
        for scheme in "wss", "tls":
            self.assertEqual(fingerprint(server.url(scheme)), new.fingerprint)
        traffic.moves()
        traffic.finish()
        one, two = tunnel(server.url("wss"), self.token, server.url("tls"))
        one.sendMessage(b"by the new one")
        self.assertEqual(two.read(14), b"by the new one")
        self.keep(one, two)

    @inThread
    def testCertificateOfAListener(self) -> None:
        """One that only a description names is read anew, too."""
        folder = str(self.temporary())
        old = Certificate(folder)
        listener = f"ssl:0:interface=127.0.0.1:privateKey={old.key}:certKey={old.certificate}"
        server = self.start("--port", "0", "--stream", listener, "--token", secret(), listeners=2)
        new = Certificate(folder)
        self.assertEqual(fingerprint(server.url("tls")), old.fingerprint)
        own = fingerprint(server.url("wss"))
        reload(server)
        self.assertEqual(fingerprint(server.url("tls")), new.fingerprint)
        self.assertEqual(fingerprint(server.url("wss")), own)

    @inThread
    def testSelfSigned(self) -> None:
        """A new one is made if the file is gone, and told; a damaged file changes nothing."""
        state = self.temporary()
        server = self.start(
            *("--websocket", TLS_STREAM, "--token", secret()),
            environment={"STATE_DIRECTORY": str(state)},
        )
        file = state / "certificate.pem"
        first = fingerprint(server.url("wss"))
        mark = reload(server)
        self.assertEqual(server.find("fingerprint", mark), [])
        self.assertEqual(fingerprint(server.url("wss")), first)
        file.write_text("damaged")
        mark = reload(server, "reloaded, but not everything")
        self.assertEqual(len(errors(server, mark)), 1)
        self.assertIn("the certificate stays as it was: ", errors(server, mark)[0])
        self.assertEqual(fingerprint(server.url("wss")), first)
        file.unlink()
        state.rmdir()
        state.touch()  # the next one cannot be written
        mark = reload(server, "reloaded, but not everything")
        self.assertEqual(len(errors(server, mark)), 1)
        self.assertEqual(fingerprint(server.url("wss")), first)
        state.unlink()
        mark = reload(server, "reloaded:")
        told = server.waitFor("fingerprint is ([0-9A-F:]+)", mark)[1]
        second = fingerprint(server.url("wss"))
        self.assertNotEqual(second, first)
        self.assertEqual(bytes.fromhex(told.replace(":", "")), second)

    @inThread
    def testCertificateThatNobodyNeeds(self) -> None:
        """One that comes with a reload may be broken, too."""
        ini = Path(self.file("[ProxyServer]\nname = old\n"))
        server = self.start("-C", str(ini), "--websocket", STREAM, "--token", secret())
        missing = self.temporary() / "certificate"
        ini.write_text(f"[ProxyServer]\nname = new\n[SSL]\ncertificate = {missing}\n")
        mark = reload(server, "reloaded, but not everything")
        self.assertEqual(
            errors(server, mark),
            [
                f"the certificate stays as it was: cannot read the certificate {missing}: "
                "No such file or directory"
            ],
        )
        self.assertEqual(hello(server.url("ws"))["name"], "new")

    @inThread
    def testWarnings(self) -> None:
        """What was told of the settings at the start is told of those that are read anew."""
        ini = Path(self.file("[ProxyServer]\nname = old\n"))
        server = self.start("-C", str(ini), "--websocket", STREAM, "--token", secret())
        ini.write_text("[AWS]\nregion = far\n")
        mark = reload(server)
        server.waitFor(r" warn +\[AWS\] is ignored: ", mark)
        ini.write_text("[ProxyServer]\nnonsense = 1\n")
        for _ in range(3):
            mark = reload(server)
        self.assertEqual(len(server.find(r" warn +\[AWS\] is ignored: ", mark)), 1)

    @inThread
    def testAtStartOnly(self) -> None:
        """What only a new start can change is told, line by line, and stays; the rest changes."""
        ini = Path(self.file("[ProxyServer]\nname = old\n[WebSocketServer]\nport = 0\n"))
        server = self.start("-C", str(ini), "--set", "SSL.enabled=no", "--token", secret())
        ini.write_text(
            "[ProxyServer]\nname = new\nlogFormat = json\nmonitorSocket = /nonexistent/socket\n"
            "[WebSocketServer]\nport = 1\n[TcpServer]\nport = 1\n"
            "[TunnelProxy]\nenabled = yes\nclientBacklog = 70000\n"
        )
        for _ in range(2):
            mark = reload(server, "reloaded:")
            self.assertEqual(errors(server, mark), [])
            self.assertEqual(
                [match[1] for match in server.find(r" warn +(.*) takes effect", mark)],
                [
                    "[ProxyServer] logFormat",
                    "[ProxyServer] monitorSocket",
                    "[WebSocketServer] port",
                    "[TcpServer] port",
                    "[TunnelProxy] enabled",
                    "[TunnelProxy] clientBacklog",
                ],
            )
            said = hello(server.url("ws"))
            self.assertEqual((said["name"], said["apiVersion"]), ("new", "0.3"))
        ini.write_text("[ProxyServer]\nname = newest\n[WebSocketServer]\nport = 0\n")
        mark = reload(server, "reloaded:")
        self.assertEqual(errors(server, mark), [])
        self.assertEqual(hello(server.url("ws"))["name"], "newest")


class BrokenFileTests(LifeCase):
    """SIGHUP with a broken file: its part stays as it was, the others are read anew."""

    @inThread
    def setUp(self) -> None:
        self.folder = self.temporary()
        self.certificate = Certificate(str(self.folder / "own"))
        self.other = Certificate(str(self.folder / "other"))
        self.expired = Certificate(str(self.folder / "expired"), days=-1)
        self.tokens = self.folder / "tokens"
        self.uuids = self.folder / "uuids"
        self.users = self.folder / "users"
        self.secret = self.folder / "secret"
        self.ini = self.folder / "server.ini"
        self.listed = anyUuid()
        self.old, self.new = secret("old"), secret("new")
        self.uuids.write_text(self.listed)
        self.users.write_text("admin:password\n")
        self.secret.write_text("password\n")
        self.tokens.write_text(self.old)
        self.backend = Backend()
        self.backend.answer = lambda _request: b'{"isValid": false}'
        self.backend.listen()
        self.addCleanup(deferToThread, self.backend.stop)
        self.writeSettings("old")
        self.server = self.start(
            *("-C", str(self.ini), "--websocket", STREAM, "--stream", TLS_STREAM), listeners=2
        )

    def writeSettings(self, name: str, more: str = "") -> None:
        """Write the INI file."""
        self.ini.write_text(
            f"[ProxyServer]\nname = {name}\n{more}\n"
            f"[SSL]\ncertificate = {self.certificate.certificate}\n"
            f"certificateKey = {self.certificate.key}\n"
            f"[Authentication]\ntokenFile = {self.tokens}\nclientId = id\n"
            f"clientSecretFile = {self.secret}\nserver = http://127.0.0.1:{self.backend.port}/\n"
            f"[TunnelProxy]\nenabled = yes\nserverUuidFile = {self.uuids}\n"
            f"[Admin]\nendpoint = unix:{self.folder}/admin\npasswordFile = {self.users}\n"
        )

    def reloadBroken(self, expected: str) -> None:
        """Reload; the log has this one error and no other."""
        mark = reload(self.server, "reloaded, but not everything")
        told = errors(self.server, mark)
        self.assertEqual(len(told), 1, told)
        self.assertRegex(told[0], expected)

    def assertWorks(self, name: str, *tokens: str) -> None:
        """Check name, tokens, certificate, server uuids and the client secret."""
        url = self.server.url("ws")
        self.assertEqual(hello(url)["name"], name)
        for token in self.old, self.new:
            client = connect(url)
            client.sendMessage(authenticate(token))
            expected = accepted({}) if token in tokens else refused({})
            self.assertEqual(client.message(), expected)
            client.close()
        self.assertEqual(fingerprint(self.server.url("tls")), self.certificate.fingerprint)
        core = Core(url, self.listed)
        self.assertEqual(core.answer["tunnelProxyError"], error("NoError"))
        core.stream.close()
        self.server.ended(core.stream)
        stranger = Core(url, anyUuid())
        self.assertEqual(stranger.answer["tunnelProxyError"], error("ForbiddenCall"))
        stranger.stream.close()
        self.assertEqual(self.backend.asked[-1].authorization, "Basic aWQ6cGFzc3dvcmQ=")

    def partStays(self, file: str | Path, contents: list[bytes | None], expected: str) -> None:
        """Break a file in many ways, while another one and the settings change.

        :param contents: None for a file that is not there.
        """
        file = Path(file)
        good = file.read_bytes()
        if file != self.tokens:
            self.tokens.write_text(self.new)
        for number, content in enumerate(contents):
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
            self.writeSettings(name := f"name-{number}")
            self.reloadBroken(expected)
            self.assertWorks(name, self.old if file == self.tokens else self.new)
        file.write_bytes(good)
        mark = reload(self.server, "reloaded:")
        self.assertEqual(errors(self.server, mark), [])
        self.assertWorks(name, self.old if file == self.tokens else self.new)

    @inThread
    def testCertificate(self) -> None:
        """Missing, empty, damaged, of another key, expired."""
        self.partStays(
            self.certificate.certificate,
            [
                None,
                b"",
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                Path(self.other.certificate).read_bytes(),
            ],
            "^the certificate stays as it was: .*own/certificate.pem",
        )

    @inThread
    def testExpired(self) -> None:
        """One that has expired, with its key."""
        for name in "certificate", "key":
            wrong = Path(getattr(self.expired, name)).read_bytes()
            Path(getattr(self.certificate, name)).write_bytes(wrong)
        self.tokens.write_text(self.new)
        self.reloadBroken("^the certificate stays as it was: .*own/certificate.pem has expired$")
        self.assertWorks("old", self.new)

    @inThread
    def testKey(self) -> None:
        """Missing, empty, of another certificate."""
        self.partStays(
            self.certificate.key,
            [None, b"", Path(self.other.key).read_bytes()],
            "^the certificate stays as it was: .*own/key.pem",
        )

    @inThread
    def testTokens(self) -> None:
        """Missing, without any token, not UTF-8."""
        self.partStays(
            self.tokens,
            [None, b"", b"# none\n", b"\xff"],
            "^the tokens stay as they were: .*/tokens",
        )

    @inThread
    def testServerUuids(self) -> None:
        """Missing, or with something that is no uuid."""
        self.partStays(
            self.uuids,
            [None, b"nonsense", b"\xff"],
            "^the server uuids stay as they were: .*/uuids",
        )

    @inThread
    def testUsers(self) -> None:
        """Missing, naming nobody, with another kind of line; nothing of it is told."""
        self.partStays(
            self.users,
            [None, b"", b"s3cr3t without a colon", b"\xff"],
            "^the users of the admin pages stay as they were: .*/users",
        )

    @inThread
    def testClientSecret(self) -> None:
        """Missing, or not UTF-8."""
        self.partStays(
            self.secret, [None, b"\xff"], "^the client secret stays as it was: .*/secret"
        )

    @inThread
    def testSettings(self) -> None:
        """Missing, no INI file, unknown, wrong, not going together: but files are read anew."""
        self.tokens.write_text(self.new)
        self.writeSettings("new", "aloneTimout = 1")
        unknown = self.ini.read_bytes()
        self.writeSettings("new", "aloneTimeout = soon")
        wrong = self.ini.read_bytes()
        self.writeSettings("new", "[Limits]\nexemptNetworks = 127.0.0.0/8, nonsense")
        noNetwork = self.ini.read_bytes()
        self.writeSettings("new")
        good = self.ini.read_bytes()
        for content, expected in (
            (None, "server.ini: No such file"),
            (good + b"\n]nonsense", "server.ini is broken: "),
            (b"\xff", "server.ini is not UTF-8"),
            (unknown, "there is no setting .* aloneTimout; the nearest known one is aloneTimeout"),
            (wrong, "aloneTimeout cannot be 'soon': use a whole number"),
            (noNetwork, "exemptNetworks cannot be "),
            (good.replace(b"certificate =", b"certificateChain ="), "but no certificate"),
        ):
            self.ini.unlink(missing_ok=True)
            if content is not None:
                self.ini.write_bytes(content)
            self.reloadBroken(f"^the settings stay as they were: .*{expected}")
            self.assertWorks("old", self.new)
        self.ini.write_bytes(good)
        reload(self.server, "reloaded:")
        self.assertWorks("new", self.new)


class ChangedSettingsTests(LifeCase):
    """Limits and times are those of the last reload, for whoever comes."""

    def change(self, settings: str) -> None:
        """Write the settings and have them read."""
        self.ini.write_text(settings)
        reload(self.server, "reloaded:")

    @inThread
    def setUp(self) -> None:
        self.ini = Path(self.file(""))
        self.server = self.launch("-C", str(self.ini))

    @inThread
    def testAloneTimeout(self) -> None:
        """Who waits already has the time that was promised."""
        self.change("[ProxyServer]\naloneTimeout = 60000\n")
        old = join(self.server.url("ws"), self.token, nonce="old")
        self.change("[ProxyServer]\naloneTimeout = 100\n")
        new = join(self.server.url("ws"), self.token, nonce="new")
        self.assertEqual(new.goodbye(), (b"", 1013))
        self.assertEqual(self.server.ended(new), "alone-timeout")
        partner = join(self.server.url("tcp"), self.token, nonce="old")
        self.keep(old, partner)
        for client in old, partner:
            self.assertIn(b"Tunnel.Established", client.message())

    @inThread
    def testConnectionsPerAddress(self) -> None:
        """Who is there already counts from the moment that its address does."""
        url = self.server.url("tcp")
        exempt = [connect(url) for _ in range(3)]
        self.keep(*exempt)
        until(lambda: self.server.openFiles() == self.server.baseline + 3, "they are not there")
        self.change("[Limits]\nmaxConnectionsPerAddress = 2\nexemptNetworks = 10.0.0.0/8\n")
        self.keep(*(join(url, self.token, nonce=f"{number}") for number in range(2)))
        refused = connect(url)
        self.assertEqual(refused.goodbye(), (b"", None))
        self.server.waitFor("refused: too-many-from-address")
        self.change("[Limits]\nmaxConnectionsPerAddress = 2\n")
        self.keep(*(join(url, self.token, nonce=f"more{number}") for number in range(3)))

    @inThread
    def testMessageSize(self) -> None:
        """A call that was short enough is too long."""
        call_ = authenticate(self.token, nonce="x" * 400)
        self.change("[Limits]\nmaxControlMessageSize = 300\n")
        for scheme in "ws", "tcp":
            client = connect(self.server.url(scheme))
            client.sendMessage(call_)
            self.assertIn(b'"status":"error"', client.goodbye()[0])
        self.change("")
        client = connect(self.server.url("ws"))
        self.keep(client)
        client.sendMessage(call_)
        self.assertEqual(client.message(), accepted({}))

    @inThread
    def testAuthenticationServer(self) -> None:
        """Another one is asked, in its way."""
        backends = [Backend(), Backend()]
        for backend in backends:
            backend.listen()
            self.addCleanup(deferToThread, backend.stop)
        for backend, way in zip(backends, ("json", "form"), strict=True):
            self.change(
                f"[Authentication]\nserver = http://127.0.0.1:{backend.port}/\nrequest = {way}\n"
            )
            self.keep(join(self.server.url("ws"), token := secret()))
            body = backend.waitFor(1)[0].body
            expected = json.dumps({"token": token}, separators=(",", ":"))
            self.assertIn(expected if way == "json" else f"token={token}&", body.decode())
        self.assertEqual([len(backend.asked) for backend in backends], [1, 1])
        self.change("")
        client = connect(self.server.url("ws"))
        client.sendMessage(authenticate(secret()))
        self.assertIn(INVALID_TOKEN.encode(), client.goodbye()[0])

    @inThread
    def testQuestionUnderWay(self) -> None:
        """Whoever was asked before the reload is listened to."""
        asked: list[Request] = []

        def answerLater(request: Request) -> int:
            asked.append(request)
            return NOT_DONE_YET

        backend = Backend()
        backend.answer = answerLater
        backend.listen()
        self.addCleanup(deferToThread, backend.stop)
        self.change(f"[Authentication]\nserver = http://127.0.0.1:{backend.port}/\n")
        client = connect(self.server.url("ws"))
        self.keep(client)
        client.sendMessage(authenticate(secret()))
        until(lambda: bool(asked), "nobody is asked")
        self.change("")
        reactor.callFromThread(asked[0].write, b'{"isValid": true}')
        reactor.callFromThread(asked[0].finish)
        self.assertEqual(client.message(), accepted({}))

    @inThread
    def testPrivacy(self) -> None:
        """How addresses are written from then on, also those of who is here already."""
        url = self.server.url("tcp")
        old = connect(url)
        until(lambda: self.server.openFiles() > self.server.baseline, "it is not there")
        for privacy, written in ("shortened", "127.0.0.0"), ("none", "hidden"):
            self.change(f"[ProxyServer]\nprivacy = {privacy}\n")
            mark = self.server.mark()
            client = connect(url)
            client.close()
            self.server.waitFor(f"from {written} ended: ", mark)
            self.assertNotIn(client.peer, self.server.text(since=mark))
        mark = self.server.mark()
        old.close()
        self.server.waitFor("from hidden ended: left-early", mark)
        self.assertNotIn(old.peer, self.server.text(since=mark))


class DrainTests(LifeCase):
    """SIGUSR2."""

    def drain(self, server: Server) -> None:
        """Have the server drained."""
        server.signal(SIGUSR2)
        server.waitFor(DRAINING)

    def assertClosed(self, server: Server) -> None:
        """Check that nobody gets in."""
        for url in server.urls:
            if url.startswith("unix:"):
                until(lambda: not Path(self.path).exists(), "the Unix socket is still there")
                self.assertRaises(OSError, Stream, url)
            else:
                host, port = url.rpartition("//")[2].split(":")
                until(lambda: isRefused(host, int(port)), f"{url} is open")  # noqa: B023 - at once

    @inThread
    def testDrain(self) -> None:
        """Who has a tunnel stays, nothing is lost; who has none is told; the last one ends it."""
        server = self.launch()
        traffic, tunnels = self.fill(server)
        fresh = {scheme: connect(server.url(scheme)) for scheme in ("ws", "wss", "tcp", "tls")}
        waiting = {
            scheme: join(server.url(scheme), self.token, SECOND, nonce=scheme)
            for scheme in ("ws", "wss", "tcp", "tls", "unix")
        }
        silent = Stream(server.url("wss"), tls=False)  # says nothing, not even TLS
        self.drain(server)
        for clients in fresh, waiting:
            for scheme, client in clients.items():
                self.assertEqual(client.goodbye(), (b"", 1013 if "w" in scheme else None))
                if scheme != "unix":
                    self.assertEqual(server.ended(client), "shutdown-waiting")
        self.assertEqual(silent.rest(), b"")
        silent.close()
        self.assertClosed(server)
        traffic.moves()
        traffic.finish()
        *others, (one, two) = tunnels
        for pair in others:
            for client in pair:
                client.close()
        one.sendMessage(b"still here")
        self.assertEqual(two.read(10), b"still here")
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.find("stopping"), [])
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)
        server.waitFor("stopped")

    @inThread
    def testSocketsAreGone(self) -> None:
        """Without the files of its Unix sockets the server drains and stops as with them."""
        monitor = self.temporary() / "monitor"
        for end in (SIGUSR2, SIGTERM):
            server = self.launch("--set", f"ProxyServer.monitorSocket={monitor}")
            waiting = join(server.url("tcp"), self.token)
            monitor.unlink()
            Path(self.path).unlink()
            server.signal(end)
            self.assertEqual(waiting.goodbye(), (b"", None))
            self.assertEqual(server.wait(), 0)
            self.assertEqual(server.ended(waiting), "shutdown-waiting")
            self.assertEqual(len(server.find("a listener was not closed in order")), 2)
            server.waitFor("stopped")

    @inThread
    def testNobody(self) -> None:
        """With nobody there it stops at once."""
        server = self.launch()
        self.drain(server)
        self.assertEqual(server.wait(), 0)

    @inThread
    def testLastBytes(self) -> None:
        """What the last client sent before it left is delivered before the process ends."""
        server = self.launch()
        one, two = tunnel(server.url("tcp"), self.token, server.url("tls"))
        self.drain(server)
        data = os.urandom(1 << 20)
        one.send(data)
        one.close()
        received = two.rest()
        two.close()
        self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(data).digest())
        self.assertEqual(server.wait(), 0)

    @inThread
    def testTimeout(self) -> None:
        """After drainTimeout tunnels are told that the server goes."""
        server = self.launch("--set", "ProxyServer.drainTimeout=300")
        one, two = tunnel(server.url("ws"), self.token, server.url("tls"))
        begun = time.monotonic()
        self.drain(server)
        self.assertEqual(one.goodbye(), (b"", 1001))
        self.assertGreater(time.monotonic() - begun, 0.29)
        self.assertEqual(two.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
        for client in one, two:
            self.assertEqual(server.ended(client), "shutdown")

    @inThread
    def testWithoutTimeout(self) -> None:
        """0 is for ever."""
        server = self.launch("--set", "ProxyServer.drainTimeout=0")
        one, two = tunnel(server.url("ws"), self.token, server.url("tls"))
        self.drain(server)
        server.waitFor(r"when the last tunnel has ended$")
        one.sendMessage(b"still here")
        self.assertEqual(two.read(10), b"still here")
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)

    @inThread
    def testSignals(self) -> None:
        """Draining again changes nothing, a reload is one, and SIGTERM stops at once."""
        tokens = Path(self.file(secret()))
        server = self.launch("--token-file", str(tokens))
        one, two = tunnel(server.url("ws"), self.token, server.url("tcp"))
        self.drain(server)
        server.signal(SIGUSR2)
        reload(server, "reloaded: 2 tokens")
        tokens.write_text("")
        mark = reload(server, "reloaded, but not everything")
        self.assertEqual(len(errors(server, mark)), 1)
        server.signal(SIGUSR2)
        self.assertClosed(server)
        two.sendMessage(b"still here")
        self.assertEqual(one.message(), b"still here")
        server.signal(SIGTERM)
        self.assertEqual(one.goodbye(), (b"", 1001))
        self.assertEqual(two.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
        self.assertEqual(len(server.find(DRAINING)), 1)
        self.assertEqual(len(server.find("stopping")), 1)

    @inThread
    def testWhileStopping(self) -> None:
        """It is too late to drain, or to reload."""
        server = self.launch("--set", "ProxyServer.shutdownTimeout=500")
        one, two = tunnel(server.url("ws"), self.token)  # they will not close
        server.signal(SIGTERM)
        server.waitFor("stopping")
        server.signal(SIGUSR2)
        server.signal(SIGHUP)
        self.assertEqual(server.wait(), 0)
        self.assertEqual(server.find(f"{DRAINING}|reloaded"), [])
        one.close()
        two.close()

    @inThread
    def testMonitorSocket(self) -> None:
        """Its path is free for the next process; whoever looks at it already sees the end."""
        monitor = str(self.temporary() / "monitor")
        server = self.launch("--set", f"ProxyServer.monitorSocket={monitor}")
        one, two = tunnel(server.url("ws"), self.token)
        watcher = Stream(f"unix:{monitor}")
        self.drain(server)
        until(lambda: not Path(monitor).exists(), "the monitor socket is still there")
        successor = self.launch("--set", f"ProxyServer.monitorSocket={monitor}")
        Stream(f"unix:{monitor}").close()
        watcher.send(b'{"method":"refresh"}')
        self.assertEqual(json.loads(watcher.line())["proxyStatistic"]["tunnelCount"], 1)
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)
        watcher.rest()  # it is closed, perhaps after more news
        watcher.close()
        self.assertTrue(Path(monitor).exists())
        self.assertIsNone(successor.process.poll())


class TwistdDrainTests(DrainTests):
    """The same under twistd."""

    twistd = True


def isRefused(host: str, port: int) -> bool:
    """Tell whether nobody listens there."""
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


class TunnelProxyDrainTests(TunnelProxyCase):
    """SIGUSR2 with the tunnel proxy: a server goes with its last client."""

    @inThread
    def testDrain(self) -> None:
        """Several servers and clients, over several transports."""
        server = self.start(
            *("--tunnelproxy", "--websocket", STREAM, "--stream", TLS_STREAM), listeners=2
        )
        web, tls = server.url("ws"), server.url("tls")
        idle, busy, busier = anyUuid(), anyUuid(), anyUuid()
        idleCore = self.register(web, idle)
        busyCore = self.register(tls, busy)
        busierCore = self.register(web, busier)
        leftEarly, _ = self.join(web, idle, idleCore)
        leftEarly.close()
        idleCore.message()
        server.ended(leftEarly)
        only = self.join(web, busy, busyCore)
        first = self.join(web, busier, busierCore)
        second = self.join(tls, busier, busierCore)
        stranger, said = visit(web, anyUuid())
        self.assertEqual(said, error("ServerNotFound"))
        stranger.goodbye()
        server.signal(SIGUSR2)
        server.waitFor(DRAINING)
        self.assertEqual(idleCore.stream.goodbye(), (b"", 1001))
        self.assertEqual(server.ended(idleCore.stream), "shutdown")
        self.works(busyCore, *only)
        self.works(busierCore, *first)
        first[0].close()
        self.assertEqual(busierCore.message()["notification"], "TunnelProxy.ClientDisconnected")
        self.works(busierCore, *second)
        self.works(busyCore, *only)
        busierCore.send(0, call("TunnelProxy.DisconnectClient", socketAddress=second[1]))
        self.assertEqual(second[0].goodbye(), (b"", None))
        self.assertEqual(busierCore.stream.goodbye()[1], 1001)
        self.assertEqual(server.ended(busierCore.stream), "shutdown")
        self.works(busyCore, *only)
        self.assertEqual(server.find("stopping"), [])
        busyCore.stream.close()  # the server itself goes
        self.assertEqual(only[0].goodbye(), (b"", 1000))
        self.assertEqual(server.wait(), 0)

    @inThread
    def testTimeout(self) -> None:
        """Then servers and clients are told."""
        server = self.start(
            *("--tunnelproxy", "--websocket", STREAM, "--set", "ProxyServer.drainTimeout=200")
        )
        core = self.register(server.url("ws"), uuid := anyUuid())
        client, _ = self.join(server.url("ws"), uuid, core)
        server.signal(SIGUSR2)
        for stream in core.stream, client:
            self.assertEqual(stream.goodbye(), (b"", 1001))
        self.assertEqual(server.wait(), 0)


class ActivationTests(EndToEnd):
    """Sockets that systemd made: a new process serves newcomers while the old one drains."""

    timeout = 120
    twistd = False
    more: tuple[str, ...] = ()

    @inThread
    def setUp(self) -> None:
        self.token = secret()
        self.path = str(self.temporary() / "socket")
        self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=MANY)]
        self.sockets.append(socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=MANY))
        self.sockets.append(made := socket.socket(socket.AF_UNIX))
        made.bind(self.path)
        os.chmod(self.path, 0o640)
        made.listen(MANY)
        for each in self.sockets:
            self.addCleanup(each.close)

    def activate(self, name: str, *sockets: str, names: str = "") -> Server:
        """Start a server with these sockets.

        They need no names, and a domain that is missing or wrong makes no difference.
        """
        one, two, three = sockets or (
            "systemd:domain=INET:index=0",
            "systemd:domain=INET:index=1",
            "systemd:index=2",
        )
        server = self.start(
            *("--websocket", one, "--websocket", f"tls:{two}", "--stream", three),
            *("--token", self.token, "--set", f"ProxyServer.name={name}"),
            *("--set", "ProxyServer.tlsHandshakeTimeout=60000"),
            *("--set", "ProxyServer.inactiveTimeout=60000"),
            *("--set", "ProxyServer.webSocketHandshakeTimeout=60000"),
            *self.more,
            twistd=self.twistd,
            listeners=3,
            sockets=self.sockets,
            environment={"LISTEN_FDNAMES": names},
        )
        port, port6 = (each.getsockname()[1] for each in self.sockets[:2])
        expected = [f"ws://127.0.0.1:{port}", f"wss://[::1]:{port6}", f"unix:{self.path}"]
        self.assertEqual(server.urls, expected)
        return server

    def assertServed(self, server: Server, name: str) -> None:
        """Check that every listener is served by the one with this name."""
        for url in server.urls:
            self.assertEqual(hello(url)["name"], name)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)

    @inThread
    def testHandOver(self) -> None:
        """Both listen for a while; nobody finds a closed door, and the old tunnels live."""
        old = self.activate("old")
        self.assertServed(old, "old")
        tunnels = [
            tunnel(old.urls[0], self.token, old.urls[1]),
        ]
        traffic = Traffic(tunnels)
        visits = Visits(old.urls)
        self.addCleanup(visits.stop)
        visits.waitFor("old")
        new = self.activate("new")
        visits.waitFor("new")
        old.signal(SIGUSR2)
        self.waitUntilClosed(old)
        mark = visits.mark()
        traffic.moves()
        visits.waitFor("new", since=mark, count=100)
        visits.stop()
        self.assertEqual(set(visits.since(mark)), {"new"})
        self.assertNotIn("refused", visits.since(0))
        traffic.finish()
        self.assertServed(new, "new")
        for client in tunnels[0]:
            client.close()
        self.assertEqual(old.wait(), 0)
        self.assertServed(new, "new")
        new.signal(SIGTERM)
        self.assertEqual(new.wait(), 0)
        self.assertTrue(Path(self.path).exists())

    @inThread
    def testWatchersFollow(self) -> None:
        """The monitor socket and the admin endpoint become the new one's, at the same places."""
        admin, monitor = (str(self.temporary() / name) for name in ("admin", "monitor"))
        self.more = ("--admin", f"unix:{admin}", "--set", f"ProxyServer.monitorSocket={monitor}")

        def ask(path: str, request: bytes) -> bytes:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(path)
                asking.sendall(request)
                asking.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: asking.recv(65536), b""))

        def assertWatched(name: str) -> None:
            told = json.loads(ask(monitor, b'{"method":"refresh"}'))
            self.assertEqual(told["serverName"], name)
            get = b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            self.assertIn(f'"name":"{name}"'.encode(), ask(admin, get))

        old = self.activate("old")
        assertWatched("old")
        one, two = tunnel(old.urls[0], self.token, old.urls[2])
        old.signal(SIGUSR2)
        self.waitUntilClosed(old)
        until(lambda: not os.path.exists(admin), "the admin endpoint is still there")
        self.activate("new")
        assertWatched("new")
        one.close()
        two.close()
        self.assertEqual(old.wait(), 0)
        assertWatched("new")

    @inThread
    def testQueue(self) -> None:
        """Who comes while nobody accepts, and be it many, is served by the next process."""
        old = self.activate("old")
        one, two = tunnel(old.urls[0], self.token, old.urls[2])
        old.signal(SIGUSR2)
        old.waitFor(DRAINING)
        self.waitUntilClosed(old)
        waiting = {url: [Stream(url, tls=False) for _ in range(MANY)] for url in old.urls}
        new = self.activate("new")
        web, secure, unix = waiting.values()
        for client in web:
            client.send(UPGRADE)
            self.assertIn(b" 101 ", client.readUntil(b"\r\n\r\n"))
        for client in secure:
            client.socket = TLS.wrap_socket(client.socket)
        for client in unix:
            client.send(call("RemoteProxy.Hello"))
            self.assertEqual(json.loads(client.message())["params"]["name"], "new")
        for client in itertools.chain(web, secure, unix):
            client.close()
        self.assertServed(new, "new")
        one.sendMessage(b"still here")
        self.assertEqual(two.read(10), b"still here")
        one.close()
        two.close()
        self.assertEqual(old.wait(), 0)
        self.assertServed(new, "new")

    def waitUntilClosed(self, server: Server) -> None:
        """Wait until a process does not listen any more."""
        inodes = {f"socket:[{os.fstat(shared.fileno()).st_ino}]" for shared in self.sockets}

        def held() -> set[str]:
            files = set()
            for file in Path(f"/proc/{server.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # it may be closed meanwhile
                    files.add(os.readlink(file))
            return files

        until(lambda: not inodes & held(), "it still listens")

    @inThread
    def testNames(self) -> None:
        """By name; and clients' addresses are their own."""
        names = ("web", "web6", "stream")
        server = self.activate(
            "named", *(f"systemd:name={name}" for name in names), names=":".join(names)
        )
        self.assertServed(server, "named")
        client = Stream(server.urls[1], tls=False)
        client.close()
        self.assertEqual(server.ended(client), "tls-handshake-failed")

    @inThread
    def testBehindProxy(self) -> None:
        """With PROXY headers, too, the file stays as it is."""
        server = self.start(
            *("--stream", "haproxy:systemd:domain=UNIX:index=2", "--websocket", STREAM),
            *("--token", self.token),
            listeners=2,
            sockets=self.sockets,
        )
        client = Stream(server.url("unix"))
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n" + authenticate(self.token))
        self.assertEqual(client.message(), accepted({}))
        server.signal(SIGTERM)
        client.goodbye()
        self.assertEqual(server.wait(), 0)
        server.waitFor("from 192.0.2.7:1 ended")
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)
        Stream(f"unix:{self.path}").close()  # into the queue

    @inThread
    def testSomethingElse(self) -> None:
        """A socket on which nobody can come: one line, and the end."""
        with socket.socket(type=socket.SOCK_DGRAM) as made:
            made.bind(("127.0.0.1", 0))
            program = Program(
                [*CONSOLE, "--websocket", "systemd:index=0", "--token", "t"],
                stateHome=str(self.temporary()),
                sockets=[made],
            )
            self.addCleanup(program.stop)
            self.assertEqual(program.wait(), 1)
        self.assertRegex(
            program.text(),
            r"^nymea-remoteproxy: cannot listen on systemd:index=0: systemd passed something else "
            "than a listening stream socket$",
        )

    @inThread
    def testForAnotherProcess(self) -> None:
        """No such socket: one line, and the end."""
        program = self.run_(
            [*CONSOLE, "--websocket", "systemd:domain=INET:index=0", "--token", "t"]
        )
        self.assertEqual(program.wait(), 1)
        self.assertIn("systemd passed no such socket", program.text())


class TwistdActivationTests(ActivationTests):
    """The same under twistd."""

    twistd = True

    @inThread
    def testDaemon(self) -> None:
        """It is another process than the one that the sockets were passed to."""
        directory = self.temporary()
        pidFile = directory / "pid"
        program = Program(
            [
                *(*TWISTD[:3], f"--pidfile={pidFile}", f"--logfile={directory}/log", TWISTD[-1]),
                *("--websocket", "systemd:index=0", "--token", self.token),
                *("--set", "ProxyServer.name=daemon"),
            ],
            sockets=self.sockets,
        )
        self.addCleanup(program.stop)
        self.assertEqual(program.wait(), 0, program.text())
        daemon = int(pidFile.read_text())
        self.addCleanup(until, lambda: not pidFile.exists(), "it does not end")
        self.addCleanup(os.kill, daemon, SIGTERM)
        port = self.sockets[0].getsockname()[1]
        self.assertEqual(hello(f"ws://127.0.0.1:{port}")["name"], "daemon")


MANY = 150
"""More than the 50 connections that Twisted has the kernel queue."""


class Visits:
    """People who come again and again, to each of these places, and ask who is there."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._results: list[tuple[int, str]] = []
        self._begun = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(url,)) for url in urls]
        for thread in self._threads:
            thread.start()

    def mark(self) -> int:
        """Return a position before which all have begun that are under way."""
        return next(self._begun)

    def since(self, mark: int) -> list[str]:
        """Return who served those that began since then, or what went wrong."""
        return [who for begun, who in self._results if begun >= mark]

    def waitFor(self, who: str, since: int = 0, count: int = 1) -> None:
        """Wait until so many were served by them."""
        until(lambda: self.since(since).count(who) >= count, f"{who} serves nobody")

    def stop(self) -> None:
        """Nobody comes any more."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, url: str) -> None:
        while not self._over.is_set():
            begun = next(self._begun)
            try:
                who = hello(url)["name"]
            except ConnectionRefusedError:
                who = "refused"
            except Exception as error:
                who = repr(error)
            self._results.append((begun, who))


class Systemd:
    """What systemd is told."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.settimeout(PATIENCE)
        self.address = address

    def next(self) -> dict[str, str]:
        """Return the next message."""
        lines = self.socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def waitFor(self, name: str) -> dict[str, str]:
        """Return the next message with this in it; nobody has said STOPPING before."""
        while name not in (message := self.next()):
            if "STOPPING" in message:
                raise AssertionError(message)
        return message

    def close(self) -> None:
        """Hear nothing more."""
        self.socket.close()


class NotifyTests(EndToEnd):
    """What the service tells systemd."""

    def listen(self, address: str = "") -> Systemd:
        """Return a systemd that listens at a path, or at this address."""
        systemd = Systemd(address or str(self.temporary() / "notify"))
        self.addCleanup(systemd.close)
        return systemd

    def launch(self, systemd: Systemd, *arguments: str, **environment: str) -> Server:
        """Start a server that notifies it."""
        return self.start(
            *("--websocket", STREAM, "--token", self.token, *arguments),
            environment={"NOTIFY_SOCKET": systemd.address, **environment},
        )

    def setUp(self) -> None:
        self.token = secret()

    @inThread
    def testReady(self) -> None:
        """It is ready when clients can come, and says nothing before."""
        systemd = self.listen()
        path = str(self.temporary() / "socket")
        program = self.launchProgram(
            [*CONSOLE, "--websocket", STREAM, "--stream", f"unix:{path}", "--token", self.token],
            {"NOTIFY_SOCKET": systemd.address},
        )
        self.assertEqual(systemd.next(), {"READY": "1", "STATUS": "0 connections"})
        join(f"unix:{path}", self.token).close()
        program.signal(SIGTERM)
        systemd.waitFor("STOPPING")
        self.assertEqual(program.wait(), 0)

    @inThread
    def testNotReady(self) -> None:
        """A start that fails is never ready."""
        systemd = self.listen()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            place = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            program = self.run_(
                [*CONSOLE, "--websocket", place, "--token", self.token],
                NOTIFY_SOCKET=systemd.address,
            )
            self.assertEqual(program.wait(), 1)
        systemd.socket.setblocking(False)
        self.assertRaises(BlockingIOError, systemd.next)

    @inThread
    def testLife(self) -> None:
        """Reload, drain and stop, in the abstract namespace."""
        systemd = self.listen(f"@nymea-{os.getpid()}-{time.monotonic_ns()}")
        server = self.launch(systemd, WATCHDOG_USEC="1000000000")  # so that no beat helps
        self.assertEqual(systemd.next()["READY"], "1")
        self.assertEqual(systemd.next()["WATCHDOG"], "1")
        one, two = tunnel(server.url("ws"), self.token)
        for expected in ("2 connections", "draining, 2 connections"):
            before = time.monotonic_ns() // 1000
            server.signal(SIGHUP)
            message = systemd.waitFor("RELOADING")
            after = time.monotonic_ns() // 1000
            self.assertEqual(message.pop("RELOADING"), "1")
            self.assertTrue(before <= int(message.pop("MONOTONIC_USEC")) <= after)
            self.assertEqual(message, {})
            self.assertEqual(systemd.next(), {"READY": "1", "STATUS": expected})
            if "draining" not in expected:
                server.signal(SIGUSR2)
                self.assertEqual(systemd.waitFor("STATUS")["STATUS"], "draining, 2 connections")
        one.close()
        two.close()
        self.assertEqual(systemd.waitFor("STOPPING"), {"STOPPING": "1"})
        self.assertEqual(server.wait(), 0)
        systemd.socket.setblocking(False)
        self.assertRaises(BlockingIOError, systemd.next)

    @inThread
    def testWatchdog(self) -> None:
        """It hears three times in its time, also while tunnels are being told goodbye."""
        systemd = self.listen()
        server = self.launch(
            systemd, "--set", "ProxyServer.shutdownTimeout=1000", WATCHDOG_USEC="900000"
        )
        systemd.waitFor("WATCHDOG")
        one, two = tunnel(server.url("ws"), self.token)
        self.keep(one, two)
        times = []
        for _ in range(5):
            message = systemd.waitFor("WATCHDOG")
            times.append(time.monotonic())
        self.assertEqual(message, {"WATCHDOG": "1", "STATUS": "2 connections"})
        self.assertGreater(times[-1] - times[0], 4 * 0.3 - 0.1)
        self.assertLess(max(b - a for a, b in itertools.pairwise(times)), 0.9)
        server.signal(SIGTERM)
        systemd.waitFor("STOPPING")
        systemd.waitFor("WATCHDOG")
        self.assertEqual(server.wait(), 0)

    @inThread
    def testWatchdogOfAnother(self) -> None:
        """One that is meant for another process gets nothing."""
        systemd = self.listen()
        server = self.launch(systemd, WATCHDOG_USEC="30000", WATCHDOG_PID="1")
        server.signal(SIGTERM)
        messages = []
        while "STOPPING" not in (message := systemd.next()):
            messages.append(message)
        self.assertEqual([set(each) for each in messages], [{"READY", "STATUS"}, {"STATUS"}])
        self.assertEqual(server.wait(), 0)

    @inThread
    def testNobodyListens(self) -> None:
        """That is told once, and does no harm."""
        systemd = self.listen()
        systemd.close()
        for address in systemd.address, f"{systemd.address}/below", "@nobody", "/" + "x" * 200:
            server = self.start(
                *("--websocket", STREAM, "--token", self.token),
                environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000"},
            )
            for _ in range(3):
                reload(server)
            join(server.url("ws"), self.token).close()
            server.signal(SIGTERM)
            self.assertEqual(server.wait(), 0)
            self.assertEqual(len(server.find(r" warn +cannot tell systemd READY=1: \w")), 1)
            self.assertEqual(len(server.find("cannot tell systemd")), 1)


class LogFileTests(EndToEnd):
    """The log file and SIGHUP."""

    @inThread
    def testRotation(self) -> None:
        """Renamed, it is begun anew; when it cannot be, the old one goes on; no line is lost."""
        path = self.temporary() / "log"
        old, older = path.with_suffix(".1"), path.with_suffix(".2")
        program = self.launchProgram(
            [*CONSOLE, "--logging", str(path), "--websocket", STREAM, "--token", secret()]
        )

        def written(file: Path, count: int) -> None:
            until(
                lambda: file.exists() and file.read_text().count("reloaded") == count,
                f"{file} has not {count} lines about a reload",
            )

        until(lambda: path.exists() and "listening" in path.read_text(), "it does not listen")
        path.rename(older)
        program.signal(SIGHUP)
        written(path, 1)
        self.assertNotIn("reloaded", older.read_text())
        path.rename(old)
        path.mkdir()
        program.signal(SIGHUP)
        written(old, 2)
        until(lambda: "the log goes on in the old file: " in old.read_text(), "it does not say so")
        self.assertIn(" error ", old.read_text())
        path.rmdir()
        program.signal(SIGHUP)
        written(path, 1)
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)
        self.assertIn("stopped", path.read_text())
        self.assertEqual(program.text(), "")
