"""What real processes that serve together show: as one server, and when their directory is gone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from uuid import uuid4

from tests.endtoend.test_front import FrontCase
from tests.support.endtoend import (
    MONITOR,
    PATIENCE,
    STREAM,
    EndToEnd,
    Program,
    Server,
    inThread,
    join,
    secret,
    tunnel,
    until,
)
from tests.support.lives import watch
from tests.support.redis import RedisServer, reasonToSkip


class CompanyCase(EndToEnd):
    """A server that is looked at."""

    def launch(self, *arguments: str, **environment: str) -> Server:
        """Start it; `self.token` is let in."""
        self.token = secret()
        self.path = str(self.temporary() / "monitor")
        self.server = self.start(
            *("--stream", STREAM, "--websocket", STREAM, "--token", self.token, "--admin", STREAM),
            *("--set", f"ProxyServer.monitorSocket={self.path}", *arguments),
            listeners=2,
            environment=environment,
        )
        self.url = self.server.waitFor(r"admin endpoint on (\S+)/")[1]
        return self.server

    def get(self, path: str) -> str:
        """Return what the admin endpoint answers with status 200."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)
            return str(answer.read().decode())

    def readiness(self) -> tuple[int, str]:
        """Return status and text of /readyz."""
        try:
            return 200, self.get("/readyz")
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def metric(self, name: str) -> float:
        """Return a metric; labels are a part of its name."""
        pattern = rf"^nymea_remoteproxy_{re.escape(name)} (\S+)$"
        (value,) = re.findall(pattern, self.get("/metrics"), re.M)
        return float(value)

    def awaitMetric(self, name: str, value: float) -> None:
        """Wait until a metric has a value: workers tell theirs once a second."""
        until(lambda: self.metric(name) == value, f"{name} is not {value}")


class WorkersShownTests(CompanyCase):
    """Two workers."""

    def serve(self, **environment: str) -> None:
        """Start them."""
        self.launch("--workers", "2", **environment)
        self.server.waitFor(r"worker \d serves", count=2)

    @inThread
    def test_oneServer(self) -> None:
        """Each connection has its worker, and a tunnel between two of them is one."""
        self.serve()
        one, two = tunnel(self.server.url("tcp"), self.token)
        self.keep(one, two)
        for client, other in ((one, two), (two, one)):
            client.send(b"hello")
            self.assertEqual(other.read(5), b"hello")
        told = watch(self.path)["proxyStatistic"]
        self.assertEqual({each["worker"] for each in told["clients"]}, {1, 2})
        self.assertEqual(len({each["id"] for each in told["clients"]}), 2)
        self.assertEqual((told["tunnelCount"], len(told["tunnels"])), (1, 1))
        self.assertEqual(self.metric("tunnels"), 1)
        self.assertEqual(self.metric("tunnels_established_total"), 1)
        for worker in (1, 2):
            self.assertEqual(self.metric(f'worker_connections{{worker="{worker}"}}'), 1)
            self.assertGreater(self.metric(f'worker_cpu_seconds_total{{worker="{worker}"}}'), 0)
        self.assertEqual((self.metric("workers"), self.metric("workers_serving")), (2, 2))
        delays = "worker_event_loop_delay_seconds_count"
        until(lambda: self.metric(delays) > 0, "event loops are not measured")
        for name, value in (
            ('places{state="held"}', 1),
            ("claim_seconds_count", 2),
            ('links{direction="in",state="relaying"}', 1),
            ('links{direction="out",state="relaying"}', 1),
        ):
            self.awaitMetric(name, value)
        (row,) = json.loads(self.get("/api/tunnels"))["rows"]
        self.assertEqual({end["worker"] for end in row["ends"]}, {1, 2})
        shown = self.run_([*MONITOR, "--socket", self.path, "--once"])
        self.assertEqual(shown.wait(), 0)
        self.assertEqual(len(re.findall(r"(?m) [12]$", shown.text())), 3, shown.text())
        self.assertIn("Worker", shown.text())

    @inThread
    def test_restart(self) -> None:
        """What a worker held is no more; its end is counted, and what it counted stays."""
        self.serve()
        self.keep(*tunnel(self.server.url("tcp"), self.token))
        self.awaitMetric("claim_seconds_count", 2)
        for worker in (1, 2):
            mark = self.server.mark()
            pid = self.server.find(rf"worker {worker} serves, it is process (\d+)")[-1][1]
            os.kill(int(pid), signal.SIGKILL)
            self.server.waitFor(f"worker {worker} serves", mark)
        self.assertEqual(self.metric("worker_restarts_total"), 2)
        self.assertEqual(self.metric('outcomes_total{outcome="worker-lost"}'), 1)
        self.assertEqual(self.metric('outcomes_total{outcome="link-lost"}'), 1)
        self.assertEqual(self.metric("claim_seconds_count"), 2)
        self.awaitMetric('places{state="held"}', 0)
        self.assertEqual(self.get("/readyz"), "ready\n")

    @inThread
    def test_nobodyServes(self) -> None:
        """While there is no worker the server is not ready."""
        self.serve()
        self.assertEqual(self.readiness(), (200, "ready\n"))
        for match in self.server.find(r"worker \d serves, it is process (\d+)"):
            os.kill(int(match[1]), signal.SIGKILL)
        until(lambda: self.readiness() == (503, "starting\n"), "it is said to be ready")
        until(lambda: self.readiness() == (200, "ready\n"), "it is never ready again")

    @inThread
    def test_systemd(self) -> None:
        """The status line says how many serve."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            path = str(self.temporary() / "notify")
            systemd.bind(path)
            systemd.settimeout(PATIENCE)
            self.serve(NOTIFY_SOCKET=path)
            while "STATUS=0 connections, 2 of 2 workers" not in systemd.recv(4096).decode():
                pass


class DegradedTests(CompanyCase):
    """A node of a cluster whose directory is gone, and is back."""

    skip = reasonToSkip()

    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer()
        self.addCleanup(self.redis.close)

    def node(self, *arguments: str) -> None:
        """Start it."""
        url = f"redis://127.0.0.1:{self.redis.port}/0"
        self.launch("--cluster", url, "--set", f"Cluster.listen={STREAM}", *arguments)

    def checkOutage(self) -> None:
        """It is degraded and serves, as long as the directory is gone, and no longer."""
        until(lambda: self.get("/readyz") == "ready\n", "it is not ready")
        self.assertEqual(self.metric("directory_answering"), 1)
        one, two = tunnel(self.server.url("tcp"), self.token)
        self.keep(one, two)
        self.redis.kill()
        degraded = "degraded: the directory does not answer\n"
        until(lambda: self.get("/readyz") == degraded, "it is not degraded")
        self.assertEqual(self.get("/healthz"), "ok\n")
        self.assertEqual((self.metric("directory_answering"), self.metric("ready")), (0, 1))
        self.assertEqual(
            json.loads(self.get("/api/status"))["company"]["trouble"],
            "the directory does not answer",
        )
        one.send(b"still there")
        self.assertEqual(two.read(11), b"still there")
        waiting = join(self.server.url("tcp"), self.token, nonce=secret("nonce"))
        self.keep(waiting)
        until(lambda: self.metric('places{state="unlisted"}') > 0, "its place is not unlisted")
        self.redis.start()
        until(lambda: self.get("/readyz") == "ready\n", "it is degraded for ever")
        self.awaitMetric('places{state="unlisted"}', 0)
        self.assertEqual(self.metric("directory_answering"), 1)

    @inThread
    def test_oneProcess(self) -> None:
        self.node()
        self.checkOutage()
        self.assertEqual(self.metric("directory_outages_total"), 1)
        self.assertEqual(len(self.server.find("The directory .* fails")), 1)
        self.assertNotIn("nymea_remoteproxy_workers", self.get("/metrics"))
        self.assertNotIn("worker", json.dumps(watch(self.path)))

    @inThread
    def test_workers(self) -> None:
        """All of them, as one; none is there before it serves."""
        self.node("--workers", "2")
        self.server.waitFor(r"worker \d serves", count=2)
        until(lambda: self.metric("directory_commands_total") > 0, "nothing is told")
        self.checkOutage()
        self.assertEqual(self.metric("directory_outages_total"), 2)


class VisitorsShownTests(CompanyCase, FrontCase):
    """Two workers with a front door."""

    @inThread
    def test_visitors(self) -> None:
        """What OpenSSL makes of it is counted, shown and written down, whichever worker has it."""
        home, entries = uuid4(), self.temporary() / "tunnels.json"
        self.path = str(self.temporary() / "monitor")
        server = self.open(
            *("--workers", "2", "--admin", STREAM, "--set", f"Accounting.tunnelLog={entries}"),
            *("--set", f"ProxyServer.monitorSocket={self.path}"),
            names=f"one.test {home}\n",
        )
        server.waitFor(r"worker \d serves", count=2)
        self.url = server.waitFor(r"admin endpoint on (\S+)/")[1]
        self.home(server.url("ws"), home)
        visitors = [self.sClient(server, "-servername", "one.test") for _ in range(3)]
        for options, alert, outcome in (
            (("-servername", "two.test"), "unrecognized name", "unknown-name"),
            (("-noservername",), "missing extension|alert number 109", "no-server-name"),
        ):
            self.sClient(server, *options).waitFor(alert)
            self.awaitMetric(f'outcomes_total{{outcome="{outcome}"}}', 1)
        for name, value in (("front_names", 1), ("front_visitors", 3), ("tunnel_proxy_clients", 3)):
            self.awaitMetric(name, value)
        status = json.loads(self.get("/api/status"))
        self.assertEqual(status["front"], {"visitors": 3, "names": 1})
        isFront = [each["isFront"] for each in status["listeners"]]
        self.assertEqual(isFront, [False, True])
        (row,) = json.loads(self.get("/api/servers"))["rows"]
        self.assertEqual((row["clients"], row["visitors"]), (3, 3))
        self.assertEqual({end["worker"] for end in row["ends"][1:]}, {1, 2})
        told = watch(self.path)["tunnelProxyStatistic"]
        self.assertEqual(told["transports"], {"WebSocket": 1, "TCP": 3, "unix": 0})
        visitors[0].stop()
        self.awaitMetric("front_visitors", 2)
        until(entries.read_text, "the visit is not written down")
        entry = json.loads(entries.read_text())
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
        self.assertEqual((entry["server"], entry["sides"][0]["transport"]), (digest, "front"))

    def sClient(self, server: Server, *options: str) -> Program:
        """Return OpenSSL as a visitor, which waits for the home's answer."""
        where = server.url("https").removeprefix("https://")
        return self.run_(["openssl", "s_client", "-connect", where, *options])
