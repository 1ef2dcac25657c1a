"""The command ``nymea-remoteproxy-client`` with the tunnel proxy, as a process."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.support.endtoend import CLIENT, environmentOfPrograms, runForked
from tests.support.proxies import Recorder, awaited, line, recording
from tests.support.tunnelproxies import SERVER, Hasher, ProxyMixin, answer

reactor: Any = globalReactor


class Process(ProcessProtocol):
    """The command as a process.

    :ivar told: the lines on standard error so far.
    :ivar status: fires with the exit status.
    """

    transport: Any

    def __init__(self, test: TestCase, *arguments: str) -> None:
        self.out = b""
        self.told: list[str] = []
        self.status: Deferred[int] = Deferred()
        self._rest = b""
        self._wanted: list[tuple[str, int, Deferred[str]]] = []
        command = [sys.executable, "-m", "nymearemoteproxy.client.cli", *arguments]
        reactor.spawnProcess(self, command[0], command, environmentOfPrograms())
        test.addCleanup(self.end)

    def line(self, words: str, start: int = 0) -> Deferred[str]:
        """Fires with the first line, from number `start` on, that has `words` in it."""
        wanted: Deferred[str] = Deferred()
        self._wanted.append((words, start, wanted))
        self._look()
        return wanted

    def end(self) -> Deferred[int] | None:
        if self.status.called:
            return None
        self.transport.signalProcess("TERM")
        return self.status

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.told += [line.decode() for line in lines]
        self._look()

    def processEnded(self, reason: Failure) -> None:
        problem: Any = reason.value
        self.status.callback(problem.exitCode or 0)

    def _look(self) -> None:
        for item in list(self._wanted):
            words, start, wanted = item
            found = [line for line in self.told[start:] if words in line]
            if found:
                self._wanted.remove(item)
                wanted.callback(found[0])


class StuckTests(ProxyMixin, TestCase):
    """Nobody reads standard error, or the terminal is in Ctrl-S."""

    scheme = "ws"
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)
        self.filled = fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 1)
        os.write(self.writer, bytes(self.filled))

    async def serve(self) -> subprocess.Popen[bytes]:
        """Offer a service, and use it twice."""
        port = self.listen(Factory.forProtocol(Hasher))
        registered = self.proxy.registered()
        arguments = ["--url", self.url, "--serve", SERVER, "--forward", f"127.0.0.1:{port}", "-v"]
        server = subprocess.Popen(
            [sys.executable, "-m", "nymearemoteproxy.client.cli", *arguments],
            env=environmentOfPrograms(),
            stderr=self.writer,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        await registered
        for _ in range(2):
            client = await self.clientEndpoint().connect(recording())
            client.transport.write(bytes(4))
            await client.lost
            self.assertEqual(client.data, hashlib.sha256(b"").digest())
        return server

    @awaited
    async def test_order(self) -> None:
        """The service is reached, and what was said meanwhile can be read later."""
        await self.serve()
        told = b""
        while b"client 2: " not in told:
            told += await deferToThread(os.read, self.reader, 1 << 16)
        said = re.findall("connecting to|registered|client [0-9]", told[self.filled :].decode())
        self.assertEqual(said, ["connecting to", "registered", "client 1", "client 2"])

    @awaited
    async def test_end(self) -> None:
        """It does not wait for a reader for ever."""
        server = await self.serve()
        server.terminate()
        self.assertEqual(await deferToThread(server.wait, 30), 128 + signal.SIGTERM)


class CommandTests(ProxyMixin, TestCase):
    """The command as a process."""

    scheme = "ws"
    timeout = 300

    def server(self, service: Any, *arguments: str) -> Process:
        port = self.listen(Factory.forProtocol(service))
        forward = ["--forward", f"127.0.0.1:{port}"]
        return Process(self, "--url", self.url, "--serve", SERVER, *forward, *arguments)

    def client(self, *arguments: str) -> Process:
        return Process(self, "--url", self.url, "--server-uuid", SERVER, *arguments)

    async def ask(self, listening: str, data: bytes) -> None:
        port = int(listening.rpartition(":")[2])
        asking = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(recording())
        asking.transport.write(len(data).to_bytes(4, "big") + data)
        await asking.lost
        self.assertEqual(asking.data[:32], hashlib.sha256(data).digest())

    @awaited
    async def test_serveAndListen(self) -> None:
        server = self.server(Hasher, "--name", "a name")
        registered = await server.line("registered")
        self.assertEqual(registered, f"nymea-remoteproxy-client: registered as server {SERVER}")
        self.assertEqual(self.proxy.requests[0]["params"]["serverName"], "a name")
        client = self.client("--listen", "0")
        listening = await client.line("listening on 127.0.0.1:")
        await self.ask(listening, os.urandom(1_000_000))
        # The proxy restarts, and somebody connects meanwhile.
        await self.proxy.stop()
        await server.line("connection lost: ")
        asking = Deferred.fromCoroutine(self.ask(listening, b"meanwhile"))
        await client.line("connection refused; next attempt in ")
        self.proxy = self.makeProxy(self.proxy.port)
        await server.line("registered", start=1)
        await asking
        for process in (server, client):
            process.transport.signalProcess("TERM")
            self.assertEqual(await process.status, 128 + signal.SIGTERM)
            self.assertEqual([line for line in process.told if "Traceback" in line], [])
        # That it was ended is no connection lost.
        self.assertIn("registered", server.told[-1])

    @awaited
    async def test_withoutFront(self) -> None:
        """That no visitors will come is said once, however often it registers."""
        server = self.server(Hasher, "--front")
        for start in (0, 2):
            await server.line("registered", start)
            for peer in self.proxy.connections:
                peer.transport.abortConnection()
            await server.line("connection lost", start)
        told = "nymea-remoteproxy-client: the proxy knows of no front door: no visitors will come"
        self.assertEqual(server.told.count(told), 1)

    @awaited
    async def test_unixService(self) -> None:
        directory = tempfile.TemporaryDirectory()  # a path of trial's may be too long for a socket
        self.addCleanup(directory.cleanup)
        path = f"{directory.name}/service"
        port = reactor.listenUNIX(path, Factory.forProtocol(Hasher))
        self.addCleanup(port.stopListening)
        forward = ["--forward", f"unix:{path}"]
        server = Process(self, "--url", self.url, "--serve", SERVER, "--verbose", *forward)
        await server.line("registered")
        client = await self.clientEndpoint().connect(recording())
        client.transport.write(bytes(4))
        await client.lost
        self.assertEqual(client.data, hashlib.sha256(b"").digest())
        await server.line("client 1: ")

    @awaited
    async def test_standardInputAndOutput(self) -> None:
        registered = await self.publish()
        client = self.client("--uuid", "c" * 32, "--name", "me")
        await client.line("tunnel established with " + SERVER)
        params = self.proxy.requests[1]["params"]
        self.assertEqual(params["clientUuid"], "{cccccccc-cccc-cccc-cccc-cccccccccccc}")
        client.transport.write(bytes(4))
        self.assertEqual(await client.status, 0)
        self.assertEqual(client.out, hashlib.sha256(b"").digest())
        self.assertIn("partner left", client.told[-1])
        registered.transport.signalProcess("TERM")
        await registered.status

    async def publish(self) -> Process:
        server = self.server(Hasher)
        await server.line("registered")
        return server

    @awaited
    async def test_clientWaitsForTheServer(self) -> None:
        client = self.client()
        await client.line("the server is not connected to the proxy; next attempt in ")
        await self.publish()
        await client.line("tunnel established")
        client.transport.write(bytes(4))
        self.assertEqual(await client.status, 0)

    @awaited
    async def test_tunnelLost(self) -> None:
        """Once there was a tunnel its end is the end."""
        await self.publish()
        client = self.client()
        await client.line("tunnel established")
        for peer in self.proxy.connections:
            if peer.server is not None:
                peer.transport.abortConnection()
        self.assertEqual(await client.status, 1)
        self.assertIn("the tunnel was lost", client.told[-1])

    @awaited
    async def test_noTunnelProxy(self) -> None:
        """All find out at once, also who only listens so far."""
        refusal = {"status": "error", "error": "Unknown namespace."}
        self.proxy.script = lambda peer: peer.send(
            line({"id": self.proxy.requests[-1]["id"], **refusal})
        )
        for process in (self.server(Hasher), self.client(), self.client("--listen", "0")):
            self.assertEqual(await process.status, 1)
            self.assertIn("the tunnel proxy is not switched on there", process.told[-1])

    @awaited
    async def test_listensWhileTheProxyIsAway(self) -> None:
        port = self.proxy.port
        await self.proxy.stop()
        client = self.client("--listen", "0")
        listening = await client.line("listening on 127.0.0.1:")
        asking = Deferred.fromCoroutine(self.ask(listening, b"early"))
        await client.line("connection refused; next attempt in ")
        self.proxy = self.makeProxy(port)
        await self.publish()
        await asking

    @awaited
    async def test_serviceIsDown(self) -> None:
        """The server says where, and the client that it was no success."""
        listening = reactor.listenTCP(0, recording(), interface="127.0.0.1")
        unused = listening.getHost().port
        await listening.stopListening()
        server = Process(
            self, "--url", self.url, "--serve", SERVER, "--forward", f"127.0.0.1:{unused}"
        )
        await server.line("registered")
        client = self.client()
        self.assertEqual(await client.status, 1)
        self.assertEqual(
            client.told[-1],
            "nymea-remoteproxy-client: the service closed the connection without a word; does it "
            "run?",
        )
        await server.line(
            f"cannot connect to the service at 127.0.0.1:{unused}: connection refused"
        )

    @awaited
    async def test_silentService(self) -> None:
        """Who has said all and leaves need not have an answer."""
        server = self.server(Recorder)
        await server.line("registered")
        client = self.client()
        await client.line("tunnel established")
        client.transport.write(b"x")
        client.transport.closeStdin()
        self.assertEqual(await client.status, 0)

    @awaited
    async def test_permanentMistakes(self) -> None:
        for response, words in (
            (answer("ForbiddenCall", slipEnabled=False), "does not allow the uuid"),
            (answer("InvalidUuid", slipEnabled=False), "does not accept the uuid"),
        ):
            self.proxy.script = lambda peer, response=response: peer.send(response)  # type: ignore[misc]
            server, client = self.server(Hasher), self.client()
            listener = self.client("--listen", "0")
            port = int((await listener.line("listening")).rpartition(":")[2])
            asking = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(recording())
            for process in (server, client, listener):
                self.assertEqual(await process.status, 1)
                self.assertIn(words, process.told[-1])
            await asking.lost

    @awaited
    async def test_portInUse(self) -> None:
        port = self.listen(recording())
        for where in (f"127.0.0.1:{port}", f"{port}"):
            client = self.client("--listen", where)
            self.assertEqual(await client.status, 1)
            told = f"nymea-remoteproxy-client: cannot listen on 127.0.0.1:{port}: "
            self.assertEqual(client.told, [told + "Address already in use"])

    @awaited
    async def test_noAddressOfOurs(self) -> None:
        client = self.client("--listen", "[2001:db8::1]:0")
        self.assertEqual(await client.status, 1)
        self.assertIn("cannot listen on [2001:db8::1]:0: ", client.told[0])

    def test_mistakes(self) -> None:
        serve = ["--serve", SERVER, "--forward", "h:1"]
        client = ["--server-uuid", SERVER]
        for arguments in (
            ["--serve", SERVER],
            ["--forward", "h:1"],
            ["--listen", "0"],
            ["--serve", "x", "--forward", "h:1"],
            ["--serve", SERVER, "--forward", "h"],
            ["--server-uuid", "x"],
            [*serve, "--token", "t", "--token-file", "t"],
            [*serve, "--token-file", "there is none"],
            [*serve, "--nonce", "n"],
            [*serve, "--uuid", SERVER],
            [*serve, "--listen", "0"],
            [*serve, "--forward-http", "h"],
            [*serve, "--front", "--no-front"],
            [*serve, "--forward-http", "h:1", "--no-front"],
            [*serve, "--front", "--end-to-end"],
            [*serve, "--forward-http", "h:1", "--end-to-end"],
            *([*client, option] for option in ("--front", "--no-front", "--proxy-protocol")),
            [*client, "--forward-http", "h:1"],
            [*serve, *client],
            [*client, "--nonce", "n"],
            [*client, "--uuid", "x"],
            [*client, "--listen", "x"],
            [*client, "--listen", "0", "--uuid", SERVER],
            [*client, "--insecure"],
        ):
            status, told = runForked(CLIENT, ["--url", "ws://127.0.0.1:1", *arguments], {})
            self.assertEqual((status, told.count("\n")), (1, 1), told)
            self.assertNotIn("no token", told)
