"""The configuration file."""

from __future__ import annotations

from nymearemoteproxy.running.settings.sections import SETTINGS
from tests.support.settings import CPP_SERVER, SettingsCase


class MarkTests(SettingsCase):
    """What editors put at the beginning of a file."""

    def test_byteOrderMark(self) -> None:
        self.assertEqual(self.load(b"\xef\xbb\xbf[ProxyServer]\nname=x\n")["ProxyServer.name"], "x")


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
            "ProxyServer.jsonRpcTimeout": 10.0,
            "ProxyServer.authenticationTimeout": 9.0,
            "ProxyServer.inactiveTimeout": 7.0,
            "ProxyServer.aloneTimeout": 6.0,
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
        for setting in SETTINGS:
            self.assertEqual(self.settings[setting.name], setting.default)
            self.assertRaises(KeyError, self.settings.source, setting.name)

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
