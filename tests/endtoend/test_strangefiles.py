"""Something else in the place of each file that a setting names, in the real server process.

A pipe that nobody writes, a device without an end, a directory, a socket, a link to nowhere: such a
server does not start, one that runs keeps what it had, and neither waits. Which settings there are
is taken from their declarations: one that is new has to be in order, or to be excepted here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from nymearemoteproxy.running.settings.notations import PATH, PLACE
from nymearemoteproxy.running.settings.sections import SETTINGS
from tests.support.cores import anyUuid
from tests.support.endtoend import (
    CONSOLE,
    STREAM,
    Certificate,
    EndToEnd,
    inThread,
    runForked,
    secret,
)
from tests.support.issuers import ISSUER, IssuerKey, keySet
from tests.support.lives import errors, hello, reload

HAS_CLUSTER = find_spec("txredisapi") is not None
"""Without a client for the directory there is no cluster, whatever is in its files."""

NAMES = [
    each.name
    for each in SETTINGS
    if each.notation in (PATH, PLACE) and (HAS_CLUSTER or each.section != "Cluster")
]
"""The settings that name a file, a socket or a directory."""

WRITTEN = {"ProxyServer.logFile", "Accounting.tunnelLog", "Accounting.statisticsLog"}
"""What is written there may be for a device, such as /dev/null."""

SOCKETS = {
    *("ProxyServer.monitorSocket", "UnixSocketServer.unixSocketFileName"),
    "UnixSocketServerTunnelProxy.unixSocketFileName",
}
"""A socket there may be that of the server that runs, or one that was left."""

TOTALS, TEXTS = "Accounting.totalsFile", "Accounting.textDirectory"

NEEDLESS = {TOTALS, TEXTS}
"""Without them the server serves all the same, and says so."""

CONFIGURATION = "configuration"
"""What the file of all settings is called here."""

_IMPATIENT = """
from nymearemoteproxy.common import files
files.PATIENCE = 0.1
from nymearemoteproxy.running.cli import main
main()
"""
"""The server, which gives up a pipe sooner than after a minute."""


def noise(path: Path) -> None:
    """Make a file without an end."""
    path.symlink_to("/dev/zero")


def unixSocket(path: Path) -> None:
    """Make a socket that its process has left."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def dangling(path: Path) -> None:
    """Make a link to what is not there, nor is the directory for it."""
    path.symlink_to(path.parent / "missing" / "file")


def locked(path: Path) -> None:
    """Make a file that nobody may use, but for root."""
    path.touch(mode=0)


Make = Callable[[Path], object]

KINDS: dict[Make, set[str]] = {
    os.mkfifo: set(),  # type: ignore[dict-item]  # which has further parameters
    os.mkdir: {TEXTS},  # type: ignore[dict-item]
    noise: WRITTEN,
    unixSocket: SOCKETS,
    dangling: {TOTALS},
}
"""What to put in a file's place, and for which settings that is as good as any other."""

if os.getuid():
    KINDS[locked] = set()


class StrangeFileCase(EndToEnd):
    """A folder with all files that settings name, each as it should be."""

    def setUp(self) -> None:
        self.folder = self.temporary()
        own = Certificate(str(self.folder / "certificate"))
        key = IssuerKey("ES256", "a")
        (self.folder / "texts").mkdir()
        good = {
            "SSL.certificate": Path(own.certificate).read_text(),
            "SSL.certificateKey": Path(own.key).read_text(),
            "SSL.certificateChain": Path(own.certificate).read_text(),
            "Authentication.clientSecretFile": "password\n",
            "Authentication.tokenFile": secret(),
            "Authentication.jwks": keySet([key]).decode(),
            "Admin.passwordFile": "admin:password\n",
            "TunnelProxy.serverUuidFile": anyUuid(),
            "Front.namesFile": f"home.example.org {anyUuid()}\n",
            "Limits.denyFile": "192.0.2.1\n",
            "Cluster.directoryPasswordFile": "password\n",
            "Cluster.secretFile": "a secret of the cluster\n",
            CONFIGURATION: "[ProxyServer]\nname = configured\n",
        }
        self.paths = {name: self.folder / name for name in [*NAMES, CONFIGURATION]}
        self.paths[TEXTS] = self.folder / "texts"
        for name in good.keys() & self.paths.keys():
            self.paths[name].write_text(good[name])
            self.paths[name].chmod(0o600)

    def arguments(self, *left: str) -> list[str]:
        """Return a command line that makes use of all files.

        :param left: settings that are not given.
        """
        others = {
            "ProxyServer.writeLogs": "yes",
            "ProxyServer.logEngineEnabled": "yes",
            "Authentication.server": "http://127.0.0.1:9/",
            "Authentication.clientId": "id",
            "Authentication.issuer": ISSUER,
            "Authentication.audience": "proxy",
            "Admin.endpoint": "tcp:0:interface=127.0.0.1",
            "TunnelProxy.enabled": "yes",
        }
        if HAS_CLUSTER:
            others["Cluster.directory"] = "redis://127.0.0.1:9/0"
        given = {**others, **{name: str(self.paths[name]) for name in NAMES}}
        arguments = ["--port", "0", "--stream", STREAM, "-C", str(self.paths[CONFIGURATION])]
        for name, value in given.items():
            if name not in left:
                arguments += ["--set", f"{name}={value}"]
        return arguments

    def replace(self, name: str, make: Make) -> None:
        """Put something else in the place of a file."""
        path = self.paths[name]
        with contextlib.suppress(FileNotFoundError):
            path.rename(path.with_name(f"{path.name}.kept"))
        make(path)

    def restore(self, name: str) -> None:
        """Have it again as it was."""
        path = self.paths[name]
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}.kept").rename(path)


class StartTests(StrangeFileCase):
    """It does not start, and says of each file in one line why not."""

    def refuses(self, make: Make, names: set[str], *more: str) -> None:
        """Have all files wrong at once; those that are told of are mended, until none is left."""
        for name in names:
            self.replace(name, make)
        left = set(names)
        while left:
            status, told = self.outcome(make, [*more, *self.arguments()])
            self.assertEqual(status, 1, f"{make.__name__}, {left}: {told}")
            named = {name for name in left if told.count(f"{self.paths[name]}:") == 1}
            self.assertTrue(named, f"{make.__name__}: nothing is told of {left}, but:\n{told}")
            self.assertEqual(len(told.splitlines()), len(named), told)
            for name in named:
                self.restore(name)
            left -= named

    def outcome(self, make: Make, arguments: list[str]) -> tuple[int, str]:
        """Return the status of a server that cannot start, and what it said."""
        if make is os.mkfifo:
            program = self.run_([sys.executable, "-c", _IMPATIENT, *arguments])
            return program.wait(), program.text()
        return runForked(CONSOLE, arguments, {"XDG_STATE_HOME": str(self.folder)})

    @inThread
    def testCheck(self) -> None:
        """--check finds what a start would find."""
        for make, good in KINDS.items():
            self.refuses(make, {*self.paths} - good - NEEDLESS, "--check")

    @inThread
    def testStart(self) -> None:
        """Nobody is let in, which --check has told for most files by then."""
        for make in os.mkfifo, dangling:
            self.refuses(make, {*self.paths} - KINDS[make] - NEEDLESS)

    @inThread
    def testNeedless(self) -> None:
        """What it can do without is told of, and waited for by nobody."""
        for make, good in KINDS.items():
            names = NEEDLESS - good
            for name in names:
                self.replace(name, make)
            server = self.start(
                *("--port", "0", "--set=ProxyServer.logEngineEnabled=yes", "--token", secret()),
                *(f"--set={name}={self.paths[name]}" for name in NEEDLESS),
            )
            if TOTALS in names:
                place = self.paths[TOTALS].resolve()
                server.waitFor(f"cannot read the lifetime totals in {place}: ")
            if TEXTS in names:
                server.waitFor(f"no effect, {self.paths[TEXTS]} cannot be written: ")
            hello(server.urls[0])
            server.stop()
            for name in names:
                self.restore(name)


class ReloadTests(StrangeFileCase):
    """SIGHUP: what is not as it was stays, and the log says so."""

    read = {each.name for each in SETTINGS if each.name in NAMES and not each.atStart}
    accounting = WRITTEN - {"ProxyServer.logFile"}
    elsewhere = {"ProxyServer.writeLogs", *(name for name in NAMES if name.startswith("Cluster."))}

    @inThread
    def testReload(self) -> None:
        """All at once, and all as it should be again."""
        server = self.start(*self.arguments("Cluster.directory", *self.elsewhere), listeners=4)
        parts = self.read - {"SSL.certificateKey", "SSL.certificateChain"} | {CONFIGURATION}
        for make in KINDS:
            names = self.read | {CONFIGURATION} | (set() if make is noise else self.accounting)
            for name in names:
                self.replace(name, make)
            mark = reload(server, "reloaded, but not everything")
            told = errors(server, mark)
            stays = [line for line in told if "as it was: " in line or "as they were: " in line]
            self.assertEqual(len(stays), len(parts), f"{make.__name__}: {told}")
            for name in parts:
                self.assertEqual(sum(f" {self.paths[name]}" in line for line in stays), 1, name)
            for name in names & self.accounting:
                server.waitFor(f"cannot write {self.paths[name]}: ", mark)
            self.assertEqual(hello(server.url("tcp"))["name"], "configured")
            for name in names:
                self.restore(name)
            mark = reload(server, "reloaded:")
            for name in names & self.accounting:
                server.waitFor(f"{self.paths[name]} is written again; 0 lines lost", mark)
            self.assertEqual(errors(server, mark), [])
