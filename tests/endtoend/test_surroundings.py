"""A process and what surrounds it: a log that nobody takes, a date that is set, early signals."""

from __future__ import annotations

import sys
import time
from signal import SIGUSR2

from tests.support.dates import Date
from tests.support.endtoend import (
    CLIENT,
    CONSOLE,
    ESTABLISHED_FIRST,
    MONITOR,
    SIGHUP,
    SIGINT,
    SIGTERM,
    TWISTD,
    EndToEnd,
    Program,
    connect,
    inThread,
    join,
    secret,
    tunnel,
    until,
    untilListening,
)

NO_MAIN = ("--websocket", "tcp:0:interface=127.0.0.1")

_STUCK = """
import fcntl, os, sys
reader, writer = os.pipe()
fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
os.set_inheritable(reader, True)
os.dup2(writer, int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes another program, one of whose file descriptors is a small pipe that nobody reads."""

_LOADING = """
import os, sys, time
path, program = sys.argv.pop(1), sys.argv.pop(1)
class Finder:
    @staticmethod
    def find_spec(name, *details):
        if name.endswith(".cli"):
            print("loading", flush=True)
            while not os.path.exists(path):
                time.sleep(0.01)
sys.meta_path.insert(0, Finder)
from nymearemoteproxy import commands
getattr(commands, program)()
"""
"""A console script that is not loaded before there is a file."""

_ENDING = """
import os, sys, time
class Last:
    exists, sleep, write, path = os.access, time.sleep, os.write, sys.argv.pop(1)
    def __del__(self):
        self.write(1, b"ended\\n")
        while not self.exists(self.path, 0):
            self.sleep(0.01)
sys.last = Last()
from nymearemoteproxy import commands
commands.server()
"""
"""The server, which waits for a file when Python has nearly taken everything apart."""


class StuckLogTests(EndToEnd):
    """A pipe that nobody reads, or a terminal in Ctrl-S."""

    def check(self, descriptor: int, command: tuple[str, ...]) -> None:
        """Relay and end, although the log cannot be written."""
        path, token = str(self.temporary() / "s"), secret()
        arguments = [*NO_MAIN, "--stream", f"unix:{path}", "--token", token]
        program = self.launchProgram(
            [sys.executable, "-c", _STUCK, str(descriptor), *command, *arguments]
        )
        untilListening(path)
        for _ in range(50):  # 5 KB of log
            connect(f"unix:{path}").close()
        one, two = tunnel(f"unix:{path}", token)
        one.send(b"hello")
        self.assertEqual(two.read(5), b"hello")
        one.close()
        two.close()
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)
        self.assertEqual(program.text(), "")

    @inThread
    def testConsole(self) -> None:
        """Standard error."""
        self.check(2, CONSOLE)

    @inThread
    def testTwistd(self) -> None:
        """Standard output, which twistd writes to by itself."""
        self.check(1, TWISTD)


class FullDiskTests(EndToEnd):
    """The log cannot be written, and nothing else tells of it."""

    @inThread
    def testToldOnTheTerminal(self) -> None:
        """One line there does."""
        path = str(self.temporary() / "s")
        program = self.launchProgram(
            [*CONSOLE, *NO_MAIN, "--stream", f"unix:{path}", "--token", secret(), "-l", "/dev/full"]
        )
        untilListening(path)
        connect(f"unix:{path}").close()
        until(program.handlesSignals, "it does not handle SIGHUP")
        program.signal(SIGTERM)
        self.assertEqual(program.wait(), 0)
        problem = "cannot write the log /dev/full: No space left on device; it is tried again"
        self.assertEqual(program.text(), f"nymea-remoteproxy: {problem}")


class DateTests(EndToEnd):
    """The machine's date is set while the server runs."""

    def check(self, *command: str) -> None:
        """No deadline notices."""
        date, token = Date(self.temporary()), secret()
        program = self.launchProgram(
            [
                *date.command(*command),
                *(*NO_MAIN, "--stream", "tcp:0:interface=127.0.0.1", "--token", token),
                *("--set", "ProxyServer.inactiveTimeout=500"),
                *("--set", "ProxyServer.aloneTimeout=100000"),
            ]
        )
        url = program.waitFor(r"listening on (tcp://\S+)")[1]
        waiting = join(url, token)
        date.set(120)
        partner = join(url, token)
        for client in (waiting, partner):
            self.assertEqual(client.message(), ESTABLISHED_FIRST)
        date.set(-3600)
        silent = connect(url)
        self.assertEqual(silent.rest(), b"")
        silent.close()
        self.keep(waiting, partner)
        ended = program.waitFor(r"ended: inactive-timeout \(TCP, (\S+) s")
        self.assertGreater(float(ended[1]), 0.3)
        year, month = time.strftime("%Y-%m", time.localtime(time.time() - 3600)).split("-")
        self.assertTrue(ended.string.startswith(f"{year}-{month}-"))

    @inThread
    def testConsole(self) -> None:
        self.check("console")

    @inThread
    def testTwistd(self) -> None:
        self.check("twistd", "--nodaemon", "--pidfile=", "nymea-remoteproxy")


class SignalTests(EndToEnd):
    """Signals at moments at which nobody expects them."""

    measured = True

    def ended(self, program: Program) -> int:
        """Return the status of a program that says nothing at its end."""
        status = program.wait()
        self.assertEqual(program.text("err"), "")
        return status

    @inThread
    def testWhileLoading(self) -> None:
        """Each program ends without a word, as others do."""
        for command in ("server", "client", "monitor"):
            for number in (SIGINT, SIGTERM):
                never = str(self.temporary() / "go")
                program = self.launchProgram([sys.executable, "-c", _LOADING, never, command])
                program.waitFor("loading")
                program.signal(number)
                self.assertEqual(self.ended(program), -number)

    @inThread
    def testHeldWhileLoading(self) -> None:
        """What is for a server that runs is done as soon as it does."""
        for number, done in ((SIGHUP, " reloaded: "), (SIGUSR2, " drained: ")):
            path = self.temporary() / "go"
            program = self.launchProgram(
                [sys.executable, "-c", _LOADING, str(path), "server", "--token", secret(), *NO_MAIN]
            )
            program.waitFor("loading")
            program.signal(number)
            path.touch()
            program.waitFor(done)
            program.signal(SIGTERM)
            self.assertEqual(program.wait(), 0)

    @inThread
    def testWhileEnding(self) -> None:
        """The second and the third do no harm, not even at the very end."""
        path = self.temporary() / "go"
        program = self.launchProgram(
            [sys.executable, "-c", _ENDING, str(path), "--token", secret(), *NO_MAIN]
        )
        program.waitFor(" runs")
        program.signal(SIGINT)
        program.signal(SIGTERM)
        program.waitFor("^ended")
        for number in SIGINT, SIGTERM, SIGHUP, SIGUSR2:
            program.signal(number)
        path.touch()
        self.assertEqual(program.wait(), 0)
        self.assertNotIn("Traceback", program.text())

    @inThread
    def testScripts(self) -> None:
        """The console scripts do what the programs do."""
        for command, module in (("server", CONSOLE), ("client", CLIENT), ("monitor", MONITOR)):
            told = [
                self.run_([*start, "--version"])
                for start in (module, [sys.executable, "-c", _SCRIPT, command])
            ]
            self.assertEqual([each.wait() for each in told], [0, 0])
            self.assertEqual(told[0].text(), told[1].text())


_SCRIPT = """
import sys
from nymearemoteproxy import commands
sys.exit(getattr(commands, sys.argv.pop(1))())
"""
"""What pip makes of an entry point."""
