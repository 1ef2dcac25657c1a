"""Where clients come in."""

from __future__ import annotations

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from nymearemoteproxy.connections.records import TCP, WEBSOCKET
from nymearemoteproxy.listening.listeners import (
    BACKLOG,
)
from tests.support.configured import ConfigurationCase, RereadCase
from tests.support.settings import CPP_SERVER


class BareTests(ConfigurationCase):
    """The command without options."""

    def test_listener(self) -> None:
        """One WebSocket listener with TLS, for this machine only."""
        (listener,) = self.configured().listeners
        self.assertEqual(listener.transport, WEBSOCKET)
        self.assertTrue(listener.secure)
        self.assertTrue(listener.isLocal)
        self.assertFalse(listener.behindProxy)
        self.assertIsNone(listener.files)
        reactor = MemoryReactorClock()
        listener.endpoint(reactor).listen(Factory())
        (port, _, backlog, interface) = reactor.tcpServers[0]
        self.assertEqual((port, backlog, interface), (2212, BACKLOG, "127.0.0.1"))


class FileTests(ConfigurationCase):
    """The listeners of the file."""

    def test_listeners(self) -> None:
        """The listeners of the file, all with TLS or all without."""
        file = (
            "[WebSocketServer]\nhost=127.0.0.1\nport=1\n[TcpServer]\nport=2\n"
            "[UnixSocketServer]\nunixSocketFileName=/run/x.sock\n"
        )
        tail = f"interface=127.0.0.1:backlog={BACKLOG}"
        self.assertEqual(
            self.descriptions(self.configured(file=file)),
            [
                (f"tcp:1:{tail}", WEBSOCKET, True),
                (f"tcp:2:{tail}", TCP, True),
                ("unix:/run/x.sock", TCP, False),
            ],
        )
        self.assertEqual(
            self.descriptions(self.configured(file=file + "[SSL]\nenabled=false\n")),
            [
                (f"tcp:1:{tail}", WEBSOCKET, False),
                (f"tcp:2:{tail}", TCP, False),
                ("unix:/run/x.sock", TCP, False),
            ],
        )

    def test_unixSocketPath(self) -> None:
        """A path may hold what means something in a description."""
        for path in ("/run/a:b.sock", "/run/a\\b.sock", "/run/a=b.sock", "/run/mode=777", "/run/ä"):
            listener = self.configured(
                file=f"[UnixSocketServer]\nunixSocketFileName={path}\n"
            ).listeners[1]
            self.assertTrue(listener.isLocal)
            reactor = MemoryReactorClock()
            listener.endpoint(reactor).listen(Factory())
            self.assertEqual(reactor.unixServers[0][0], path)

    def test_cppServer(self) -> None:
        """A file of the C++ server is all that is needed."""
        path = self.certificate()
        file = CPP_SERVER.replace("/etc/ssl/certs/ssl-cert-snakeoil.pem", path).replace(
            "/etc/ssl/private/ssl-cert-snakeoil.key", path
        )
        configured = self.configured("--server", "https://a.example/", file=file)
        tail = f"interface=127.0.0.1:backlog={BACKLOG}"
        self.assertEqual(
            self.descriptions(configured),
            [
                (f"tcp:1212:{tail}", WEBSOCKET, True),
                (f"tcp:2212:{tail}", WEBSOCKET, True),
                (f"tcp:1213:{tail}", TCP, True),
                ("unix:/run/nymea-remoteproxy.sock", TCP, False),
                (f"tcp:2213:{tail}", TCP, True),
                ("unix:/run/nymea-remoteproxy-tunnelproxy.sock", TCP, False),
            ],
        )
        self.assertIsNotNone(configured.terms)
        self.assertEqual(configured.logFile, "/var/log/nymea-remoteproxy.log")
        self.assertTrue(any("[AWS]" in warning for warning in configured.warnings))

    def test_firstCppServer(self) -> None:
        """Version 0.1 read [TcpServer] and never listened there, so who has its file is told."""
        streams = CPP_SERVER.index("[UnixSocketServer]")
        first = CPP_SERVER[:streams].replace("enabled=true\n", "enabled=false\n")
        arguments = ("--server", "https://a.example/")

        def warnings(file: str) -> list[str]:
            told = self.configured(*arguments, file=file).warnings
            return [warning for warning in told if "[TcpServer]" in warning]

        (warning,) = warnings(first)
        self.assertIn("at port 1213: the C++ server 0.1", warning)
        withoutAws = first.partition("[AWS]")[0] + first[first.index("[SSL]") :]
        (warning,) = warnings(withoutAws.replace("port=1213", "port=80"))
        self.assertIn("at port 80: the C++ server 0.1", warning)
        for file in (
            withoutAws,
            first.partition("[TcpServer]")[0],
            f"{first}[UnixSocketServer]\n",
            f"{first}[TcpServerTunnelProxy]\n",
        ):
            self.assertEqual(warnings(file), [])

    def test_cppServerWithoutTls(self) -> None:
        """The C++ server does not look at the certificate when TLS is off, so it may be missing."""
        file = CPP_SERVER.replace("enabled=true", "enabled=false").replace("/etc/ssl/", "/none/")
        configured = self.configured("--server", "https://a.example/", file=file)
        self.assertEqual({listener.secure for listener in configured.listeners}, {False})


class TunnelProxyTests(ConfigurationCase):
    """Where the tunnel proxy listens."""

    sections = (
        "WebSocketServerTunnelProxy",
        "TcpServerTunnelProxy",
        "UnixSocketServerTunnelProxy",
    )

    def places(self, *arguments: str, file: str | None = None) -> list[str]:
        """Return where it listens, in short."""
        tail = f":interface=127.0.0.1:backlog={BACKLOG}"
        return [
            ("ws " if listener.transport == WEBSOCKET else "") + listener.plain.removesuffix(tail)
            for listener in self.configured(*arguments, file=file).listeners
        ]

    def test_option(self) -> None:
        """On, on the listeners that are there anyway; without a file that is the main one."""
        self.assertIsNotNone(self.configured("--tunnelproxy").terms)
        self.assertEqual(self.places("--tunnelproxy"), ["ws tcp:2212"])
        self.assertEqual(
            self.places("--tunnelproxy", "--websocket", "tcp:1", "--stream", "tcp:2"),
            ["ws tcp:1", "tcp:2"],
        )

    def test_placeOfTheMainListener(self) -> None:
        """The tunnel proxy's takes it, unless something is said of the main one."""
        file = "[WebSocketServerTunnelProxy]\nport=1\n"
        self.assertEqual(self.places(file=file), ["ws tcp:1"])
        self.assertEqual(self.places("-p", "2", file=file), ["ws tcp:2", "ws tcp:1"])
        self.assertEqual(self.places("--host", "127.0.0.1", file=file), ["ws tcp:2212", "ws tcp:1"])
        for more in ("[WebSocketServer]\n", "[WebSocketServer]\nport=2212\n"):
            self.assertEqual(self.places(file=file + more), ["ws tcp:2212", "ws tcp:1"])
        self.assertEqual(
            self.places("--set", "WebSocketServer.port=3", file=file), ["ws tcp:3", "ws tcp:1"]
        )
        self.assertEqual(self.places("--websocket", "tcp:4", file=file), ["ws tcp:4", "ws tcp:1"])

    def test_withoutPort(self) -> None:
        """A section that names none does not listen, and takes nobody's place."""
        for section in self.sections[:2]:
            file = f"[{section}]\nhost=127.0.0.1\n"
            self.assertEqual(self.places(file=file), ["ws tcp:2212"])

    def test_streams(self) -> None:
        """They come besides the others, with TLS as these."""
        file = (
            "[TcpServer]\nport=1\n[TcpServerTunnelProxy]\nport=2\n"
            "[UnixSocketServer]\nunixSocketFileName=/run/1\n"
            "[UnixSocketServerTunnelProxy]\nunixSocketFileName=/run/2\n"
        )
        expected = ["ws tcp:2212", "tcp:1", "unix:/run/1", "tcp:2", "unix:/run/2"]
        self.assertEqual(self.places(file=file), expected)
        configured = self.configured(file=file)
        secure = [listener.secure for listener in configured.listeners]
        self.assertEqual(secure, [True, True, False, True, False])
        configured = self.configured("--set", "SSL.enabled=false", file=file)
        self.assertEqual({listener.secure for listener in configured.listeners}, {False})

    def test_everyInterface(self) -> None:
        """Without a host it goes by the certificate, as the main listener does."""
        file = "[WebSocketServerTunnelProxy]\nport=1\n"
        self.assertTrue(self.configured(file=file).listeners[0].isLocal)
        configured = self.configured("-c", self.certificate(), file=file)
        self.assertFalse(configured.listeners[0].isLocal)

    def test_equalListeners(self) -> None:
        """The same place for both purposes is listened on once; for two kinds it is two."""
        same = (
            "[WebSocketServer]\nhost=127.0.0.1\nport=1\n"
            "[WebSocketServerTunnelProxy]\nhost=127.0.0.1\nport=1\n"
            "[TcpServer]\nhost=127.0.0.1\nport=2\n[TcpServerTunnelProxy]\nport=2\n"
            "[UnixSocketServer]\nunixSocketFileName=/run/1\n"
            "[UnixSocketServerTunnelProxy]\nunixSocketFileName=/run/1\n"
        )
        self.assertEqual(self.places(file=same), ["ws tcp:1", "tcp:2", "unix:/run/1"])
        self.assertEqual(
            self.places(file=same.replace("port=2", "port=1")),
            ["ws tcp:1", "tcp:1", "unix:/run/1"],
        )

    def test_switchedOff(self) -> None:
        """What is there for the tunnel proxy only is not listened on."""
        file = (
            "[TunnelProxy]\nenabled=false\n"
            "[WebSocketServerTunnelProxy]\nport=1\n[TcpServerTunnelProxy]\nport=2\n"
            "[UnixSocketServerTunnelProxy]\nunixSocketFileName=/run/2\n"
        )
        self.assertEqual(self.places(file=file), ["ws tcp:2212"])


class AcceptAnyTokenTests(ConfigurationCase):
    """Everybody is let in: only for tests on one machine."""

    def test_local(self) -> None:
        """Loopback addresses and Unix sockets."""
        for description in (
            "tcp:1:interface=127.0.0.1",
            "tcp:1:interface=127.1.2.3:backlog=5",
            "tcp:1:interface=\\:\\:1",
            "tcp6:1:interface=\\:\\:1",
            "ssl:1:interface=127.0.0.1",
            "tls:tcp:1:interface=127.0.0.1",
            "unix:/run/x",
            "tls:unix:/run/x:mode=660",
        ):
            for option in ("--websocket", "--stream"):
                self.configured("--accept-any-token", option, description)

    def test_strangers(self) -> None:
        """Everything else is refused, and named."""
        for description in (
            "tcp:1",
            "tcp:1:interface=0.0.0.0",
            "tcp:1:interface=",
            "tcp:1:interface=192.0.2.1",
            "tcp:1:interface=\\:\\:",
            "tcp:1:interface=\\:\\:ffff\\:192.0.2.1",
            "tcp:1:interface=localhost.example.com",
            "tcp6:1",
            "ssl:1",
            "tls:tcp:1",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:1:interface=127.0.0.1",
        ):
            for option in ("--websocket", "--stream"):
                text = self.assertMistake("--accept-any-token", option, description)
                self.assertIn("--accept-any-token", text)
                self.assertIn(f'"{description}"', text)

    def test_oneOfMany(self) -> None:
        """One listener for strangers is enough."""
        self.assertMistake("--accept-any-token", "--websocket", "unix:/run/x", "--stream", "tcp:1")
        self.assertMistake("--accept-any-token", file="[TcpServer]\nhost=0.0.0.0\nport=1\n")
        self.assertMistake("--accept-any-token", "--host", "0.0.0.0")
        self.assertMistake("--accept-any-token", "--certificate", self.certificate())

    def test_twoInterfaces(self) -> None:
        """Of an argument given twice Twisted takes the last, so that one decides."""
        self.assertMistake(
            "--accept-any-token",
            "--websocket",
            "tcp:1:interface=127.0.0.1:interface=0.0.0.0",
        )


class RereadTests(RereadCase):
    """When it is read anew."""

    def test_anyTokenStaysLocal(self) -> None:
        """A certificate would open the main listener to everybody, at the next start."""
        options = self.options("--accept-any-token")
        self.file.write_text(f"[SSL]\ncertificate={self.certificate()}\n")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertIn("strangers could come in", problems[0])
        self.assertTrue(all(each.isLocal for each in after.listeners))
