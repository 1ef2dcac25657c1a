"""SIGSTOP of the real server for longer than each of its time limits, and SIGCONT.

What clients sent meanwhile is with the kernel when the server goes on, and so are they themselves:
nobody has to pay for that it stood still.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.web.server import NOT_DONE_YET, Request

from tests.support.cores import Core, anyUuid
from tests.support.endtoend import (
    ESTABLISHED_FIRST,
    FIRST,
    PING,
    PONG,
    STREAM,
    TLS,
    TLS_STREAM,
    UPGRADE,
    Backend,
    EndToEnd,
    Server,
    Stream,
    WebSocket,
    accepted,
    authenticate,
    call,
    connect,
    frame,
    inThread,
    reactor,
    secret,
    tunnel,
)

LIMIT = 4.0
"""Seconds of each time limit: enough to set the scene, on a machine that is busy."""

STANDSTILL = LIMIT + 3
"""Seconds; a worker that is silent for ten is killed."""

LIMITS = (
    *(f"ProxyServer.{name}" for name in ("inactiveTimeout", "aloneTimeout", "pingTimeout")),
    *(f"ProxyServer.{name}" for name in ("authenticationTimeout", "jsonRpcTimeout")),
    *(f"ProxyServer.{name}" for name in ("tlsHandshakeTimeout", "webSocketHandshakeTimeout")),
    *("TunnelProxy.serverTimeout", "Limits.tunnelIdleTimeout"),
)


class StandstillTests(EndToEnd):
    """Clients of every kind, each of them waiting for the server, or about to be overdue."""

    @inThread
    def setUp(self) -> None:
        self.backend = Backend()
        self.backend.listen()
        self.addCleanup(deferToThread, self.backend.stop)

    def launch(self, *arguments: str) -> Server:
        """Start a server that has little patience."""
        self.token = secret()
        settings = dict.fromkeys(LIMITS, f"{LIMIT * 1000:.0f}")
        settings["ProxyServer.pingInterval"] = "500"
        return self.start(
            *("--websocket", STREAM, "--stream", STREAM, "--stream", TLS_STREAM),
            *("--token", self.token, "--server", f"http://127.0.0.1:{self.backend.port}/"),
            *(f"--set={name}={value}" for name, value in settings.items()),
            *("--tunnelproxy", *arguments),
            listeners=3,
        )

    def check(self, server: Server, *processes: int) -> None:
        """Stop processes of a server in the middle of everything, and let them go on."""
        ws, tcp, tls = server.urls
        # Each of these does its part while nobody listens, and then has what it is due.
        afterwards: list[Callable[[], None]] = []
        meanwhile = [
            act(url)
            for act, url in (
                (self.shakesHands, tls),
                (self.upgrades, ws),
                (self.callsLate, tcp),
                (self.isPinged, ws),
                (self.isJoined, tcp),
                (self.relays, tcp),
                (self.registers, tcp),
                (self.isJudged, tcp),
            )
        ]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            afterwards = [act() for act in meanwhile]
            time.sleep(frozen + STANDSTILL - time.monotonic())
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
        for check in afterwards:
            check()
        self.assertEqual(server.find("timeout|idle|silent| error "), [])

    # Who comes: what it does before, meanwhile, and afterwards

    def shakesHands(self, url: str) -> Callable[[], Callable[[], None]]:
        """TLS, in two round trips."""
        client = Stream(url, tls=False)
        self.keep(client)

        def hello() -> Callable[[], None]:
            # In a thread, as the server has something to say before it is over.
            thread = threading.Thread(target=shake)
            thread.start()
            return lambda: check(thread)

        def shake() -> None:
            client.socket = TLS.wrap_socket(client.socket, server_hostname="localhost")
            client.send(call("RemoteProxy.Hello"))

        def check(thread: threading.Thread) -> None:
            thread.join()
            self.assertIn(b'"success"', client.line())
            client.close()

        return hello

    def upgrades(self, url: str) -> Callable[[], Callable[[], None]]:
        """WebSocket: half a request, and the rest of it when the server is back."""
        client = Stream(url)
        self.keep(client)

        def half() -> Callable[[], None]:
            client.send(UPGRADE[:-2])
            return rest

        def rest() -> None:
            client.send(UPGRADE[-2:])
            self.assertIn(b" 101 ", client.readUntil(b"\r\n\r\n"))
            client.close()

        return half

    def callsLate(self, url: str) -> Callable[[], Callable[[], None]]:
        """Nothing was said until now."""
        client = connect(url)
        self.keep(client)

        def check() -> None:
            client.send(call("RemoteProxy.Hello"))
            self.assertIn(b'"success"', client.line())
            client.close()

        return lambda: check

    def isPinged(self, url: str) -> Callable[[], Callable[[], None]]:
        """The answer comes while nobody reads it."""
        one, two = tunnel(url, self.token, nonce=secret())
        self.keep(one, two)
        assert isinstance(one, WebSocket) and isinstance(two, WebSocket)
        for client in one, two:
            self.assertEqual(client.frame()[0], PING)

        def pong() -> Callable[[], None]:
            for client in one, two:
                client.send(frame(PONG))
            return check

        def check() -> None:
            one.sendMessage(b"still here")
            while (got := two.frame())[0] == PING:
                two.send(frame(PONG))
            self.assertEqual(got[1], b"still here")

        return pong

    def isJoined(self, url: str) -> Callable[[], Callable[[], None]]:
        """A partner that comes to a server that does not take it yet."""
        nonce = secret()
        first = connect(url)
        self.keep(first)
        first.send(authenticate(self.token, nonce=nonce))
        self.assertEqual(first.message(), accepted(FIRST))

        def come() -> Callable[[], None]:
            second = connect(url)
            self.keep(second)
            second.send(authenticate(self.token, nonce=nonce))
            return lambda: check(second)

        def check(second: Stream) -> None:
            self.assertEqual(second.message(), accepted(FIRST))
            for client in first, second:
                self.assertEqual(client.message(), ESTABLISHED_FIRST)
                client.close()

        return come

    def relays(self, url: str) -> Callable[[], Callable[[], None]]:
        """A tunnel that would be idle for too long."""
        one, two = tunnel(url, self.token, nonce=secret())
        self.keep(one, two)

        def send() -> Callable[[], None]:
            one.send(b"busy")
            return check

        def check() -> None:
            self.assertEqual(two.read(4), b"busy")
            one.close()
            two.close()

        return send

    def registers(self, url: str) -> Callable[[], Callable[[], None]]:
        """A registered server that says every now and then that it is there."""
        core = Core(url, anyUuid())
        self.keep(core.stream)

        def ping() -> Callable[[], None]:
            core.send(0, call("TunnelProxy.Ping", timestamp=1))
            return check

        def check() -> None:
            core.message()
            core.stream.close()

        return ping

    def isJudged(self, url: str) -> Callable[[], Callable[[], None]]:
        """The authentication server answers one that was asked before."""
        asked: list[Request] = []

        def wait(request: Request) -> int:
            asked.append(request)
            return NOT_DONE_YET

        def finish() -> None:
            (request,) = asked
            request.write(b'{"isValid": true}')
            request.finish()

        self.backend.answer = wait
        client: Any = connect(url)
        self.keep(client)
        client.send(authenticate(secret("unknown")))
        self.backend.waitFor(len(self.backend.asked) + 1)

        def answer() -> Callable[[], None]:
            blockingCallFromThread(reactor, finish)
            return check

        def check() -> None:
            self.assertEqual(client.message(), accepted(FIRST))
            client.close()

        return answer

    # Who stands still

    @inThread
    def testServer(self) -> None:
        """The only process."""
        server = self.launch()
        self.check(server, server.pid)

    def processes(self, server: Server) -> list[int]:
        """Return those of the workers."""
        server.waitFor(r"worker \d serves", count=2)
        return [int(match[1]) for match in server.find(r"serves, it is process (\d+)")]

    @inThread
    def testWorkers(self) -> None:
        """Those who relay, while their parent goes on accepting."""
        server = self.launch("--workers", "2")
        self.check(server, *self.processes(server))
        self.assertEqual(server.find("is gone with"), [])

    @inThread
    def testContainer(self) -> None:
        """All of them, as when a container is paused."""
        server = self.launch("--workers", "2")
        self.check(server, server.pid, *self.processes(server))
        self.assertEqual(server.find("is gone with"), [])
