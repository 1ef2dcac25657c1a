"""The front door in the real server process, with one worker, two, and a cluster."""

from __future__ import annotations

import hashlib
import os
import socketserver
import ssl
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.cores import Core, TunnelProxyCase
from tests.support.endtoend import (
    CLIENT,
    STREAM,
    Certificate,
    Program,
    Server,
    Stream,
    connect,
    inThread,
    until,
)
from tests.support.hellos import INTERNAL, UNEXPECTED, UNRECOGNIZED, helloTo
from tests.support.lives import reload
from tests.support.nodes import ClusterCase


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class FrontCase(TunnelProxyCase):
    """Helpers for servers with a front door."""

    def front(self, *arguments: str, names: str = "") -> tuple[str, ...]:
        """Return the options for one, with a list of names."""
        self.names = Path(self.file(names, "names"))
        settings = f"Front.namesFile={self.names}", "Front.domain=homes.example.org"
        sets = [each for setting in settings for each in ("--set", setting)]
        return "--front", STREAM, *sets, *arguments

    def open(self, *arguments: str, names: str = "") -> Server:
        """Start a server with a front door."""
        options = self.front(*arguments, names=names)
        return self.start("--websocket", STREAM, *options, listeners=2)

    def home(self, url: str, uuid: Any, **more: Any) -> Core:
        """Return a registered server, which is closed with the test."""
        core = Core(url, str(uuid), **more)
        self.keep(core.stream)
        self.assertEqual(core.answer["tunnelProxyError"], "TunnelProxyErrorNoError")
        return core

    def visit(self, url: str, said: bytes) -> Stream:
        """Return a visitor that has sent this."""
        visitor = connect(url)
        self.keep(visitor)
        visitor.send(said)
        return visitor

    def arrives(self, core: Core, url: str, name: str) -> tuple[Stream, int]:
        """Check that a visitor gets there; return it and its address."""
        visitor = self.visit(url, helloTo(name))
        params = core.message()["params"]
        self.assertEqual(
            (params["clientName"], params["clientPeerAddress"]), ("front", "127.0.0.1")
        )
        address: int = params["socketAddress"]
        self.assertEqual(core.take(address, len(helloTo(name))), helloTo(name))
        self.works(core, visitor, address)
        return visitor, address

    def turnedAway(self, server: Any, said: bytes, alert: bytes, outcome: str) -> None:
        """Check that a visitor is told so, and that its connection is not reset."""
        visitor = self.visit(server.url("https"), said)
        self.assertEqual(visitor.read(len(alert)), alert)
        self.assertEqual(visitor.socket.recv(1), b"")  # a reset would be an error
        visitor.close()
        self.assertEqual(server.ended(visitor), outcome)


class FrontTests(FrontCase):
    """One process."""

    @inThread
    def testVisitors(self) -> None:
        """By a name of the list and by its uuid, to homes that want it; others are told why not."""
        one, two = uuid4(), uuid4()
        server = self.open(
            *("--set", "Front.maxVisitorsPerHome=2"), names=f"House7.Example.com {one}\n"
        )
        server.waitFor("front door: to 1 name and to any home by its uuid under homes.example.org")
        named = self.home(server.url("ws"), one)
        asking = self.home(server.url("ws"), two, front=True)
        url = server.url("https")
        first, address = self.arrives(named, url, "house7.example.com")
        self.arrives(named, url, "HOUSE7.example.com")
        self.turnedAway(server, helloTo("house7.example.com"), INTERNAL, "too-many-visitors")
        self.arrives(asking, url, f"{two}.homes.example.org")
        unrecognized = (
            (f"{one}.homes.example.org", "visitors-not-wanted"),
            (f"{uuid4()}.homes.example.org", "server-not-found"),
            ("example.com", "unknown-name"),
        )
        for name, outcome in unrecognized:
            self.turnedAway(server, helloTo(name), UNRECOGNIZED, outcome)
        self.turnedAway(server, b"GET / HTTP/1.1\r\n\r\n", UNEXPECTED, "tls-handshake-failed")
        first.close()
        message = named.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientDisconnected")
        self.assertEqual(message["params"], {"socketAddress": address})

    @inThread
    def testRealTls(self) -> None:
        """Python's own, as far as the home: its certificate is checked, and megabytes arrive."""
        home, certificate = uuid4(), Certificate(self.mktemp())
        server = self.open(names=f"localhost {home}\n")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.both)
        service = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
        service.socket = context.wrap_socket(service.socket, server_side=True)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        self.addCleanup(service.server_close)
        self.addCleanup(service.shutdown)
        client = Program(
            [
                *CLIENT,
                *("--url", server.url("ws"), "--serve", str(home)),
                *("--forward", f"127.0.0.1:{service.server_address[1]}"),
            ]
        )
        self.addCleanup(client.stop)
        client.waitFor("registered as server")
        trusting = ssl.create_default_context(cafile=certificate.certificate)
        sent = os.urandom(3 << 20)
        with self.tls(server, trusting, "localhost") as visitor:
            visitor.sendall(sent)
            received = b""
            while len(received) < len(sent) and (piece := visitor.recv(1 << 16)):
                received += piece
        self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(sent).digest())
        with self.assertRaises(ssl.SSLError) as refused:
            self.tls(server, trusting, "elsewhere.test")
        self.assertEqual(refused.exception.reason, "TLSV1_UNRECOGNIZED_NAME")

    def tls(self, server: Server, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
        """Return a visitor's connection."""
        visitor = self.visit(server.url("https"), b"")
        return context.wrap_socket(visitor.socket, server_hostname=name)

    @inThread
    def testReload(self) -> None:
        """The names are read anew; who is connected stays, and a broken list changes nothing."""
        home = uuid4()
        server = self.open(names=f"one.test {home}\n")
        core, url = self.home(server.url("ws"), home), server.url("https")
        visitor, address = self.arrives(core, url, "one.test")
        self.names.write_text(f"two.test {home}\n")
        reload(server)
        self.arrives(core, url, "two.test")
        self.turnedAway(server, helloTo("one.test"), UNRECOGNIZED, "unknown-name")
        self.works(core, visitor, address)
        self.names.write_text("two.test\n")
        reload(server, "line 1 is not a name and a uuid")
        self.arrives(core, url, "two.test")


class CompanyTests(ClusterCase, FrontCase):
    """Several processes: a home is reached through whichever its visitor comes to."""

    @inThread
    def testWorkers(self) -> None:
        """With two of them every second visitor comes to another one than the home did."""
        home = uuid4()
        server = self.open("--workers", "2", names=f"one.test {home}\n")
        core = self.home(server.url("ws"), home)
        for _ in range(4):
            self.arrives(core, server.url("https"), "one.test")
        for said, alert, outcome in (
            (helloTo("two.test"), UNRECOGNIZED, "unknown-name"),
            (helloTo(f"{uuid4()}.homes.example.org"), UNRECOGNIZED, "server-not-found"),
        ):
            for _ in range(2):
                self.turnedAway(server, said, alert, outcome)
        self.names.write_text(f"two.test {home}\n")
        reload(server)
        for _ in range(2):
            self.arrives(core, server.url("https"), "two.test")

    @inThread
    def testCluster(self) -> None:
        """The home decides, wherever it is asked, and does so for its visitors together."""
        self.startRedis()
        home, other = uuid4(), uuid4()
        options = self.front("--set", "Front.maxVisitorsPerHome=2", names=f"one.test {home}\n")
        nodes = self.launch(2, *options, listeners=3)
        one, two = (node.server for node in nodes)
        core = self.home(one.url("ws"), home)
        until(lambda: bool(self.places(nodes[0])), "its place is not claimed")
        for server in one, two:
            self.arrives(core, server.url("https"), "one.test")
        for server in one, two:
            self.turnedAway(server, helloTo("one.test"), INTERNAL, "too-many-visitors")
        self.home(two.url("ws"), other, front=False)
        until(lambda: bool(self.places(nodes[1])), "its place is not claimed")
        for server in one, two:
            said = helloTo(f"{other}.homes.example.org")
            self.turnedAway(server, said, UNRECOGNIZED, "visitors-not-wanted")
