"""A home gets its own certificate through the front door: a real ACME client, and a real authority.

Both of Let's Encrypt's ways that need no DNS: HTTP-01 (RFC 8555 section 8.3), for which it is asked
without TLS, and TLS-ALPN-01 (RFC 8737), which is a visitor with TLS like any other. The authority
is Pebble, the client lego; it checks the Host header that it is asked with.
"""

from __future__ import annotations

import json
import shutil
import socketserver
import ssl
import threading
import urllib.request
from pathlib import Path
from unittest import skipUnless
from uuid import uuid4

from tests.endtoend.test_front import Echo, FrontCase
from tests.support.endtoend import (
    CLIENT,
    PATIENCE,
    STREAM,
    Certificate,
    Program,
    Stream,
    inThread,
)
from tests.support.redis import freePort

AUTHORITY, VISITED = shutil.which("pebble"), shutil.which("lego")

NAME = "localhost"
"""Of the home: no other leads here without a name server."""

IMPATIENT = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
"""It neither waits before it looks nor refuses requests, as it does to see who copes with it."""


class Authority:
    """Pebble.

    :param http: the port that it asks without TLS.
    :param tls: the one that it asks with it.
    :ivar certificate: that of itself.
    :ivar directory: where clients begin.
    """

    def __init__(self, test: FrontCase, http: str, tls: str) -> None:
        self.certificate = Certificate(test.mktemp())
        address, self._management = (f"127.0.0.1:{freePort()}" for _ in range(2))
        self.directory = f"https://{address}/dir"
        settings = {
            "listenAddress": address,
            "managementListenAddress": self._management,
            "certificate": self.certificate.certificate,
            "privateKey": self.certificate.key,
            "httpPort": int(http.rpartition(":")[2]),
            "tlsPort": int(tls.rpartition(":")[2]),
        }
        path = test.file(json.dumps({"pebble": settings}))
        test.launchProgram([AUTHORITY, "-strict", "-config", path], IMPATIENT).waitFor("Listening")

    def root(self) -> str:
        """Return the certificate by which those are trusted that it has signed."""
        context = ssl.create_default_context(cafile=self.certificate.certificate)
        url = f"https://{self._management}/roots/0"
        with urllib.request.urlopen(url, timeout=PATIENCE, context=context) as answer:
            root: bytes = answer.read()
        return root.decode()


class _Home(socketserver.TCPServer):
    """What the home serves with its certificate, where the ACME client listened before."""

    allow_reuse_address = True
    timeout = PATIENCE


@skipUnless(AUTHORITY and VISITED, "pebble or lego is not installed")
class CertificateTests(FrontCase):
    """One home, and both ways."""

    @inThread
    def testBoth(self) -> None:
        home, ports = uuid4(), [f"127.0.0.1:{freePort()}" for _ in range(2)]
        options = self.front("--front-http", STREAM, names=f"{NAME} {home}\n")
        server = self.start("--websocket", STREAM, *options, listeners=3)
        tls, http = ports
        self.launchProgram(
            [
                *(*CLIENT, "--url", server.url("ws"), "--serve", str(home)),
                *("--forward", tls, "--forward-http", http),
            ]
        ).waitFor("registered as server")
        authority = Authority(self, server.url("http"), server.url("https"))
        ways = ("--http", "--http.port", http), ("--tls", "--tls.port", tls)
        issued = [self.issue(authority, *way) for way in ways]
        for program, _path in issued:
            self.assertEqual(program.wait(), 0, program.text())
        for _program, path in issued:
            self.visitHome(server.url("https"), tls, path, authority.root())

    def issue(self, authority: Authority, *way: str) -> tuple[Program, Path]:
        """Have the home get a certificate; return what does it, and where it will be."""
        path = self.temporary()
        command = [VISITED, "--server", authority.directory, "--path", str(path), "--accept-tos"]
        trust = {"LEGO_CA_CERTIFICATES": authority.certificate.certificate}
        who = ("--email", "me@example.org", "--domains", NAME)
        return self.launchProgram([*command, *who, *way, "run"], trust), path / "certificates"

    def visitHome(self, url: str, service: str, path: Path, root: str) -> None:
        """Serve with the certificate, and check that who trusts the authority gets there."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path / f"{NAME}.crt", path / f"{NAME}.key")
        host, _, port = service.rpartition(":")
        with _Home((host, int(port)), Echo) as home:
            home.socket = context.wrap_socket(home.socket, server_side=True)
            thread = threading.Thread(target=home.handle_request, daemon=True)
            thread.start()
            trusting = ssl.create_default_context(cadata=root)
            visitor = Stream(url, tls=False)
            with trusting.wrap_socket(visitor.socket, server_hostname=NAME) as tls:
                tls.sendall(b"hello")
                self.assertEqual(tls.recv(5), b"hello")
            thread.join(PATIENCE)
