"""Encryption from end to end: our own clients at both ends, and the real proxy between them."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import subprocess
import threading
from pathlib import Path

from tests.endtoend.test_tunnelproxy import LARGE, ServiceCase
from tests.support.encryption import UUID, write
from tests.support.endtoend import (
    CLIENT,
    PATIENCE,
    STREAM,
    EndToEnd,
    Program,
    Stream,
    environmentOfPrograms,
    inThread,
    secret,
)
from tests.support.proxies import Certificate

NO_TLS_HERE = "nymea-remoteproxy-client: the far end is encrypted from end to end: give "
NO_TLS_THERE = (
    "nymea-remoteproxy-client: the far end does not encrypt from end to end; it needs --end-to-end"
)


class ServerTests(ServiceCase):
    """A home with a certificate of its own, and its visitors."""

    @inThread
    def setUp(self) -> None:
        listening = ("--stream", STREAM, "--websocket", STREAM)
        self.server = self.start("--tunnelproxy", *listening, listeners=2)
        self.state = str(self.temporary())

    def home(self, *arguments: str, url: str = "ws") -> Program:
        """Make the service reachable."""
        where = ("--url", self.server.url(url), "--serve", UUID, "--forward", self.service())
        program = Program([*CLIENT, *where, *arguments], None, self.state)
        self.addCleanup(program.stop)
        program.waitFor("registered as server")
        return program

    def encrypted(self, url: str = "ws") -> str:
        """Make it reachable with encryption; return what the home says a visitor has to give."""
        home = self.home("--end-to-end", url=url)
        said = r"encrypted from end to end: the other end needs (--end-fingerprint [0-9A-F:]{95})$"
        return home.waitFor(said)[1]

    def hello(self, *arguments: str, url: str = "ws") -> tuple[int, bytes, list[str]]:
        """Say hello; return the exit status, what is answered, and what is said here."""
        done = subprocess.run(
            [*CLIENT, "--url", self.server.url(url), "--server-uuid", UUID, *arguments],
            env=environmentOfPrograms(),
            input=b"hello",
            capture_output=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr.decode().splitlines()

    def listen(self, *arguments: str) -> tuple[Program, str]:
        """Start a client with a port; return the URL of that, too."""
        where = ("--url", self.server.url("tcp"), "--server-uuid", UUID, "--listen", "0")
        program = self.launchProgram([*CLIENT, *where, *arguments])
        return program, "tcp://" + program.waitFor(r"listening on (\S+)")[1]

    @inThread
    def testHello(self) -> None:
        """By each transport; a home that is started again has the same certificate."""
        said = self.encrypted()
        for url in ("ws", "tcp"):
            status, out, told = self.hello(*said.split(), url=url)
            self.assertEqual((status, out), (0, b"hello"), told)
        (kept,) = Path(self.state).glob("**/*.pem")
        self.assertEqual(stat.S_IMODE(kept.stat().st_mode), 0o600)

    @inThread
    def testStartedAgain(self) -> None:
        first = self.home("--end-to-end")
        said = first.waitFor("needs (--end-fingerprint .*)")[1]
        first.stop()
        self.assertEqual(self.encrypted(url="tcp"), said)

    @inThread
    def testLargeAndSlow(self) -> None:
        """Who reads nothing of a large download makes nobody wait, and gets it later."""
        _, url = self.listen(*self.encrypted().split())
        slow, other = Stream(url), Stream(url)
        self.keep(slow, other)
        slow.socket.sendall(b"all")
        for _ in range(500):
            other.socket.sendall(b"hello")
            self.assertEqual(other.read(5), b"hello")
        digest = hashlib.sha256(slow.read(len(LARGE))).digest()
        self.assertEqual(digest, hashlib.sha256(LARGE).digest())

    @inThread
    def testHalfClose(self) -> None:
        """Who has nothing more to say still gets everything that is answered without a pause."""
        _, url = self.listen(*self.encrypted().split())
        data = os.urandom(20 << 20)
        client = Stream(url)
        self.keep(client)

        def send() -> None:
            client.socket.sendall(data)
            client.socket.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        answered = client.read(len(data))
        sending.join(PATIENCE)
        self.assertEqual(hashlib.sha256(answered).digest(), hashlib.sha256(data).digest())
        # `rest` alone would take a reset for the end, and `recv` miss what is read already.
        self.assertEqual((client.socket.recv(1), client.rest()), (b"", b""))

    @inThread
    def testWrongFingerprint(self) -> None:
        self.encrypted()
        wrong = ("--end-fingerprint", "0" * 64)
        status, out, told = self.hello(*wrong)
        self.assertEqual((status, out), (1, b""))
        self.assertEqual(len(told), 1, told)
        self.assertIn("the far end's fingerprint is", told[0])
        program, url = self.listen(*wrong)
        client = Stream(url)
        self.keep(client)
        self.assertEqual(program.wait(), 1)
        self.assertEqual(len(program.find("the far end's fingerprint is")), 1)

    @inThread
    def testVisitorWithout(self) -> None:
        """Both sides say in one line what is missing, and the service hears nothing."""
        home = self.home("--end-to-end")
        status, out, told = self.hello()
        self.assertEqual((status, out), (1, b""))
        self.assertEqual(told[1:], [f"{NO_TLS_HERE}--end-fingerprint or --end-ca"])
        home.waitFor("a client was turned away: the far end speaks no TLS; it needs --end-finger")
        program, url = self.listen()
        client = Stream(url)
        self.keep(client)
        client.socket.sendall(b"hello")
        program.waitFor("the far end is encrypted from end to end: give --end-fingerprint")
        self.assertEqual(client.socket.recv(1), b"")

    @inThread
    def testHomeWithout(self) -> None:
        home = self.home()
        status, out, told = self.hello("--end-fingerprint", "0" * 64)
        self.assertEqual((status, out, told), (1, b"", [NO_TLS_THERE]))
        home.waitFor("a client was turned away: it wants encryption from end to end; that needs ")

    @inThread
    def testAuthority(self) -> None:
        """PEM files and an authority, by options of a file; without a name the uuid is meant."""
        authority = Certificate([], isAuthority=True)
        ca = self.file(authority.pem)
        for names, more, isRight in (
            ([UUID], (), True),
            (["home.example.org"], ("--end-name", "home.example.org"), True),
            (["home.example.org"], (), False),
        ):
            certificate = Certificate(names, issuer=authority)
            pem, key = write(certificate, self.temporary())
            options = f"end-to-end = true\nend-certificate = {pem}\nend-key = {key}\n"
            home = self.home("--configuration", self.file(options))
            status, out, told = self.hello("--end-ca", ca, *more)
            home.stop()
            self.assertEqual((status, out), (0, b"hello") if isRight else (1, b""), told)
            if not isRight:
                self.assertIn(f"the certificate is not for {UUID}", told[0])


class PairTests(EndToEnd):
    """Standard input and output at both ends, of which one has the certificate."""

    @inThread
    def setUp(self) -> None:
        self.token = secret()
        listening = ("--stream", STREAM, "--websocket", STREAM)
        self.server = self.start("--token", self.token, *listening, listeners=2)
        self.state = str(self.temporary())

    def end(self, url: str, *arguments: str, data: bytes = b"") -> subprocess.Popen[bytes]:
        """Start one end; what it reads is in a file."""
        file = open(self.file(data), "rb")  # noqa: SIM115
        self.addCleanup(file.close)
        environment = {
            **environmentOfPrograms(),
            "NYMEA_REMOTEPROXY_TOKEN": self.token,
            "XDG_STATE_HOME": self.state,
        }
        command = [*CLIENT, "--url", self.server.url(url), *arguments]
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def fingerprint(self) -> str:
        """Return that of the end with the certificate, which need not find a proxy for it."""
        done = subprocess.run(
            [*CLIENT, "--url", "tcp://127.0.0.1:1", "--token", self.token, "--end-to-end"],
            env={**environmentOfPrograms(), "XDG_STATE_HOME": self.state},
            capture_output=True,
            timeout=PATIENCE,
        )
        found = re.search("--end-fingerprint (.*)", done.stderr.decode())
        assert found is not None
        return found[1]

    def ends(self, *processes: subprocess.Popen[bytes]) -> list[tuple[int, bytes, str]]:
        """Return the exit status, output and errors of each."""
        found = {}

        def wait(process: subprocess.Popen[bytes]) -> None:
            out, err = process.communicate(timeout=PATIENCE)
            self.assertNotIn(b"Traceback", err)
            found[process] = (process.returncode, out, err.decode().splitlines()[-1])

        threads = [threading.Thread(target=wait, args=(each,)) for each in processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[each] for each in processes]

    @inThread
    def testFiles(self) -> None:
        """In both directions, over whatever transports."""
        mark = self.fingerprint()
        data = os.urandom(5 << 20)
        for urls in (("ws", "tcp"), ("tcp", "tcp"), ("tcp", "ws")):
            one = self.end(urls[0], "--end-to-end", data=data)
            other = self.end(urls[1], "--end-fingerprint", mark, data=data[::-1])
            for (status, out, told), wanted in zip(
                self.ends(one, other), (data[::-1], data), strict=True
            ):
                self.assertEqual((status, out == wanted), (0, True), told)

    @inThread
    def testWrongFingerprint(self) -> None:
        self.fingerprint()
        one = self.end("ws", "--end-to-end", data=b"secret")
        other = self.end("tcp", "--end-fingerprint", "0" * 64)
        (_, _, _), (status, out, told) = self.ends(one, other)
        self.assertEqual((status, out), (1, b""))
        self.assertIn("the far end's fingerprint is", told)

    @inThread
    def testOneWithout(self) -> None:
        """Whichever: each end says what is missing."""
        mark = self.fingerprint()
        for option, here, there in (
            # What it hears first is up to chance.
            (
                ("--end-fingerprint", mark),
                "it needs --end-to-end",
                "the partner wants encryption from end",
            ),
            (("--end-to-end",), "the far end speaks no TLS; it needs --end-finger", NO_TLS_HERE),
        ):
            one = self.end("ws", *option, data=b"some")
            other = self.end("tcp", data=b"other")
            (status, out, told), (otherStatus, otherOut, otherTold) = self.ends(one, other)
            self.assertEqual((status, otherStatus, out, otherOut), (1, 1, b"", b""))
            self.assertIn(here, told)
            self.assertIn(there, otherTold)

    @inThread
    def testBothTheSame(self) -> None:
        """Two that begin notice at once."""
        one, other = (self.end("ws", "--end-fingerprint", "0" * 64) for _ in range(2))
        for status, _, told in self.ends(one, other):
            self.assertEqual(status, 1)
            self.assertIn("both ends have --end-fingerprint or --end-ca", told)
