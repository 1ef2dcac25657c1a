"""Places to listen on."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.common.certificates import CertificateFiles
from nymearemoteproxy.connections.records import TCP, WEBSOCKET
from nymearemoteproxy.listening import listeners
from nymearemoteproxy.listening.listeners import (
    BACKLOG,
    Listener,
    ListenerError,
    close,
    listen,
    parseListener,
    tcpDescription,
)
from tests.support.left import leaveSocket


class TcpDescriptionTests(SynchronousTestCase):
    """The description of a TCP listener."""

    def interface(self, host: str) -> str:
        """Return the interface that Twisted listens on, in the end."""
        reactor = MemoryReactorClock()
        parseListener(tcpDescription(host, 7), WEBSOCKET).endpoint(reactor).listen(Factory())
        (port, _, backlog, interface) = reactor.tcpServers[0]
        self.assertEqual((port, backlog), (7, BACKLOG))
        address: str = interface
        return address

    def test_host(self) -> None:
        """An address of either kind."""
        for host in ("127.0.0.1", "::1", "fe80::1%eth0", "2001:db8::1"):
            self.assertEqual(self.interface(host), host)

    def test_everyInterface(self) -> None:
        """With IPv6 where there is any; test_dualstack tells what :: is."""
        self.patch(listeners, "_hasIPv6", lambda: True)
        self.assertEqual(tcpDescription("", 7), tcpDescription("::", 7))
        self.patch(listeners, "_hasIPv6", lambda: False)
        self.assertEqual(self.interface(""), "0.0.0.0")

    def test_hasIPv6(self) -> None:
        """It is tried out."""
        bound: list[object] = []

        class Socket:
            def __init__(self, family: int, kind: int) -> None:
                bound.append(family)

            def __enter__(self) -> Socket:
                return self

            def __exit__(self, *details: object) -> None:
                bound.append("closed")

            def bind(self, address: tuple[str, int]) -> None:
                bound.append(address)

        self.patch(socket, "socket", Socket)
        self.assertTrue(listeners._hasIPv6())
        self.assertEqual(bound, [socket.AF_INET6, ("::", 0), "closed"])

        def fails(*details: Any) -> None:
            raise OSError("Address family not supported by protocol")

        self.patch(Socket, "bind", fails)
        self.assertFalse(listeners._hasIPv6())
        self.patch(socket, "socket", fails)
        self.assertFalse(listeners._hasIPv6())


class ListenerTests(SynchronousTestCase):
    """Reading descriptions."""

    def assertRead(self, description: str, plain: str, **expected: Any) -> None:
        """It is read so, for both kinds of clients."""
        for transport in (TCP, WEBSOCKET):
            self.assertEqual(
                parseListener(description, transport),
                Listener(description, plain, transport, **expected),
            )

    def test_plain(self) -> None:
        """What Twisted knows stays as it is."""
        for description in (
            "tcp:2212",
            "tcp:port=2212:interface=\\:\\:1",
            "unix:/run/x\\:y:mode=660",
            "systemd:domain=INET:name=web",
        ):
            self.assertRead(description, description)

    def test_tls(self) -> None:
        """tls: before any of them."""
        self.assertRead("tls:tcp:1", "tcp:1", secure=True)
        self.assertRead("tls:unix:/run/x", "unix:/run/x", secure=True)
        self.assertRead(
            "tls:systemd:domain=INET:index=0", "systemd:domain=INET:index=0", secure=True
        )

    def test_ssl(self) -> None:
        """ssl: is TCP with our TLS; without a key it takes the server's certificate."""
        self.assertRead("ssl:1", "tcp:1", secure=True)
        self.assertRead(
            "ssl:port=1:interface=\\:\\:1:backlog=3",
            "tcp:port=1:interface=\\:\\:1:backlog=3",
            secure=True,
        )

    def test_sslWithFiles(self) -> None:
        """A certificate of its own; the key's file may hold it."""
        self.assertRead(
            "ssl:1:privateKey=/k.pem",
            "tcp:1",
            secure=True,
            files=CertificateFiles("/k.pem", "/k.pem"),
        )
        self.assertRead(
            "ssl:1:privateKey=/k\\:1.pem:certKey=/c\\\\.pem:extraCertChain=/x=y.pem:interface=::",
            "tcp:1:interface=::",
            secure=True,
            files=CertificateFiles("/c\\.pem", "/k:1.pem", "/x=y.pem"),
        )

    def test_sslMistakes(self) -> None:
        """A certificate without a key, and what would weaken TLS."""
        for description, word in (
            ("ssl:1:certKey=/c.pem", "privateKey"),
            ("ssl:1:extraCertChain=/c.pem", "privateKey"),
            ("ssl:1:sslmethod=SSLv3_METHOD", "sslmethod"),
            ("ssl:1:dhParameters=/d.pem:privateKey=/k.pem", "dhParameters"),
        ):
            error = self.assertRaises(ListenerError, parseListener, description, True)
            self.assertIn(word, str(error))
            self.assertIn(description, str(error))

    def test_haproxy(self) -> None:
        """A reverse proxy tells the client's address, in the clear before TLS."""
        self.assertRead("haproxy:tcp:1", "tcp:1", behindProxy=True)
        self.assertRead("haproxy:unix:/run/x", "unix:/run/x", behindProxy=True)
        self.assertRead("haproxy:tls:tcp:1", "tcp:1", secure=True, behindProxy=True)
        self.assertRead("haproxy:ssl:1", "tcp:1", secure=True, behindProxy=True)

    def test_haproxyWithinTls(self) -> None:
        """On the wire there is but one order, whichever way round it is written."""
        self.assertRead("tls:haproxy:tcp:1", "tcp:1", secure=True, behindProxy=True)

    def test_positionalInterface(self) -> None:
        """Twisted takes the interface without its name, too."""
        self.assertTrue(parseListener("tcp:1:127.0.0.1", WEBSOCKET).isLocal)
        self.assertFalse(parseListener("tcp:1:192.0.2.1", WEBSOCKET).isLocal)

    def test_endpoints(self) -> None:
        """What is read, Twisted understands."""
        reactor = MemoryReactorClock()
        for description in ("tcp:1", "tls:tcp:2", "ssl:3:privateKey=/k", "haproxy:tls:tcp:4"):
            parseListener(description, WEBSOCKET).endpoint(reactor).listen(Factory())
        self.assertEqual([server[0] for server in reactor.tcpServers], [1, 2, 3, 4])
        self.assertEqual(reactor.sslServers, [])
        parseListener("tls:unix:/run/x", WEBSOCKET).endpoint(reactor).listen(Factory())
        self.assertEqual(reactor.unixServers[0][0], "/run/x")

    def test_mode(self) -> None:
        """A Unix socket is for its owner and group, unless its description says otherwise."""
        for description, mode in (
            ("unix:/run/x", 0o660),
            ("haproxy:tls:unix:/run/x:lockfile=0", 0o660),
            ("unix:address=/run/x", 0o660),
            ("unix:/run/x\\:y", 0o660),
            ("unix:/run/x\\=y", 0o660),
            ("unix:/run/x:mode=600", 0o600),
            ("unix:/run/x:666", 0o666),
        ):
            reactor = MemoryReactorClock()
            parseListener(description, TCP).endpoint(reactor).listen(Factory())
            self.assertEqual(reactor.unixServers[0][3], mode, description)

    def test_noEndpoint(self) -> None:
        """What Twisted does not understand is told in one line, with the description."""
        for description in ("", "nonsense:1", "tcp", "tcp:x", "tcp:1:a=b", "haproxy:", "tls:"):
            listener = parseListener(description, WEBSOCKET)
            error = self.assertRaises(ListenerError, listener.endpoint, MemoryReactorClock())
            self.assertIn(f'"{description}"', str(error))
            self.assertNotIn("\n", str(error))
            self.assertFalse(str(error).rstrip().endswith(":"), "it says why")

    def test_systemd(self) -> None:
        """The arguments are Twisted's, but the domain may be missing."""
        for description, reason in (
            ("systemd:index=0", "systemd passed no such socket"),
            ("tls:systemd:domain=INET:index=0", "systemd passed no such socket"),
            ("systemd:INET6:0", "systemd passed no such socket"),
            ("systemd:name=web", "systemd passed no such socket"),
            ("systemd:", "give index=NUMBER or name=NAME"),
            ("systemd:domain=INET", "give index=NUMBER or name=NAME"),
            ("systemd:index=0:name=web", "give index=NUMBER or name=NAME"),
            ("systemd:indx=0", '"indx=0" is neither index=NUMBER nor name=NAME'),
            ("systemd:INET:0:web:more", '"more" is neither index=NUMBER nor name=NAME'),
        ):
            listener = parseListener(description, WEBSOCKET)
            self.assertTrue(listener.isShared)
            error = self.assertRaises(ListenerError, listener.endpoint, MemoryReactorClock())
            self.assertEqual(
                str(error),
                f'"{description}" is no endpoint description that can be listened on: {reason}',
            )


class SocketTests(TestCase):
    """A Unix socket in the file system."""

    @inlineCallbacks
    def test_leftByOneOfTheSameNumber(self) -> Any:
        """As in a container, where each has it: what was there before us is not ours."""
        for form in "unix:{}:mode=600", "unix:address={}", "unix:{}:lockfile=1":
            path = os.path.relpath(self.mktemp())
            leaveSocket(path)
            endpoint = parseListener(form.format(path), TCP).endpoint(globalReactor)
            port = listen(path, endpoint, Factory())
            yield close(port)
            self.assertFalse(os.path.lexists(path))

    @inlineCallbacks
    def test_umask(self) -> Any:
        """What others may do with it is the same whatever the umask."""
        for umask in (0, 0o022, 0o077):
            path = self.mktemp()
            before = os.umask(umask)
            try:
                endpoint = parseListener(f"unix:{path}", TCP).endpoint(globalReactor)
                port = listen(path, endpoint, Factory())
            finally:
                os.umask(before)
            mode = stat.S_IMODE(os.stat(path).st_mode)
            yield close(port)
            self.assertEqual(mode, 0o660)
