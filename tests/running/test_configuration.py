"""Owns the checks of the command line, of what it amounts to, and of places to listen on."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as globalReactor
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy import __version__
from nymearemoteproxy.common import files
from nymearemoteproxy.connections.limits import LOOPBACK, RESERVED_FILES, Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.listening import listeners
from nymearemoteproxy.listening.listeners import (
    BACKLOG,
    Listener,
    ListenerError,
    parseListener,
    tcpDescription,
)
from nymearemoteproxy.listening.tls import (
    CertificateError,
    CertificateFiles,
    beginning,
    fingerprint,
)
from nymearemoteproxy.running import configuration
from nymearemoteproxy.running.configuration import Configuration, configure
from nymearemoteproxy.running.options import FAILED, WRONG_USAGE, Options
from nymearemoteproxy.running.service import ProxyService
from nymearemoteproxy.running.settings import Settings, SettingsError
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.running.test_settings import CPP_SERVER
from tests.support.certificates import issue, pem

PROPERTY = settings(max_examples=150, deadline=None, database=None)

FILES = 5000
"""What the limit of open files pretends to be."""


class ConfigurationCase(SynchronousTestCase):
    """Helpers for the checks of the command line."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {**os.environ, "STATE_DIRECTORY": str(self.state)})
        self.patch(configuration, "raiseFileLimit", lambda: FILES)

    def write(self, content: str | bytes) -> str:
        """Write a file, return its path."""
        path = os.path.abspath(self.mktemp())
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def certificate(self) -> str:
        """Return the path of a certificate with its key."""
        return self.write(pem(*issue("test", None)))

    def configured(self, *arguments: str, file: str | None = None) -> Configuration:
        """Return what these arguments, and this content of a file, amount to."""
        options = Options()
        options.parseOptions([*arguments, *(() if file is None else ("-C", self.write(file)))])
        return options.configuration

    def assertMistake(
        self, *arguments: str, file: str | None = None, status: int = WRONG_USAGE
    ) -> str:
        """The operator is told in one line on standard error, with this exit status; return it."""
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            mistake = self.assertRaises(SystemExit, self.configured, *arguments, file=file)
        text = shown.getvalue()
        self.assertEqual(mistake.code, status, text)
        self.assertTrue(text.startswith("nymea-remoteproxy: "), text)
        self.assertEqual((text.count("\n"), text[-1]), (1, "\n"))
        return text.rstrip("\n")

    def descriptions(self, configured: Configuration) -> list[tuple[str, bool, bool]]:
        """Return where it listens: description for Twisted, WebSocket, secure."""
        return [
            (listener.plain, listener.webSocket, listener.secure)
            for listener in configured.listeners
        ]


class BareTests(ConfigurationCase):
    """The command without options."""

    def test_listener(self) -> None:
        """One WebSocket listener with TLS, for this machine only."""
        (listener,) = self.configured().listeners
        self.assertTrue(listener.webSocket)
        self.assertTrue(listener.secure)
        self.assertTrue(listener.isLocal)
        self.assertFalse(listener.behindProxy)
        self.assertIsNone(listener.files)
        reactor = MemoryReactorClock()
        listener.endpoint(reactor).listen(Factory())
        (port, _, backlog, interface) = reactor.tcpServers[0]
        self.assertEqual((port, backlog, interface), (2212, BACKLOG, "127.0.0.1"))

    def test_certificate(self) -> None:
        """A self-signed one is made in the state directory, and its fingerprint shown."""
        configured = self.configured()
        (made,) = self.state.iterdir()
        self.assertEqual(configured.fingerprint, fingerprint(CertificateFiles(str(made))))
        self.assertEqual(set(configured.certificates), {None})
        self.assertEqual(self.configured().fingerprint, configured.fingerprint)

    def test_token(self) -> None:
        """A random token is made, another one in each run, and it is the one accepted."""
        first, second = self.configured(), self.configured()
        for configured in (first, second):
            assert configured.generatedToken is not None and configured.tokens is not None
            self.assertGreaterEqual(len(configured.generatedToken), 32)
            self.assertEqual(configured.tokens.read(), [configured.generatedToken])
        self.assertNotEqual(first.generatedToken, second.generatedToken)

    def test_rest(self) -> None:
        """Nothing else is on."""
        configured = self.configured()
        self.assertFalse(configured.acceptAnyToken)
        self.assertIsNone(configured.logFile)
        self.assertEqual(configured.verbosity, 0)
        self.assertIsNone(configured.credentials)
        self.assertIsNone(configured.terms)
        self.assertIsNone(configured.allowedServers)
        self.assertEqual(list(configured.warnings), [])

    def test_timing(self) -> None:
        """The contract's time limits, in seconds."""
        self.assertEqual(
            self.configured().timing,
            Timing(
                tlsHandshake=5,
                webSocketHandshake=5,
                inactive=8,
                authentication=8,
                alone=8,
                notificationGap=0.02,
                ping=30,
                pingAnswer=10,
                close=10,
            ),
        )

    def test_doubtfulTimes(self) -> None:
        """They are warned of as they count in the end."""
        short = "ProxyServer.aloneTimeout=8"
        (warning,) = self.configured("--set", short).warnings
        self.assertEqual(warning, "[ProxyServer] aloneTimeout is 8 milliseconds; is 8000 meant?")
        configured = self.configured("--set", short, "--set", "ProxyServer.aloneTimeout=8000")
        self.assertEqual(list(configured.warnings), [])

    def test_bounds(self) -> None:
        """What the limit of open files allows, less a reserve; half of them unauthenticated."""
        self.assertEqual(
            self.configured().bounds,
            Bounds(
                connections=FILES - RESERVED_FILES,
                unauthenticated=(FILES - RESERVED_FILES) // 2,
                connectionsPerAddress=1000,
                unauthenticatedPerAddress=100,
                attemptsPerSecondPerAddress=50,
                exempt=LOOPBACK,
            ),
        )


class OptionTests(ConfigurationCase):
    """Every option, by its long and its short name."""

    def test_logging(self) -> None:
        """Log file."""
        for option in ("--logging", "-l"):
            self.assertEqual(self.configured(option, "/x/y.log").logFile, "/x/y.log")

    def test_server(self) -> None:
        """With an authentication server, no token is made."""
        for option in ("--server", "-s"):
            configured = self.configured(option, "https://a.example/b")
            self.assertEqual(configured.settings["Authentication.server"], "https://a.example/b")
            self.assertIsNone(configured.tokens)
            self.assertIsNone(configured.generatedToken)

    def test_portAndHost(self) -> None:
        """Port and address of the main listener."""
        for option in ("--port", "-p"):
            configured = self.configured(option, "0", "--host", "::1")
            self.assertEqual(
                self.descriptions(configured),
                [(f"tcp:0:interface=\\:\\:1:backlog={BACKLOG}", True, True)],
            )

    def test_certificate(self) -> None:
        """With a certificate the main listener is on every interface, and nothing is made."""
        both = self.certificate()
        for options in (
            ("--certificate", both),
            ("-c", both, "-k", both),
            ("-c", both, "--certificate-key", both),
        ):
            configured = self.configured(*options)
            self.assertIsNone(configured.fingerprint)
            self.assertEqual(set(configured.certificates), {None})
            self.assertFalse(configured.listeners[0].isLocal)
        self.assertFalse(self.state.exists())
        configured = self.configured("-c", both, "--host", "127.0.0.1")
        self.assertTrue(configured.listeners[0].isLocal)

    def test_certificateOfTheFuture(self) -> None:
        """It may be right soon, or the clock may be wrong; it is told, for each listener's own."""
        certificate, key = issue("test", None, start=timedelta(days=1))
        path = self.write(pem(certificate, key))
        begins = beginning(CertificateFiles(path))
        for arguments in ("-c", path), ("--stream", f"ssl:1:privateKey={path}"):
            (warning,) = self.configured(*arguments).warnings
            self.assertIn(f"the certificate {path} is not valid before {begins:%Y-%m-%d}", warning)
        self.assertEqual(list(self.configured("-c", self.certificate()).warnings), [])

    def test_verbose(self) -> None:
        """May be given twice."""
        self.assertEqual(self.configured("-v").verbosity, 1)
        self.assertEqual(self.configured("--verbose", "-v").verbosity, 2)
        self.assertEqual(self.configured("-vv").verbosity, 2)

    def test_configuration(self) -> None:
        """The INI file."""
        path = self.write("[ProxyServer]\nname=x\n")
        for option in ("--configuration", "-C"):
            self.assertEqual(self.configured(option, path).settings["ProxyServer.name"], "x")

    def test_websocket(self) -> None:
        """Given at all, it replaces the main listener."""
        configured = self.configured("--websocket", "tcp:1", "--websocket", "tls:unix:/run/x")
        self.assertEqual(
            self.descriptions(configured), [("tcp:1", True, False), ("unix:/run/x", True, True)]
        )

    def test_stream(self) -> None:
        """Comes besides the main listener."""
        configured = self.configured("-p", "5", "--stream", "tcp:1", "--stream", "ssl:2")
        self.assertEqual(
            self.descriptions(configured)[1:], [("tcp:1", False, False), ("tcp:2", False, True)]
        )
        self.assertTrue(configured.listeners[0].webSocket)

    def test_plainOnly(self) -> None:
        """Without a secure listener no certificate is made."""
        configured = self.configured("--websocket", "tcp:1")
        self.assertIsNone(configured.fingerprint)
        self.assertEqual(configured.certificates, {})
        self.assertFalse(self.state.exists())

    def test_tokens(self) -> None:
        """Given tokens and a file's come together."""
        path = self.write("# mine\nthird\n")
        configured = self.configured("--token", "first", "--token", "second", "--token-file", path)
        assert configured.tokens is not None
        self.assertEqual(configured.tokens.read(), ["first", "second", "third"])
        self.assertIsNone(configured.generatedToken)
        Path(path).write_text("fourth\n")
        self.assertEqual(configured.tokens.read(), ["first", "second", "fourth"])

    def test_tokenFiles(self) -> None:
        """Those of several files come together; what the settings name does not count then."""
        one, two, other = self.write("first\n"), self.write("second\n"), self.write("other\n")
        configured = self.configured(
            *("--token-file", one, "--token-file", two),
            *("--set", f"Authentication.tokenFile={other}"),
        )
        self.assertEqual(configured.acceptedTokens, ["first", "second"])
        empty = self.write("")
        text = self.assertMistake("--token-file", empty, "--token-file", two, status=FAILED)
        self.assertIn(empty, text)

    def test_set(self) -> None:
        """One setting."""
        configured = self.configured("--set", "ProxyServer.aloneTimeout=1500")
        self.assertEqual(configured.timing.alone, 1.5)

    def test_acceptAnyToken(self) -> None:
        """No token is made then."""
        configured = self.configured("--accept-any-token")
        self.assertTrue(configured.acceptAnyToken)
        self.assertIsNone(configured.generatedToken)
        self.assertIsNone(configured.tokens)

    def shown(self, option: str) -> str:
        """Return what an option shows before it ends the program with status 0."""
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        ended = self.assertRaises(SystemExit, Options().parseOptions, [option])
        self.assertIn(ended.code, (0, None))
        return output.getvalue()

    def test_version(self) -> None:
        """Name and version."""
        for option in ("--version", "-V"):
            self.assertEqual(self.shown(option), f"nymea-remoteproxy {__version__}\n")

    def test_help(self) -> None:
        """Every option of the public interface is there."""
        for option in ("--help", "-h"):
            shown = self.shown(option)
            for name in (
                "-h, --help",
                "-V, --version",
                "-l, --logging=",
                "-s, --server=",
                "-p, --port=",
                "--host=",
                "-c, --certificate=",
                "-k, --certificate-key=",
                "-v, --verbose",
                "-C, --configuration=",
                "--websocket=",
                "--stream=",
                "--token=",
                "--token-file=",
                "--accept-any-token",
                "--tunnelproxy",
                "--set=",
            ):
                self.assertIn(name, shown)


class PrecedenceTests(ConfigurationCase):
    """Command line, --set, file, default."""

    def port(self, *arguments: str, file: str | None = None) -> int:
        """Return the port of the main listener."""
        port: int = self.configured(*arguments, file=file).settings["WebSocketServer.port"]
        return port

    def test_order(self) -> None:
        """Each one beats those behind it, whatever the order they are given in."""
        file = "[WebSocketServer]\nport=1\n"
        override = ("--set", "WebSocketServer.port=2")
        option = ("--port", "3")
        self.assertEqual(self.port(), 2212)
        self.assertEqual(self.port(file=file), 1)
        self.assertEqual(self.port(*override), 2)
        self.assertEqual(self.port(*override, file=file), 2)
        self.assertEqual(self.port(*option, *override, file=file), 3)
        self.assertEqual(self.port(*override, *option, file=file), 3)
        self.assertEqual(self.port("-C", self.write(file), *override), 2)

    def test_lastOfItsKind(self) -> None:
        """Of the same kind the last counts."""
        self.assertEqual(self.port("-p", "3", "-p", "4"), 4)
        self.assertEqual(
            self.port("--set", "WebSocketServer.port=3", "--set", "WebSocketServer.port=4"), 4
        )

    def test_eachOption(self) -> None:
        """So it is for every option that stands for a setting."""
        both = self.certificate()
        tokens = self.write("x\n")
        for arguments, name, value in (
            (("--server", "http://b"), "Authentication.server", "http://b"),
            (("--host", "127.0.0.2"), "WebSocketServer.host", "127.0.0.2"),
            (("--certificate", both), "SSL.certificate", both),
            (("-c", both, "--certificate-key", both), "SSL.certificateKey", both),
            (("--token-file", tokens), "Authentication.tokenFile", tokens),
        ):
            section, _, key = name.partition(".")
            other = "127.0.0.3" if key == "host" else "http://other"
            configured = self.configured(
                *arguments, "--set", f"{name}={other}", file=f"[{section}]\n{key}={other}\n"
            )
            self.assertEqual(configured.settings[name], value)

    def test_logFile(self) -> None:
        """The file's log file is used when it says so."""
        self.assertIsNone(self.configured(file="[ProxyServer]\nlogFile=/f\n").logFile)
        file = "[ProxyServer]\nlogFile=/f\nwriteLogs=true\n"
        self.assertEqual(self.configured(file=file).logFile, "/f")
        self.assertEqual(self.configured("--logging", "/c", file=file).logFile, "/c")


class FileTests(ConfigurationCase):
    """What settings amount to."""

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
                (f"tcp:1:{tail}", True, True),
                (f"tcp:2:{tail}", False, True),
                ("unix:/run/x.sock", False, False),
            ],
        )
        self.assertEqual(
            self.descriptions(self.configured(file=file + "[SSL]\nenabled=false\n")),
            [
                (f"tcp:1:{tail}", True, False),
                (f"tcp:2:{tail}", False, False),
                ("unix:/run/x.sock", False, False),
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

    def test_timing(self) -> None:
        """Milliseconds become seconds; the lower limit of a call counts."""
        keys = {
            "tlsHandshakeTimeout": "tlsHandshake",
            "webSocketHandshakeTimeout": "webSocketHandshake",
            "inactiveTimeout": "inactive",
            "aloneTimeout": "alone",
            "notificationGap": "notificationGap",
            "pingInterval": "ping",
            "pingTimeout": "pingAnswer",
            "closeTimeout": "close",
        }
        for number, (key, name) in enumerate(keys.items(), 1):
            timing = self.configured("--set", f"ProxyServer.{key}={number}").timing
            self.assertEqual(getattr(timing, name), number / 1000)
        for authentication, call, expected in ((2000, 1000, 1), (1000, 2000, 1)):
            timing = self.configured(
                "--set",
                f"ProxyServer.authenticationTimeout={authentication}",
                "--set",
                f"ProxyServer.jsonRpcTimeout={call}",
            ).timing
            self.assertEqual(timing.authentication, expected)

    def bounds(self, **limits: str) -> tuple[Bounds, list[str]]:
        """Return the bounds and the warnings that these limits amount to."""
        options = [f"--set=Limits.{name}={value}" for name, value in limits.items()]
        configured = self.configured(*options)
        return configured.bounds, list(configured.warnings)

    def test_bounds(self) -> None:
        """Each limit has its bound."""
        bounds, warnings = self.bounds(
            maxConnections="10",
            maxUnauthenticated="9",
            maxConnectionsPerAddress="8",
            maxUnauthenticatedPerAddress="7",
            attemptsPerSecondPerAddress="6",
            exemptNetworks="10.0.0.0/8",
        )
        self.assertEqual(bounds, Bounds(10, 9, 8, 7, 6, (ipaddress.ip_network("10.0.0.0/8"),)))
        self.assertEqual(warnings, [])

    def test_boundsThatDependOnEachOther(self) -> None:
        """Half of the connections may be unauthenticated; none remains none."""
        self.assertEqual(self.bounds(maxConnections="11")[0].unauthenticated, 5)
        bounds = self.bounds(maxConnections="0")[0]
        self.assertEqual(bounds.connections, 0)
        self.assertEqual(bounds.unauthenticated, (FILES - RESERVED_FILES) // 2)
        self.assertEqual(self.bounds(maxUnauthenticated="0")[0].unauthenticated, 0)

    def test_moreThanTheFileLimit(self) -> None:
        """A promise that cannot be kept is told."""
        bounds, warnings = self.bounds(maxConnections=str(FILES))
        self.assertEqual(bounds.connections, FILES)
        (warning,) = warnings
        self.assertIn(str(FILES - RESERVED_FILES), warning)
        self.assertEqual(self.bounds(maxConnections=str(FILES - RESERVED_FILES))[1], [])

    def test_questionsAreFiles(self) -> None:
        """More of them than usual at once leave fewer for clients; fewer change nothing."""
        for questions, taken in ((1, 0), (16, 0), (17, 1), (1000, 984)):
            option = f"--set=Authentication.connections={questions}"
            connections = self.configured(option).bounds.connections
            self.assertEqual(connections, FILES - RESERVED_FILES - taken)

    def test_tinyFileLimit(self) -> None:
        """However few files there may be, no limit becomes none by accident."""
        self.patch(configuration, "raiseFileLimit", lambda: 10)
        self.assertEqual(self.configured().bounds.connections, 1)

    def test_credentials(self) -> None:
        """The first line of the file is the password."""
        path = self.write("\ufeff\r\n s:cret €\r\nsecond line\n")
        file = f"[Authentication]\nserver=http://a\nclientId=me\nclientSecretFile={path}\n"
        self.assertEqual(self.configured(file=file).credentials, ("me", "s:cret €"))

    def test_filesAreReadOnce(self) -> None:
        """So that each may be a pipe, though more than one part is made of it."""
        certificate, key = issue("test", None)
        reads: list[str] = []
        real = files.readFile

        def readFile(path: str, mayWait: bool = True) -> bytes:
            reads.append(path)
            return real(path, mayWait)

        self.patch(files, "readFile", readFile)
        both = self.write(pem(certificate, key))
        tokens, users, secret, uuids = (
            self.write(each)
            for each in ("t\n", "me:x\n", "x", "00000000-0000-4000-8000-000000000001")
        )
        ini = self.write(
            f"[SSL]\ncertificate={both}\ncertificateKey={both}\n"
            f"[Authentication]\ntokenFile={tokens}\nclientId=me\nclientSecretFile={secret}\n"
            f"server=http://a\n[Admin]\nendpoint=tcp:1:interface=127.0.0.1\n"
            f"passwordFile={users}\n[TunnelProxy]\nserverUuidFile={uuids}\n"
        )
        options = Options()
        options.parseOptions(["-C", ini, "--tunnelproxy", "--stream", f"ssl:1:privateKey={both}"])
        expected = sorted([both, tokens, users, secret, uuids, ini])
        self.assertEqual(sorted(reads), expected)
        reads.clear()
        self.assertEqual(options.reread()[1], [])
        self.assertEqual(sorted(reads), expected)
        reads.clear()
        Path(ini).write_text("broken")
        self.assertEqual(len(options.reread()[1]), 1)
        self.assertEqual(sorted(reads), expected)
        reads.clear()
        Path(ini).write_text(f"[SSL]\ncertificate={both}\n[Admin]\npasswordFile={users}\n")
        self.assertEqual(len(options.reread()[1]), 1)
        self.assertEqual(sorted(reads), expected)

    def test_pairingBySubject(self) -> None:
        """Only an authentication server can name accounts, so nothing else may let in."""
        option = ("--set", "Authentication.pairing=subject")
        server = ("--server", "http://a")
        self.configured(*option, *server)
        for more in ((), ("--token", "x"), ("--accept-any-token",)):
            self.assertIn("subject", self.assertMistake(*option, *more))
        self.assertIn("subject", self.assertMistake(*option, *server, "--token", "x"))

    def test_acceptAnyTokenStandsAlone(self) -> None:
        """It never opens a server for which somebody thought about who may in."""
        tokens = ("--token-file", self.write("token"))
        for more in (("--server", "http://a"), ("--token", "x"), tokens):
            self.assertIn("everybody", self.assertMistake("--accept-any-token", *more))

    def test_secretsAreNotShown(self) -> None:
        """What is printed of a configuration, by whatever mistake, holds no token."""
        shown = repr(self.configured("--token", "s3cr3t"))
        self.assertNotIn("s3cr3t", shown)
        generated = self.configured()
        assert generated.generatedToken is not None
        self.assertNotIn(generated.generatedToken, repr(generated))

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
                (f"tcp:1212:{tail}", True, True),
                (f"tcp:2212:{tail}", True, True),
                (f"tcp:1213:{tail}", False, True),
                ("unix:/run/nymea-remoteproxy.sock", False, False),
                (f"tcp:2213:{tail}", False, True),
                ("unix:/run/nymea-remoteproxy-tunnelproxy.sock", False, False),
            ],
        )
        self.assertIsNotNone(configured.terms)
        self.assertEqual(configured.logFile, "/var/log/nymea-remoteproxy.log")
        self.assertTrue(any("[AWS]" in warning for warning in configured.warnings))

    def test_noHome(self) -> None:
        """Without a place for a self-signed certificate one has to be given."""

        def home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        self.patch(os, "environ", {})
        self.patch(Path, "home", home)
        self.assertIn("set STATE_DIRECTORY", self.assertMistake("--token=t", status=FAILED))

    def test_logFile(self) -> None:
        """Where systemd says, if the file says nothing."""
        for environment, directory in (({}, "/var/log"), ({"LOGS_DIRECTORY": "/a:/b"}, "/a")):
            self.patch(os, "environ", environment)
            configured = self.configured("--token=t", "--set=ProxyServer.writeLogs=yes", "-p0")
            self.assertEqual(configured.logFile, f"{directory}/nymea-remoteproxy.log")

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

    def test_notInBackground(self) -> None:
        """Nobody would see a generated token there."""
        options = Options()
        options.parent = {"nodaemon": False}
        with contextlib.redirect_stderr(io.StringIO()):
            mistake = self.assertRaises(SystemExit, options.parseOptions, [])
        self.assertIn("nobody would see", str(mistake))
        for arguments in (["--token", "x"], ["--server", "http://a"], ["--accept-any-token"]):
            options = Options()
            options.parent = {"nodaemon": False}
            options.parseOptions(arguments)
        options = Options()
        options.parent = {"nodaemon": True}
        options.parseOptions([])
        self.assertIsNotNone(options.configuration.generatedToken)


class TunnelProxyTests(ConfigurationCase):
    """When the tunnel proxy is on, where it listens, and what it demands."""

    sections = (
        "WebSocketServerTunnelProxy",
        "TcpServerTunnelProxy",
        "UnixSocketServerTunnelProxy",
    )

    def places(self, *arguments: str, file: str | None = None) -> list[str]:
        """Return where it listens, in short."""
        tail = f":interface=127.0.0.1:backlog={BACKLOG}"
        return [
            ("ws " if listener.webSocket else "") + listener.plain.removesuffix(tail)
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

    def test_switch(self) -> None:
        """A section of the C++ server's is enough; enabled decides, the option before all."""
        off = "[TunnelProxy]\nenabled=false\n"
        for section in self.sections:
            file = f"[{section}]\n"
            self.assertIsNotNone(self.configured(file=file).terms, section)
            self.assertIsNone(self.configured(file=file + off).terms, section)
            self.assertIsNotNone(self.configured("--tunnelproxy", file=file + off).terms)
        self.assertIsNotNone(self.configured("--set", "TcpServerTunnelProxy.port=1").terms)
        self.assertIsNotNone(self.configured("--set", "TunnelProxy.enabled=on").terms)
        self.assertIsNone(self.configured(file="[TunnelProxy]\nserverTimeout=1\n").terms)

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

    def test_terms(self) -> None:
        """Each setting has its place there."""
        numbers = {
            "TunnelProxy.serverTimeout": "1500",
            "TunnelProxy.maxPacketSize": "100001",
            "TunnelProxy.clientBacklog": "100002",
            "TunnelProxy.totalBacklog": "100003",
            "TunnelProxy.clientPatience": "2500",
            "Limits.maxControlMessageSize": "4",
            "Limits.maxServersPerAddress": "5",
            "Limits.maxClientsPerAddress": "6",
            "Limits.maxClientsPerServer": "7",
        }
        options = [f"--set={name}={value}" for name, value in numbers.items()]
        self.assertEqual(
            self.configured("--tunnelproxy", *options).terms,
            Terms(
                serverTimeout=1.5,
                packetSize=100001,
                messageSize=4,
                clientBacklog=100002,
                totalBacklog=100003,
                clientPatience=2.5,
                serversPerAddress=5,
                clientsPerAddress=6,
                clientsPerServer=7,
            ),
        )

    def test_defaultTerms(self) -> None:
        """The defaults of the settings are those of the tests, but for the limits per address."""
        terms = self.configured("--tunnelproxy").terms
        assert terms is not None
        self.assertEqual((terms.serversPerAddress, terms.clientsPerAddress), (100, 500))
        self.assertEqual(terms, Terms(serversPerAddress=100, clientsPerAddress=500))

    def test_serverUuidFile(self) -> None:
        """One uuid per line, with or without braces."""
        one, two = "5e4a1ec3-7d34-4a0e-8b61-0c2f5a1d9e77", "C1A55E5F-00D1-4C0D-9B1E-2F6E7D8C9B0A"
        path = self.write(f"# ours\n\n{{{one}}}\n  {two}\n")
        option = f"--set=TunnelProxy.serverUuidFile={path}"
        allowed = self.configured("--tunnelproxy", option).allowedServers
        assert allowed is not None
        self.assertEqual({str(uuid) for uuid in allowed}, {one, two.lower()})
        null = self.write("# ours\n\n00000000-0000-0000-0000-000000000000\n")
        option = f"--set=TunnelProxy.serverUuidFile={null}"
        text = self.assertMistake("--tunnelproxy", option, status=FAILED)
        self.assertIn("line 3 is no uuid", text)
        self.assertIn(null, text)

    def test_anyServer(self) -> None:
        """It is told where strangers could register servers."""
        self.assertEqual(list(self.configured("--tunnelproxy").warnings), [])
        open_ = ("--tunnelproxy", "--websocket", "tcp:1")
        (warning,) = self.configured(*open_).warnings
        self.assertIn("serverUuidFile", warning)
        path = self.write("5e4a1ec3-7d34-4a0e-8b61-0c2f5a1d9e77\n")
        configured = self.configured(*open_, f"--set=TunnelProxy.serverUuidFile={path}")
        self.assertEqual(list(configured.warnings), [])
        self.assertEqual(list(self.configured("--websocket", "tcp:1").warnings), [])

    def test_inBackground(self) -> None:
        """It needs no tokens, so that it may do without; nobody gets in with one then."""
        options = Options()
        options.parent = {"nodaemon": False}
        options.parseOptions(["--tunnelproxy"])
        configured = options.configuration
        self.assertIsNone(configured.generatedToken)
        self.assertEqual(configured.acceptedTokens, [])
        (warning,) = configured.warnings
        self.assertIn("no authentication", warning)
        options = Options()
        options.parent = {"nodaemon": False}
        options.parseOptions(["--tunnelproxy", "--token", "x"])
        self.assertEqual(list(options.configuration.warnings), [])
        self.assertIsNotNone(self.configured("--tunnelproxy").generatedToken)


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


class MistakeTests(ConfigurationCase):
    """Whatever the operator does wrong is told in one line."""

    def test_commandLine(self) -> None:
        """Options that do not exist, miss their value, or have a wrong one."""
        for arguments, word in (
            (("--nonsense",), "nonsense"),
            (("-x",), "x"),
            (("--port",), "port"),
            (("--accept-any-token=1",), "accept-any-token"),
            (("positional",), "arguments"),
            (("-p", "https"), "https"),
            (("-p", "65536"), "65536"),
            (("-s", "ftp://a"), "http:// or https://"),
            (("--set", "x"), "SECTION.KEY=VALUE"),
            (("--set", "ProxyServer.nam=x"), "name"),
            (("--set", "Proxyserver.name=x"), "[ProxyServer]"),
            (("--token", ""), "empty"),
            (("--tunnelproxy=1",), "tunnelproxy"),
        ):
            self.assertIn(word, self.assertMistake(*arguments))

    def test_whatIsMeant(self) -> None:
        """What was given, what is expected, and an option that may have been meant."""
        for arguments, said in (
            (("--tokens-file", "x"), "no option --tokens-file; the nearest one is --token-file"),
            (("--nonsense",), "there is no option --nonsense; --help shows all"),
            (("-x",), "there is no option -x; --help shows all"),
            (("-t",), "there is no option -t; --help shows all"),
            (("--admin", "unix:"), '--admin: "unix:" cannot be listened on: it needs the path'),
            (("--tok", "x"), "--tok may mean --token or --token-file"),
            (("--port",), "--port needs a value"),
            (("-p",), "-p needs a value"),
            (("--verbose=1",), "--verbose takes no value"),
            (("-m",), "there is no option -m: the C++ server let everybody in with it; here --acc"),
            (("--mock-authenticator",), "here it is --accept-any-token"),
            (("-p", "http"), "--port: [WebSocketServer] port cannot be 'http': use a whole number"),
            (("--admin", "8080"), "is it tcp:8080:interface=127.0.0.1?"),
            (("--stream", "tcp:abc"), "--stream: \"tcp:abc\" cannot be listened on: port 'abc'"),
            (("--set", "Admin.endpoint=8080"), '[Admin] endpoint: "8080" is no endpoint'),
            (("--set", "x"), "--set x: write SECTION.KEY=VALUE, such as "),
        ):
            self.assertIn(said, self.assertMistake(*arguments))

    def test_whereItWasSet(self) -> None:
        """A place for the admin pages is told as it was given: in the file, or by an option."""
        for description, said in (
            ("8080", '"8080" is no endpoint description'),
            ("tcp:8080", '"tcp:8080" is neither a loopback address'),
        ):
            text = self.assertMistake(file=f"[Admin]\nendpoint={description}\n")
            self.assertRegex(text, f"^nymea-remoteproxy: /.+: \\[Admin\\] endpoint: {said}")
            text = self.assertMistake(
                "--admin", description, file="[Admin]\nendpoint=tcp:1:interface=127.0.0.1\n"
            )
            self.assertIn(f"nymea-remoteproxy: --admin: {said}", text)

    def test_emptyValue(self) -> None:
        """A variable that is not set must not open what its value would have closed."""
        for option in "-l", "-s", "-p", "--host", "-c", "-k", "-C", "--admin", "--token-file":
            self.assertIn("needs a value", self.assertMistake(option, ""))

    def test_certificateAsConfiguration(self) -> None:
        """The C++ server's -c was its configuration; who writes so is told."""
        for content in (CPP_SERVER, f"\ufeff\r\n; old\n# [not this]\n\n{CPP_SERVER}"):
            path = self.write(content)
            text = self.assertMistake("-c", path)
            self.assertIn(f"{path} is an INI file and no certificate: give it with -C", text)

    def test_longFilesAsCertificate(self) -> None:
        """It takes no time to see that they are no INI files."""
        for content in " " * 100_000, "#\n" * 100_000, " ;\n" * 100_000 + "[":
            self.assertIn("no PEM", self.assertMistake("-c", self.write(content), status=FAILED))

    def test_certificateWithoutKey(self) -> None:
        """It is told as such, for the option and for the setting."""
        path = self.write(pem(*issue("test", None)).partition(b"-----BEGIN PRIVATE")[0])
        for arguments, file in ((("-c", path), None), ((), f"[SSL]\ncertificate={path}\n")):
            text = self.assertMistake(*arguments, file=file, status=FAILED)
            self.assertIn(f"the certificate {path} comes without its private key", text)

    def test_damagedSelfSigned(self) -> None:
        """Nobody has to know that the server made it, and makes another."""
        self.configured()
        (made,) = self.state.iterdir()
        for content in b"", b"nonsense", made.read_bytes()[:-200]:
            made.write_bytes(content)
            text = self.assertMistake(status=FAILED)
            self.assertIn(f"{made}", text)
            self.assertIn("remove it, and a new one is made", text)

    def test_standardErrorIsClosed(self) -> None:
        """Then nobody is told."""
        for stderr in (None, open("/dev/full", "w")):  # noqa: SIM115 - closed below
            self.patch(sys, "stderr", stderr)
            ended = self.assertRaises(SystemExit, self.configured, "--nonsense")
            self.assertEqual(ended.code, WRONG_USAGE)
            if stderr is not None:
                with contextlib.suppress(OSError):
                    stderr.close()

    def test_files(self) -> None:
        """Files that are missing or hold something else."""
        missing = os.path.abspath(self.mktemp())
        notUtf8 = self.write(b"\xff\n")
        empty = self.write("# nothing\n")
        certificate, ini = self.certificate(), self.write("[ProxyServer]\nname=x\n")
        for arguments, path, word in (
            (("-C", missing), missing, "No such file"),
            (("-C", notUtf8), notUtf8, "UTF-8"),
            (("--token-file", missing), missing, "No such file"),
            (("--token-file", notUtf8), notUtf8, "UTF-8"),
            (("--token-file", empty), empty, "no token"),
            (("--token-file", "/"), "/", "directory"),
            (("--token-file", certificate), certificate, "it is a certificate or a key"),
            (("--token-file", ini), ini, "it is an INI file"),
            (("--set", f"TunnelProxy.serverUuidFile={missing}"), missing, "No such file"),
            (("--set", f"TunnelProxy.serverUuidFile={notUtf8}"), notUtf8, "UTF-8"),
            (("--set", f"TunnelProxy.serverUuidFile={certificate}"), certificate, "and no list"),
            (("-c", missing), missing, "No such file"),
            (("-c", empty), empty, "no PEM certificate"),
            (("-c", certificate, "-k", missing), missing, "No such file"),
            (("--stream", f"ssl:1:privateKey={missing}"), missing, "No such file"),
        ):
            text = self.assertMistake(*arguments, status=FAILED)
            self.assertIn(path, text)
            self.assertIn(word, text)

    def test_broken(self) -> None:
        """Also when the parser's own message has several lines."""
        self.assertIn("broken", self.assertMistake(file="[a\nb\n\x00c"))
        self.assertIn("broken", self.assertMistake(file="[SSL]\nx\ny\n"))

    def test_stateDirectory(self) -> None:
        """No place for our own certificate."""
        self.state.write_bytes(b"")
        self.assertIn("--certificate", self.assertMistake(status=FAILED))

    def test_keyWithoutCertificate(self) -> None:
        """It would not be used."""
        self.assertIn("no certificate", self.assertMistake("-k", self.certificate()))

    def test_credentials(self) -> None:
        """User and password go together, and the password must be readable."""
        path = self.write("secret\n")
        missing = os.path.abspath(self.mktemp())
        user, file = "Authentication.clientId", "Authentication.clientSecretFile"
        self.assertIn("needs clientSecretFile, too", self.assertMistake("--set", f"{user}=me"))
        self.assertIn("needs clientId, too", self.assertMistake("--set", f"{file}={path}"))
        for wrong, word in ((missing, "No such file"), (self.write(b"\xff"), "UTF-8")):
            text = self.assertMistake(
                "--set", f"{user}=me", "--set", f"{file}={wrong}", status=FAILED
            )
            self.assertIn(wrong, text)
            self.assertIn(word, text)

    def test_tokenThatIsNoText(self) -> None:
        """An argument that is not UTF-8 (Python marks the bytes) can be no client's token."""
        self.assertMistake("--token", os.fsdecode(b"caf\xe9"))

    def test_nulInAPath(self) -> None:
        """No file can be called so."""
        for name in ("SSL.certificate", "Authentication.tokenFile"):
            section, _, key = name.partition(".")
            self.assertMistake(file=f"[{section}]\n{key}=/a\0b\n")

    def test_secretsAreNotTold(self) -> None:
        """No text quotes a token or a password."""
        path = self.write("sesame\n")
        for arguments in (
            ("--token", "sesame", "-p", "x"),
            ("--token", "sesame", "--accept-any-token", "--host", "0.0.0.0"),
            ("--set", f"Authentication.clientSecretFile={path}"),
        ):
            self.assertNotIn("sesame", self.assertMistake(*arguments))

    def test_listening(self) -> None:
        """What only Twisted or the system can find wrong ends in one line, too."""
        for description in (
            "",
            "nonsense:1",
            "tcp",
            "tcp:",
            "tcp:port",
            "tcp:70000:interface=127.0.0.1",
            "tcp:-1:interface=127.0.0.1",
            "tcp:1:colour=red",
            "tcp:0:interface=192.0.2.1",
            "tcp:0:interface=no address",
            "unix:/dev/null/x.sock",
            "unix:/tmp/" + "x" * 200,
            "systemd:domain=INET:index=7",
            "haproxy:nonsense:1",
            "tls:nonsense:1",
        ):
            options = Options()
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    options.parseOptions(["--token", "x", "--websocket", description])
                service = ProxyService(globalReactor, options)
                service.privilegedStartService()
            except SystemExit as mistake:
                self.assertTrue(str(mistake).startswith("nymea-remoteproxy: "), mistake)
                self.assertNotIn("\n", str(mistake))
            else:
                self.fail(f"it listens on {description!r}")

    def test_raisedByTheParts(self) -> None:
        """Who calls `configure` gets errors of its own kinds."""
        given_ = Settings()
        self.assertRaises(SettingsError, configure, given_, tokens=[""])
        self.assertRaises(
            ListenerError, configure, given_, webSockets=["tcp:1"], acceptAnyToken=True
        )
        given_.set("SSL.certificate", "/")
        self.assertRaises(CertificateError, configure, given_)

    @PROPERTY
    @given(
        st.lists(
            st.sampled_from(["-p", "--set", "--host", "-s", "--token", "--stream", "-v", "x"])
            | st.text(st.characters(blacklist_categories=("Cs",)), max_size=12),
            max_size=5,
        )
    )
    def test_anyArguments(self, arguments: list[str]) -> None:
        """Whatever is written, it is a configuration or a SystemExit."""
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                options = Options()
                options.parseOptions(arguments)
                self.assertTrue(options.configuration.listeners)
            except SystemExit as ended:
                self.assertIn(ended.code, (0, FAILED, WRONG_USAGE))
                self.assertEqual(said.getvalue().count("\n"), 0 if ended.code == 0 else 1)


class TcpDescriptionTests(SynchronousTestCase):
    """The description of a TCP listener."""

    def interface(self, host: str) -> str:
        """Return the interface that Twisted listens on, in the end."""
        reactor = MemoryReactorClock()
        parseListener(tcpDescription(host, 7), True).endpoint(reactor).listen(Factory())
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
        for webSocket in (False, True):
            self.assertEqual(
                parseListener(description, webSocket),
                Listener(description, plain, webSocket, **expected),
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
        self.assertTrue(parseListener("tcp:1:127.0.0.1", True).isLocal)
        self.assertFalse(parseListener("tcp:1:192.0.2.1", True).isLocal)

    def test_endpoints(self) -> None:
        """What is read, Twisted understands."""
        reactor = MemoryReactorClock()
        for description in ("tcp:1", "tls:tcp:2", "ssl:3:privateKey=/k", "haproxy:tls:tcp:4"):
            parseListener(description, True).endpoint(reactor).listen(Factory())
        self.assertEqual([server[0] for server in reactor.tcpServers], [1, 2, 3, 4])
        self.assertEqual(reactor.sslServers, [])
        parseListener("tls:unix:/run/x", True).endpoint(reactor).listen(Factory())
        self.assertEqual(reactor.unixServers[0][0], "/run/x")

    def test_noEndpoint(self) -> None:
        """What Twisted does not understand is told in one line, with the description."""
        for description in ("", "nonsense:1", "tcp", "tcp:x", "tcp:1:a=b", "haproxy:", "tls:"):
            listener = parseListener(description, True)
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
            listener = parseListener(description, True)
            self.assertTrue(listener.isShared)
            error = self.assertRaises(ListenerError, listener.endpoint, MemoryReactorClock())
            self.assertEqual(
                str(error),
                f'"{description}" is no endpoint description that can be listened on: {reason}',
            )


class RereadTests(ConfigurationCase):
    """Everything is read anew; what is broken stays as it was. More is in the end-to-end tests."""

    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.write(""))

    def options(self, *arguments: str, parent: Any = None) -> Options:
        """Return options that have been read."""
        options = Options()
        options.parent = parent
        options.parseOptions([*arguments, "-C", str(self.file)])
        return options

    def test_nothingChanged(self) -> None:
        """The same comes out, also the token that was made."""
        for arguments in (), ("--token", "t"), ("--accept-any-token",), ("--server", "http://a/"):
            options = self.options(*arguments)
            before = options.configuration
            after, problems = options.reread()
            self.assertEqual(problems, [])
            self.assertIs(options.configuration, after)
            for name in ("listeners", "timing", "bounds", "acceptedTokens", "generatedToken"):
                self.assertEqual(getattr(after, name), getattr(before, name))
            self.assertEqual(after.fingerprint, before.fingerprint)
            self.assertEqual(set(after.certificates), set(before.certificates))

    def test_pipes(self) -> None:
        """What was a pipe at the start, or is one now, stays as it was: nobody waits for it."""
        reading, writing = os.pipe()
        os.write(writing, b"[ProxyServer]\nname=piped\n")
        os.close(writing)
        self.addCleanup(os.close, reading)
        tokens = Path(self.write("t"))
        options = Options()
        options.parseOptions(["-C", f"/dev/fd/{reading}", "--token-file", str(tokens)])
        tokens.unlink()
        os.mkfifo(tokens)
        after, problems = options.reread()
        self.assertEqual(after.settings["ProxyServer.name"], "piped")
        self.assertEqual(after.acceptedTokens, ["t"])
        self.assertEqual(len(problems), 2)
        for problem in problems:
            self.assertIn("it is no regular file, and nobody is to wait for it", problem)

    def test_commandLineFirst(self) -> None:
        """What it says is not overridden by a file that is read anew."""
        options = self.options("--token", "t", "--set", "ProxyServer.name=fixed")
        self.file.write_text("[ProxyServer]\nname=new\naloneTimeout=1000\n")
        after, problems = options.reread()
        self.assertEqual(problems, [])
        self.assertEqual(after.settings["ProxyServer.name"], "fixed")
        self.assertEqual(after.timing.alone, 1.0)

    def test_fromAListToNothing(self) -> None:
        """The file took away all authentication: that cannot be meant."""
        tokens = self.write("t")
        self.file.write_text(f"[Authentication]\ntokenFile={tokens}\n")
        options = self.options()
        self.file.write_text("")
        for _ in range(2):
            after, problems = options.reread()
            self.assertEqual(
                problems, ["the settings stay as they were: no authentication is given any more"]
            )
            self.assertEqual(after.acceptedTokens, ["t"])

    def test_fromNothingToAList(self) -> None:
        """The token that was made is no longer let in, unless the list is broken."""
        options = self.options()
        made = options.configuration.generatedToken
        self.file.write_text("[Authentication]\ntokenFile=/nonexistent\n")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertEqual(after.acceptedTokens, [made])
        self.file.write_text(f"[Authentication]\ntokenFile={self.write('t')}\n")
        after, problems = options.reread()
        self.assertEqual((after.acceptedTokens, problems), (["t"], []))

    def test_brokenListBesideServer(self) -> None:
        """A list that was never read lets nobody in."""
        options = self.options("--server", "http://a/")
        self.file.write_text("[Authentication]\ntokenFile=/nonexistent\n")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertEqual(after.acceptedTokens, [])

    def test_inTheBackground(self) -> None:
        """The tunnel proxy alone needs no tokens, then and now; the warning is told again."""
        options = self.options("--tunnelproxy", parent={"nodaemon": False})
        before = options.configuration
        after, problems = options.reread()
        self.assertEqual((after.acceptedTokens, problems), ([], []))
        self.assertEqual(after.warnings, before.warnings)
        self.assertEqual(len(after.warnings), 1)

    def test_anyTokenStaysLocal(self) -> None:
        """A certificate would open the main listener to everybody, at the next start."""
        options = self.options("--accept-any-token")
        self.file.write_text(f"[SSL]\ncertificate={self.certificate()}\n")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertIn("strangers could come in", problems[0])
        self.assertTrue(all(each.isLocal for each in after.listeners))

    def test_passwordsForEverybody(self) -> None:
        """They cannot be taken away where strangers can connect."""
        users = self.write("me:secret")
        arguments = ("--token", "t", "--admin", "tls:tcp:1")
        self.file.write_text(f"[Admin]\npasswordFile={users}\n")
        options = self.options(*arguments)
        self.file.write_text("")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertIn("needs [Admin] passwordFile", problems[0])
        self.assertEqual(after.adminUsers, {"me": "secret"})

    def test_passwordsInTheClear(self) -> None:
        """That is told, then and now."""
        self.file.write_text(f"[Admin]\npasswordFile={self.write('me:secret')}\n")
        options = self.options("--token", "t", "--admin", "tcp:1")
        after, problems = options.reread()
        for each in options.configuration, after:
            (warning,) = each.warnings
            self.assertIn("sent in the clear", warning)
        self.assertEqual(problems, [])

    def test_warningsDoNotGrow(self) -> None:
        """However often a broken file is read."""
        self.file.write_text("[AWS]\na=b\n[Limits]\nmaxConnections=1000000\n")
        options = self.options("--token", "t")
        warnings = options.configuration.warnings
        self.assertEqual(len(warnings), 2)
        self.file.write_text("broken")
        for _ in range(3):
            after, problems = options.reread()
            self.assertEqual(len(problems), 1)
            self.assertEqual(after.warnings, warnings)
            self.assertEqual(after.settings.warnings, list(warnings))

    def test_severalProblems(self) -> None:
        """Each has its line; the rest is new."""
        tokens, uuids = (
            Path(self.write("t")),
            Path(self.write("00000000-0000-4000-8000-000000000001")),
        )
        head = f"[Authentication]\ntokenFile={tokens}\n[TunnelProxy]\nserverUuidFile={uuids}\n"
        self.file.write_text(head)
        options = self.options("--tunnelproxy")
        allowed = options.configuration.allowedServers
        tokens.write_text("")
        uuids.unlink()
        self.file.write_text(f"{head}[ProxyServer]\nname=new\nlogFormat=json\n")
        for _ in range(2):
            after, problems = options.reread()
            self.assertEqual(
                [text.partition(":")[0] for text in problems],
                [
                    "the tokens stay as they were",
                    "the server uuids stay as they were",
                ],
            )
            self.assertIn(
                "[ProxyServer] logFormat takes effect with the next start", after.warnings
            )
            self.assertEqual(after.settings["ProxyServer.name"], "new")
            self.assertEqual((after.acceptedTokens, after.allowedServers), (["t"], allowed))

    def test_certificateOfTheFuture(self) -> None:
        """It is taken, and warned of, when everything is read anew."""
        path = self.write(pem(*issue("old", None)))
        options = self.options("--token", "t", "-c", path)
        self.assertEqual(list(options.configuration.warnings), [])
        Path(path).write_bytes(pem(*issue("new", None, start=timedelta(days=1))))
        configured, problems = options.reread()
        self.assertEqual(problems, [])
        self.assertIn("is not valid before", "".join(configured.warnings))

    def test_secretForAnotherServer(self) -> None:
        """The old secret is never sent to a server it was not meant for."""
        secret = Path(self.write("secret"))
        head = f"[Authentication]\nclientId=i\nclientSecretFile={secret}\n"
        self.file.write_text(f"{head}server=https://one.example\n")
        options = self.options()
        secret.unlink()
        _after, problems = options.reread()
        self.assertIn("the client secret stays as it was", problems[0])
        self.file.write_text(f"{head}server=https://two.example\n")
        after, problems = options.reread()
        self.assertEqual(after.settings["Authentication.server"], "https://one.example")
        self.assertEqual(after.credentials, ("i", "secret"))
        self.assertIn("the settings stay as they were: a new authentication server", problems[0])

    def test_nobodyMayRegister(self) -> None:
        """A list of servers that names none is hardly meant."""
        uuids = self.write("# none\n")
        options = self.options("--tunnelproxy", f"--set=TunnelProxy.serverUuidFile={uuids}")
        (warning,) = options.configuration.warnings
        self.assertIn(f"{uuids} names none", warning)
