"""Owns the checks of the settings: their values, the INI file, and what is said of mistakes."""

from __future__ import annotations

import contextlib
import ipaddress
from enum import Enum
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.running.settings import RETIRED, SETTINGS, Setting, Settings, SettingsError

PROPERTY = settings(max_examples=100, deadline=None, database=None)

CPP_SERVER = """\
[ProxyServer]
name=nymea-remoteproxy
writeLogs=true
logFile=/var/log/nymea-remoteproxy.log
logEngineEnabled=false
monitorSocket=/tmp/nymea-remoteproxy-monitor.sock
jsonRpcTimeout=10000
authenticationTimeout=9000
inactiveTimeout=7000
aloneTimeout=6000

[AWS]
region=eu-west-1
authorizerLambdaFunction=system-services-authorizer-dev-checkToken
awsCredentialsUrl=http://169.254.169.254/latest/meta-data/iam/security-credentials/EC2-Role

[SSL]
enabled=true
certificate=/etc/ssl/certs/ssl-cert-snakeoil.pem
certificateKey=/etc/ssl/private/ssl-cert-snakeoil.key
certificateChain=

[WebSocketServer]
host=127.0.0.1
port=1212

[TcpServer]
host=127.0.0.1
port=1213

[UnixSocketServer]
unixSocketFileName=/run/nymea-remoteproxy.sock

[WebSocketServerTunnelProxy]
host=127.0.0.1
port=2212

[TcpServerTunnelProxy]
host=127.0.0.1
port=2213

[UnixSocketServerTunnelProxy]
unixSocketFileName=/run/nymea-remoteproxy-tunnelproxy.sock
"""


def asText(value: Any) -> str:
    """Write a value as the file would."""
    if isinstance(value, tuple):
        return ", ".join(str(network) for network in value)
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


class SettingsCase(SynchronousTestCase):
    """Helpers for the checks of settings."""

    def setUp(self) -> None:
        self.settings = Settings()

    def write(self, content: str | bytes) -> str:
        """Write a file, return its path."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, content: str | bytes) -> Settings:
        """Load a file with this content."""
        self.settings.load(self.write(content))
        return self.settings

    def assertFails(self, act: Any, *arguments: str) -> str:
        """The operator is told in one line; return it."""
        text = str(self.assertRaises(SettingsError, act, *arguments))
        self.assertNotIn("\n", text)
        return text


class MarkTests(SettingsCase):
    """What editors put at the beginning of a file."""

    def test_byteOrderMark(self) -> None:
        self.assertEqual(self.load(b"\xef\xbb\xbf[ProxyServer]\nname=x\n")["ProxyServer.name"], "x")


class DeclarationTests(SettingsCase):
    """The declarations themselves."""

    def test_defaults(self) -> None:
        """The defaults of the contract."""
        for name, expected in {
            "ProxyServer.tlsHandshakeTimeout": 5000,
            "ProxyServer.webSocketHandshakeTimeout": 5000,
            "ProxyServer.inactiveTimeout": 8000,
            "ProxyServer.authenticationTimeout": 8000,
            "ProxyServer.aloneTimeout": 8000,
            "ProxyServer.notificationGap": 20,
            "ProxyServer.pingInterval": 30000,
            "ProxyServer.pingTimeout": 10000,
            "WebSocketServer.port": 2212,
            "TunnelProxy.serverUuidFile": "",
            "TunnelProxy.serverTimeout": 60000,
            "Limits.maxControlMessageSize": 10 * 1024,
            "Limits.exemptNetworks": (
                ipaddress.ip_network("127.0.0.0/8"),
                ipaddress.ip_network("::1"),
            ),
        }.items():
            self.assertEqual(self.settings[name], expected, name)
            self.assertFalse(self.settings.isGiven(name))

    def test_tunnelProxyIsOff(self) -> None:
        """Nothing of it is there before it is asked for."""
        for name in (
            "TunnelProxy.enabled",
            "WebSocketServerTunnelProxy.host",
            "WebSocketServerTunnelProxy.port",
            "TcpServerTunnelProxy.port",
        ):
            self.assertIsNone(self.settings[name], name)
        self.assertEqual(self.settings["UnixSocketServerTunnelProxy.unixSocketFileName"], "")

    def test_defaultsCanBeWritten(self) -> None:
        """Every default, written into a file, gives the same value."""
        for setting in SETTINGS:
            if setting.default is not None:
                octal = setting.kind == "octal number"
                text = f"{setting.default:o}" if octal else asText(setting.default)
                self.settings.set(setting.name, text)
                self.assertTrue(self.settings.isGiven(setting.name))
                self.assertEqual(self.settings[setting.name], setting.default, setting.name)

    def test_described(self) -> None:
        """Every setting says what it means and what to write; names are unique."""
        names = [setting.name for setting in SETTINGS]
        self.assertEqual(len(set(names)), len(names))
        for setting in SETTINGS:
            self.assertTrue(setting.kind, setting.name)
            self.assertTrue(setting.meaning.endswith("."), setting.name)
            if setting.default is None:
                self.assertIn("Default:", setting.meaning, setting.name)
        self.assertEqual(set(RETIRED) & set(names), set())

    def test_unknownName(self) -> None:
        """Asking for what was never declared is a fault of the program."""
        self.assertRaises(KeyError, self.settings.__getitem__, "ProxyServer.nonsense")


class ValueTests(SettingsCase):
    """The kinds of values."""

    def assertValues(self, name: str, **values: Any) -> None:
        """Each text gives its value."""
        for text, value in values.items():
            self.settings.set(name, text)
            self.assertEqual(self.settings[name], value, text)

    def assertRejected(self, name: str, *texts: str) -> None:
        """No text is a value; the setting and the text are named, and what to write."""
        before = self.settings[name]
        for text in texts:
            said = self.assertFails(self.settings.set, name, text)
            section, _, key = name.partition(".")
            self.assertIn(f"[{section}] {key} cannot be {text.strip()!r}: ", said)
            self.assertEqual(self.settings[name], before)

    def test_flags(self) -> None:
        """As INI files spell them, in any case."""
        true, false = (
            dict.fromkeys(("true", "True", "yes", "on", "1"), True),
            dict.fromkeys(("false", "FALSE", "no", "off", "0"), False),
        )
        self.assertValues("SSL.enabled", **true, **false)
        self.assertRejected("SSL.enabled", "", "maybe", "2")

    def test_timeouts(self) -> None:
        """From a millisecond to a day."""
        self.assertValues(
            "ProxyServer.aloneTimeout", **{"1": 1, " 500 ": 500, "86400000": 86400000}
        )
        self.assertRejected(
            "ProxyServer.aloneTimeout", "0", "-1", "86400001", "1.5", "8s", "", "nan", "1e3"
        )

    def test_timeoutsThatCanBeOff(self) -> None:
        """Where nothing is a choice, 0 is it."""
        for key in ("notificationGap", "pingInterval", "shutdownTimeout"):
            self.assertValues(f"ProxyServer.{key}", **{"0": 0})
            self.assertRejected(f"ProxyServer.{key}", "-1", "86400001")
        self.assertValues("ProxyServer.notificationGap", **{"10000": 10000})
        self.assertRejected("ProxyServer.notificationGap", "10001")

    def test_doubtfulTimes(self) -> None:
        """A time limit that is shorter than any network was meant in seconds."""
        given_ = Settings()
        for key, value in (
            ("ProxyServer.aloneTimeout", 8),
            ("ProxyServer.pingInterval", 99),
            ("ProxyServer.inactiveTimeout", 100),
            ("ProxyServer.shutdownTimeout", 0),
            ("ProxyServer.notificationGap", 20),
            ("TunnelProxy.serverTimeout", 60),
        ):
            given_.set(key, str(value))
        self.assertEqual(
            given_.doubts(),
            [
                "[ProxyServer] aloneTimeout is 8 milliseconds; is 8000 meant?",
                "[ProxyServer] pingInterval is 99 milliseconds; is 99000 meant?",
                "[TunnelProxy] serverTimeout is 60 milliseconds; is 60000 meant?",
            ],
        )
        self.assertEqual(Settings().doubts(), [])

    def test_numbers(self) -> None:
        """What is written is told back, what is expected and an example, with its unit."""
        for name, text, expected in (
            ("ProxyServer.aloneTimeout", "8s", "a whole number of milliseconds from 1 to 86400000"),
            ("TunnelProxy.clientBacklog", "16M", "of bytes from 65536 to 2147483648, such as 16"),
            ("TcpServer.port", "http", "a whole number from 0 to 65535, such as 2212"),
        ):
            said = self.assertFails(self.settings.set, name, text)
            self.assertIn(f"cannot be {text!r}: use ", said)
            self.assertIn(expected, said)
        for text in "1_000", "\uff11", "0x10", "9" * 5000:
            said = self.assertFails(self.settings.set, "ProxyServer.aloneTimeout", text)
            self.assertLess(len(said), 250)
        self.assertValues("ProxyServer.aloneTimeout", **{"+5": 5, "007": 7})

    def test_pingInterval(self) -> None:
        """As much as Linux takes for TCP_KEEPIDLE."""
        self.assertValues("ProxyServer.pingInterval", **{"32767000": 32767000})
        self.assertRejected("ProxyServer.pingInterval", "32767001")

    def test_messageSize(self) -> None:
        """A message is read in one turn of the reactor."""
        self.assertValues("Limits.maxControlMessageSize", **{"0": 0, "1048576": 1 << 20})
        self.assertRejected("Limits.maxControlMessageSize", "-1", "1048577")

    def test_name(self) -> None:
        """It goes to strangers with every answer to Hello."""
        self.assertValues("ProxyServer.name", **{"": "", "ä" * 255: "ä" * 255})
        said = self.assertFails(self.settings.set, "ProxyServer.name", "x" * 256)
        self.assertIn("at most 255 characters", said)

    def test_userName(self) -> None:
        """HTTP would take what is behind a colon for the password."""
        self.assertValues("Authentication.clientId", **{"": "", "m e": "m e"})
        self.assertRejected("Authentication.clientId", "me:secret")

    def test_hosts(self) -> None:
        """Addresses, and names that the system may know."""
        for host in "", "127.0.0.1", "::", "fe80::1%eth0", "localhost", "my-host.example.org":
            self.assertValues("WebSocketServer.host", **{host: host})
        self.assertRejected(
            "TcpServer.host",
            *("999.1.1.1", "1.2.3", "[::1]", "127.0.0.1:80", "localhost:80", "a b", "http://a"),
        )

    def test_controlCharacters(self) -> None:
        """No setting has any; a line that is indented by mistake is told as such."""
        for text in "a\0b", "a\x1b[31mb", "a\tb", "a\x85b", "a\rb":
            said = self.assertFails(self.settings.set, "ProxyServer.name", text)
            self.assertIn("[ProxyServer] name has characters", said)
        said = self.assertFails(self.load, "[SSL]\ncertificate=/a\n  certificateKey=/b\n")
        self.assertIn("[SSL] certificate goes on in an indented line", said)

    def test_seconds(self) -> None:
        """Milliseconds for people, seconds for the reactor."""
        self.assertEqual(self.settings.seconds("ProxyServer.notificationGap"), 0.02)
        self.settings.set("ProxyServer.aloneTimeout", "1500")
        self.assertEqual(self.settings.seconds("ProxyServer.aloneTimeout"), 1.5)

    def test_ports(self) -> None:
        """0 to 65535."""
        self.assertValues("WebSocketServer.port", **{"0": 0, "65535": 65535})
        self.assertRejected("WebSocketServer.port", "-1", "65536", "https", "")
        self.assertIsNone(self.settings["TcpServer.port"])

    def test_limits(self) -> None:
        """0 is no limit."""
        for name in (
            "maxConnections",
            "maxServersPerAddress",
            "maxClientsPerAddress",
            "maxClientsPerServer",
        ):
            self.assertValues(f"Limits.{name}", **{"0": 0, "2147483648": 1 << 31})
            self.assertRejected(f"Limits.{name}", "-1", "2147483649", "many")

    def test_sizes(self) -> None:
        """What is too small to be of use is refused, and so is no limit at all."""
        for key in ("maxPacketSize", "clientBacklog", "totalBacklog"):
            self.assertValues(f"TunnelProxy.{key}", **{"65536": 1 << 16, "2147483648": 1 << 31})
            self.assertRejected(f"TunnelProxy.{key}", "0", "65535", "2147483649", "4M")

    def test_connections(self) -> None:
        """At least one question must be possible."""
        self.assertValues("Authentication.connections", **{"1": 1, "1000": 1000})
        self.assertRejected("Authentication.connections", "0", "1001")

    def test_choices(self) -> None:
        """The choices are told."""
        for name, choices in {
            "ProxyServer.logFormat": ("text", "json"),
            "Authentication.request": ("json", "form"),
            "Authentication.pairing": ("token", "subject"),
        }.items():
            for choice in choices:
                self.assertValues(name, **{choice: choice})
            self.assertRejected(name, "xml", "", choices[0].upper())
            said = self.assertFails(self.settings.set, name, "xml")
            self.assertIn(f"use {choices[0]} or {choices[1]}", said)

    def test_privacy(self) -> None:
        """One of three, spelled like this."""
        for privacy in Privacy:
            self.assertValues("ProxyServer.privacy", **{privacy.value: privacy})
        self.assertRejected("ProxyServer.privacy", "", "Full", "short")
        said = self.assertFails(self.settings.set, "ProxyServer.privacy", "x")
        self.assertIn("use full, shortened or none", said)

    def test_urls(self) -> None:
        """http and https, with a host; empty means none."""
        for text in ("", "http://a", "https://a.b:8443/c?d", "http://[::1]:80/"):
            self.assertValues("Authentication.server", **{text: text})
        for text in "ftp://a", "a.b/c", "https://", "http:///path", "http://a:99999", "file:///a":
            said = self.assertFails(self.settings.set, "Authentication.server", text)
            self.assertIn("[Authentication] server cannot be used: ", said)

    def test_secretsOfAUrl(self) -> None:
        """What is wrong with it is said without what it was."""
        for text in "http://me:secret@a/", "http://a:secret", "https://me:s/secret@a", "secret":
            for said in (
                self.assertFails(self.settings.set, "Authentication.server", text),
                self.assertFails(self.settings.override, f"Authentication.server={text}"),
            ):
                self.assertNotIn("secret", said)

    def test_networks(self) -> None:
        """With commas; none at all is a choice."""
        network = ipaddress.ip_network
        for text, expected in {
            "": (),
            "10.0.0.0/8": (network("10.0.0.0/8"),),
            "192.0.2.1 , 2001:db8::/32,": (network("192.0.2.1/32"), network("2001:db8::/32")),
        }.items():
            self.settings.set("Limits.exemptNetworks", text)
            self.assertEqual(self.settings["Limits.exemptNetworks"], expected)
        self.assertRejected("Limits.exemptNetworks", "10.0.0.1/8", "localhost", "::/129")

    def test_white_space(self) -> None:
        """White space around a text does not belong to it."""
        self.assertValues("ProxyServer.name", **{"  a name \t": "a name"})


class UnknownTests(SettingsCase):
    """Mistakes are told with the nearest known name."""

    def test_section(self) -> None:
        """A misspelled section."""
        said = self.assertFails(self.load, "[ProxyServr]\nname=x\n")
        self.assertIn("there is no section [ProxyServr]", said)
        self.assertIn("[ProxyServer]", said)
        said = self.assertFails(self.settings.set, "Limit.maxConnections", "1")
        self.assertIn("[Limit]", said)
        self.assertIn("[Limits]", said)

    def test_emptySection(self) -> None:
        """Even when nothing is in it."""
        self.assertIn("[Limtis]", self.assertFails(self.load, "[Limtis]\n"))

    def test_key(self) -> None:
        """A misspelled key."""
        said = self.assertFails(self.load, "[ProxyServer]\naloneTimout=1\n")
        self.assertIn("there is no setting [ProxyServer] aloneTimout", said)
        self.assertTrue(said.endswith(" aloneTimeout"), said)
        said = self.assertFails(self.settings.set, "Limits.maxconnections", "1")
        self.assertTrue(said.endswith(" maxConnections"), said)

    def test_nothingAlike(self) -> None:
        """When nothing is near, all that there is is told instead."""
        for name, known in (
            ("Foo.bar", "; there are ProxyServer, SSL, "),
            ("\0.x", "; there are ProxyServer, SSL, "),
            ("", "; there are ProxyServer, SSL, "),
            ("SSL.bla", "; [SSL] has enabled, certificate, certificateKey, certificateChain"),
        ):
            said = self.assertFails(self.settings.set, name, "1")
            self.assertIn(known, said)
            self.assertNotIn("nearest", said)

    def test_case(self) -> None:
        """What differs in nothing but case is near, however short it is."""
        said = self.assertFails(self.settings.set, "ssl.enabled", "1")
        self.assertTrue(said.endswith("the nearest known one is [SSL]"), said)
        said = self.assertFails(self.settings.set, "WebSocketServer.PORT", "1")
        self.assertTrue(said.endswith("the nearest known one is port"), said)

    def test_otherSection(self) -> None:
        """A key that another section has is said to be there."""
        said = self.assertFails(self.settings.set, "Limits.aloneTimeout", "1")
        self.assertTrue(said.endswith("; aloneTimeout is in [ProxyServer]"), said)

    def test_defaultSection(self) -> None:
        """The parser's own section for defaults is none of ours."""
        self.assertIn("[DEFAULT]", self.assertFails(self.load, "[DEFAULT]\nname=x\n"))

    def test_fileIsNamed(self) -> None:
        """Whatever is wrong in a file, its name is told."""
        for content in ("[X]\n", "[SSL]\nx=1\n", "[SSL]\nenabled=x\n", "[DEFAULT]\nx=1\n", "x"):
            path = self.write(content)
            self.assertIn(path, self.assertFails(Settings().load, path))

    @PROPERTY
    @given(st.text(max_size=12), st.text(max_size=12))
    def test_anyAssignment(self, name: str, value: str) -> None:
        """Whatever is written after --set, it is set or refused in one line."""
        for assignment in (f"{name}={value}", f"ProxyServer.{name}={value}", name):
            with contextlib.suppress(SettingsError):
                Settings().override(assignment)


class RetiredTests(SettingsCase):
    """What the C++ server had and this one has not."""

    def test_warning(self) -> None:
        """It is told what is ignored and why, once per section or key."""
        self.load("[AWS]\nregion=x\nother=y\n[ProxyServer]\nproxyEnabled=true\n")
        self.assertEqual(
            self.settings.warnings,
            [
                f"[AWS] is ignored: {RETIRED['AWS']}",
                f"[ProxyServer] proxyEnabled is ignored: {RETIRED['ProxyServer.proxyEnabled']}",
            ],
        )

    def test_bySet(self) -> None:
        """On the command line no less."""
        self.settings.override("AWS.region=x")
        self.assertEqual(len(self.settings.warnings), 1)
        self.assertIn("[AWS]", self.settings.warnings[0])
        self.assertFalse(self.settings.isGiven("AWS.region"))


class OverrideTests(SettingsCase):
    """SECTION.KEY=VALUE."""

    def test_override(self) -> None:
        """White space around the name does not matter; an equals sign may be in the value."""
        self.settings.override("ProxyServer.name=a=b.c")
        self.assertEqual(self.settings["ProxyServer.name"], "a=b.c")
        self.settings.override(" ProxyServer.name = d ")
        self.assertEqual(self.settings["ProxyServer.name"], "d")

    def test_noAssignment(self) -> None:
        """It is told what to write."""
        for assignment in ("", "name", "name=x", "ProxyServer.name", "=x", "=a.b"):
            said = self.assertFails(self.settings.override, assignment)
            self.assertIn("SECTION.KEY=VALUE", said)


class FileTests(SettingsCase):
    """The INI file."""

    def test_quotes(self) -> None:
        """Qt puts values with a comma or a semicolon into quotes."""
        settings = self.load('[ProxyServer]\nname="one, two"\nlogFile="\n')
        self.assertEqual(settings["ProxyServer.name"], "one, two")
        self.assertEqual(settings["ProxyServer.logFile"], '"')

    def test_cppServer(self) -> None:
        """A file of the C++ server loads unchanged; what has no effect is told."""
        loaded = self.load(CPP_SERVER)
        for name, expected in {
            "ProxyServer.name": "nymea-remoteproxy",
            "ProxyServer.writeLogs": True,
            "ProxyServer.logFile": "/var/log/nymea-remoteproxy.log",
            "ProxyServer.jsonRpcTimeout": 10000,
            "ProxyServer.authenticationTimeout": 9000,
            "ProxyServer.inactiveTimeout": 7000,
            "ProxyServer.aloneTimeout": 6000,
            "SSL.enabled": True,
            "SSL.certificate": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
            "SSL.certificateKey": "/etc/ssl/private/ssl-cert-snakeoil.key",
            "SSL.certificateChain": "",
            "WebSocketServer.host": "127.0.0.1",
            "WebSocketServer.port": 1212,
            "TcpServer.host": "127.0.0.1",
            "TcpServer.port": 1213,
            "UnixSocketServer.unixSocketFileName": "/run/nymea-remoteproxy.sock",
            "WebSocketServerTunnelProxy.host": "127.0.0.1",
            "WebSocketServerTunnelProxy.port": 2212,
            "TcpServerTunnelProxy.host": "127.0.0.1",
            "TcpServerTunnelProxy.port": 2213,
            "UnixSocketServerTunnelProxy.unixSocketFileName": (
                "/run/nymea-remoteproxy-tunnelproxy.sock"
            ),
        }.items():
            self.assertEqual(loaded[name], expected, name)
        said = "\n".join(loaded.warnings)
        self.assertEqual(said.count("[AWS]"), 1)
        self.assertNotIn("TunnelProxy", said)

    def test_hasSection(self) -> None:
        """A section counts though it is empty, and so does one that is set otherwise."""
        self.assertFalse(self.settings.hasSection("TcpServerTunnelProxy"))
        self.load("[TcpServerTunnelProxy]\n")
        self.assertTrue(self.settings.hasSection("TcpServerTunnelProxy"))
        self.assertFalse(self.settings.hasSection("WebSocketServerTunnelProxy"))
        self.settings.override("WebSocketServerTunnelProxy.port=1")
        self.assertTrue(self.settings.hasSection("WebSocketServerTunnelProxy"))

    def test_comments(self) -> None:
        """Both kinds at the beginning of a line; within a value they belong to it."""
        self.load("# a\n; b\n[ProxyServer]\n# c\nname=x # y ; z\n")
        self.assertEqual(self.settings["ProxyServer.name"], "x # y ; z")

    def test_percent(self) -> None:
        """A percent sign is one."""
        self.assertEqual(self.load("[ProxyServer]\nname=100%\n")["ProxyServer.name"], "100%")

    def test_utf8(self) -> None:
        """The file is UTF-8, whatever the locale."""
        self.assertEqual(self.load("[ProxyServer]\nname=Küche\n")["ProxyServer.name"], "Küche")

    def test_keysAreCaseSensitive(self) -> None:
        """As they are in the C++ server's."""
        self.assertIn("NAME", self.assertFails(self.load, "[ProxyServer]\nNAME=x\n"))

    def test_emptyFile(self) -> None:
        """Nothing is set."""
        self.load("")
        self.assertFalse(any(self.settings.isGiven(setting.name) for setting in SETTINGS))

    def test_broken(self) -> None:
        """No INI file, or one that contradicts itself."""
        for content in (
            "name=x\n",
            "[ProxyServer]\nname\n",
            "[ProxyServer\n",
            "[SSL]\nenabled=1\nenabled=0\n",
            "[SSL]\n[SSL]\n",
        ):
            self.assertIn("is broken", self.assertFails(self.load, content))

    def test_whereItIsBroken(self) -> None:
        """The line is told, and nothing that stands there: the file may be one of tokens."""
        for content, said in (
            ("s3cr3t\n", "no section header, such as [ProxyServer], before line 1"),
            ("# a\n\ns3cr3t=\n", "before line 3"),
            ("[SSL]\ns3cr3t\n", "line 2 is no section header"),
            ("[SSL]\nenabled=1\n[SSL]\n", "section [SSL] in line 3 already exists"),
            ("[SSL]\nenabled=1\nenabled=1\n", "[SSL] enabled in line 3 already exists"),
        ):
            text = self.assertFails(self.load, content)
            self.assertIn(said, text)
            self.assertNotIn("s3cr3t", text)

    def test_lineEnds(self) -> None:
        """A line ends at a line feed, with or without a carriage return, and nowhere else."""
        self.load("[SSL]\r\n\r\nenabled=no\r\n[ProxyServer]\r\nname=a\u2028b\r\n")
        self.assertEqual(self.settings["SSL.enabled"], False)
        self.assertEqual(self.settings["ProxyServer.name"], "a\u2028b")

    def test_notUtf8(self) -> None:
        """It is told so."""
        self.assertIn("not UTF-8", self.assertFails(self.load, b"[ProxyServer]\nname=\xff\n"))

    def test_notReadable(self) -> None:
        """It is told why."""
        missing = self.mktemp()
        said = self.assertFails(self.settings.load, missing)
        self.assertIn(missing, said)
        self.assertIn("No such file or directory", said)
        self.assertIn("Is a directory", self.assertFails(self.settings.load, "/"))

    def test_laterValueWins(self) -> None:
        """What is set later counts."""
        self.load("[ProxyServer]\nname=file\n")
        self.settings.override("ProxyServer.name=set")
        self.assertEqual(self.settings["ProxyServer.name"], "set")


def _values(setting: Setting) -> list[str]:
    """Return some texts that this setting can be set to."""
    texts = ("true", "no", "0", "1", "1000", "65536", "json", "form", "subject", "shortened", "600")
    return [text for text in (*texts, "http://a/", "") if _isValue(setting, text)]


def _isValue(setting: Setting, text: str) -> bool:
    try:
        setting.parse(text)
    except ValueError:
        return False
    return True


assignments = st.lists(
    st.sampled_from(SETTINGS).flatmap(
        lambda setting: st.tuples(st.just(setting.name), st.sampled_from(_values(setting)))
    )
)


class KeepAtStartTests(SynchronousTestCase):
    """Settings that are read anew."""

    def made(self, chosen: list[tuple[str, str]]) -> Settings:
        """Return settings of which these are set."""
        made = Settings()
        for name, text in chosen:
            made.set(name, text)
        return made

    def test_which(self) -> None:
        """What cannot change is where and how it listens, logs and keeps accounts."""
        for name in "WebSocketServer.port", "ProxyServer.logFile", "TunnelProxy.enabled":
            self.assertTrue(next(each for each in SETTINGS if each.name == name).atStart)
        for name in "ProxyServer.name", "SSL.certificate", "Limits.exemptNetworks":
            self.assertFalse(next(each for each in SETTINGS if each.name == name).atStart)

    def test_told(self) -> None:
        """What is different, as it stands in the file; not what says the same in other words."""
        old = self.made([("TcpServer.port", "1"), ("ProxyServer.pingTimeout", "5")])
        new = self.made(
            [
                ("TcpServer.port", "2"),
                ("WebSocketServer.port", "2212"),  # the default
                ("ProxyServer.name", "new"),
                ("SSL.enabled", "yes"),  # the default
            ]
        )
        told = new.keepAtStart(old)
        self.assertEqual(told, ["[ProxyServer] pingTimeout", "[TcpServer] port"])
        self.assertEqual(new["TcpServer.port"], 1)
        self.assertEqual(new["ProxyServer.pingTimeout"], 5)
        self.assertEqual(new["ProxyServer.name"], "new")
        self.assertEqual(new.keepAtStart(old), [])

    def test_sections(self) -> None:
        """A section that comes or goes means something at the start only."""
        old, new = Settings(), self.made([("WebSocketServerTunnelProxy.port", "1")])
        new.keepAtStart(old)
        self.assertFalse(new.hasSection("WebSocketServerTunnelProxy"))
        self.assertFalse(new.isGiven("WebSocketServerTunnelProxy.port"))
        new.set("WebSocketServerTunnelProxy.port", "1")
        self.assertFalse(old.hasSection("WebSocketServerTunnelProxy"))  # nothing is shared

    @PROPERTY
    @given(assignments, assignments)
    def test_values(self, before: list[tuple[str, str]], after: list[tuple[str, str]]) -> None:
        """Each is as it was, or as it is now."""
        old, new, kept = self.made(before), self.made(after), self.made(after)
        told = kept.keepAtStart(old)
        for setting in SETTINGS:
            source = old if setting.atStart else new
            self.assertEqual(kept[setting.name], source[setting.name])
        different = [each for each in SETTINGS if kept[each.name] != new[each.name]]
        self.assertEqual(told, [f"[{each.section}] {each.key}" for each in different])
