"""What a real web server behind ``--serve --proxy-protocol`` learns of clients: nginx, haproxy."""

from __future__ import annotations

import shlex
import shutil
import socket

from tests.support.cores import TunnelProxyCase, error, visit
from tests.support.documented import commandsOf
from tests.support.encryption import NAME, UUID, TlsClient
from tests.support.endtoend import (
    CLIENT,
    STREAM,
    TLS,
    Certificate,
    Program,
    Stream,
    inThread,
    until,
)

ADDRESSES = ("127.0.0.2", "::1", "")
"""Of clients; those of a Unix socket have none."""

DOMAIN = "homes.example.org"

REQUEST = b"GET / HTTP/1.0\r\n\r\n"

NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    set_real_ip_from unix:;
    real_ip_header proxy_protocol;
    ssl_certificate {certificate.certificate};
    ssl_certificate_key {certificate.key};
    server {{
        listen unix:{directory}/tls ssl proxy_protocol;
        return 200 "$scheme $remote_addr";
    }}
    server {{
        listen unix:{directory}/challenges;
        return 200 "challenge";
    }}
    server {{
        listen unix:{directory}/service proxy_protocol;
        return 200 "$remote_addr";
    }}
}}
"""

HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend it
    bind unix@{directory}/service accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src]"
"""


class WebServerCase(TunnelProxyCase):
    """A web server that says who asks it; our own client, and the real proxy.

    :cvar nobody: what it says of a client without an address.
    """

    text: str
    command: tuple[str, ...]
    nobody: str

    @inThread
    def setUp(self) -> None:
        self.directory = self.temporary()
        path = self.directory / "configuration"
        certificate = Certificate(str(self.directory))
        path.write_text(self.text.format(directory=self.directory, certificate=certificate))
        web = Program([*self.command, str(path)])
        self.addCleanup(web.stop)
        until(self.isUp, "the web server does not listen")
        six = r"tcp:0:interface=\:\:1"
        server = self.start(
            *("--websocket", STREAM, "--stream", "tcp:0:interface=127.0.0.2", "--stream", six),
            *("--stream", f"unix:{self.directory}/rendezvous"),
            *("--front", six, "--set", f"Front.domain={DOMAIN}"),
            listeners=2 + len(ADDRESSES),
        )
        self.home, *urls, self.front = server.urls
        self.urls = dict(zip(ADDRESSES, urls, strict=True))

    def isUp(self) -> bool:
        """Tell whether the web server listens."""
        with socket.socket(socket.AF_UNIX) as probe:
            return not probe.connect_ex(f"{self.directory}/service")

    def serve(self, service: str, *arguments: str) -> None:
        """Make what the web server has on a socket reachable."""
        forward = f"unix:{self.directory}/{service}"
        command = [*CLIENT, "--url", self.home, "--serve", UUID, "--forward", forward]
        home = self.launchProgram([*command, "--proxy-protocol", *arguments])
        home.waitFor("registered as server")

    def visit(self, address: str, name: str) -> Stream:
        """Return a client from an address."""
        client, said = visit(self.urls[address], UUID, name)
        self.keep(client)
        self.assertEqual(said, error("NoError"))
        return client

    def page(self, client: Stream) -> str:
        """Return what the web server says to a client."""
        client.send(REQUEST)
        return client.rest().rpartition(b"\r\n\r\n")[2].decode()

    def checkAddresses(self) -> None:
        """It knows where each comes from."""
        self.serve("service")
        for address in ADDRESSES:
            page = self.page(self.visit(address, "my phone"))
            self.assertEqual(page, address or self.nobody)


class NginxTests(WebServerCase):
    skip = None if shutil.which("nginx") else "nginx is not installed"
    text = NGINX
    command = ("nginx", "-c")
    nobody = "unix:"

    @inThread
    def testAddresses(self) -> None:
        self.checkAddresses()

    @inThread
    def testEncrypted(self) -> None:
        """From end to end: the header comes first, before what was decrypted."""
        self.serve("service", "--end-to-end")
        client = self.visit("::1", "my phone")
        end = TlsClient(NAME)

        def receive() -> None:
            data = client.socket.recv(65536)
            self.assertTrue(data, "the proxy closed the connection")
            end.receive(data)

        while end.tls.version() is None:
            client.send(end.take())
            receive()
        client.send(end.say(REQUEST))
        while not end.isOver:
            receive()
        self.assertTrue(end.received.endswith(b"\r\n\r\n::1"), end.received)

    @inThread
    def testVisitors(self) -> None:
        """They have TLS with nginx; without it they get to where it answers challenges."""
        (command,) = commandsOf(self)
        for there, here in {
            "wss://proxy.example.org:2212": self.home,
            "127.0.0.1:443": f"unix:{self.directory}/tls",
            "127.0.0.1:8080": f"unix:{self.directory}/challenges",
        }.items():
            self.assertEqual(command.count(there), 1)
            command = command.replace(there, here)
        home = self.launchProgram([*CLIENT, *shlex.split(command)[1:]])
        home.waitFor("registered as server")
        visitor = Stream(self.front)
        self.keep(visitor)
        visitor.socket = TLS.wrap_socket(visitor.socket, server_hostname=f"{UUID}.{DOMAIN}")
        self.assertEqual(self.page(visitor), "https ::1")
        self.assertEqual(self.page(self.visit("::1", "front")), "challenge")


class HaproxyTests(WebServerCase):
    skip = None if shutil.which("haproxy") else "haproxy is not installed"
    text = HAPROXY
    command = ("haproxy", "-db", "-f")
    nobody = ""

    @inThread
    def testAddresses(self) -> None:
        self.checkAddresses()
