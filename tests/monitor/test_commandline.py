"""The command ``nymea-remoteproxy-monitor`` as a process: printing, mistakes, real terminals."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from nymearemoteproxy import __version__
from nymearemoteproxy.monitor import cli
from nymearemoteproxy.monitor.cli import MonitorRun
from nymearemoteproxy.monitor.model import Model
from nymearemoteproxy.monitor.options import MonitorOptions
from nymearemoteproxy.monitor.sample import read
from nymearemoteproxy.monitor.terminal import Terminal
from nymearemoteproxy.monitor.text import width
from nymearemoteproxy.monitor.view import View
from tests.support.endtoend import (
    PATIENCE,
    ROOT,
    EndToEnd,
    Program,
    environmentOfPrograms,
    inThread,
    until,
)
from tests.support.monitored import FakeServer, client, crowd, encoded, message, served, server

MONITOR = (sys.executable, "-m", "nymearemoteproxy.monitor.cli")
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\x7f\u202e"
PROGRAM = "nymea-remoteproxy-monitor"


class Monitored(EndToEnd):
    """A test with a fake server's socket."""

    measured = True

    def makePath(self) -> str:
        return str(self.temporary() / "m.sock")

    def serve(self, path: str, answer: bytes | Callable[[dict[str, Any]], bytes]) -> FakeServer:
        """Start a server that ends with this test, unless it was stopped before."""
        fake = FakeServer(path, answer if callable(answer) else lambda request: answer)
        self.addCleanup(lambda: Path(path).exists() and fake.stop())
        return fake

    def monitor(self, *arguments: str, **environment: str) -> Program:
        """Start the command without a terminal."""
        return self.run_([*MONITOR, *arguments], **environment)

    def ended(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run the command; return its status, standard output and standard error."""
        program = self.monitor(*arguments, **environment)
        return program.wait(), program.text("out"), program.text("err")

    def assertRefused(
        self, reason: str, *arguments: str, expected: int = 1, **environment: str
    ) -> None:
        """One line on standard error, and this status."""
        status, printed, said = self.ended(*arguments, **environment)
        self.assertEqual((status, printed), (expected, ""))
        self.assertRegex(said, rf"\A{PROGRAM}: {reason}\Z")


class PrintingTests(Monitored):
    @inThread
    def test_once(self) -> None:
        path = self.makePath()
        fake = self.serve(path, encoded(message([client(1)], [], [server(1, served(1))])))
        status, printed, said = self.ended("--socket", path, "--once")
        self.assertEqual((status, said), (0, ""))
        self.assertTrue(printed.startswith("Server:        home proxy 1.2.3 (API 5)\n"), printed)
        self.assertIn("\nclient 1  tunnel  192.0.2.1:40001", printed)
        self.assertIn("\n└ phone 1 ", printed)
        self.assertEqual(fake.requests, [{"method": "refresh", "params": {"printAll": False}}])

    @inThread
    def test_json(self) -> None:
        path = self.makePath()
        content = message([client(1, name=EVIL)], more={"later": [1.5, None]})
        fake = self.serve(path, json.dumps(content, indent=4).encode() + b"\n")
        status, printed, said = self.ended("-s", path, "--json", "--all")
        self.assertEqual((status, said), (0, ""))
        self.assertEqual(json.loads(printed), content)
        self.assertTrue(printed.isascii() and printed.isprintable())
        self.assertEqual(fake.requests, [{"method": "refresh", "params": {"printAll": True}}])

    @inThread
    def test_again(self) -> None:
        """Until the server is gone, which scripts have to know."""
        path = self.makePath()
        fake = self.serve(path, encoded(message()))
        for option, pattern in (("--json", r"^\{.*\}$"), ("--once", "^Server: ")):
            program = self.monitor("-s", path, option, "--interval", "0.1")
            program.waitFor(pattern, count=3)
            fake.stop()
            self.assertEqual(program.wait(), 1)
            said = program.text("err")
            self.assertEqual(said, f"{PROGRAM}: the server has closed the connection")
            fake = self.serve(path, encoded(message()))

    @inThread
    def test_ratesFromTheSecondPageOn(self) -> None:
        path = self.makePath()
        started = time.monotonic()

        def answer(request: dict[str, Any]) -> bytes:
            count = int((time.monotonic() - started) * 1_000_000)
            return encoded(message([client(1, rxDataCount=count)]))

        self.serve(path, answer)
        program = self.monitor("-s", path, "--once", "-i", "0.6")
        program.waitFor(r"^client 1 .* (1\.\d\d MB|\d\d\d kB)  +0 B ")
        program.signal(signal.SIGTERM)
        self.assertEqual(program.wait(), 128 + signal.SIGTERM)
        self.assertEqual(program.text("err"), "")

    @inThread
    def test_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            fake = self.serve(self.makePath(), b"")
            program = self.monitor("-s", fake.path, "--once")
            until(lambda fake=fake: bool(fake.requests), "nobody asks")  # type: ignore[misc]
            program.signal(number)
            self.assertEqual(program.wait(), 128 + number)
            self.assertEqual(program.text(), "")

    @inThread
    def test_readerHasEnough(self) -> None:
        """As in a pipe to head."""
        path = self.makePath()
        self.serve(path, encoded(crowd(3000)))
        shell = f"{' '.join(MONITOR)} -s {path} --once | head -n 1; echo ${{PIPESTATUS[0]}}"
        program = self.run_(["bash", "-c", shell])
        program.wait()
        self.assertEqual(program.text("err"), "")
        self.assertEqual(program.text("out").split("\n")[1:], ["0"])

    @inThread
    def test_noRoom(self) -> None:
        path = self.makePath()
        self.serve(path, encoded(message()))
        program = self.run_(["sh", "-c", f"{' '.join(MONITOR)} -s {path} --json >/dev/full"])
        self.assertEqual(program.wait(), 1)
        self.assertRegex(program.text("err"), f"^{PROGRAM}: cannot write: .*No space left[^\n]*$")

    @inThread
    def test_anotherEncoding(self) -> None:
        path = self.makePath()
        content = message([client(1, name="Süd")], [], [server(1, served(1))])
        self.serve(path, encoded(content))
        for name, value in (
            ("LC_ALL", "C"),
            ("PYTHONIOENCODING", "latin-1"),
            ("LC_ALL", "xx_XX.UTF-8"),
        ):
            status, printed, said = self.ended("-s", path, "--once", **{name: value})
            self.assertEqual((status, said), (0, ""), name)
            self.assertIn(r"S\xfcd", printed)
            self.assertIn("` phone 1", printed)

    @inThread
    def test_manyConnections(self) -> None:
        path = self.makePath()
        self.serve(path, encoded(crowd(10_000, 1000)))
        status, printed, _ = self.ended("-s", path, "--once")
        self.assertEqual(status, 0)
        self.assertEqual(
            len(printed.splitlines()), 4 + 3 * 3 - 1 + 10_000 + 5000 + 2000 + 1 - 1 + 1
        )


class OrderTests(Monitored):
    """What the command has done, by a server that only says so."""

    def serveOrders(self, said: dict[str, Any]) -> FakeServer:
        """Start a server that answers this to whatever is no question."""

        def answer(request: dict[str, Any]) -> bytes:
            return encoded(message([client(1)]) if request["method"] == "refresh" else said)

        return self.serve(self.makePath(), answer)

    @inThread
    def test_done(self) -> None:
        fake = self.serveOrders({"result": {"mistakes": 0}})
        for arguments, words, request in (
            (
                ["--end", "17"],
                "connection 17 is being ended",
                {"method": "endConnection", "params": {"id": "17"}},
            ),
            (
                ["--end-tunnel", "17"],
                "the tunnel of connection 17 is being ended",
                {"method": "endTunnel", "params": {"id": "17"}},
            ),
            (["--reload"], "everything was read anew", {"method": "reload"}),
            (["--drain"], "the server drains", {"method": "drain"}),
        ):
            fake.requests.clear()
            self.assertEqual(self.ended("-s", fake.path, *arguments), (0, words, ""))
            self.assertIn(request, fake.requests)

    @inThread
    def test_notDone(self) -> None:
        """One line on standard error, safe for the terminal."""
        fake = self.serveOrders({"error": f"only root {EVIL}"})
        self.assertRefused(r"only root \\x1b\]0;owned.*", "-s", fake.path, "--drain")

    @inThread
    def test_noServer(self) -> None:
        path = self.makePath()
        self.assertRefused(f"there is no {path}; .*", "-s", path, "--reload")

    @inThread
    def test_view(self) -> None:
        """In a terminal: a key, a question, what came of it."""
        fake = self.serveOrders({"result": {"action": "end-connection", "id": "1"}})
        screen = Screen(["-s", fake.path], {})
        self.addCleanup(screen.stop)
        screen.waitFor(b"client 1")
        screen.type(b"jx")
        screen.waitFor(b"End client 1, connection 1")
        screen.type(b"y")
        screen.waitFor(b"connection 1 is being ended")
        self.assertIn({"method": "endConnection", "params": {"id": "1"}}, fake.requests)
        screen.type(b"q")
        self.assertEqual(screen.process.wait(PATIENCE), 0)


class MistakeTests(Monitored):
    @inThread
    def test_noSocket(self) -> None:
        path = self.makePath()
        self.assertRefused(f"there is no {path}; does the server run, and .*", "-s", path, "--once")

    @inThread
    def test_defaultSocket(self) -> None:
        self.assertEqual(MonitorOptions()["socket"], "/run/nymea-remoteproxy/monitor.sock")

    @inThread
    def test_nobodyListens(self) -> None:
        path = self.makePath()
        with socket.socket(socket.AF_UNIX) as unused:
            unused.bind(path)
        self.assertRefused(f"nobody listens on {path}; .*", "-s", path, "--json")

    @inThread
    def test_noPermission(self) -> None:
        if os.getuid():
            raise SkipTest("only root can become somebody else")
        directory = tempfile.mkdtemp(prefix="monitor-", dir="/tmp")  # where everybody may look
        self.addCleanup(shutil.rmtree, directory)
        path = f"{directory}/m.sock"
        self.serve(path, encoded(message()))
        os.chmod(directory, 0o755)
        os.chmod(path, 0o660)
        # What it imports may be for root only, so it becomes somebody else after that.
        code = (
            "import os, sys, twisted.internet.reactor, nymearemoteproxy.monitor.cli as cli; "
            "os.setgroups([]); os.setegid(65534); os.seteuid(65534); "
            f"status = cli.main(['-s', {path!r}, '--once']); os.seteuid(0); sys.exit(status)"
        )
        program = self.run_([sys.executable, "-c", code])
        self.assertEqual(program.wait(), 1)
        self.assertEqual(
            program.text(),
            f"{PROGRAM}: no permission for {path}; be the user root or in the group root "
            "(sudo adduser YOU root, log in anew)",
        )

    @inThread
    def test_nonsense(self) -> None:
        path = self.makePath()
        self.serve(path, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertRefused(
            "this is no monitor socket of a nymea-remoteproxy: .*", "-s", path, "--once"
        )

    @inThread
    def test_options(self) -> None:
        for arguments, reason in (
            (["--once", "--json"], "--once and --json exclude each other"),
            (["--interval", "0"], "--interval: not a number from 0.1 to 86400"),
            (["--interval", "nan"], "--interval: not a number from 0.1 to 86400"),
            (["--interval", "often"], "--interval: not a number from 0.1 to 86400"),
            (["--socket", ""], "--socket: not a path of 1 to 107 bytes"),
            (["--socket", "/" + "x" * 107], "--socket: not a path of 1 to 107 bytes"),
            (["--end", "1", "--reload"], "--end and --reload exclude each other"),
            (["--drain", "--once"], "--once and --drain exclude each other"),
            (["--drain", "--all"], "--drain goes neither with --interval nor with --all"),
            (["--reload", "-i", "1"], "--reload goes neither with --interval nor with --all"),
            (["--end", "x"], "--end: not the id of a connection, which is a number"),
            (["--end-tunnel", ""], "--end-tunnel: not the id of a connection, .*"),
            (["--end", "1" * 19], "--end: not the id of a connection, .*"),
            (["--nonsense"], "option --nonsense not recognized"),
            (
                ["nonsense\x1b"],
                r"it takes no arguments, but options: 'nonsense\\x1b'; --help shows them",
            ),
        ):
            self.assertRefused(reason, *arguments, expected=2)
        for arguments, reason in (
            (["--socket", "/" + "x" * 106, "--once"], "there is no /x{106}; .*"),
            ([], "no terminal; use --once or --json"),
        ):
            self.assertRefused(reason, *arguments)
        with self.assertRaises(usage.UsageError):
            MonitorOptions().parseOptions(["--socket", "a\0b"])

    @inThread
    def test_versionAndHelp(self) -> None:
        for option in ("-V", "--version"):
            self.assertEqual(self.ended(option), (0, f"{PROGRAM} {__version__}", ""))
        for option in ("-h", "--help"):
            status, printed, said = self.ended(option)
            self.assertEqual((status, said), (0, ""))
            self.assertIn("--interval", printed)

    @inThread
    def test_closedDescriptors(self) -> None:
        for closed in ("<&-", ">&-"):
            program = self.run_(["sh", "-c", f"{' '.join(MONITOR)} --once {closed}"])
            self.assertEqual(program.wait(), 1)
            self.assertIn("standard input or standard output is closed", program.text("err"))
        for useless in ("2>&-", "2>/dev/full"):
            program = self.run_(["sh", "-c", f"{' '.join(MONITOR)} --nonsense {useless}"])
            self.assertEqual((program.wait(), program.text()), (2, ""))


class Screen:
    """A terminal of the test's own, with a program in it.

    :ivar output: all bytes that the program wrote to it.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], ignored: int | None = None
    ) -> None:
        self.output = b""
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._other = other
        self.before = termios.tcgetattr(other)

        def prepare() -> None:
            if ignored is not None:
                signal.signal(ignored, signal.SIG_IGN)
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*MONITOR, *arguments],
            cwd=ROOT,
            env={
                **environmentOfPrograms(),
                "TERM": "xterm",
                **environment,
            },
            stdin=other,
            stdout=other,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=prepare,
        )

    def waitFor(self, pattern: bytes, since: int = 0) -> None:
        """Wait until what it wrote matches."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.output[since:], re.DOTALL):
            if not select.select([self._own], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError(f"{pattern!r} does not match {self.output!r}")
            self.output += os.read(self._own, 65536)

    def type(self, keys: bytes) -> None:
        os.write(self._own, keys)

    def wait(self) -> tuple[int, str]:
        """Wait until it has ended by itself; return its status and standard error."""
        _, said = self.process.communicate(timeout=PATIENCE)
        if self._own >= 0:
            while select.select([self._own], [], [], 0)[0]:
                self.output += os.read(self._own, 65536)
        return self.process.returncode, said.decode()

    def after(self) -> list[Any]:
        return termios.tcgetattr(self._other)

    def hangUp(self) -> None:
        """The terminal is gone."""
        os.close(self._other)
        os.close(self._own)
        self._own = self._other = -1

    def stop(self) -> None:
        """End all."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        if self._own >= 0:
            self.hangUp()


class TerminalTests(Monitored):
    """What goes to the terminal, byte by byte."""

    def open(self, *arguments: str, ignored: int | None = None, **environment: str) -> Screen:
        screen = Screen(list(arguments), environment, ignored)
        self.addCleanup(screen.stop)
        return screen

    def start(self, *arguments: str, **more: Any) -> Screen:  # type: ignore[override]
        """Open a view of one client."""
        path = self.makePath()
        self.serve(path, encoded(message([client(1)])))
        screen = self.open("-s", path, *arguments, **more)
        screen.waitFor(b"client 1")
        return screen

    @inThread
    def test_nothingToObey(self) -> None:
        texts = dict.fromkeys(("id", "address", "name", "userName", "uuid"), EVIL)
        path = self.makePath()
        houses = [server(1, served(1, **{**texts, "clientUuid": EVIL}), **texts, serverUuid=EVIL)]
        content = message([client(1, **texts)], [(EVIL, EVIL)], houses, serverName=EVIL)
        self.serve(path, encoded(content))
        screen = self.open("-s", path)
        screen.waitFor(rb"\\x1b\]0;")
        for keys in (b"\r", b"2", b"3", b"\x1b"):
            since = len(screen.output)
            screen.type(keys)
            screen.waitFor(rb".", since)
        screen.type(b"q")
        self.assertEqual(screen.wait(), (0, ""))
        for piece in (b"\x1b]", b"\x07", b"\x9b", b"\x7f", "\u202e".encode()):
            self.assertNotIn(piece, screen.output)

    @inThread
    def test_leavesTheTerminalAsItWas(self) -> None:
        for keys in (b"q", b"\x03"):
            screen = self.start()
            self.assertNotEqual(screen.after(), screen.before)
            screen.type(keys)
            self.assertEqual(screen.wait(), (0, ""))
            self.assertEqual(screen.after(), screen.before)
            self.assertIn(b"\x1b[?1049l", screen.output)  # back from the alternate screen
            self.assertTrue(screen.output.count(b"\x1b[?25l") <= screen.output.count(b"\x1b[?25h"))

    @inThread
    def test_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            screen = self.start()
            screen.process.send_signal(number)
            self.assertEqual(screen.wait(), (128 + number, ""))
            self.assertEqual(screen.after(), screen.before)

    @inThread
    def test_terminalGone(self) -> None:
        screen = self.start()
        screen.hangUp()
        self.assertEqual(screen.wait(), (128 + signal.SIGHUP, ""))

    @inThread
    def test_terminalGoneWithoutSignal(self) -> None:
        """As with nohup: it does not go on for ever."""
        screen = self.start(ignored=signal.SIGHUP)
        screen.hangUp()
        self.assertEqual(screen.wait(), (128 + signal.SIGHUP, ""))

    @inThread
    def test_colors(self) -> None:
        colored = rb"\x1b\[[0-9;]*3[0-9]m"
        self.assertRegex(self.start().output, colored)
        for screen in (
            self.start("--no-color"),
            self.start(NO_COLOR="1"),
            self.start(TERM="vt100"),
        ):
            self.assertNotRegex(screen.output, colored)
            screen.type(b"q")
            self.assertEqual(screen.wait(), (0, ""))

    @inThread
    def test_charactersInPieces(self) -> None:
        screen = self.start()
        screen.type(b"/\xe5")
        screen.waitFor(b"filter: _")
        screen.type(b"\xae\xa2x")
        screen.waitFor("客x".encode())
        screen.type(b"\x1bq")
        self.assertEqual(screen.wait(), (0, ""))

    @inThread
    def test_bytesThatAreNoCharacters(self) -> None:
        screen = self.start()
        screen.type(b"\xff\xae/\xe5\xffab\xae")
        screen.waitFor(b"ab_")
        screen.type(b"\rq")
        self.assertEqual(screen.wait(), (0, ""))

    @inThread
    def test_terminalsThatCannot(self) -> None:
        for kind, reason in (
            ("dumb", "this terminal cannot move its cursor; use --once or --json"),
            ("nonsense\x1b", r"unknown terminal 'nonsense\x1b'; set TERM, or use --once"),
        ):
            screen = self.open(TERM=kind)
            self.assertEqual(screen.wait(), (1, f"{PROGRAM}: {reason}\n"))
            self.assertEqual(screen.output, b"")

    @inThread
    def test_noServer(self) -> None:
        """Then there is one line, not a screen."""
        screen = self.open("-s", "/nonexistent/m.sock")
        status, said = screen.wait()
        self.assertEqual((status, screen.output), (1, b""))
        self.assertRegex(said, rf"\A{PROGRAM}: there is no /nonexistent/m.sock; [^\n]*\n\Z")


class TmuxTests(Monitored):
    """What a person sees."""

    def setUp(self) -> None:
        if shutil.which("tmux") is None:
            raise SkipTest("tmux is not installed")

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.name, "-f", "/dev/null", *arguments],
            env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm"},
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        return done.stdout.decode()

    def open(self, path: str, *arguments: str) -> None:
        """Start the monitor from a shell, in a terminal of 80x24."""
        self.name = f"monitor-{os.getpid()}-{secrets.token_hex(4)}"
        command = " ".join([*MONITOR, "-s", path, *arguments])
        shell = f"cd {ROOT}; echo before; {command}; echo status $?; exec cat"
        self.tmux("-u", "new-session", "-d", "-x", "80", "-y", "24", shell)
        self.addCleanup(self.close)

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")

    def lines(self) -> list[str]:
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def waitFor(self, *texts: str) -> list[str]:
        """Wait until all the texts are on the screen; return its lines."""
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = self.lines()
            if all(text in "\n".join(lines) for text in texts):
                return lines
            if time.monotonic() > deadline:
                raise AssertionError(f"{texts} not on the screen:\n" + "\n".join(lines))
            time.sleep(0.02)

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    @inThread
    def test_view(self) -> None:
        path = self.makePath()
        clients = [client(1), client(2, name="客厅 u\u0308 x\u0316"), client(3, name="👍" * 30)]
        fake = self.serve(path, encoded(message(clients, [("1", "2")], [server(1, served(1))])))
        self.open(path)
        lines = self.waitFor("client 1", "客厅", "1-3 of 3")
        self.assertEqual(len(lines), 24)
        # Wide and combining characters leave the columns where they are.
        for name, line in zip(("client 1", "客厅 ü x\u0316", "👍👍"), lines[6:9], strict=True):
            self.assertTrue(line.startswith(f" {name}"), line)
            self.assertEqual(width(line[: line.index("tunnel")]), 16)
            self.assertEqual(width(line[: line.index("192.0.2.")]), 24)
        for columns, rows in (("120", "40"), ("60", "12"), ("30", "5"), ("80", "24")):
            self.tmux("resize-window", "-x", columns, "-y", rows)
            if columns == "30":
                self.waitFor("needs 40x10")
                continue

            # tmux has its own idea of the old content at the new size, until there is the new one.
            def fills(columns: int = int(columns), rows: int = int(rows)) -> bool:
                lines = self.lines()
                return (
                    len(lines) == rows
                    and lines[0].startswith(" nymea-remoteproxy-monitor ")
                    and lines[-1].endswith(" 1-3 of 3")
                    and width(lines[-1]) == columns - 1  # and a space
                )

            until(fills, f"no view of {columns}x{rows}")
        self.type("2")
        self.waitFor("1 to 2/s", "1-1 of 1")
        self.type("BTab", "BTab")
        self.waitFor("└ phone 1")
        self.type("a")
        until(lambda: fake.requests[-1]["params"] == {"printAll": True}, "it does not ask for all")
        self.type("1", "Down", "Enter")
        self.waitFor(" Selected", "Name: client 1")
        self.type("Escape")
        self.type("/", "client")
        self.waitFor("filter: client_", "(1 shown)")
        self.type("BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "3", "Enter")
        self.waitFor("filter: 3 ", "1-1 of 1")
        self.type("Left")
        self.waitFor("Out/s↓")
        self.type("?")
        self.waitFor("PgUp PgDn, Home End")
        self.type("q")
        lines = self.waitFor("status 0")
        self.assertEqual(lines[:2], ["before", "status 0"])
        self.assertEqual(self.tmux("display", "-p", "#{alternate_on} #{cursor_flag}"), "0 1\n")

    @inThread
    def test_serverIsRestarted(self) -> None:
        path = self.makePath()
        fake = self.serve(path, encoded(message([client(1)])))
        self.open(path, "-i", "0.2")
        self.waitFor("client 1")
        fake.stop()
        self.waitFor(f"there is no {path[:20]}", "client 1")
        fake = self.serve(path, encoded(message([client(2)], serverName="the new one")))
        lines = self.waitFor("the new one", "client 2")
        self.assertTrue(lines[0].startswith(" nymea-remoteproxy-monitor "))
        self.assertNotIn("client 1", "\n".join(lines))
        fake.answer = lambda request: b"nonsense"
        self.waitFor("this is no monitor socket", "client 2")
        self.type("C-c")
        self.waitFor("status 0")

    @inThread
    def test_stoppedAndContinued(self) -> None:
        """Ctrl-Z, and back."""
        path = self.makePath()
        self.serve(path, encoded(message([client(1)])))
        self.name = f"monitor-{os.getpid()}-{secrets.token_hex(4)}"
        self.tmux("-u", "new-session", "-d", "-x", "80", "-y", "24", "bash --norc --noprofile -i")
        self.addCleanup(self.close)
        self.type(f"cd {ROOT}; clear; PS1='ready '", "Enter")
        self.waitFor("ready")
        self.type(" ".join([*MONITOR, "-s", path]), "Enter")
        self.waitFor("client 1")
        self.type("C-z")
        lines = self.waitFor("Stopped", "ready")
        self.assertNotIn("client 1", "\n".join(lines))
        self.type("fg", "Enter")
        self.waitFor("client 1", "1-1 of 1")
        self.type("2")
        self.waitFor("no tunnels")
        self.type("q")
        self.waitFor("ready")


class TerminalInMemoryTests(SynchronousTestCase):
    """What hardly happens to a real one."""

    def setUp(self) -> None:
        self.happened: list[str] = []
        self.terminal = Terminal(
            MemoryReactorClock(),
            View(Model(), lambda: 0),
            lambda: self.happened.append("quit"),
            lambda: self.happened.append("gone"),
        )

    def test_resizedBeforeItIsOpen(self) -> None:
        self.terminal.resized()
        self.assertFalse(self.terminal.isOpen)

    def test_lost(self) -> None:
        """As far as the reactor can tell."""
        self.terminal.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.happened, ["gone"])
        self.terminal.close()

    def test_readableWithoutKeys(self) -> None:
        """Once in a while that is nothing, again and again it is the end."""

        class Window:
            keys = [-1] * 16 + [ord("x"), -1] + [-1] * 17

            def getch(self) -> int:
                return self.keys.pop(0)

        drawn: list[None] = []
        self.patch(self.terminal, "_window", Window())
        self.patch(self.terminal, "draw", lambda: drawn.append(None))
        for _ in range(16 + 1 + 16):
            self.terminal.doRead()
        self.assertEqual((self.happened, len(drawn)), ([], 1))
        self.terminal.doRead()
        self.assertEqual(self.happened, ["gone"])

    def test_forLogs(self) -> None:
        self.assertEqual(self.terminal.logPrefix(), "terminal")


class SessionTests(SynchronousTestCase):
    """What no process is needed for."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.hasStopped = False
        options = MonitorOptions()
        options.parseOptions(["--once"])
        self.oneRun = MonitorRun(self.reactor, options, True)
        self.stopped = 0
        self.patch(self.reactor, "stop", self.countStop)

    def countStop(self) -> None:
        self.stopped += 1

    def test_firstEndCounts(self) -> None:
        self.oneRun.stop(3, "first")
        self.oneRun.stop(4, "second")
        self.assertEqual((self.oneRun.status, self.oneRun.reason), (3, "first"))
        self.assertEqual(self.stopped, 1)

    def test_ourOwnFaults(self) -> None:
        """They end it, and are told once the terminal can show them."""
        for key in ("log_failure", "failure"):  # by Twisted's newer and older logging
            self.setUp()
            self.logFault(key)

    def logFault(self, key: str) -> None:
        self.oneRun.logged({"log_format": "harmless"})
        self.assertEqual(self.stopped, 0)
        try:
            read(None)  # type: ignore[arg-type]
        except TypeError:
            self.oneRun.logged({key: Failure()})
        self.assertEqual((self.stopped, self.oneRun.status), (1, 1))
        assert self.oneRun.reason is not None
        self.assertTrue(self.oneRun.reason.startswith("internal error, please report it:\n"))

    def test_interruptedAtTheVeryBeginning(self) -> None:
        def interrupted(*arguments: Any) -> None:
            raise KeyboardInterrupt

        self.patch(cli, "MonitorRun", interrupted)
        # The command changes it, and this reactor goes on.
        self.patch(reactor, "seconds", reactor.seconds)
        self.assertEqual(cli.main(["--once"]), 128 + signal.SIGINT)
