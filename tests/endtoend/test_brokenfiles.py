"""SIGHUP to the real server process while one of its files is broken."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.support.cores import Core, anyUuid, error
from tests.support.endtoend import (
    STREAM,
    TLS_STREAM,
    Backend,
    Certificate,
    accepted,
    authenticate,
    connect,
    inThread,
    refused,
    secret,
)
from tests.support.lives import LifeCase, errors, fingerprint, hello, reload


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
