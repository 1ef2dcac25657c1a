"""The limits of the real server process."""

from __future__ import annotations

import re
import time

from tests.support.endtoend import (
    SIGHUP,
    STREAM,
    TLS_STREAM,
    EndToEnd,
    Server,
    Stream,
    WebSocket,
    call,
    connect,
    inThread,
    join,
    secret,
    tunnel,
)


class LimitTests(EndToEnd):
    """Each limit: the connection is closed, the log names the limit."""

    token = secret("valid")

    def launch(self, *settings: str, exempt: str = "") -> Server:
        """Start a server with these limits, which count loopback unless `exempt` says otherwise."""
        arguments = ["--stream", STREAM, "--websocket", STREAM, "-vv", "--token", self.token]
        for setting in (f"exemptNetworks={exempt}", *settings):
            arguments += ["--set", f"Limits.{setting}"]
        self.server = self.start(*arguments, listeners=2)
        return self.server

    def open(self) -> Stream:
        """Return a client that the server has let in."""
        client = Stream(self.server.url("tcp"))
        self.keep(client)
        client.send(call("RemoteProxy.Hello"))
        self.assertIn(b'"success"', client.line())
        return client

    def assertRefused(self, outcome: str, logged: bool = True, scheme: str = "tcp") -> None:
        """A further client is closed before anything is said."""
        client = Stream(self.server.url(scheme))
        self.assertEqual(client.rest(), b"")
        client.close()
        if logged:
            self.server.waitFor(rf"from {re.escape(client.peer)} refused: {outcome}$")

    def assertRoom(self, client: Stream) -> None:
        """When a client leaves there is room for another."""
        client.close()
        self.server.ended(client)
        self.open().close()

    @inThread
    def testConnections(self) -> None:
        """maxConnections counts everybody."""
        self.launch("maxConnections=2", exempt="127.0.0.0/8")
        waiting = join(self.server.url("ws"), self.token)
        self.keep(waiting)
        client = self.open()
        self.assertRefused("too-many-connections")
        self.assertRefused("too-many-connections", False, "ws")
        self.assertRoom(client)

    @inThread
    def testUnauthenticated(self) -> None:
        """maxUnauthenticated counts only who has not authenticated."""
        self.launch("maxUnauthenticated=2", exempt="127.0.0.0/8")
        self.keep(*(join(self.server.url("ws"), self.token, nonce=str(n)) for n in range(3)))
        client = self.open()
        self.open()
        self.assertRefused("too-many-unauthenticated")
        self.assertRoom(client)

    @inThread
    def testConnectionsPerAddress(self) -> None:
        """maxConnectionsPerAddress counts those of one address."""
        self.launch("maxConnectionsPerAddress=2")
        client = self.open()
        self.keep(join(self.server.url("ws"), self.token))
        self.assertRefused("too-many-from-address")
        self.assertRoom(client)

    @inThread
    def testUnauthenticatedPerAddress(self) -> None:
        """maxUnauthenticatedPerAddress counts those that have not authenticated."""
        self.launch("maxUnauthenticatedPerAddress=2")
        self.keep(*(join(self.server.url("ws"), self.token, nonce=str(n)) for n in range(3)))
        client = self.open()
        self.open()
        self.assertRefused("too-many-unauthenticated-from-address")
        self.assertRoom(client)

    @inThread
    def testAttempts(self) -> None:
        """attemptsPerSecondPerAddress: a burst of that many, then no more.

        Of two refusals of one kind the log tells the first.
        """
        self.launch("attemptsPerSecondPerAddress=3")
        clients = [Stream(self.server.url("tcp")) for _ in range(12)]
        self.keep(*clients)
        for client in clients:
            client.send(call("RemoteProxy.Hello"))
        answers = []
        for client in clients:
            try:
                answers.append(client.line())
            except AssertionError:
                answers.append(b"")
        self.assertNotIn(b"", answers[:3])
        self.assertIn(b"", answers[3:])
        self.server.waitFor("refused: too-many-attempts$")
        self.assertEqual(len(self.server.find("refused: too-many-attempts")), 1)

    @inThread
    def testExempt(self) -> None:
        """Limits per address do not apply to exempt networks, which loopback is by default."""
        self.launch(
            "maxConnectionsPerAddress=1",
            "maxUnauthenticatedPerAddress=1",
            "attemptsPerSecondPerAddress=1",
            exempt="127.0.0.0/8, ::1/128",
        )
        for _ in range(5):
            self.open()

    @inThread
    def testMessageSize(self) -> None:
        """maxControlMessageSize, to the byte."""
        self.launch("maxControlMessageSize=100")
        for scheme in ("tcp", "ws"):
            client = connect(self.server.url(scheme))
            self.keep(client)
            message = call("RemoteProxy.Hello").strip()
            client.sendMessage(message[:-1] + b" " * (100 - len(message)) + b"}")
            self.assertIn(b'"success"', client.message())
            client.sendMessage(message[:-1] + b" " * (101 - len(message)) + b"}")
            self.assertEqual(
                client.goodbye(),
                (
                    b'{"id":-1,"status":"error","error":"Message larger than 100 bytes."}\n',
                    1009 if scheme == "ws" else None,
                ),
            )
            self.assertEqual(self.server.ended(client), "message-too-large")

    @inThread
    def testBehindProxy(self) -> None:
        """Behind a PROXY header the limits count the client's own address."""
        self.server = self.start(
            *("--stream", "haproxy:" + STREAM, "--websocket", STREAM, "--token", self.token),
            *("--set", "Limits.maxConnectionsPerAddress=1"),
            listeners=2,
        )

        def arrive(source: str) -> Stream:
            client = Stream(self.server.url("tcp"))
            self.keep(client)
            port = client.peer.rpartition(":")[2]
            client.peer = f"{source}:{port}" if "." in source else f"[{source}]:{port}"
            family = b"TCP4" if "." in source else b"TCP6"
            other = b"192.0.2.99" if "." in source else b"2001:db8::99"
            addresses = b"%s %s %s 1" % (source.encode(), other, port.encode())
            client.send(b"PROXY %s %s\r\n" % (family, addresses))
            client.send(call("RemoteProxy.Hello"))
            return client

        for source in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
            self.assertIn(b'"success"', arrive(source).line())
        for source in ("192.0.2.1", "2001:db8::ffff:2"):
            client = arrive(source)
            self.assertEqual(client.rest(), b"")
            peer = re.escape(client.peer)
            self.server.waitFor(rf"from {peer} ended: too-many-from-address ")


class TunnelLimitTests(EndToEnd):
    """Limits of tunnels, and of those who are in them."""

    token = secret("valid")

    @inThread
    def testTunnelRate(self) -> None:
        """All arrives, and in no less time than the rate demands."""
        rate, size = 200_000, 300_000
        server = self.start(
            *("--stream", STREAM, "--stream", TLS_STREAM, "--websocket", STREAM),
            *("--token", self.token, "--set", f"Limits.tunnelRate={rate}"),
            listeners=3,
        )
        for scheme in "tcp", "tls", "ws":
            one, two = tunnel(server.url("tcp"), self.token, server.url(scheme))
            for sender, receiver in (one, two), (two, one):
                began = time.monotonic()
                for _ in range(size // 10_000):
                    sender.sendMessage(bytes(10_000))
                self.assertEqual(len(take(receiver, size)), size)
                self.assertGreater(time.monotonic() - began, size / rate - 0.2)
            one.close()
            two.close()
            for client in one, two:
                server.ended(client)

    @inThread
    def testIdle(self) -> None:
        """Who relays nothing is told, and so is the partner."""
        server = self.start(
            *("--stream", STREAM, "--websocket", STREAM, "--token", self.token),
            *("--set", "Limits.tunnelIdleTimeout=300"),
            listeners=2,
        )
        one, two = tunnel(server.url("ws"), self.token, server.url("tcp"))
        self.assertEqual(one.goodbye()[1], 1008)
        self.assertEqual(two.rest(), b"")
        one.close()
        two.close()
        for client in one, two:
            self.assertIn("tunnel-idle", server.ended(client))

    @inThread
    def testDenied(self) -> None:
        """Those whose address is denied by now are cut off, and no other is let in."""
        path = self.temporary() / "denied"
        path.write_text("# nobody yet\n192.0.2.0/24\n")
        server = self.start(
            *("--port", "0", "--stream", STREAM, "--token", self.token),
            *("--set", f"Limits.denyFile={path}"),
            listeners=2,
        )
        client = join(server.url("tcp"), self.token)
        path.write_text("127.0.0.0/8\n")
        server.signal(SIGHUP)
        self.assertEqual(client.rest(), b"")
        client.close()
        self.assertIn("address-denied", server.ended(client))
        another = Stream(server.url("tcp"))
        self.assertEqual(another.rest(), b"")
        another.close()
        server.waitFor(r"refused: address-denied$")
        path.write_text("no address\n")
        server.signal(SIGHUP)
        server.waitFor("the denied addresses stay as they were: .* line 1 is no address or network")


def take(client: Stream, size: int) -> bytes:
    """Return so many bytes that were relayed, whatever messages they came in.

    A stream that ends before has fewer.
    """
    if not isinstance(client, WebSocket):
        return client.read(size)
    data = b""
    while len(data) < size:
        data += client.message()
    return data
