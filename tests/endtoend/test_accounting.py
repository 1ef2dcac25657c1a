"""Accounting by the real server process: lines, rotation, privacy, totals that survive."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.endtoend import (
    CONSOLE,
    SECOND,
    SIGHUP,
    SIGTERM,
    TWISTD,
    EndToEnd,
    Server,
    call,
    connect,
    inThread,
    join,
    secret,
    tunnel,
    until,
)

STREAM = "tcp:0:interface=127.0.0.1"
LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
ROTATIONS = 20
TEXT_TUNNELS = "nymea-remoteproxy-tunnels.log"
TEXT_STATISTICS = "nymea-remoteproxy-statistics.log"


class AccountingCase(EndToEnd):
    """A server with accounting in a directory.

    :ivar directory: where all files are.
    """

    def setUp(self) -> None:
        self.directory = self.temporary()
        self.tunnels = self.directory / "tunnels.json"
        self.statistics = self.directory / "statistics.json"
        self.totals = self.directory / "totals.json"
        self.token = secret()

    def launch(self, *settings: str, everything: bool = True) -> Server:
        """Start a server that listens for WebSocket and streams, with these settings."""
        given = [f"Accounting.totalsFile={self.totals}", *settings]
        if everything:
            given += [
                f"Accounting.tunnelLog={self.tunnels}",
                f"Accounting.statisticsLog={self.statistics}",
                "Accounting.statisticsInterval=1000",
                "ProxyServer.logEngineEnabled=true",
                f"Accounting.textDirectory={self.directory}",
            ]
        options = [part for setting in given for part in ("--set", setting)]
        return self.start(
            *("--websocket", STREAM, "--stream", STREAM, "--token", self.token, "-v"),
            *options,
            listeners=2,
        )

    def stop(self, server: Server) -> None:
        """End it in the ordinary way."""
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)

    def endTunnel(self, server: Server, payload: bytes = b"") -> None:
        """Let a WebSocket and a stream client have a tunnel, and wait until both are gone."""
        one, two = tunnel(server.url("ws"), self.token, server.url("tcp"))
        mark = server.mark()
        two.send(payload)
        if payload:
            one.message()
        two.close()
        one.goodbye()
        server.ended(one, mark)
        server.ended(two, mark)

    def entries(self, path: Path, count: int) -> list[dict[str, Any]]:
        """Wait for so many lines; return what they say."""
        until(lambda: path.read_bytes().count(b"\n") >= count, f"{path}: {path.read_text()}")
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual(len(entries), count)
        return entries

    def everything(self) -> str:
        """Return the content of all files, which tell no secret."""
        content = "".join(path.read_text() for path in self.directory.iterdir())
        self.assertNotIn("s3cr3t", content)
        return content


class LinesTests(AccountingCase):
    """What is written."""

    @inThread
    def testTunnel(self) -> None:
        """Between two transports; with the traffic that the log tells of."""
        server = self.launch()
        self.endTunnel(server, b"x" * 1000)
        (entry,) = self.entries(self.tunnels, 1)
        self.assertEqual(entry["kind"], "token")
        self.assertEqual([side["transport"] for side in entry["sides"]], ["WebSocket", "TCP"])
        self.assertEqual(
            [side["outcome"] for side in entry["sides"]], ["partner-left", "client-left"]
        )
        for side in entry["sides"]:
            pattern = (
                rf"connection {side['connection']} from {side['address']} ended: .*, "
                rf"{side['received']} bytes in, {side['sent']} bytes out"
            )
            self.assertEqual(len(server.find(pattern)), 1)
        one, two = entry["sides"]
        self.assertGreater(two["received"], 1000)
        self.stop(server)
        (line,) = (self.directory / TEXT_TUNNELS).read_text().splitlines()
        expected = rf"\d{{10}} \d{{10}} - 127\.0\.0\.1 127\.0\.0\.1 {one['received'] + one['sent']}"
        self.assertRegex(line, f"^{expected}$")
        self.assertEqual(os.stat(self.tunnels).st_mode & 0o007, 0)
        self.everything()

    @inThread
    def testNames(self) -> None:
        """Names and uuids of clients of API 0.3, whatever they contain."""
        server = self.launch()
        name = 'a "name"\n\x1b[31m \N{PILE OF POO}' + "x" * 5000
        uuids = [f"{{{uuid4()}}}" for _ in range(2)]
        clients = [join(server.url("tcp"), self.token, SECOND, name=name, uuid=u) for u in uuids]
        for client in clients:
            client.message()
            client.close()
        (entry,) = self.entries(self.tunnels, 1)
        self.assertEqual([side["name"] for side in entry["sides"]], [name[:100]] * 2)
        digests = [hashlib.sha256(uuid[1:-1].encode()).hexdigest()[:16] for uuid in uuids]
        self.assertEqual([side["uuidDigest"] for side in entry["sides"]], digests)
        self.assertTrue(self.tunnels.read_bytes().isascii())
        self.everything()

    @inThread
    def testTunnelProxy(self) -> None:
        """The server's uuid is nowhere."""
        server = self.launch("TunnelProxy.enabled=true")
        uuid = str(uuid4())
        core = connect(server.url("tcp"))
        core.sendMessage(call("TunnelProxy.RegisterServer", serverName="core", serverUuid=uuid))
        core.message()
        app = connect(server.url("ws"))
        uuids = {"clientUuid": str(uuid4()), "serverUuid": uuid}
        app.sendMessage(call("TunnelProxy.RegisterClient", clientName="app", **uuids))
        app.message()
        core.close()
        app.goodbye()
        first, second = self.entries(self.tunnels, 2)
        kinds = {"tunnel-proxy-client", "tunnel-proxy-server"}
        self.assertEqual({first["kind"], second["kind"]}, kinds)
        self.assertEqual(first["server"], second["server"])
        self.stop(server)
        self.assertNotIn(uuid, self.everything())
        totals = json.loads(self.totals.read_text())
        self.assertEqual((totals["servers"], totals["clients"], totals["tunnels"]), (1, 1, 0))

    @inThread
    def testStatistics(self) -> None:
        """Intervals of a second; the last ends with the server, and all of them have everything."""
        server = self.launch()
        self.endTunnel(server, b"x" * 1000)
        until(lambda: self.statistics.read_bytes().count(b"\n") > 1, "no statistics")
        one, two = tunnel(server.url("ws"), self.token)
        server.signal(SIGTERM)
        one.goodbye()
        two.goodbye()
        self.assertEqual(server.wait(), 0)
        entries = [json.loads(line) for line in self.statistics.read_text().splitlines()]
        self.assertEqual(sum(entry["newConnections"] for entry in entries), 4)
        self.assertEqual(sum(entry["newTunnels"] for entry in entries), 2)
        self.assertGreater(sum(entry["received"] for entry in entries), 1000)
        outcomes: dict[str, int] = {}
        for entry in entries:
            for label, count in entry["outcomes"].items():
                outcomes[label] = outcomes.get(label, 0) + count
        self.assertEqual(outcomes, {"client-left": 1, "partner-left": 1, "shutdown": 2})
        self.assertEqual(entries[-1]["connections"], {})
        for entry in entries[:-1]:
            self.assertLess(abs(entry["interval"] - 1), 0.5)
        lines = (self.directory / TEXT_STATISTICS).read_text().splitlines()
        self.assertEqual(len(lines), len(entries))
        for line in lines:
            self.assertRegex(line, r"^\d{10} \d+ \d+ \d+$")
        # Tunnels that the end of the server ended are there, too.
        self.assertEqual(self.entries(self.tunnels, 2)[1]["sides"][0]["outcome"], "shutdown")


class RotationTests(AccountingCase):
    """logrotate takes the files away."""

    if LOGROTATE is None:
        skip = "there is no logrotate"

    def lines(self) -> list[str]:
        """Return the lines of all tunnel logs, compressed or not."""
        lines = []
        for path in self.directory.glob("tunnels.json*"):
            data = path.read_bytes()
            lines += (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
        return [line.decode() for line in lines]

    @inThread
    def testRotation(self) -> None:
        """Again and again while tunnels end, and no line is lost."""
        server = self.launch()
        configuration = self.directory / "logrotate.conf"
        configuration.write_text(
            f"{self.tunnels} {self.statistics} {{\n"
            " rotate 1000\n missingok\n notifempty\n compress\n delaycompress\n sharedscripts\n"
            f" postrotate\n  kill -HUP {server.pid}\n endscript\n}}\n"
        )
        command = [str(LOGROTATE), "--force", f"--state={self.directory}/state", str(configuration)]
        problems: list[str] = []

        def hasLine() -> bool:
            # The new file is made by a thread, which a reload does not wait for.
            return self.tunnels.exists() and self.tunnels.stat().st_size > 0

        def rotate() -> None:
            for _ in range(ROTATIONS):
                until(hasLine, "no line")  # or it is not rotated
                mark = server.mark()
                done = subprocess.run(command, capture_output=True, text=True)
                problems.append(done.stderr)
                server.waitFor("reloaded", mark)

        thread = threading.Thread(target=rotate)
        thread.start()
        count = 0
        while thread.is_alive():
            self.endTunnel(server)
            count += 1
        thread.join()
        self.assertEqual(problems, [""] * ROTATIONS)
        self.stop(server)
        self.assertGreater(len(list(self.directory.glob("tunnels.json.*"))), 1)
        lines = self.lines()
        self.assertEqual(len(lines), count)
        connections = {s["connection"] for line in lines for s in json.loads(line)["sides"]}
        self.assertEqual(len(connections), 2 * count)


class PrivacyTests(AccountingCase):
    """What is left of a client's address."""

    def written(self, privacy: str) -> str:
        """Let a tunnel and a lonely client end; return what all files and the log say of them."""
        server = self.launch(f"ProxyServer.privacy={privacy}", "ProxyServer.aloneTimeout=100")
        one = join(server.url("tcp"), self.token, SECOND)
        two = join(server.url("ws"), self.token, {**SECOND, "uuid": "{other}"})
        two.message()
        one.close()
        two.goodbye()
        join(server.url("tcp"), self.token, SECOND).goodbye()
        server.waitFor("ended: ", count=3)
        self.stop(server)
        self.entries(self.tunnels, 1)
        log = [line for _, line in server.lines if "listening on" not in line]
        self.assertEqual(len(server.lines) - len(log), 2)
        return self.everything() + "\n".join(log)

    @inThread
    def testFull(self) -> None:
        written = self.written("full")
        for personal in ("127.0.0.1:", SECOND["name"], "uuidDigest"):
            self.assertIn(personal, written)
        self.assertNotIn(SECOND["uuid"], written)

    @inThread
    def testShortened(self) -> None:
        written = self.written("shortened")
        self.assertIn("127.0.0.0", written)
        for personal in ("127.0.0.1", SECOND["name"], "uuid"):
            self.assertNotIn(personal, written)

    @inThread
    def testNone(self) -> None:
        written = self.written("none")
        self.assertIn(" - hidden hidden ", written)
        for personal in ("127.0.0", SECOND["name"], "uuid"):
            self.assertNotIn(personal, written)


class TotalsTests(AccountingCase):
    """What is counted survives."""

    def kept(self) -> dict[str, int]:
        """Return what is in the file; all 0 before it is there."""
        if not self.totals.exists():
            return {"connections": 0, "tunnels": 0, "traffic": 0}
        kept: dict[str, int] = json.loads(self.totals.read_text())
        return kept

    @inThread
    def testRestart(self) -> None:
        """Stopped by SIGTERM, with a tunnel that is up."""
        received = 0
        for round in (1, 2):
            server = self.launch(everything=False)
            self.endTunnel(server, b"x" * 1000)
            one, two = tunnel(server.url("tcp"), self.token)
            server.signal(SIGTERM)
            one.goodbye()
            two.goodbye()
            self.assertEqual(server.wait(), 0)
            received += sum(int(match[1]) for match in server.find(r", (\d+) bytes in, "))
            kept = self.kept()
            self.assertEqual((kept["connections"], kept["tunnels"]), (4 * round, 2 * round))
            self.assertEqual(kept["traffic"], received)

    @inThread
    def testKilled(self) -> None:
        """By kill -9, with a tunnel that is up: what it carried counts, and only once."""
        server = self.launch(everything=False)
        one, two = tunnel(server.url("tcp"), self.token)
        self.keep(one, two)
        one.send(b"x" * 1000)
        two.read(1000)
        until(lambda: self.kept()["traffic"] > 1000, "nothing is saved")
        before = self.kept()
        self.assertEqual((before["connections"], before["tunnels"]), (2, 1))
        server.signal(signal.SIGKILL)
        self.assertEqual(server.wait(), -signal.SIGKILL)
        server = self.launch(everything=False)
        self.endTunnel(server)
        self.stop(server)
        after = self.kept()
        self.assertEqual((after["connections"], after["tunnels"]), (4, 2))
        received = sum(int(match[1]) for match in server.find(r", (\d+) bytes in, "))
        self.assertEqual(after["traffic"], before["traffic"] + received)

    @inThread
    def testTwoServers(self) -> None:
        """The old one ends after the new one has begun; both are counted."""
        old = self.launch(everything=False)
        self.endTunnel(old)
        new = self.launch(everything=False)
        self.endTunnel(new)
        self.endTunnel(old)
        self.stop(old)
        self.endTunnel(new)
        self.stop(new)
        kept = self.kept()
        self.assertEqual((kept["connections"], kept["tunnels"]), (8, 4))

    @inThread
    def testDamaged(self) -> None:
        """One line says so, and the server runs."""
        self.totals.write_text("damaged")
        server = self.launch(everything=False)
        self.assertEqual(len(server.find(r"warn +the lifetime totals in \S+ are damaged")), 1)
        self.endTunnel(server)
        self.stop(server)
        self.assertEqual(self.kept()["tunnels"], 1)
        self.assertEqual(Path(f"{self.totals}.damaged").read_text(), "damaged")

    @inThread
    def testDefault(self) -> None:
        """In the state directory, without being asked."""
        state = self.directory / "state"
        server = self.start(
            *("--websocket", STREAM, "--stream", STREAM, "--token", self.token),
            listeners=2,
            environment={"STATE_DIRECTORY": str(state)},
        )
        self.endTunnel(server)
        self.stop(server)
        self.assertEqual(json.loads((state / "totals.json").read_text())["tunnels"], 1)


class TroubleTests(AccountingCase):
    """Files that cannot be written."""

    measured = True

    @inThread
    def testNamedFile(self) -> None:
        """A mistake: one line, status 1, and nothing listens."""
        for start in (CONSOLE, TWISTD):
            for setting in ("tunnelLog", "statisticsLog"):
                program = self.run_(
                    [
                        *start,
                        *("--port", "0", "--token", self.token),
                        *("--set", f"Accounting.{setting}={self.directory}/nowhere/log"),
                    ]
                )
                self.assertEqual(program.wait(), 1)
                lines = [line for line in program.text().splitlines() if line]
                self.assertEqual(len(lines), 1, lines)
                self.assertRegex(lines[0], r"cannot write the \w+ log \S+: No such file")

    @inThread
    def testDirectoryOfTheOldServer(self) -> None:
        """Its file starts this server, too; one warning says what is missing."""
        file = self.file(
            "[ProxyServer]\nlogEngineEnabled=true\n[Accounting]\n"
            f"textDirectory={self.directory}/nowhere\n[WebSocketServer]\nport=0\n"
            "[SSL]\nenabled=false\n"
        )
        server = self.start("--configuration", file, "--token", self.token)
        self.assertEqual(
            len(server.find(r"warn +logEngineEnabled has no effect, \S+nowhere cannot be ")), 1
        )
        tunnel(server.url("ws"), self.token)[0].close()
        self.stop(server)

    @inThread
    def testFullDisk(self) -> None:
        """The server goes on, says so once, and writes what waited when there is room."""
        self.tunnels.symlink_to("/dev/full")
        server = self.launch()
        for _ in range(3):
            self.endTunnel(server)
        server.waitFor(rf"error +cannot write {re.escape(str(self.tunnels))}: No space left")
        self.tunnels.unlink()
        mark = server.mark()
        server.signal(SIGHUP)
        server.waitFor(r"tunnels\.json is written again; 0 lines lost", mark)
        self.assertEqual(len(self.entries(self.tunnels, 3)), 3)
        self.assertEqual(len(server.find("cannot write")), 1)
        self.stop(server)
