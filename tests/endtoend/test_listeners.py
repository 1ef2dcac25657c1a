"""Every kind of listener in the real server process, for WebSocket and for streams."""

from __future__ import annotations

import re
import socket
import ssl

from tests.support.cores import TunnelProxyCase, anyUuid
from tests.support.endtoend import (
    BINARY,
    ESTABLISHED_FIRST,
    FIRST,
    EndToEnd,
    Stream,
    WebSocket,
    accepted,
    authenticate,
    frame,
    inThread,
    secret,
)

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"


class ListenerTests(EndToEnd):
    """A tunnel through each."""

    @inThread
    def setUp(self) -> None:
        self.token = secret()
        self.directory = self.temporary()
        self.sockets: list[socket.socket] = []

    def passed(self, family: socket.AddressFamily, address: object) -> str:
        """Return the description of a socket that systemd passes."""
        made = socket.socket(family)
        self.addCleanup(made.close)
        made.bind(address)  # type: ignore[arg-type]
        made.listen()
        self.sockets.append(made)
        return f"systemd:index={len(self.sockets) - 1}"

    def descriptions(self, name: str) -> list[str]:
        """Return one of each kind.

        :param name: of those to whom the files belong.
        """
        path = f"{self.directory}/{name}"
        return [
            "tcp:0:interface=127.0.0.1",
            "tcp:0:interface=\\:\\:1",
            "tcp6:0",
            "ssl:0:interface=127.0.0.1",
            f"unix:{path}",
            f"tls:unix:{path}-tls",
            self.passed(socket.AF_INET, ("127.0.0.1", 0)),
            self.passed(socket.AF_INET6, ("::", 0)),
            self.passed(socket.AF_UNIX, f"{path}-systemd"),
            "haproxy:tcp:0:interface=127.0.0.1",
            "haproxy:ssl:0:interface=127.0.0.1",
            f"haproxy:unix:{path}-haproxy",
            f"haproxy:tls:unix:{path}-haproxy-tls",
            "haproxy:" + self.passed(socket.AF_INET6, ("::1", 0)),
            "haproxy:tls:" + self.passed(socket.AF_UNIX, f"{path}-haproxy-systemd"),
        ]

    def join(self, description: str, url: str, isWebSocket: bool) -> Stream:
        """Return a client that waits for its partner."""
        isTls = "tls:" in description or "ssl:" in description
        header = HEADER if description.startswith("haproxy:") else b""
        url = url.replace("[::]", "[::1]")
        if isWebSocket:
            client: Stream = WebSocket(url, tls=isTls, header=header)
        else:
            client = Stream(url, tls=isTls, header=header)
        self.keep(client)
        client.sendMessage(authenticate(self.token))
        self.assertEqual(client.message(), accepted(FIRST))
        return client

    @inThread
    def testEveryKind(self) -> None:
        kinds = {True: self.descriptions("web"), False: self.descriptions("stream")}
        listeners = [(each, isWebSocket) for isWebSocket in kinds for each in kinds[isWebSocket]]
        arguments = ["--token", self.token]
        for description, isWebSocket in listeners:
            arguments += ["--websocket" if isWebSocket else "--stream", description]
        server = self.start(*arguments, listeners=len(listeners), sockets=self.sockets)
        for (description, isWebSocket), url in zip(listeners, server.urls, strict=True):
            mark = server.mark()
            one, two = (self.join(description, url, isWebSocket) for _ in range(2))
            for client in (one, two):
                self.assertEqual(client.message(), ESTABLISHED_FIRST)
            one.send(frame(BINARY, b"last words") if isWebSocket else b"last words")
            one.socket.shutdown(socket.SHUT_WR)
            if isinstance(two, WebSocket):
                self.assertEqual(two.frame(), (BINARY, b"last words"), description)
            else:
                self.assertEqual(two.read(10), b"last words", description)
            two.close()
            peer = "192.0.2.7:4711" if description.startswith("haproxy:") else one.peer
            # To end the sending direction is a farewell in a plain stream, and there only.
            isPlain = not isWebSocket and not isinstance(one.socket, ssl.SSLSocket)
            outcome = "client-left" if isPlain else "connection-lost"
            server.waitFor(f"from {re.escape(peer)} ended: {outcome} ", mark)
            one.close()
        self.assertNotIn("Traceback", server.text())
        self.assertNotIn("Unhandled", server.text())


class TunnelProxyTests(TunnelProxyCase):
    """WebSocket on a Unix socket."""

    @inThread
    def testBothEnds(self) -> None:
        path = self.temporary() / "socket"
        server = self.start("--tunnelproxy", "--websocket", f"unix:{path}")
        url, uuid = f"ws+unix:{path}", anyUuid()
        core = self.register(url, uuid)
        client, address = self.join(url, uuid, core)
        self.works(core, client, address)
        client.close()
        server.waitFor("from unix ended: connection-lost ")
        self.assertNotIn("Unhandled", server.text())
