"""The tunnel proxy in the real server process."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import socketserver
import subprocess
import threading
from pathlib import Path

from tests.support.cores import Core, TunnelProxyCase, anyUuid, error, visit
from tests.support.endtoend import (
    CLIENT,
    PATIENCE,
    SIGTERM,
    STREAM,
    Certificate,
    Server,
    Stream,
    call,
    connect,
    environmentOfPrograms,
    inThread,
    secret,
    tunnel,
)
from tests.support.lives import reload


class ConsoleTunnelProxyTests(TunnelProxyCase):
    """Switched on by the option."""

    twistd = False

    def launch(self, *arguments: str) -> Server:
        """Start a server with a WebSocket and a TLS stream listener."""
        return self.start(
            *("--tunnelproxy", "--websocket", STREAM, "--stream", f"tls:{STREAM}", "-vv"),
            *arguments,
            twistd=self.twistd,
            listeners=2,
        )

    @inThread
    def testTlsServerAndWebSocketClient(self) -> None:
        """They exchange megabytes beside a token tunnel, and are all there when it is stopped."""
        server = self.launch("--token", (token := secret()))
        uuid = anyUuid()
        core = self.register(server.url("tls"), uuid)
        client, address = self.join(server.url("ws"), uuid, core)
        one, two = tunnel(server.url("ws"), token, server.url("tls"))
        there, back = os.urandom(1_000_000), os.urandom(1_000_000)
        got: list[bytes] = []
        reading = threading.Thread(target=lambda: got.append(core.take(address, len(there))))
        reading.daemon = True
        reading.start()
        for start in range(0, len(there), 50_000):
            client.sendMessage(there[start : start + 50_000])
        reading.join(PATIENCE)
        self.assertEqual(hashlib.sha256(got[0]).digest(), hashlib.sha256(there).digest())
        writing = threading.Thread(
            target=lambda: [
                core.send(address, back[start : start + 50_000])
                for start in range(0, len(back), 50_000)
            ]
        )
        writing.daemon = True
        writing.start()
        received = self.read(client, len(back))
        writing.join(PATIENCE)
        self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(back).digest())
        two.send(b"by token")
        self.assertEqual(self.read(one, 8), b"by token")
        server.signal(SIGTERM)
        self.assertEqual(client.goodbye(), (b"", 1001))
        self.assertEqual(one.goodbye(), (b"", 1001))
        for stream in core.stream, two:
            self.assertEqual(stream.goodbye(), (b"", None))
        self.assertEqual(server.wait(), 0)
        for stream in core.stream, client, one, two:
            self.assertEqual(server.ended(stream), "shutdown")
        server.waitFor("stopped")

    @inThread
    def testWithoutAuthentication(self) -> None:
        """Nothing is needed but the switch; whoever leaves is told to the others, and logged."""
        server = self.launch()
        uuid = anyUuid()
        hello = connect(server.url("ws"))
        hello.sendMessage(call("RemoteProxy.Hello"))
        self.assertEqual(json.loads(hello.message())["params"]["apiVersion"], "5")
        hello.close()
        stranger, said = visit(server.url("ws"), uuid)
        self.assertEqual(said, error("ServerNotFound"))
        self.assertEqual(stranger.goodbye(), (b"", 1013))
        self.assertEqual(server.ended(stranger), "server-not-found")
        core = self.register(server.url("tls"), uuid)
        one, first = self.join(server.url("ws"), uuid, core)
        two, second = self.join(server.url("tls"), uuid, core)
        self.works(core, one, first)
        self.works(core, two, second)
        one.close()
        message = core.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientDisconnected")
        self.assertEqual(message["params"], {"socketAddress": first})
        self.assertEqual(server.ended(one), "connection-lost")
        core.stream.close()
        self.assertEqual(two.goodbye(), (b"", None))
        self.assertEqual(server.ended(two), "partner-left")
        self.assertNotIn("from the", server.text())
        server.settle()

    @inThread
    def testLimits(self) -> None:
        """Of each address, and of each server."""
        server = self.launch(
            *("--set", "Limits.exemptNetworks=", "--set", "Limits.maxServersPerAddress=2"),
            *("--set", "Limits.maxClientsPerAddress=2", "--set", "Limits.maxClientsPerServer=1"),
        )
        url = server.url("ws")
        uuids = [anyUuid() for _ in range(3)]
        cores = [self.register(url, uuid) for uuid in uuids[:2]]
        third = Core(url, uuids[2])
        expected = {"tunnelProxyError": error("InternalServerError"), "slipEnabled": False}
        self.assertEqual(third.answer, expected)
        self.assertEqual(third.stream.goodbye(), (b"", 1013))
        self.assertEqual(server.ended(third.stream), "too-many-servers-from-address")
        one, _address = self.join(url, uuids[0], cores[0])
        two, said = visit(url, uuids[0])
        self.assertEqual(said, error("InternalServerError"))
        self.assertEqual(two.goodbye(), (b"", 1013))
        self.assertEqual(server.ended(two), "too-many-clients-of-server")
        self.join(url, uuids[1], cores[1])
        three, said = visit(url, uuids[1])
        self.assertEqual(said, error("InternalServerError"))
        self.assertEqual(three.goodbye(), (b"", 1013))
        self.assertEqual(server.ended(three), "too-many-clients-from-address")
        one.close()
        server.ended(one)
        self.join(url, uuids[0], self.again(cores[0]))

    def again(self, core: Core) -> Core:
        """Let a server hear that its client has left."""
        self.assertEqual(core.message()["notification"], "TunnelProxy.ClientDisconnected")
        return core

    @inThread
    def testReload(self) -> None:
        """SIGHUP reads the list of servers anew; who is registered stays.

        A broken list changes nothing.
        """
        old, new = anyUuid(), anyUuid()
        file = Path(self.file(f"# servers\n{old}\n"))
        server = self.launch("--set", f"TunnelProxy.serverUuidFile={file}")
        url = server.url("tls")

        def assertForbidden(uuid: str) -> None:
            core = Core(url, uuid)
            expected = {"tunnelProxyError": error("ForbiddenCall"), "slipEnabled": False}
            self.assertEqual(core.answer, expected)
            self.assertEqual(core.stream.goodbye(), (b"", None))
            self.assertEqual(server.ended(core.stream), "server-not-allowed")

        assertForbidden(new)
        first = self.register(url, old)
        file.write_text(f"{new.strip('{}').upper()}\n")
        reload(server, "reloaded: .* 1 server uuid,")
        client, address = self.join(server.url("ws"), old, first)
        self.works(first, client, address)
        self.register(url, new)
        stays = rf"the server uuids stay as they were: .*{re.escape(str(file))}"
        for content in (b"no uuid\n", b"\xff\n", b"{00000000-0000-0000-0000-000000000000}\n"):
            file.write_bytes(content)
            reload(server, stays)
        file.unlink()
        reload(server, stays)
        first.stream.close()
        server.ended(first.stream)
        assertForbidden(old)
        file.write_text(f"{old}\n{new}\n")
        reload(server, "reloaded: .* 2 server uuids")
        self.register(url, old)


class TwistdTunnelProxyTests(ConsoleTunnelProxyTests):
    """The same under twistd."""

    twistd = True


LARGE = os.urandom(1 << 16) * 1024
"""More than waits anywhere on the way: in kernels, in our client, and in the proxy."""


class LargeOrEcho(socketserver.BaseRequestHandler):
    """A service: says back what it is told, or very much when it is told so."""

    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(LARGE if data == b"all" else data)


class ServiceCase(TunnelProxyCase):
    """A service that our own client makes reachable."""

    def service(self) -> str:
        """Start the service; return where it is."""
        service = socketserver.ThreadingTCPServer(("127.0.0.1", 0), LargeOrEcho)
        service.daemon_threads = True
        threading.Thread(target=service.serve_forever, daemon=True).start()
        self.addCleanup(service.server_close)
        self.addCleanup(service.shutdown)
        return f"127.0.0.1:{service.server_address[1]}"


class AccessTests(ServiceCase):
    """Whoever has no token is nobody; our own client has one, and its partner."""

    def hello(self, url: str, uuid: str, *arguments: str) -> tuple[int, bytes, str]:
        """Say hello to the service; return the exit status, and what is said there and here."""
        command = [*CLIENT, "--url", url, "--server-uuid", uuid, *arguments]
        done = subprocess.run(
            command,
            env=environmentOfPrograms(),
            input=b"hello",
            capture_output=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout, done.stderr.decode()

    @inThread
    def testEverybody(self) -> None:
        """Who has to show a token is read anew with SIGHUP."""
        tokens, wrong = [secret(), secret()], secret()
        good, bad = self.file("\n".join(tokens)), self.file(wrong)
        ini = Path(self.file("[TunnelProxy]\nauthentication = everybody\n"))
        server = self.start(
            *("-C", str(ini), "--tunnelproxy", "--stream", STREAM, "--websocket", STREAM),
            *("--token-file", good, "-vv"),
            listeners=2,
        )
        uuid, url = anyUuid(), server.url("tcp")
        serve = [*CLIENT, "--url", server.url("ws"), "--serve", uuid, "--forward", self.service()]
        home = self.launchProgram([*serve, "--token-file", bad])
        home.waitFor("refused by the proxy: the proxy does not accept the token")
        self.assertEqual(home.wait(), 1)
        home = self.launchProgram([*serve, "--token-file", good])
        home.waitFor("registered as server")
        status, out, told = self.hello(url, uuid, "--token", tokens[1])
        self.assertEqual((status, out), (0, b"hello"), told)
        for more, words in ((["--token", wrong], "accept the token"), ([], "wants a token")):
            status, out, told = self.hello(url, uuid, *more)
            self.assertEqual((status, out), (1, b""))
            self.assertIn(words, told)
            self.assertNotIn(wrong, told)
        stranger, said = visit(url, uuid)
        self.assertEqual(said, error("ForbiddenCall"))
        self.assertEqual(server.ended(stranger), "token-refused")
        home.stop()
        ini.write_text("[TunnelProxy]\nauthentication = none\n")
        reload(server)
        core = self.register(server.url("tcp"), uuid)
        client, address = self.join(server.url("ws"), uuid, core)
        self.works(core, client, address)
        for token in (*tokens, wrong):
            self.assertNotIn(token, server.text())


class FlowControlTests(ServiceCase):
    """A home behind our own client, and visitors of whom one is slow, or not listened to."""

    @inThread
    def testSlowVisitor(self) -> None:
        """One that reads nothing of a large download makes nobody wait, and gets it later."""
        listening = ("--stream", STREAM, "--websocket", STREAM)
        server = self.start("--tunnelproxy", *listening, listeners=2)
        for url in (server.url("tcp"), server.url("ws")):
            uuid = anyUuid()
            home = self.launchProgram(
                [*CLIENT, "--url", url, "--serve", uuid, "--forward", self.service()]
            )
            home.waitFor("registered as server")
            (slow, _), (other, _) = (visit(server.url("tcp"), uuid) for _ in range(2))
            self.keep(slow, other)
            slow.send(b"all")
            for _ in range(2000):
                other.send(b"hello")
                self.assertEqual(other.read(5), b"hello")
            digest = hashlib.sha256(slow.read(len(LARGE))).digest()
            self.assertEqual(digest, hashlib.sha256(LARGE).digest())
            home.stop()

    @inThread
    def testSlowService(self) -> None:
        """A visitor whom it does not listen to makes nobody wait, and loses nothing."""
        directory = self.temporary()
        home = socket.socket(socket.AF_UNIX)
        self.addCleanup(home.close)
        home.bind(f"{directory}/home")
        home.listen()
        home.settimeout(PATIENCE)
        url = f"unix:{directory}/proxy"  # little waits in kernels then
        self.start("--tunnelproxy", "--stream", url)
        uuid = anyUuid()
        command = [*CLIENT, "--url", url, "--serve", uuid, "--forward", f"unix:{directory}/home"]
        self.launchProgram(command).waitFor("registered as server")
        (many, deaf), (other, listening) = (self.visitHome(url, uuid, home) for _ in range(2))

        def answer() -> None:
            other.send(b"question")
            self.assertEqual(listening.recv(8), b"question")
            listening.sendall(b"answer")
            self.assertEqual(other.read(6), b"answer")

        data = LARGE[: 16 << 20]
        sent = answers = 0
        many.socket.setblocking(False)
        while answers < 100:  # while others are answered so often, who is read from could go on
            try:
                sent += many.socket.send(data[sent : sent + (1 << 16)])
                answers = 0
            except BlockingIOError:
                answer()
                answers += 1
            self.assertLess(sent, len(data), "it is read from all the same")
        many.socket.settimeout(PATIENCE)
        threading.Thread(target=many.send, args=(data[sent:],), daemon=True).start()
        received, missing = hashlib.sha256(), len(data)
        while missing and (piece := deaf.recv(1 << 16)):
            received.update(piece)
            missing -= len(piece)
        self.assertEqual(received.digest(), hashlib.sha256(data).digest())

    def visitHome(self, url: str, uuid: str, home: socket.socket) -> tuple[Stream, socket.socket]:
        """Return both ends of a visit to who listens at home."""
        visitor, said = visit(url, uuid)
        self.keep(visitor)
        self.assertEqual(said, error("NoError"))
        service, _ = home.accept()
        self.addCleanup(service.close)
        service.settimeout(PATIENCE)
        return visitor, service


class OriginalsFileTests(TunnelProxyCase):
    """Switched on by a file of the C++ server's."""

    def file_(self, directory: Path) -> str:
        """Return its path."""
        certificate = Certificate(str(directory))
        return self.file(
            "[ProxyServer]\nname=nymea-remoteproxy\nwriteLogs=false\n"
            "logFile=/var/log/nymea-remoteproxy.log\nlogEngineEnabled=false\n"
            f"monitorSocket={directory}/monitor.sock\njsonRpcTimeout=10000\n"
            "authenticationTimeout=8000\ninactiveTimeout=8000\naloneTimeout=8000\n\n"
            f"[SSL]\nenabled=true\ncertificate={certificate.certificate}\n"
            f"certificateKey={certificate.key}\ncertificateChain=\n\n"
            "[WebSocketServerTunnelProxy]\nhost=127.0.0.1\nport=0\n\n"
            "[TcpServerTunnelProxy]\nhost=127.0.0.1\nport=0\n\n"
            f"[UnixSocketServerTunnelProxy]\nunixSocketFileName={directory}/tunnel.sock\n"
        )

    @inThread
    def testFile(self) -> None:
        """Its three listeners are all there are, and the tunnel proxy is on, on each."""
        ini = self.file_(self.temporary())
        server = self.start(
            *("-C", ini, "--token", (token := secret())),
            *("--set", "ProxyServer.shutdownTimeout=300"),
            listeners=3,
        )
        self.assertEqual([url.partition(":")[0] for url in server.urls], ["wss", "tls", "unix"])
        for url in server.urls:
            uuid = anyUuid()
            core = self.register(url, uuid)
            for other in server.urls:
                client, address = self.join(other, uuid, core)
                self.works(core, client, address)
        one, two = tunnel(server.url("wss"), token, server.url("unix"))
        two.send(b"by token")
        self.assertEqual(self.read(one, 8), b"by token")
        server.signal(SIGTERM)
        self.assertEqual(server.wait(), 0)

    @inThread
    def testSwitchedOff(self) -> None:
        """One line is enough: the main listener instead, which knows of nothing."""
        ini = self.file_(self.temporary())
        server = self.start(
            *("-C", ini, "-p", "0", "--host", "127.0.0.1", "--token", secret()),
            *("--set", "TunnelProxy.enabled=false"),
        )
        self.assertEqual([url.partition(":")[0] for url in server.urls], ["wss"])
        client = connect(server.urls[0])
        client.sendMessage(call("TunnelProxy.Ping", timestamp=1))
        response = json.loads(client.message())
        self.assertEqual(response["status"], "error")
        self.assertEqual(client.goodbye(), (b"", 1008))
        self.assertEqual(server.ended(client), "invalid-request")
