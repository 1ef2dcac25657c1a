"""The life of the real server process: reload, drain, systemd, all with tunnels full of data."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import time
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.web.server import Request

from .endtoend import (
    BINARY,
    CONSOLE,
    INVALID_TOKEN,
    PATIENCE,
    SECOND,
    SIGHUP,
    SIGTERM,
    SIGUSR2,
    TLS,
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
    refused,
    secret,
    tunnel,
    until,
)
from .moving import Traffic
from .test_endtoend_tunnelproxy import Core, TunnelProxyCase, anyUuid, error, visit

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
    return [match[1] for match in server.find(r"^\S+ error +(.*)$", since)]


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
        server = self.start("--stream", listener, "--token", secret(), listeners=2)
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
        ini.write_text("[ProxyServer]\nname = new\n[SSL]\ncertificate = /nonexistent\n")
        mark = reload(server, "reloaded, but not everything")
        self.assertEqual(
            errors(server, mark),
            [
                "the certificate stays as it was: cannot read the certificate /nonexistent: "
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
            mark = reload(server, "reloaded, but not everything")
            self.assertEqual(
                errors(server, mark),
                [
                    f"{name} takes effect with the next start"
                    for name in (
                        "[ProxyServer] logFormat",
                        "[ProxyServer] monitorSocket",
                        "[WebSocketServer] port",
                        "[TcpServer] port",
                        "[TunnelProxy] enabled",
                        "[TunnelProxy] clientBacklog",
                    )
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
            self.tokens, [None, b"", b"# none\n", b"\xff"], "^the tokens stay as they were: .*/tokens"
        )

    @inThread
    def testServerUuids(self) -> None:
        """Missing, or with something that is no uuid."""
        self.partStays(
            self.uuids, [None, b"nonsense", b"\xff"], "^the server uuids stay as they were: .*/uuids"
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
        self.writeSettings("new", "nonsense = 1")
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
            (unknown, "there is no setting .* nonsense; the nearest known one is "),
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
