"""A real Redis and real members, from the files that docs/cluster.rst shows."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import subprocess
from pathlib import Path

from tests.endtoend.test_reverseproxy import EXAMPLES
from tests.support.cores import TunnelProxyCase, anyUuid
from tests.support.endtoend import (
    ESTABLISHED_FIRST,
    PATIENCE,
    SIGTERM,
    STREAM,
    Certificate,
    Program,
    Server,
    inThread,
    join,
    secret,
)
from tests.support.redis import PROGRAM, freePort, reasonToSkip


def _hasTls() -> bool:
    if PROGRAM is None:
        return False
    asked = [PROGRAM, "--tls-port", "0", "--port", "0", "--maxmemory", "1", "--dir", "/nowhere"]
    said = subprocess.run(asked, capture_output=True, check=False)
    return b"/nowhere" in said.stdout + said.stderr  # it understood the options before


class ClusterExampleTests(TunnelProxyCase):
    """docs/examples/redis-cluster.conf and .acl, and cluster.conf."""

    measured = True

    skip = reasonToSkip() or (None if _hasTls() else "redis-server has no TLS")

    @inThread
    def setUp(self) -> None:
        self.directory = self.temporary()
        self.directory.chmod(0o755)
        self.token = secret()
        self.password = secret("password")
        self.certificate = Certificate(str(self.directory))
        self.port = freePort()
        acl = self.example("redis-cluster.acl", {"PASSWORD": self.password})
        conf = self.example(
            "redis-cluster.conf",
            {
                "bind 192.0.2.10": "bind 127.0.0.1",
                "tls-port 6379": f"tls-port {self.port}",
                "/etc/redis/redis.pem": self.certificate.certificate,
                "/etc/redis/redis.key": self.certificate.key,
                "/etc/redis/users.acl": str(acl),
            },
        )
        assert PROGRAM is not None
        self.redis = Program([PROGRAM, str(conf), "--dir", str(self.directory)])
        self.addCleanup(self.redis.stop)
        self.redis.waitFor("Ready to accept connections")
        (self.directory / "password").write_text(f"{self.password}\n")
        (self.directory / "secret").write_text(secrets.token_hex(32))

    def example(self, name: str, replacements: dict[str, str], copy: str = "") -> Path:
        """Write an example with this in the place of what it says; return its path."""
        text = (EXAMPLES / name).read_text()
        for old, new in replacements.items():
            self.assertRegex(text, re.escape(old))
            text = text.replace(old, new)
        path = self.directory / (copy or name)
        path.write_text(text)
        return path

    def ask(self, command: str) -> bytes:
        """Ask the Redis something, as its user for members; return its answer, of one line."""
        context = ssl.create_default_context(cafile=self.certificate.certificate)
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as secured,
            secured.makefile("rwb") as stream,
        ):
            stream.write(f"AUTH nymea {self.password}\r\n{command}\r\n".encode())
            stream.flush()
            self.assertEqual(stream.readline(), b"+OK\r\n")
            return stream.readline()

    def node(self, name: str, *arguments: str) -> Server:
        """Start a member."""
        conf = self.example(
            "cluster.conf",
            {
                "redis.example.org:6379": f"localhost:{self.port}",
                "/etc/nymea/redis-password": str(self.directory / "password"),
                "/etc/nymea/cluster-secret": str(self.directory / "secret"),
                "tcp:2213": STREAM,
                "west": name,
            },
            copy=f"{name}.conf",
        )
        server = self.start(
            *("-C", str(conf), "--websocket", STREAM, "--tunnelproxy", "--token", self.token),
            *arguments,
            # Where the authority of the Redis is, as it would be in the system's store.
            environment={"SSL_CERT_FILE": self.certificate.certificate},
        )
        server.waitFor(f"of the cluster at rediss://localhost:{self.port}/0, called {name}")
        return server

    @inThread
    def testExamples(self) -> None:
        """Two members meet; all that they ask is allowed, and nothing is left of them."""
        west, east = self.node("west"), self.node("east")
        one, two = (join(server.url("ws"), self.token) for server in (west, east))
        self.keep(one, two)
        for client in (one, two):
            self.assertEqual(client.message(), ESTABLISHED_FIRST)
        uuid = anyUuid()
        core = self.register(east.url("ws"), uuid)
        client, address = self.join(west.url("ws"), uuid, core)
        self.works(core, client, address)
        for each in (one, two, client, core.stream):
            each.close()
        for server in (west, east):
            server.waitFor("ended: ", count=2)
            server.signal(SIGTERM)
            self.assertEqual(server.wait(), 0)
            member = server.waitFor("member ([0-9a-f]{32}) of")[1]
            self.assertEqual(self.ask(f"GET nymea-remoteproxy:member:{member}"), b"$-1\r\n")
            troubles = r"directory .* (fails|throws)|NOPERM|could not|whoever"
            self.assertEqual(server.find(troubles), [], server.text())

    @inThread
    def testOthers(self) -> None:
        """Somebody with a wrong password is told so, once, and serves its own clients."""
        (self.directory / "password").write_text("wrong\n")
        server = self.node("west")
        server.waitFor("The directory rediss://.* fails: it refuses user and password")
        one, two = (join(server.url("ws"), self.token) for _ in range(2))
        self.keep(one, two)
        for client in (one, two):
            self.assertEqual(client.message(), ESTABLISHED_FIRST)
        self.assertEqual(len(server.find("refuses user")), 1)
