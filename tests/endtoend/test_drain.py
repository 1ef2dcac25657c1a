"""SIGUSR2 to the real server process: it ends with its last client."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from pathlib import Path

from tests.support.cores import TunnelProxyCase, anyUuid, error, visit
from tests.support.endtoend import (
    PATIENCE,
    SECOND,
    SIGHUP,
    SIGTERM,
    SIGUSR2,
    STREAM,
    TLS_STREAM,
    Server,
    Stream,
    call,
    connect,
    inThread,
    join,
    secret,
    tunnel,
    until,
)
from tests.support.lives import DRAINING, LifeCase, errors, reload, watch


class DrainTests(LifeCase):
    """SIGUSR2."""

    def drain(self, server: Server) -> None:
        """Have the server drained."""
        server.signal(SIGUSR2)
        server.waitFor(DRAINING)

    def assertClosed(self, server: Server) -> None:
        """Check that nobody gets in."""
        for url in server.urls:
            if url.startswith("unix:"):
                until(lambda: not Path(self.path).exists(), "the Unix socket is still there")
                self.assertRaises(OSError, Stream, url)
            else:
                host, port = url.rpartition("//")[2].split(":")
                until(lambda: isRefused(host, int(port)), f"{url} is open")  # noqa: B023 - at once

    @inThread
    def testDrain(self) -> None:
        """Who has a tunnel stays, nothing is lost; who has none is told; the last one ends it."""
        server = self.launch()
        traffic, tunnels = self.fill(server)
        fresh = {scheme: connect(server.url(scheme)) for scheme in ("ws", "wss", "tcp", "tls")}
        waiting = {
            scheme: join(server.url(scheme), self.token, SECOND, nonce=scheme)
            for scheme in ("ws", "wss", "tcp", "tls", "unix")
        }
        silent = Stream(server.url("wss"), tls=False)  # says nothing, not even TLS
        self.drain(server)
        for clients in fresh, waiting:
            for scheme, client in clients.items():
                self.assertEqual(client.goodbye(), (b"", 1013 if "w" in scheme else None))
                if scheme != "unix":
                    self.assertEqual(server.ended(client), "shutdown-waiting")
        self.assertEqual(silent.rest(), b"")
        silent.close()
        self.assertClosed(server)
        traffic.moves()
        traffic.finish()
        *others, (one, two) = tunnels
        for pair in others:
            for client in pair:
                client.close()
        one.sendMessage(b"still here")
        self.assertEqual(two.read(10), b"still here")
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.find("stopping"), [])
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)
        server.waitFor("stopped")

    @inThread
    def testSocketsAreGone(self) -> None:
        """Without the files of its Unix sockets the server drains and stops as with them."""
        monitor = self.temporary() / "monitor"
        for end in (SIGUSR2, SIGTERM):
            server = self.launch("--set", f"ProxyServer.monitorSocket={monitor}")
            waiting = join(server.url("tcp"), self.token)
            monitor.unlink()
            Path(self.path).unlink()
            server.signal(end)
            self.assertEqual(waiting.goodbye(), (b"", None))
            self.assertEqual(server.wait(), 0)
            self.assertEqual(server.ended(waiting), "shutdown-waiting")
            self.assertEqual(len(server.find("a listener was not closed in order")), 1)
            server.waitFor("stopped")

    @inThread
    def testNobody(self) -> None:
        """With nobody there it stops at once."""
        server = self.launch()
        self.drain(server)
        self.assertEqual(server.wait(), 0)

    @inThread
    def testLastBytes(self) -> None:
        """What the last client sent before it left is delivered before the process ends."""
        server = self.launch()
        one, two = tunnel(server.url("tcp"), self.token, server.url("tls"))
        self.drain(server)
        data = os.urandom(1 << 20)
        one.send(data)
        one.close()
        received = two.rest()
        two.close()
        self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(data).digest())
        self.assertEqual(server.wait(), 0)

    @inThread
    def testTimeout(self) -> None:
        """After drainTimeout tunnels are told that the server goes."""
        server = self.launch("--set", "ProxyServer.drainTimeout=300")
        one, two = tunnel(server.url("ws"), self.token, server.url("tls"))
        begun = time.monotonic()
        self.drain(server)
        self.assertEqual(one.goodbye(), (b"", 1001))
        self.assertGreater(time.monotonic() - begun, 0.29)
        self.assertEqual(two.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
        for client in one, two:
            self.assertEqual(server.ended(client), "shutdown")

    @inThread
    def testWithoutTimeout(self) -> None:
        """0 is for ever."""
        server = self.launch("--set", "ProxyServer.drainTimeout=0")
        one, two = tunnel(server.url("ws"), self.token, server.url("tls"))
        self.drain(server)
        server.waitFor(r"when the last tunnel has ended$")
        one.sendMessage(b"still here")
        self.assertEqual(two.read(10), b"still here")
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)

    @inThread
    def testSignals(self) -> None:
        """Draining again changes nothing, a reload is one, and SIGTERM stops at once."""
        tokens = Path(self.file(secret()))
        server = self.launch("--token-file", str(tokens))
        one, two = tunnel(server.url("ws"), self.token, server.url("tcp"))
        self.drain(server)
        server.signal(SIGUSR2)
        reload(server, "reloaded: 2 tokens")
        tokens.write_text("")
        mark = reload(server, "reloaded, but not everything")
        self.assertEqual(len(errors(server, mark)), 1)
        server.signal(SIGUSR2)
        self.assertClosed(server)
        two.sendMessage(b"still here")
        self.assertEqual(one.message(), b"still here")
        server.signal(SIGTERM)
        self.assertEqual(one.goodbye(), (b"", 1001))
        self.assertEqual(two.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
        self.assertEqual(len(server.find(DRAINING)), 1)
        self.assertEqual(len(server.find("stopping")), 1)

    @inThread
    def testWhileStopping(self) -> None:
        """It is too late to drain, or to reload."""
        server = self.launch("--set", "ProxyServer.shutdownTimeout=500")
        one, two = tunnel(server.url("ws"), self.token)  # they will not close
        server.signal(SIGTERM)
        server.waitFor("stopping")
        server.signal(SIGUSR2)
        server.signal(SIGHUP)
        self.assertEqual(server.wait(), 0)
        self.assertEqual(server.find(f"{DRAINING}|reloaded"), [])
        one.close()
        two.close()

    @inThread
    def testMonitorSocket(self) -> None:
        """It answers until the process ends; its path is for the next process that wants it."""
        path = str(self.temporary() / "monitor")
        server = self.launch("--set", f"ProxyServer.monitorSocket={path}")
        one, two = tunnel(server.url("ws"), self.token)
        watcher = Stream(f"unix:{path}")
        self.drain(server)
        until(Path(f"{path}.draining").exists, "it does not give way")
        for place in path, f"{path}.draining":
            told = watch(place)
            self.assertEqual(told["condition"], "draining")
            self.assertEqual(told["proxyStatistic"]["tunnelCount"], 1)
        successor = self.launch("--set", f"ProxyServer.monitorSocket={path}")
        self.assertEqual(watch(path)["condition"], "ready")
        self.assertEqual(watch(f"{path}.draining")["condition"], "draining")
        watcher.send(b'{"method":"refresh"}')
        self.assertEqual(json.loads(watcher.line())["proxyStatistic"]["tunnelCount"], 1)
        one.close()
        two.close()
        self.assertEqual(server.wait(), 0)
        watcher.rest()  # it is closed, perhaps after more news
        watcher.close()
        self.assertFalse(Path(f"{path}.draining").exists())
        self.assertEqual(watch(path)["condition"], "ready")
        successor.signal(SIGTERM)
        self.assertEqual(successor.wait(), 0)
        self.assertEqual(os.listdir(Path(path).parent), [])

    @inThread
    def testMonitorSocketIsLeft(self) -> None:
        """Nobody takes over: it is gone with the process, and what a killed one leaves, later."""
        path = str(self.temporary() / "monitor")
        setting = ("--set", f"ProxyServer.monitorSocket={path}")
        server = self.launch(*setting)
        one, two = tunnel(server.url("ws"), self.token)
        self.drain(server)
        until(Path(f"{path}.draining").exists, "it does not give way")
        self.assertEqual(watch(path)["condition"], "draining")
        server.process.kill()
        server.process.wait()
        server = self.launch(*setting)
        self.keep(*tunnel(server.url("ws"), self.token))
        before = Path(f"{path}.draining").stat().st_ino
        self.drain(server)
        until(
            lambda: Path(f"{path}.draining").stat().st_ino != before,
            "it does not give way",
        )
        self.assertEqual(watch(f"{path}.draining")["condition"], "draining")
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertEqual(os.listdir(Path(path).parent), [])
        for client in one, two:
            client.close()


class TwistdDrainTests(DrainTests):
    """The same under twistd."""

    twistd = True


def isRefused(host: str, port: int) -> bool:
    """Tell whether nobody listens there."""
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


class TunnelProxyDrainTests(TunnelProxyCase):
    """SIGUSR2 with the tunnel proxy: a server goes with its last client."""

    @inThread
    def testDrain(self) -> None:
        """Several servers and clients, over several transports."""
        server = self.start(
            *("--tunnelproxy", "--websocket", STREAM, "--stream", TLS_STREAM), listeners=2
        )
        web, tls = server.url("ws"), server.url("tls")
        idle, busy, busier = anyUuid(), anyUuid(), anyUuid()
        idleCore = self.register(web, idle)
        busyCore = self.register(tls, busy)
        busierCore = self.register(web, busier)
        leftEarly, _ = self.join(web, idle, idleCore)
        leftEarly.close()
        idleCore.message()
        server.ended(leftEarly)
        only = self.join(web, busy, busyCore)
        first = self.join(web, busier, busierCore)
        second = self.join(tls, busier, busierCore)
        stranger, said = visit(web, anyUuid())
        self.assertEqual(said, error("ServerNotFound"))
        stranger.goodbye()
        server.signal(SIGUSR2)
        server.waitFor(DRAINING)
        self.assertEqual(idleCore.stream.goodbye(), (b"", 1001))
        self.assertEqual(server.ended(idleCore.stream), "shutdown")
        self.works(busyCore, *only)
        self.works(busierCore, *first)
        first[0].close()
        self.assertEqual(busierCore.message()["notification"], "TunnelProxy.ClientDisconnected")
        self.works(busierCore, *second)
        self.works(busyCore, *only)
        busierCore.send(0, call("TunnelProxy.DisconnectClient", socketAddress=second[1]))
        self.assertEqual(second[0].goodbye(), (b"", None))
        self.assertEqual(busierCore.stream.goodbye()[1], 1001)
        self.assertEqual(server.ended(busierCore.stream), "shutdown")
        self.works(busyCore, *only)
        self.assertEqual(server.find("stopping"), [])
        busyCore.stream.close()  # the server itself goes
        self.assertEqual(only[0].goodbye(), (b"", 1000))
        self.assertEqual(server.wait(), 0)

    @inThread
    def testTimeout(self) -> None:
        """Then servers and clients are told."""
        server = self.start(
            *("--tunnelproxy", "--websocket", STREAM, "--set", "ProxyServer.drainTimeout=200")
        )
        core = self.register(server.url("ws"), uuid := anyUuid())
        client, _ = self.join(server.url("ws"), uuid, core)
        server.signal(SIGUSR2)
        for stream in core.stream, client:
            self.assertEqual(stream.goodbye(), (b"", 1001))
        self.assertEqual(server.wait(), 0)
