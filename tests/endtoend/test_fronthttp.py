"""HTTP at the front door of the real server process, with one worker and two."""

from __future__ import annotations

import os
from unittest import skipUnless
from uuid import uuid4

from tests.endtoend.test_actions import CURL, curl
from tests.endtoend.test_front import FrontCase
from tests.protocol.test_fronthttp import PATH
from tests.protocol.test_httphead import head
from tests.support.cores import Core
from tests.support.endtoend import STREAM, Server, call, inThread

NAME = "one.test"

REQUEST = head(f"GET {PATH}abc HTTP/1.1", f"Host: {NAME}:80", "User-Agent: visitor")
ASKED = head(f"GET {PATH}abc HTTP/1.1", f"Host: {NAME}", "Connection: close")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


class HttpTests(FrontCase):
    """What a home, visitors and the log see."""

    def open(self, *arguments: str, names: str = "") -> Server:
        options = self.front("--front-http", STREAM, *arguments, names=names)
        return self.start("--websocket", STREAM, *options, listeners=3)

    def challenged(self, core: Core, url: str) -> str:
        """Check that a challenge is answered by its home, and how the visitor's connection ends.

        It comes byte by byte, and with another request behind it.

        :returns: how the log calls the visitor.
        """
        visitor = self.visit(url, b"")
        for octet in REQUEST:
            visitor.send(bytes([octet]))
        visitor.send(REQUEST.replace(b"GET", b"POST"))
        params = core.message()["params"]
        address = params["socketAddress"]
        self.assertEqual(
            (params["clientName"], params["clientPeerAddress"]), ("front", "127.0.0.1")
        )
        self.assertEqual(core.take(address, len(ASKED)), ASKED)
        visitor.send(REQUEST)
        core.send(address, ANSWER)
        core.send(0, call("TunnelProxy.DisconnectClient", socketAddress=address))
        self.assertEqual(visitor.rest(), ANSWER)
        visitor.close()
        # Of what is behind the request there is nothing before these, nor between them.
        self.assertEqual(core.message()["status"], "success")
        self.assertEqual(core.message()["notification"], "TunnelProxy.ClientDisconnected")
        return visitor.peer

    @skipUnless(CURL, "curl is not installed")
    @inThread
    def testAll(self) -> None:
        """A challenge, with all that others are told, and what curl makes of it."""
        home = uuid4()
        server = self.open(names=f"{NAME} {home}\n")
        core, url = self.home(server.url("ws"), home), server.url("http")
        peer = self.challenged(core, url)
        server.waitFor(rf"from {peer} ended: disconnected-by-server \(front-http, ")
        for said, status, outcome in (
            (REQUEST.replace(b"one", b"two"), b"404", "unknown-name"),
            (head("PUT / HTTP/1.1", "Host: two.test"), b"301", "redirected"),
            (head("GET / HTTP/1.1"), b"400", "http-request-invalid"),
        ):
            visitor = self.visit(url, said + REQUEST)
            answer = visitor.rest()
            self.assertEqual(answer.split(b" ")[1], status)
            self.assertEqual(answer.count(b"HTTP/1.1"), 1)
            visitor.close()
            self.assertEqual(server.ended(visitor), outcome)
        told = curl(
            *("--data", "a=b", "--connect-to", f"::{url.removeprefix('http://')}"),
            *("-o", os.devnull, "-w", "%{http_code} %{redirect_url}", f"http://{NAME}/x?y"),
        )
        self.assertEqual(told.decode(), f"301 https://{NAME}/x?y")

    @inThread
    def testWorkers(self) -> None:
        """Every second visitor comes to another one than the home did."""
        home = uuid4()
        server = self.open("--workers", "2", names=f"{NAME} {home}\n")
        core = self.home(server.url("ws"), home)
        for _ in range(4):
            self.challenged(core, server.url("http"))
