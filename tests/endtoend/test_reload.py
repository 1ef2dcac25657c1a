"""SIGHUP to the real server process, with tunnels full of data."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET, Request

from tests.support.endtoend import (
    CONSOLE,
    INVALID_TOKEN,
    SIGHUP,
    SIGTERM,
    STREAM,
    TLS_STREAM,
    Backend,
    Certificate,
    EndToEnd,
    accepted,
    authenticate,
    connect,
    inThread,
    join,
    reactor,
    secret,
    tunnel,
    until,
)
from tests.support.lives import LifeCase, errors, fingerprint, hello, reload


class ReloadTests(LifeCase):
    """SIGHUP."""

    @inThread
    def testTunnelsGoOn(self) -> None:
        """Nothing of what is under way in a tunnel is lost or changed, and no tunnel ends."""
        server = self.launch()
        traffic, tunnels = self.fill(server)
        for _ in range(3):
            reload(server, "reloaded: 1 token, 0 server uuids, 1 certificate$")
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
        server.waitFor("fingerprint")
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
        socket = self.temporary() / "socket"
        ini.write_text(
            f"[ProxyServer]\nname = new\nlogFormat = json\nmonitorSocket = {socket}\n"
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


class LogFileTests(EndToEnd):
    """The log file and SIGHUP."""

    measured = True

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
