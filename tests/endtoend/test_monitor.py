"""The monitor socket of the real process."""

from __future__ import annotations

import json
import socket
import stat
import time
from typing import Any

from tests.support.endtoend import (
    CONSOLE,
    MONITOR,
    PATIENCE,
    SECOND,
    SIGTERM,
    TWISTD,
    EndToEnd,
    Server,
    inThread,
    join,
    secret,
    tunnel,
)


class ConsoleMonitorTests(EndToEnd):
    """The console script."""

    twistd = False

    def launch(self, path: str, token: str, *arguments: str) -> Server:
        """Start a server with a monitor socket."""
        return self.start(
            "--websocket=tcp:0:interface=127.0.0.1",
            "--stream=tls:tcp:0:interface=127.0.0.1",
            "--token",
            token,
            "--set",
            f"ProxyServer.monitorSocket={path}",
            *arguments,
            twistd=self.twistd,
            listeners=2,
        )

    def watch(self, path: str) -> socket.socket:
        """Connect as a monitor does."""
        monitor = socket.socket(socket.AF_UNIX)
        self.addCleanup(monitor.close)
        monitor.settimeout(PATIENCE)
        monitor.connect(path)
        return monitor

    def line(self, monitor: socket.socket) -> Any:
        """Return what the next line says."""
        data = b""
        while not data.endswith(b"}\n"):
            data += (piece := monitor.recv(65536))
            self.assertNotEqual(piece, b"")
        return json.loads(data)

    def ask(self, path: str) -> Any:
        """Return the answer to one question, asked as a shell script would."""
        monitor = self.watch(path)
        monitor.sendall(b'{"method":"refresh"}\n')
        monitor.shutdown(socket.SHUT_WR)
        answer = self.line(monitor)
        self.assertEqual(monitor.recv(1), b"")
        return answer

    @inThread
    def testTunnel(self) -> None:
        """Clients, their tunnel and their bytes are seen, by who asks and by who listens only."""
        path = str(self.temporary() / "monitor")
        server = self.launch(path, token := secret())
        listener = self.watch(path)
        self.assertEqual(self.line(listener)["proxyStatistic"]["clientCount"], 0)
        before = round(time.time())
        waiting = join(server.url("ws"), token, SECOND, nonce=secret("nonce"))
        one, two = tunnel(server.url("ws"), token, server.url("tls"))
        self.keep(waiting, one, two)
        one.sendMessage(b"x" * 1000)
        two.read(1000)
        told = self.ask(path)
        self.assertNotIn(token, json.dumps(told))
        told = told["proxyStatistic"]
        by = {each["address"]: each for each in told["clients"]}
        first, second, third = (by[client.peer] for client in (waiting, one, two))
        self.assertEqual(
            [first[name] for name in ("name", "uuid", "authenticated", "tunnelConnected")],
            [SECOND["name"], SECOND["uuid"], True, False],
        )
        self.assertGreater(second["rxDataCount"], 1000)
        self.assertGreater(third["txDataCount"], 1000)
        for client in (first, second, third):
            self.assertLessEqual(abs(client["timestamp"] - before), PATIENCE)
        (pair,) = told["tunnels"]
        self.assertEqual({pair["clientOne"], pair["clientTwo"]}, {second["id"], third["id"]})
        self.assertEqual((told["clientCount"], told["tunnelCount"]), (3, 1))
        while self.line(listener)["proxyStatistic"]["tunnelCount"] != 1:
            pass

    @inThread
    def testCommand(self) -> None:
        """nymea-remoteproxy-monitor shows it, as text and as JSON."""
        path = str(self.temporary() / "monitor")
        server = self.launch(path, token := secret())
        self.keep(client := join(server.url("ws"), token, SECOND))
        page = self.run_([*MONITOR, "--socket", path, "--once"])
        self.assertEqual(page.wait(), 0, page.text())
        for expected in (SECOND["name"], client.peer, "nymea-remoteproxy 2."):
            self.assertIn(expected, page.text("out"))
        raw = self.run_([*MONITOR, "--socket", path, "--json"])
        self.assertEqual(raw.wait(), 0, raw.text())
        (told,) = json.loads(raw.text("out"))["proxyStatistic"]["clients"]
        self.assertEqual((told["name"], told["address"]), (SECOND["name"], client.peer))

    @inThread
    def testSocket(self) -> None:
        """Only its user and group may connect; it is gone when the server is.

        Unless that was killed, and then the next one replaces it.
        """
        path = self.temporary() / "monitor"
        server = self.launch(str(path), secret())
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)
        watching = self.watch(str(path))
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        while watching.recv(65536):
            pass
        self.assertFalse(path.exists())
        server = self.launch(str(path), secret(), "--set", "ProxyServer.monitorSocketMode=600")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        server.process.kill()
        server.process.wait()
        self.assertTrue(path.exists())
        self.launch(str(path), secret())
        self.ask(str(path))

    @inThread
    def testNoPlace(self) -> None:
        """One line says that the socket cannot be there."""
        path = self.temporary() / "missing" / "monitor"
        program = self.run_(
            [*self.command(), "--token", secret(), "--port=0"]
            + ["--set", f"ProxyServer.monitorSocket={path}"]
        )
        self.assertEqual(program.wait(), 1)
        self.assertIn(f"cannot listen on {path}: No such file", program.text())

    def command(self) -> tuple[str, ...]:
        """Return what is started."""
        return TWISTD if self.twistd else CONSOLE


class TwistdMonitorTests(ConsoleMonitorTests):
    """The same under twistd."""

    twistd = True
