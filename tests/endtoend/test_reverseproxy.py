"""The real haproxy and nginx before the real server, from the files that the documentation shows.

Clients are on 127.0.0.2, as the reverse proxy's places are; towards the server the reverse proxy is
on 127.0.0.1. So an address tells whose it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import ssl
import sys
import threading
from pathlib import Path

from tests.support.endtoend import (
    BINARY,
    CLOSE,
    ESTABLISHED_FIRST,
    PATIENCE,
    ROOT,
    Certificate,
    EndToEnd,
    Program,
    Stream,
    WebSocket,
    authenticate,
    frame,
    inThread,
    reservePort,
    secret,
    tunnel,
    until,
)

EXAMPLES = ROOT / "docs" / "examples"
OUTSIDE = "127.0.0.2"
INSIDE = "127.0.0.1"
NAME = "proxy.example.org"
"""What the examples call the server; the clients of these tests ask for localhost."""

NGINX_MODULE = Path("/etc/nginx/modules-enabled/50-mod-stream.conf")

SIZE = 1 << 20
"""Bytes that are carried each way: more than the buffers of one place on the way hold."""

TCP_LISTEN = "0A"
"""A state in /proc/net/tcp."""


def listens(port: int) -> bool:
    """Tell whether somebody listens on the port outside, without connecting to it."""
    address = int.from_bytes(socket.inet_aton(OUTSIDE), sys.byteorder)
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    places = [line.split()[1] for line in lines if line.split()[3] == TCP_LISTEN]
    return f"{address:08X}:{port:04X}" in places


def endOfStream(client: Stream) -> None:
    """Send the end of the stream, in TLS too, and go on reading."""
    if isinstance(client.socket, ssl.SSLSocket):
        client.socket.setblocking(False)
        # The server's own close_notify comes when it closes.
        with contextlib.suppress(ssl.SSLWantReadError):
            client.socket.unwrap()
        client.socket.settimeout(PATIENCE)
    else:
        client.socket.shutdown(socket.SHUT_WR)


def receive(client: Stream, size: int) -> bytes:
    """Return so many bytes of what was relayed, fewer if it ends before."""
    if not isinstance(client, WebSocket):
        return client.read(size)
    data = b""
    while len(data) < size:
        opcode, payload = client.frame()
        if opcode in (CLOSE, -1):
            break
        data += payload
    return data


class ReverseProxyCase(EndToEnd):
    """A server, and a reverse proxy before it.

    :cvar upstreams: the server's listeners: option and prefix, by their port in the example.
    :cvar outside: how the example listens, by the port.
    :ivar places: the ports that clients connect to, by the port in the example.
    """

    upstreams: dict[int, tuple[str, str]]
    outside: dict[int, str]
    program: str
    name: str

    @inThread
    def setUp(self) -> None:
        directory = self.temporary()
        directory.chmod(0o755)
        self.token = secret()
        certificate = Certificate(str(directory))
        arguments = ["--certificate", certificate.both, "--token", self.token]
        for option, prefix in self.upstreams.values():
            arguments += [option, f"{prefix}tcp:0:interface={INSIDE}"]
        self.server = self.start(*arguments, listeners=len(self.upstreams))
        self.web = socket.create_server((INSIDE, 0))
        self.addCleanup(self.web.close)
        self.web.settimeout(PATIENCE)
        ports = {4443: self.web.getsockname()[1]}
        for port, url in zip(self.upstreams, self.server.urls, strict=True):
            ports[port] = int(url.rpartition(":")[2])
        self.places = {}
        for port in self.outside:
            reservation = reservePort(OUTSIDE)
            self.addCleanup(reservation.close)
            self.places[port] = reservation.getsockname()[1]
        replacements = {f"{INSIDE}:{old}": f"{INSIDE}:{new}" for old, new in ports.items()}
        for old, new in self.places.items():
            listen = self.outside[old]
            replacements[listen.format(old)] = listen.replace("*:", "").format(f"{OUTSIDE}:{new}")
        self.launch(str(directory), certificate, replacements)
        for place in self.places.values():
            until(lambda port=place: self.isUp(port), "the reverse proxy does not listen")  # type: ignore[misc]

    def launch(self, directory: str, certificate: Certificate, more: dict[str, str]) -> None:
        """Start the reverse proxy with the example, and this in place of what it says."""
        text = (EXAMPLES / self.name).read_text()
        for old, new in {**self.replacements(certificate), **more}.items():
            self.assertRegex(text, re.escape(old) + r"(?!\d)")
            text = re.sub(re.escape(old) + r"(?!\d)", lambda match, new=new: new, text)  # type: ignore[misc]
        path = Path(directory, self.name)
        path.write_text(text)
        self.reverseProxy = Program([self.program, *self.arguments(str(path))])
        self.addCleanup(self.reverseProxy.stop)

    def isUp(self, port: int) -> bool:
        """Tell whether the reverse proxy listens; fail if it has ended."""
        self.assertIsNone(self.reverseProxy.process.poll(), self.reverseProxy.text())
        return listens(port)

    def replacements(self, certificate: Certificate) -> dict[str, str]:
        """Return what belongs to the machine of the example."""
        raise NotImplementedError

    def arguments(self, path: str) -> list[str]:
        """Return the options for running in the foreground."""
        raise NotImplementedError

    def join(self, scheme: str, port: int) -> tuple[Stream, Stream]:
        """Return two clients with a tunnel, through one place of the example."""
        url = f"{scheme}://{OUTSIDE}:{self.places[port]}"
        clients = tunnel(url, self.token)
        self.keep(*clients)
        return clients

    def carry(self, one: Stream, two: Stream) -> None:
        """Data arrives, in both directions."""
        for sender, receiver in ((one, two), (two, one)):
            pieces = [secrets.token_bytes(SIZE // 32) for _ in range(32)]

            def send(sender: Stream = sender, pieces: list[bytes] = pieces) -> None:
                for piece in pieces:
                    framed = isinstance(sender, WebSocket)
                    sender.send(frame(BINARY, piece) if framed else piece)

            thread = threading.Thread(target=send)
            thread.start()
            received = receive(receiver, SIZE)
            thread.join(PATIENCE)
            digest = hashlib.sha256(b"".join(pieces)).hexdigest()
            self.assertEqual(hashlib.sha256(received).hexdigest(), digest)

    def part(self, one: Stream, two: Stream) -> None:
        """One says its last words and leaves; the other one gets them, then the end."""
        words = secrets.token_bytes(SIZE // 8)
        if isinstance(one, WebSocket):
            one.send(frame(BINARY, words) + frame(CLOSE, (1000).to_bytes(2, "big")))
        else:
            one.send(words)
            endOfStream(one)
        self.assertEqual(receive(two, len(words)), words)
        self.assertEqual(two.goodbye()[0], b"")
        one.rest()
        one.close()

    def checkPlace(self, scheme: str, port: int) -> None:
        """Data, last words, and the log: the client's address, not the reverse proxy's."""
        one, two = self.join(scheme, port)
        self.carry(one, two)
        self.part(one, two)
        self.assertEqual(self.server.ended(one), "client-left")
        self.assertEqual(self.server.ended(two), "partner-left")
        self.assertEqual(self.server.find(f"from {re.escape(INSIDE)}"), [])

    def checkOtherName(self, first: bytes) -> None:
        """A client that asks for another name gets to the web server."""
        place = OUTSIDE, self.places[443]
        with socket.create_connection(place, PATIENCE, (OUTSIDE, 0)) as client:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = ssl.create_default_context().wrap_bio(
                incoming, outgoing, server_hostname="www.example.org"
            )
            self.assertRaises(ssl.SSLWantReadError, tls.do_handshake)
            client.sendall(outgoing.read())
            web, _address = self.web.accept()
            self.addCleanup(web.close)
            web.settimeout(PATIENCE)
            self.assertEqual(web.recv(len(first), socket.MSG_WAITALL), first)


class HaproxyTests(ReverseProxyCase):
    """docs/examples/haproxy.cfg."""

    skip = None if shutil.which("haproxy") else "haproxy is not installed"
    program = "haproxy"
    name = "haproxy.cfg"
    upstreams = {
        8443: ("--websocket", "haproxy:tls:"),
        8080: ("--websocket", "haproxy:"),
        8213: ("--stream", "haproxy:tls:"),
        8214: ("--stream", "haproxy:"),
    }
    outside = dict.fromkeys((443, 8444, 2213, 2214), "bind *:{}")

    def replacements(self, certificate: Certificate) -> dict[str, str]:
        return {
            NAME + ".pem": "localhost.pem",
            NAME: "localhost",
            "/etc/haproxy/localhost.pem": certificate.both,
            "    user haproxy\n    group haproxy\n": "",
            # As many connections as any machine of a test lets it have.
            "maxconn 20000": "maxconn 100",
        }

    def arguments(self, path: str) -> list[str]:
        return ["-db", "-f", path]

    @inThread
    def testWebSocketPassedOn(self) -> None:
        """The server's TLS, found by the name that the client asks for."""
        self.checkPlace("wss", 443)

    @inThread
    def testStreamPassedOn(self) -> None:
        """The server's TLS on a port of its own."""
        self.checkPlace("tls", 2213)

    @inThread
    def testWebSocket(self) -> None:
        """haproxy's TLS, in http mode."""
        self.checkPlace("wss", 8444)

    @inThread
    def testStream(self) -> None:
        """haproxy's TLS, in tcp mode."""
        self.checkPlace("tls", 2214)

    @inThread
    def testOtherName(self) -> None:
        """Port 443 is shared with a web server."""
        self.checkOtherName(b"\x16\x03\x01")


UNADDRESSED = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
"""haproxy as short as can be; what the tests add has clients without an address."""


class HaproxyUnaddressedTests(EndToEnd):
    """Clients that come to haproxy on a Unix socket, and haproxy's own health checks."""

    skip = HaproxyTests.skip

    @inThread
    def setUp(self) -> None:
        self.token = secret()
        self.directory = self.temporary()
        inner = self.directory / "inner"
        self.server = self.start(
            *("--stream", f"haproxy:tcp:0:interface={INSIDE}", "--stream", f"haproxy:unix:{inner}"),
            *("--websocket", f"haproxy:unix:{inner}-web", "--token", self.token),
            listeners=3,
        )
        self.port = self.server.url("tcp").rpartition(":")[2]
        self.inner = str(inner)

    def launch(self, text: str) -> None:
        """Start haproxy."""
        path = self.directory / "haproxy.cfg"
        path.write_text(UNADDRESSED + text)
        haproxy = Program(["haproxy", "-db", "-f", str(path)])
        self.addCleanup(haproxy.stop)

    def check(self, upstream: str, option: str, peer: str, webSocket: bool = False) -> None:
        """A tunnel comes about, with data and last words; the log tells whose it is."""
        outer = f"{self.directory}/outer"
        self.launch(f"listen it\n    bind unix@{outer}\n    server it {upstream} {option}\n")
        # It listens before it gives the socket this name.
        until(lambda: os.path.exists(outer), "haproxy does not listen")
        kind: type[Stream] = WebSocket if webSocket else Stream
        one, two = (kind(f"unix:{outer}") for _ in range(2))
        self.keep(one, two)
        for client in (one, two):
            client.sendMessage(authenticate(self.token))
            self.assertIn(b"success", client.message())
        for client in (one, two):
            self.assertEqual(client.message(), ESTABLISHED_FIRST)
        one.send(frame(BINARY, b"words") if webSocket else b"words")
        if webSocket:
            one.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        else:
            endOfStream(one)
        self.assertEqual(receive(two, 5), b"words")
        two.goodbye()
        self.server.waitFor(f"from {peer} ended: client-left ")
        self.server.waitFor(f"from {peer} ended: partner-left ")

    @inThread
    def testLine(self) -> None:
        """Version 1 says UNKNOWN."""
        self.check(f"{INSIDE}:{self.port}", "send-proxy", rf"{INSIDE}:\d+")

    @inThread
    def testBinary(self) -> None:
        self.check(f"{INSIDE}:{self.port}", "send-proxy-v2", rf"{INSIDE}:\d+")

    @inThread
    def testOnUnixSocket(self) -> None:
        self.check(f"unix@{self.inner}", "send-proxy", "unix")

    @inThread
    def testBinaryOnUnixSocket(self) -> None:
        self.check(f"unix@{self.inner}", "send-proxy-v2-ssl-cn", "unix")

    @inThread
    def testWebSocketOnUnixSocket(self) -> None:
        self.check(f"unix@{self.inner}-web", "send-proxy", "unix", webSocket=True)

    @inThread
    def testHealthCheck(self) -> None:
        """It leaves early, with a header or without."""
        for option in ("send-proxy", "send-proxy-v2"):
            mark = self.server.mark()
            self.launch(
                f"listen it\n    bind unix@{self.directory}/outer\n    server it "
                f"{INSIDE}:{self.port} {option} check check-send-proxy inter 100ms\n"
            )
            self.server.waitFor(rf"from {INSIDE}:\d+ ended: left-early ", mark, count=3)
        self.assertEqual(self.server.find("proxy-header-invalid"), [])


class NginxTests(ReverseProxyCase):
    """docs/examples/nginx.conf."""

    skip = None
    if not shutil.which("nginx") or not NGINX_MODULE.exists():
        skip = "nginx with its stream module is not installed as on Debian"
    elif os.geteuid():
        skip = "nginx from a package keeps temporary files where only root may write"
    program = "nginx"
    name = "nginx.conf"
    upstreams = {
        8443: ("--websocket", "haproxy:tls:"),
        8080: ("--websocket", "haproxy:"),
        8081: ("--websocket", ""),
        8213: ("--stream", "haproxy:tls:"),
        8214: ("--stream", "haproxy:"),
    }
    outside = dict.fromkeys((443, 8444, 2213, 2214, 8445), "listen {}")

    def replacements(self, certificate: Certificate) -> dict[str, str]:
        return {
            f"/etc/nginx/{NAME}.pem": certificate.certificate,
            f"/etc/nginx/{NAME}.key": certificate.key,
            NAME: "localhost",
            "pid /run/nginx.pid;": f"pid {certificate.both}.pid;",
            "error_log /var/log/nginx/error.log;": "error_log stderr;",
            "location /nymea": "location /",
            "worker_rlimit_nofile 40000;\n": "",
            "worker_connections 20000;": "worker_connections 100;",
        }

    def arguments(self, path: str) -> list[str]:
        return ["-c", path, "-g", "daemon off;"]

    @inThread
    def testWebSocketPassedOn(self) -> None:
        """The server's TLS, found by the name that the client asks for."""
        self.checkPlace("wss", 443)

    @inThread
    def testStreamPassedOn(self) -> None:
        """The server's TLS on a port of its own."""
        self.checkPlace("tls", 2213)

    @inThread
    def testWebSocket(self) -> None:
        """nginx's TLS, in the stream module."""
        self.checkPlace("wss", 8444)

    @inThread
    def testStream(self) -> None:
        """The same without WebSocket."""
        self.checkPlace("tls", 2214)

    @inThread
    def testWebSite(self) -> None:
        """A path of a web site; every client has nginx's address."""
        one, two = self.join("wss", 8445)
        self.carry(one, two)
        self.part(one, two)
        self.server.waitFor(f"from {re.escape(INSIDE)}:[0-9]+ ended: partner-left ")
        self.assertEqual(self.server.find(f"from {re.escape(OUTSIDE)}"), [])

    @inThread
    def testOtherName(self) -> None:
        """Port 443 is shared with a web server, which gets the header too."""
        self.checkOtherName(b"PROXY TCP4 127.0.0.2 ")
