"""Commands of README.rst and the pages, typed into a shell, but for names and ports of our own.

Which commands a test runs, the marks on the pages say: ``tests/support/documented.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.support.documented import commandsOf
from tests.support.endtoend import (
    CLIENT,
    CONSOLE,
    MONITOR,
    PATIENCE,
    ROOT,
    TWISTD,
    Certificate,
    EndToEnd,
    environmentOfPrograms,
    inThread,
    until,
)
from tests.support.homepage import readHome, serveHome

UUID = "6f4ff7c5-41b1-4a3c-9f3f-3f0f5b0f6b6a"
SERVER, JOIN = "nymea-remoteproxy", "nymea-remoteproxy-client"
TLS_SERVER = f"{SERVER} --token-file tokens --certificate proxy.pem --certificate-key proxy.key"
LISTENING = r"listening on (wss?|tcp|tls)://\S+:(\d+)"


class Typed:
    """A command line that runs in a shell of its own.

    :param directory: where, and what is installed is in ``bin`` there.
    """

    def __init__(self, command: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.command = command
        self._output = directory / f"output-{len(list(directory.glob('output-*')))}"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=directory,
                env={
                    **environmentOfPrograms(),
                    "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
                    "COVERAGE_PROCESS_CONFIG": "",
                    "XDG_STATE_HOME": str(directory / "state"),
                    "SSL_CERT_FILE": str(directory / "certificate.pem"),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # all of a pipeline ends with the test
            )

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self._output.read_text("utf-8", "replace")

    def waitFor(self, pattern: str) -> re.Match[str]:
        """Wait until it has written this."""
        until(
            lambda: bool(re.search(pattern, self.said)) or self.process.poll() is not None,
            f"{self.command} does not say {pattern!r} in time",
        )
        match = re.search(pattern, self.said)
        if match is None:
            raise AssertionError(f"{self.command} does not say {pattern!r}, but: {self.said}")
        return match

    def wait(self) -> str:
        """Wait until it has ended, as it should; return what it wrote."""
        status = self.process.wait(PATIENCE)
        if status:
            raise AssertionError(f"{self.command} ends with {status}: {self.said}")
        return self.said

    def stop(self) -> None:
        """End all of it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(PATIENCE)


class TypedCase(EndToEnd):
    """A reader of the pages, with a directory of his own in which things are as the pages say."""

    @inThread
    def setUp(self) -> None:
        self.directory = self.temporary()
        (self.directory / "bin").mkdir()
        programs = {
            SERVER: f'{_quoted(CONSOLE)} "$@" $MORE',
            JOIN: f'{_quoted(CLIENT)} "$@"',
            "nymea-remoteproxy-monitor": f'{_quoted(MONITOR)} "$@" $MORE',
            "twistd": f'{_quoted(TWISTD[:3])} "$@"',
            "python3": f'{_quoted([sys.executable])} "$@"',
            "pip": "true",
        }
        for name, line in programs.items():
            self.program(name, f"exec {line}")
        certificate = Certificate(str(self.directory))
        for name in ("proxy.pem", "root.pem"):
            shutil.copy(certificate.certificate, self.directory / name)
        shutil.copy(certificate.key, self.directory / "proxy.key")
        self.fingerprint = certificate.fingerprint.hex(":").upper()
        for name in ("tokens", "my-token"):
            (self.directory / name).write_text("a-token\n")

    def program(self, name: str, script: str) -> None:
        """Install a program."""
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def type(self, command: str, there: Mapping[str, str] | None = None, **more: str) -> Typed:
        """Type a command.

        :param there: texts in it that are another one's here, and what they are here.
        :param more: variables of the environment.
        """
        for text, here in (there or {}).items():
            command = command.replace(text, here)
        typed = Typed(command, self.directory, more)
        self.addCleanup(typed.stop)
        return typed

    def serve(self, command: str, there: Mapping[str, str] | None = None) -> Typed:
        """Start a server; its main listener is at any port.

        :returns: with `port` set.
        """
        typed = self.type(command, there, MORE="--port 0 --host 127.0.0.1")
        self.port = typed.waitFor(LISTENING)[2]
        return typed

    @property
    def proxy(self) -> Mapping[str, str]:
        """Where the pages' proxy is."""
        here = f"localhost:{self.port}"
        return {
            "proxy.example.org:2212": here,
            "wss://proxy.example.org ": f"wss://{here} ",
            "127.0.0.1:2212": here,
            "127.0.0.1:2213": here,
            ":2213": f":{self.port}",
        }


def _quoted(words: tuple[str, ...] | list[str]) -> str:
    return " ".join(f"'{word}'" for word in words)


class ReadmeTests(TypedCase):
    """README.rst."""

    @inThread
    def testRunIt(self) -> None:
        (self.directory / "tokens").unlink()
        install, make, run = commandsOf(self)
        self.type(install).wait()
        self.type(make).wait()
        self.assertEqual((self.directory / "tokens").stat().st_mode & 0o777, 0o600)
        self.serve(run)

    @inThread
    def testWithACertificate(self) -> None:
        """A file goes from one end to the other."""
        run, send, receive = commandsOf(self)
        self.serve(run)
        sent = os.urandom(100_000)
        (self.directory / "file").write_bytes(sent)
        ends = [self.type(command, self.proxy) for command in (receive, send)]
        for end in ends:
            end.wait()
        self.assertEqual((self.directory / "copy").read_bytes(), sent)

    @inThread
    def testBehindNat(self) -> None:
        _behindNat(self, commandsOf(self))


def _behindNat(case: TypedCase, commands: list[str]) -> None:
    """Reach a page through a proxy, with the commands of a page."""
    server, home, elsewhere = commands
    place = f"127.0.0.1:{serveHome(case)}"
    case.serve(server)
    there = {
        **case.proxy,
        "127.0.0.1:80": place,
        "127.0.0.1:22": place,
        "--listen 8080": "--listen 0",
        "--listen 8022": "--listen 0",
    }
    served = case.type(home, there)
    served.waitFor(f"registered as server {UUID}")
    for pin in re.findall("end-fingerprint (.*)", served.said):
        elsewhere = re.sub("(?<=end-fingerprint ).*", pin, elsewhere)
    address = case.type(elsewhere, there).waitFor(r"listening on (\S+)")[1]
    case.assertEqual(readHome(address), b"at home")


class PageTests(TypedCase):
    """The pages in docs/."""

    @inThread
    def testMakeRun(self) -> None:
        """The two commands that it shows join a tunnel."""
        (command,) = commandsOf(self)
        (self.directory / "installed").touch()
        found = " ".join(f"--old-file {each}" for each in ("setup.cfg", "setup.py"))
        server = self.type(
            f"{command} --directory {ROOT} VENV={self.directory} {found}", MORE="--port 0"
        )
        server.waitFor("Join two clients")
        joins = re.findall(r"^ +(.*nymea-remoteproxy-client .*--token \S+)$", server.said, re.M)
        self.assertEqual(len(joins), 2)
        # The first one waits for what the second one says.
        waiting = self.type(joins[0])
        waiting.waitFor("waiting for the partner")
        self.type(f"echo hello | {joins[1]}").wait()
        self.assertIn("hello", waiting.wait())

    @inThread
    def testTokenList(self) -> None:
        make, run = commandsOf(self)
        self.type(make).wait()
        self.serve(run).waitFor("who may in: who has one of 2 tokens")

    @inThread
    def testFingerprint(self) -> None:
        """Of the self-signed certificate, once there is one, and of one that the file names."""
        made, given = commandsOf(self)
        path = self.directory / "server.conf"
        names = [self.directory / name for name in ("proxy.pem", "proxy.key")]
        path.write_text("[SSL]\ncertificate={}\ncertificateKey={}\n".format(*names))
        server = self.serve(f"{SERVER} --token-file tokens")
        self.assertIn(self.type(made).wait().strip(), server.said)
        said = self.type(given, {"/etc/nymea/nymea-remoteproxy.conf": str(path)}).wait()
        self.assertEqual(said.strip(), self.fingerprint)

    @inThread
    def testDigestOfAUuid(self) -> None:
        """It is what the log of tunnels has."""
        (command,) = commandsOf(self)
        self.assertRegex(self.type(command).wait(), r"^[0-9a-f]{16}\n$")

    @inThread
    def testLookIntoAToken(self) -> None:
        (command,) = commandsOf(self)
        token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUub3JnIn0.c2lnbmF0dXJl"
        (self.directory / "my-token").write_text(token)
        self.assertIn('"iss":"https://id.example.org"', self.type(command).wait())

    @inThread
    def testBackup(self) -> None:
        kept = ["etc/nymea/nymea-remoteproxy.conf", "var/lib/nymea-remoteproxy/totals.json"]
        for name in kept:
            path = self.directory / name
            path.parent.mkdir(parents=True)
            path.touch()
        private, save = commandsOf(self)
        there = {"--directory /": f"--directory {self.directory}"}
        self.type(f"{private}; {save}", there).wait()
        copy = self.directory / "nymea-remoteproxy.tar.gz"
        self.assertEqual(copy.stat().st_mode & 0o777, 0o600)
        listed = self.type(f"tar --list --file {copy}").wait()
        for name in kept:
            self.assertIn(name, listed)

    @inThread
    def testClients(self) -> None:
        """Each is one end of a tunnel, all of them with the same partner's command."""
        self.serve(TLS_SERVER)
        (self.directory / "file").touch()
        here = f"localhost:{self.port}"
        there = {**self.proxy, "192.0.2.1:2212": here}
        partner = f"echo hello | {JOIN} --url wss://{here} --insecure --token-file my-token"
        for command in commandsOf(self):
            command = re.sub("([0-9A-F]{2}:){31}[0-9A-F]{2}", self.fingerprint, command)
            client = self.type(command, there)
            self.type(partner).wait()
            client.wait()
            received = (self.directory / "copy").read_text() if "> copy" in command else client.said
            self.assertIn("hello", received, command)

    @inThread
    def testBehindNat(self) -> None:
        _behindNat(self, [f"{TLS_SERVER} --tunnelproxy", *commandsOf(self)])

    @inThread
    def testEndToEnd(self) -> None:
        _behindNat(self, [f"{TLS_SERVER} --tunnelproxy", *commandsOf(self)])

    @inThread
    def testWriteAClient(self) -> None:
        """Each program has what the page shows at its other end."""
        for name in ("twisted_tunnel.py", "asyncio_tunnel.py"):
            shutil.copy(ROOT / "docs" / "examples" / name, self.directory)
        run, partner, *programs = commandsOf(self)
        server = self.type(run, {"tcp:2212": "tcp:0"})
        self.port = server.waitFor(LISTENING)[2]
        for program in programs:
            other = self.type(partner, self.proxy)
            self.assertIn("received: hello", self.type(program, self.proxy).wait(), program)
            other.wait()

    @inThread
    def testMonitor(self) -> None:
        run, look = commandsOf(self)
        self.serve(run)
        self.assertIn("0 clients", self.type(look, MORE="--once").wait())

    @inThread
    def testMonitorJson(self) -> None:
        """What ``jq`` makes of it; without clients, so the lists are empty."""
        self.serve(f"{TLS_SERVER} --set ProxyServer.monitorSocket=monitor.sock")
        clients, waiting, servers, throughput = commandsOf(self)
        there = {"--interval 10": "--interval 1"}
        said = [
            self.type(each, MORE="--socket monitor.sock") for each in (clients, waiting, servers)
        ]
        self.assertEqual([each.wait() for each in said], ["0\n", "", ""])
        self.type(throughput, there, MORE="--socket monitor.sock").waitFor(r"\d+\n\d+\n")

    @inThread
    def testAdmin(self) -> None:
        (run,) = commandsOf(self)
        server = self.serve(run, {"tcp:9109": "tcp:0"})
        url = server.waitFor(r"(http://127\.0\.0\.1:\d+/)")[1]
        with urllib.request.urlopen(f"{url}readyz", timeout=PATIENCE) as answer:
            self.assertEqual(answer.read(), b"ready\n")

    @inThread
    def testAdminSocket(self) -> None:
        run, read = commandsOf(self)
        there = {"/run/nymea-remoteproxy": str(self.directory)}
        self.serve(run, there)
        self.assertIn("nymea_remoteproxy_tunnels", self.type(read, there).wait())

    @inThread
    def testCheck(self) -> None:
        """It says what the page says, for a file with these mistakes."""
        (command,) = commandsOf(self)
        path = self.directory / "server.conf"
        path.write_text("[Limits]\nmaxConections = 9\n[Authentication]\ntokenFile = /nonexistent\n")
        check = self.type(command, {"/etc/nymea/nymea-remoteproxy.conf": str(path)})
        self.assertEqual(check.process.wait(PATIENCE), 1)
        first, second = check.said.splitlines()
        self.assertTrue(first.endswith("the nearest known one is maxConnections"), first)
        self.assertIn("cannot read the token file", second)

    @inThread
    def testJournal(self) -> None:
        """Outcomes and refusals are counted."""
        log = "\\n".join(
            [
                "connection 1 from 192.0.2.1:5 ended: alone-timeout (WebSocket, 8.1 s)",
                "connection 2 from 192.0.2.1:6 ended: alone-timeout (WebSocket, 8.1 s)",
                "connection from 192.0.2.9:7 refused: too-many-from-address",
            ]
        )
        self.program("journalctl", f"printf '{log}\\n'")
        ended, refused = commandsOf(self)
        self.assertEqual(self.type(ended).wait().split(), ["2", "ended:", "alone-timeout"])
        said = self.type(refused).wait()
        self.assertEqual(
            said.split(), ["1", "from", "192.0.2.9", "refused:", "too-many-from-address"]
        )

    @inThread
    def testTlsWorks(self) -> None:
        (command,) = commandsOf(self)
        self.serve(TLS_SERVER)
        said = self.type(command, self.proxy).wait()
        self.assertIn(self.fingerprint, said)

    @inThread
    def testUpgradeWorks(self) -> None:
        """curl gives up, since nothing more is said."""
        (command,) = commandsOf(self)
        self.serve(TLS_SERVER)
        more = {"CURL_CA_BUNDLE": str(self.directory / "root.pem")}
        self.type(command, {**self.proxy, "max-time 2": "max-time 1"}, **more).waitFor(
            "101 Switching Protocols"
        )

    @inThread
    def testStreamAnswers(self) -> None:
        (command,) = commandsOf(self)
        server = self.serve(
            "nymea-remoteproxy --token-file tokens --stream tls:tcp:0:interface=127.0.0.1"
        )
        self.port = server.waitFor(r"listening on tls://\S+:(\d+)")[1]
        self.type(command, self.proxy).waitFor('"server": *"nymea-remoteproxy"')

    @inThread
    def testOpenFiles(self) -> None:
        count, limit = commandsOf(self)
        there = {"PID": str(os.getpid())}
        self.assertGreater(int(self.type(count, there).wait()), 2)
        self.assertIn("Max open files", self.type(limit, there).wait())

    for _test, _program in (
        (testMonitorJson, "jq"),
        (testAdmin, "curl"),
        (testAdminSocket, "curl"),
        (testUpgradeWorks, "curl"),
        (testMakeRun, "make"),
    ):
        if shutil.which(_program) is None:
            _test.skip = f"{_program} is not installed"  # type: ignore[attr-defined]
