"""The deploy hook that the documentation shows, run as certbot runs it, with the real server."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.endtoend import (
    BINARY,
    CONSOLE,
    ROOT,
    TWISTD,
    Certificate,
    EndToEnd,
    Program,
    Server,
    Stream,
    WebSocket,
    frame,
    inThread,
    secret,
    tunnel,
)

HOOK = ROOT / "docs" / "examples" / "certbot-deploy-hook.sh"
NAME = "proxy.example.org"
DAEMON = 1
"""A group that is not root's; in every Linux it has this number."""


class Lineage:
    """A directory of certbot's for one certificate; its files are links into another one."""

    def __init__(self, directory: Path) -> None:
        self._archive = directory / "archive"
        self.live = directory / "live"
        self.live.mkdir()
        self.renew()

    def renew(self, days: int = 90) -> Certificate:
        """Put a new certificate and its key there."""
        made = Certificate(str(self._archive / secrets.token_hex(4)), days)
        self.link("fullchain.pem", made.certificate)
        self.link("privkey.pem", made.key)
        return made

    def link(self, name: str, path: str) -> None:
        """Let a file be this one."""
        (self.live / name).unlink(missing_ok=True)
        (self.live / name).symlink_to(path)


def shown(url: str) -> bytes:
    """Return the fingerprint of the certificate that a new client gets to see."""
    client = Stream(url, tls=True)
    certificate = client.socket.getpeercert(True)  # type: ignore[attr-defined]
    client.close()
    return x509.load_der_x509_certificate(certificate).fingerprint(hashes.SHA256())


class DeployHookTests(EndToEnd):
    """docs/examples/certbot-deploy-hook.sh."""

    measured = True

    @inThread
    def setUp(self) -> None:
        directory = self.temporary()
        self.lineage = Lineage(directory)
        self.file = directory / "tls" / "proxy.pem"
        self.file.parent.mkdir()
        self.group = os.getegid() or DAEMON

    def runHook(self, reload: str = "true", domains: str = f"www.example.org {NAME}") -> Program:
        """Run it as certbot does; return it when it has ended."""
        program = self.run_(
            [str(HOOK)],
            RENEWED_LINEAGE=str(self.lineage.live),
            RENEWED_DOMAINS=domains,
            NYMEA_FILE=str(self.file),
            NYMEA_GROUP=str(self.group),
            NYMEA_RELOAD=reload,
        )
        program.wait()
        return program

    def deploy(self, server: Server) -> int:
        """Run it and wait until the server has reloaded; return where its log began."""
        since = server.mark()
        program = self.runHook(f"kill -HUP {server.pid}")
        self.assertEqual(program.wait(), 0, program.text())
        server.waitFor(" reloaded", since)
        return since

    def launch(self) -> tuple[Server, WebSocket, WebSocket]:
        """Start a server with the file that the hook made; return it and the ends of a tunnel."""
        self.runHook()
        server = self.start(
            *("--websocket", "tls:tcp:0:interface=127.0.0.1", "--token", (token := secret())),
            *("--certificate", str(self.file)),
        )
        one, two = tunnel(server.url("wss"), token)
        self.keep(one, two)
        assert isinstance(one, WebSocket) and isinstance(two, WebSocket)
        return server, one, two

    def assertJoined(self, *clients: WebSocket) -> None:
        """The tunnel carries data both ways."""
        for sender, receiver in (clients, clients[::-1]):
            words = secrets.token_bytes(64)
            sender.send(frame(BINARY, words))
            self.assertEqual(receiver.frame(), (BINARY, words))

    @inThread
    def testRenewal(self) -> None:
        """New clients see the new certificate; the tunnel goes on."""
        old = self.lineage.renew()
        server, one, two = self.launch()
        self.assertEqual(shown(server.url("wss")), old.fingerprint)
        new = self.lineage.renew()
        self.assertEqual(shown(server.url("wss")), old.fingerprint)
        since = self.deploy(server)
        self.assertEqual(server.find(" error ", since), [])
        self.assertEqual(shown(server.url("wss")), new.fingerprint)
        self.assertJoined(one, two)

    @inThread
    def testPermissions(self) -> None:
        """The group may read it, others may not; nothing else is left in the directory."""
        for _ in range(2):  # the first time, and over the old one
            self.assertEqual(self.runHook().wait(), 0)
            found = self.file.stat()
            self.assertEqual(stat.S_IMODE(found.st_mode), 0o640)
            self.assertEqual(found.st_gid, self.group)
            self.assertEqual(list(self.file.parent.iterdir()), [self.file])

    @inThread
    def testOtherCertificate(self) -> None:
        """What has another name is no business of ours."""
        self.runHook()
        before = self.file.read_bytes()
        self.lineage.renew()
        for domains in ("www.example.org", f"www.{NAME}", f"{NAME}.net"):
            program = self.runHook("echo reload", domains)
            self.assertEqual((program.wait(), program.text()), (0, ""))
        self.assertEqual(self.file.read_bytes(), before)

    @inThread
    def testMissing(self) -> None:
        """Without the key nothing changes, and certbot is told."""
        self.runHook()
        before = self.file.read_bytes()
        self.lineage.link("privkey.pem", "/nonexistent")
        program = self.runHook("echo reload")
        self.assertNotEqual(program.wait(), 0)
        self.assertEqual(program.text("out"), "")
        self.assertEqual(self.file.read_bytes(), before)
        self.assertEqual(list(self.file.parent.iterdir()), [self.file])

    @inThread
    def testUnusable(self) -> None:
        """One that has expired, or has another key: the old one stays, and the log says so."""
        old = self.lineage.renew()
        server, one, two = self.launch()
        self.lineage.renew(days=-1)
        since = self.deploy(server)
        server.waitFor(" error .*the certificate stays as it was: .* has expired", since)
        other = self.lineage.renew()
        self.lineage.renew()
        self.lineage.link("privkey.pem", other.key)
        since = self.deploy(server)
        server.waitFor(" error .*the certificate stays as it was: .* does not belong", since)
        self.assertEqual(shown(server.url("wss")), old.fingerprint)
        self.assertJoined(one, two)


class FingerprintTests(EndToEnd):
    """--fingerprint."""

    @inThread
    def test_fingerprint(self) -> None:
        """What it prints is what clients see, of the server alone and under twistd."""
        state = str(self.temporary())
        arguments = ("--websocket", "tls:tcp:0:interface=127.0.0.1", "--token", secret())
        before = self.run_([*CONSOLE, *arguments, "--fingerprint"], STATE_DIRECTORY=state)
        self.assertEqual((before.wait(), before.text("out")), (1, ""))
        server = self.start(*arguments, environment={"STATE_DIRECTORY": state})
        seen = shown(server.url("wss")).hex(":").upper()
        for command in CONSOLE, TWISTD:
            asked = self.run_([*command, *arguments, "--fingerprint"], STATE_DIRECTORY=state)
            self.assertEqual((asked.wait(), asked.text("out")), (0, seen), command)
