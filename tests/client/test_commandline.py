"""The command ``nymea-remoteproxy-client`` with a token, as a process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy import __version__
from nymearemoteproxy.client import cli
from nymearemoteproxy.client import options as clientOptions
from nymearemoteproxy.client.local import copying
from nymearemoteproxy.client.local.farend import SILENCE
from nymearemoteproxy.common.certificates import CertificateError
from tests.support.endtoend import CLIENT, environmentOfPrograms, runForked
from tests.support.proxies import (
    ACCEPTED,
    PARTNER,
    REFUSAL,
    REFUSED,
    TOKEN,
    Certificate,
    Fake,
    awaited,
)

reactor: Any = globalReactor

UUID = "6f4ff7c5-41b1-4a3c-9f3f-3f0f5b0f6b6a"

MISTAKE = r"\Anymea-remoteproxy-client: [^\n]+\n\Z"


class FilesTests(SynchronousTestCase):
    def test_filesLeft(self) -> None:
        """A process that may have only a few files still does its work for somebody."""
        for limit, left in ((1024, 960), (20, 2)):
            self.patch(cli, "raiseFileLimit", lambda limit=limit: limit)
            self.assertEqual(cli._filesLeft(), left)

    def test_terminalOfSomebodyElse(self) -> None:
        """It cannot be opened anew, so it is used as it is."""
        near, terminal = os.openpty()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, terminal)
        own = copying._ownFile(terminal, os.O_RDONLY)
        self.addCleanup(os.close, own)
        self.assertNotEqual(own, terminal)

        def refuse(*_: object) -> int:
            raise PermissionError

        self.patch(os, "open", refuse)
        self.assertEqual(copying._ownFile(terminal, os.O_RDONLY), terminal)

    def test_noTerminal(self) -> None:
        """Of a pipe there is one only."""
        for fd in os.pipe():
            self.addCleanup(os.close, fd)
            self.assertEqual(copying._ownFile(fd, os.O_RDONLY), fd)


class EncryptionTests(SynchronousTestCase):
    def test_noStateDirectory(self) -> None:
        """A user without a home, as in a container, has to say where the certificate is."""

        def nowhere() -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(clientOptions, "stateDirectory", nowhere)
        made = clientOptions.ClientOptions()
        made.parseOptions(
            ["--url", "ws://h", "--serve", UUID, "--forward", "h:1", "--end-to-end", "--token", "t"]
        )
        problem = self.assertRaises(CertificateError, made.side)
        self.assertIn("give --end-certificate", str(problem))


class CommandTests(TestCase):
    """The command as a process, since it lives by its descriptors and its exit status."""

    timeout = 300

    def setUp(self) -> None:
        self.environment = {**environmentOfPrograms(), "NYMEA_REMOTEPROXY_TOKEN": TOKEN}
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    async def run_(
        self, *arguments: str, shell: str = '"$@"', env: dict[str, str] | None = None
    ) -> tuple[bytes, str, int]:
        """Run the command as ``"$@"`` in `shell`."""
        command = [sys.executable, "-m", "nymearemoteproxy.client.cli", *arguments]
        out, err, status = await getProcessOutputAndValue(
            "/bin/sh",
            ["-c", shell, "sh", *command],
            self.environment | (env or {}),
            str(self.directory),
        )
        told = err.decode()
        self.assertNotIn("Traceback", told)
        self.assertNotIn(TOKEN, told)
        return out, told, status

    def bigFile(self) -> bytes:
        data = os.urandom(5_000_000)
        (self.directory / "in").write_bytes(data)
        return data

    def copied(self) -> bytes:
        return (self.directory / "out").read_bytes()

    @awaited
    async def test_files(self) -> None:
        data = self.bigFile()
        fake = Fake(self, "tcp")
        out, told, status = await self.run_("--url", fake.url, shell='"$@" <in >out')
        self.assertEqual((status, self.copied() == data), (0, True), told)
        self.assertEqual(
            told.splitlines(),
            [
                "nymea-remoteproxy-client: waiting for the partner",
                "nymea-remoteproxy-client: tunnel established with "
                f"'the\\x1b[2J partner\\n' {PARTNER.uuid}",
                "nymea-remoteproxy-client: partner left",
            ],
        )

    @awaited
    async def test_pipes(self) -> None:
        data = self.bigFile()
        fake = Fake(self, "tcp")
        out, told, status = await self.run_("--url", fake.url, shell='cat in | "$@" | cat >out')
        self.assertEqual((status, self.copied() == data), (0, True), told)

    @awaited
    async def test_inputOverWebSocket(self) -> None:
        data = self.bigFile()
        for redirection in ('"$@" <in', 'cat in | "$@"'):
            received: list[bytes] = []
            fake = Fake(self, "ws")
            fake.payload = lambda peer, data, received=received: received.append(data)  # type: ignore[misc]
            out, told, status = await self.run_("--url", fake.url, shell=redirection)
            self.assertEqual((status, b"".join(received) == data, out), (0, True, b""), told)

    @awaited
    async def test_outputOverWebSocket(self) -> None:
        data = os.urandom(5_000_000)

        def script(peer: Any) -> None:
            Fake._joinByMessages(peer)
            peer.send(data)
            peer.close()

        # An input that never ends and never has anything.
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        self.addCleanup(os.close, os.open(fifo, os.O_RDWR))
        for redirection in ('"$@" <fifo >out', '"$@" <fifo | cat >out'):
            fake = Fake(self, "ws")
            fake.script = script
            out, told, status = await self.run_("--url", fake.url, shell=redirection)
            self.assertEqual((status, self.copied() == data), (0, True), told)
            self.assertIn("partner left", told)

    @awaited
    async def test_null(self) -> None:
        """Who has nothing to send receives everything, until the partner leaves."""
        data = os.urandom(3_000_000)
        for scheme in ("tcp", "ws"):
            fake = Fake(self, scheme)
            join = fake.script

            def script(peer: Any, join: Callable[[Any], object] = join) -> None:
                join(peer)

                def later() -> None:
                    peer.send(data)
                    peer.close()

                reactor.callLater(1.5, later)

            fake.script = script
            out, told, status = await self.run_("--url", fake.url, shell='"$@" </dev/null >out')
            self.assertEqual((status, self.copied() == data), (0, True), told)

    @awaited
    async def test_answersBehindTheEndOfInput(self) -> None:
        """What the partner answers with short pauses still arrives; then we leave."""
        for scheme in ("tcp", "ws"):
            fake = Fake(self, scheme)

            def payload(peer: Any, _data: bytes) -> None:
                for number in range(4):
                    reactor.callLater(0.5 * number, peer.send, b"%d" % number)

            fake.payload = payload
            (self.directory / "in").write_bytes(b"question")
            out, told, status = await self.run_("--url", fake.url, shell='"$@" <in >out')
            self.assertEqual((status, self.copied()), (0, b"0123"), told)

    @awaited
    async def test_partnerLeavesFirst(self) -> None:
        """It is said when there was more to send."""
        fake = Fake(self, "ws")
        fake.payload = lambda peer, data: peer.close()
        shell = 'mkfifo in; "$@" <in & exec 3>in; echo some >&3; wait $!'
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual(status, 0, told)
        self.assertIn("partner left before the end of standard input", told)

    @awaited
    async def test_tls(self) -> None:
        data = self.bigFile()
        certificate = Certificate()
        (self.directory / "ca").write_bytes(certificate.pem)
        for options in (
            ["--ca", "ca"],
            ["--fingerprint", certificate.fingerprint],
            ["--insecure"],
        ):
            for scheme in ("tls", "wss"):
                received: list[bytes] = []
                fake = Fake(self, scheme, certificate)
                fake.payload = lambda peer, data, received=received: received.append(data)  # type: ignore[misc]
                out, told, status = await self.run_("--url", fake.url, *options, shell='"$@" <in')
                self.assertEqual((status, b"".join(received) == data), (0, True), told)
                self.assertEqual("warning" in told, options == ["--insecure"])
        out, told, status = await self.run_("--url", fake.url, shell='"$@" </dev/null')
        self.assertEqual(status, 1)
        self.assertIn("TLS verification failed", told)

    @awaited
    async def test_tokenFile(self) -> None:
        """Which others may read is told, once."""
        token = self.directory / "token"
        token.write_text("# a comment\n\n  from-a-file  \nanother\n")
        token.chmod(0o604)
        fake = Fake(self, "tcp")
        fake.script = lambda peer: peer.send(REFUSED)
        out, told, status = await self.run_("--url", fake.url, "--token-file", "token")
        warning = (
            "warning: the token file token is open to every user of this machine; mend that with: "
            "chmod o= token"
        )
        lines = [warning, f"refused by the server: {REFUSAL}"]
        self.assertEqual(
            (status, told), (1, "".join(f"nymea-remoteproxy-client: {line}\n" for line in lines))
        )
        self.assertEqual(fake.requests[0]["params"]["token"], "from-a-file")

    @awaited
    async def test_mistake(self) -> None:
        out, told, status = await self.run_("--url", "http://h:1")
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(told, MISTAKE)

    def test_mistakesOfEncryption(self) -> None:
        """Each end is one of two kinds, and of a server and its clients it is clear which."""
        url = ["--url", "tcp://127.0.0.1:1"]
        serve = [*url, "--serve", UUID, "--forward", "h:1"]
        client = [*url, "--server-uuid", UUID]
        ca = self.directory.resolve() / "ca"
        ca.write_bytes(Certificate().pem)
        for arguments, words in (
            ([*client, "--end-to-end"], "--end-to-end and --server-uuid exclude each other"),
            ([*url, "--end-to-end", "--end-fingerprint", "0"], "--end-fingerprint exclude each"),
            ([*client, "--end-ca", "x", "--end-fingerprint", "0"], "exclude each other"),
            ([*serve, "--end-fingerprint", "0"], "--end-fingerprint and --serve exclude each"),
            ([*serve, "--end-ca", "x"], "--end-ca and --serve exclude each other"),
            ([*serve, "--end-certificate", "x"], "--end-certificate needs --end-to-end"),
            ([*serve, "--end-to-end", "--end-key", "x"], "--end-key needs --end-certificate"),
            ([*client, "--end-name", "x"], "--end-name needs --end-ca"),
            ([*client, "--end-fingerprint", "12"], "--end-fingerprint: a SHA-256 fingerprint has"),
            ([*client, "--end-ca", "missing"], "--end-ca: missing: No such file"),
            ([*url, "--end-ca", str(ca)], "--end-ca needs --end-name where"),
            ([*serve, "--end-to-end", "--end-certificate", "missing"], "cannot read the certific"),
            (
                [*serve, "--end-to-end", "--end-certificate", str(ca)],
                "comes without its private key",
            ),
            ([*serve, "--end-to-end"], "give one with --end-certificate"),
        ):
            environment = {"NYMEA_REMOTEPROXY_TOKEN": TOKEN, "XDG_STATE_HOME": "/dev/null"}
            status, told = runForked(CLIENT, arguments, environment)
            self.assertEqual(status, 1, arguments)
            self.assertRegex(told, MISTAKE)
            self.assertIn(words, told)

    def test_mistakes(self) -> None:
        url = ["--url", "tcp://127.0.0.1:1"]
        for arguments in (
            [],
            [*url, "--nothing"],
            [*url, "stray"],
            [*url, "--uuid", "x"],
            [*url, "--token", "x", "--token-file", "y"],
            [*url, "--token-file", "missing"],
            [*url, "--token-file", "."],
            [*url, "--insecure"],
            ["--url", "tls://127.0.0.1:1", "--ca", "missing"],
            ["--url", "tls://127.0.0.1:1", "--fingerprint", "12"],
            ["--url", "tls://127.0.0.1:1", "--fingerprint", "12", "--insecure"],
        ):
            status, told = runForked(CLIENT, arguments, {"NYMEA_REMOTEPROXY_TOKEN": TOKEN})
            self.assertEqual(status, 1, arguments)
            self.assertRegex(told, MISTAKE)
            self.assertNotIn("Traceback", told)
            self.assertNotIn(TOKEN, told)
        status, told = runForked(CLIENT, url, {"NYMEA_REMOTEPROXY_TOKEN": ""})
        self.assertEqual(status, 1)
        self.assertIn("no token", told)

    @awaited
    async def test_version(self) -> None:
        for option in ("--version", "-V"):
            out, told, status = await self.run_(option)
            self.assertEqual(
                (out.decode(), status), (f"nymea-remoteproxy-client {__version__}\n", 0)
            )

    @awaited
    async def test_missingDescriptors(self) -> None:
        for redirection in ('"$@" <&-', '"$@" >&-'):
            out, told, status = await self.run_("--url", "tcp://127.0.0.1:1", shell=redirection)
            self.assertEqual(status, 1)
            self.assertIn("is closed", told)
        fake = Fake(self, "tcp")
        shell = 'echo x | "$@" 2>&-'
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual((out, told, status), (b"x\n", "", 0))

    @awaited
    async def test_closedOutput(self) -> None:
        self.bigFile()
        fake = Fake(self, "tcp")
        shell = '{ "$@" <in; echo $? >status; } | head -c 10 >/dev/null'
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual((self.directory / "status").read_text(), "1\n")
        self.assertEqual(len(told.splitlines()), 2, told)

    @awaited
    async def test_fullDevice(self) -> None:
        data = self.bigFile()
        fake = Fake(self, "tcp")
        fake.payload = lambda peer, _: peer.send(data)
        out, told, status = await self.run_("--url", fake.url, shell='"$@" <in >/dev/full')
        self.assertEqual(status, 1)
        self.assertIn("cannot write to standard output", told)

    async def waiting(self, fake: Fake, shell: str) -> None:
        """Check what is said after the tunnel was up, when the partner leaves by itself."""
        out, told, status = await self.run_("--url", fake.url, shell=shell)
        self.assertEqual(status, 0)
        self.assertEqual(
            told.splitlines()[2:],
            [
                "nymea-remoteproxy-client: end of standard input; waiting for the partner to leave",
                "nymea-remoteproxy-client: partner left",
            ],
        )

    @awaited
    async def test_nothingToSend(self) -> None:
        """It is said at once that there is nothing to do but wait."""
        fake = Fake(self, "tcp")
        join = fake.script
        fake.script = lambda peer: (join(peer), reactor.callLater(1, peer.close))
        await self.waiting(fake, '"$@" </dev/null')

    @awaited
    async def test_partnerStaysAfterTheEnd(self) -> None:
        """It is said when it has not left soon."""
        fake = Fake(self, "tcp")
        fake.closedByHalf = lambda peer: reactor.callLater(SILENCE + 1, peer.close)
        await self.waiting(fake, 'echo question | "$@"')

    async def joined(self, **streams: Any) -> subprocess.Popen[bytes]:
        """Start the command in a process group of its own, and wait for its tunnel."""
        fake = Fake(self, "tcp")
        process = subprocess.Popen(
            [sys.executable, "-m", "nymearemoteproxy.client.cli", "--url", fake.url],
            stderr=subprocess.PIPE,
            env=self.environment,
            process_group=0,
            # A shell that runs the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGQUIT, signal.SIG_DFL),
            **streams,
        )
        assert process.stderr is not None
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        while b"tunnel established" not in await deferToThread(process.stderr.readline):
            self.assertIsNone(process.poll())
        return process

    @awaited
    async def test_terminal(self) -> None:
        """It stays as it is for the shell, and Ctrl-D ends us at once."""
        near, terminal = os.openpty()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, terminal)
        process = await self.joined(stdin=terminal, stdout=terminal)
        os.write(near, b"echo\n")
        shown = b""
        while shown != b"echo\r\n" * 2:  # typed and received
            shown += await deferToThread(os.read, near, 99)
        self.assertTrue(os.get_blocking(terminal))
        os.write(near, b"\x04")
        self.assertEqual(await deferToThread(process.wait, 5), 0)

    def sharedPipes(self) -> tuple[dict[str, int], int, int]:
        """Return both ends of pipes: the command's, and ours to write and to read."""
        theirInput, ours = os.pipe()
        answers, theirOutput = os.pipe()
        for fd in (theirInput, ours, answers, theirOutput):
            self.addCleanup(os.close, fd)
        return {"stdin": theirInput, "stdout": theirOutput}, ours, answers

    @awaited
    async def test_stopped(self) -> None:
        """Who has the pipes meanwhile finds them as they were; then it goes on."""
        pipes, ours, answers = self.sharedPipes()
        process = await self.joined(**pipes)
        for _ in range(2):
            os.write(ours, b"question")
            self.assertEqual(await deferToThread(os.read, answers, 99), b"question")
            self.assertEqual([os.get_blocking(fd) for fd in pipes.values()], [False, False])
            process.send_signal(signal.SIGTSTP)
            _, status = await deferToThread(os.waitpid, process.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status))
            self.assertEqual([os.get_blocking(fd) for fd in pipes.values()], [True, True])
            process.send_signal(signal.SIGCONT)

    @awaited
    async def test_quit(self) -> None:
        """Others find the pipes as they were."""
        pipes, ours, answers = self.sharedPipes()
        process = await self.joined(**pipes)
        os.write(ours, b"x")
        await deferToThread(os.read, answers, 1)
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        process.send_signal(signal.SIGQUIT)
        self.assertEqual(await deferToThread(process.wait, 5), -signal.SIGQUIT)
        self.assertEqual([os.get_blocking(fd) for fd in pipes.values()], [True, True])

    @awaited
    async def test_interrupted(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            fake = Fake(self, "tcp")
            waiting: Deferred[None] = Deferred()
            fake.script = lambda peer, waiting=waiting: (  # type: ignore[misc]
                peer.send(ACCEPTED),
                waiting.callback(None),
            )
            process = subprocess.Popen(
                [sys.executable, "-m", "nymearemoteproxy.client.cli", "--url", fake.url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
            )
            await waiting
            assert process.stderr is not None
            first = await deferToThread(process.stderr.readline)
            self.assertIn(b"waiting for the partner", first)
            process.send_signal(number)
            out, err = await deferToThread(process.communicate)
            self.assertEqual((process.returncode, out, err), (128 + number, b"", b""))
