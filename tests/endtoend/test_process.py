"""The real server process: start, signals and stop, and what the bare command prints."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, cast

from tests.support import endtoend
from tests.support.endtoend import (
    CLIENT,
    FIRST,
    PATIENCE,
    SECOND,
    SIGHUP,
    SIGINT,
    SIGTERM,
    STREAM,
    TLS_STREAM,
    TWISTD,
    UPGRADE,
    EndToEnd,
    Server,
    Stream,
    accepted,
    authenticate,
    connect,
    environmentOfPrograms,
    inThread,
    join,
    refused,
    secret,
    tunnel,
)


class ConsoleLifeTests(EndToEnd):
    """Start, signals, stop of the console script."""

    measured = True
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
        names = ("shutdownTimeout", "closeTimeout")
        patient = [f"--set=ProxyServer.{name}=600000" for name in names]
        server = self.launch("--token", (token := secret()), *patient)
        fresh = connect(server.url("wss"))
        one, two = tunnel(server.url("ws"), token, server.url("wss"))
        streams = [join(server.url("tcp"), token, nonce=secret("nonce")) for _ in range(2)]
        waiting = join(server.url("ws"), token, SECOND, nonce=secret("nonce"))
        server.signal(SIGTERM)
        for client, code in ((fresh, 1013), (waiting, 1013), (one, 1001), (two, 1001)):
            self.assertEqual(client.goodbye(), (b"", code))
        for client in streams:
            self.assertEqual(client.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
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


class ReactorTests(EndToEnd):
    """The reactor that the console script uses, chosen by hand."""

    @inThread
    def testTwistd(self) -> None:
        self.patch(endtoend, "TWISTD", (*TWISTD[:3], "--reactor", "nymea", *TWISTD[3:]))
        server = self.start("--token", (token := secret()), "--websocket", STREAM, twistd=True)
        server.waitFor(r"reactor class: nymearemoteproxy\.running\.epoll\.DirectEPollReactor")
        one, two = tunnel(server.url("ws"), token)
        one.sendMessage(b"there")
        self.assertEqual(two.message(), b"there")


class BackgroundTests(EndToEnd):
    """twistd without ``--nodaemon``."""

    @inThread
    def testPortIsTaken(self) -> None:
        """Who starts it is told, and the log has one line about it."""
        directory = self.temporary()
        files = f"--pidfile={directory}/pid", f"--logfile={directory}/log"
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            program = self.run_(
                [*TWISTD[:3], *files, TWISTD[-1], "--stream", taken, "--token", secret()]
            )
            self.assertEqual(program.wait(), 1)
        self.assertIn("cannot listen on", program.text())
        log = (directory / "log").read_text()
        self.assertIn("Address already in use", log)
        self.assertNotIn("Traceback", log)
        self.assertFalse((directory / "pid").exists())


class FirstRunTests(EndToEnd):
    """The bare command, and the client commands that it prints."""

    def client(self, line: str) -> subprocess.Popen[bytes]:
        """Run a printed line, though not from the PATH."""
        program, *arguments = shlex.split(line)
        self.assertEqual(os.path.basename(program), "nymea-remoteproxy-client")
        process = subprocess.Popen(
            [*CLIENT, *arguments],
            env=environmentOfPrograms(),
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
