"""The declarations of all settings."""

from __future__ import annotations

import ipaddress

from nymearemoteproxy.running.settings.sections import RETIRED, SECTIONS, SETTINGS
from tests.support.settings import SettingsCase


class DeclarationTests(SettingsCase):
    """The declarations themselves."""

    def test_defaults(self) -> None:
        """The defaults of the contract."""
        for name, expected in {
            "ProxyServer.tlsHandshakeTimeout": 5.0,
            "ProxyServer.webSocketHandshakeTimeout": 5.0,
            "ProxyServer.inactiveTimeout": 8.0,
            "ProxyServer.authenticationTimeout": 8.0,
            "ProxyServer.aloneTimeout": 8.0,
            "ProxyServer.notificationGap": 0.02,
            "ProxyServer.pingInterval": 30.0,
            "ProxyServer.pingTimeout": 10.0,
            "WebSocketServer.port": 2212,
            "TunnelProxy.serverUuidFile": "",
            "TunnelProxy.serverTimeout": 60.0,
            "Limits.maxControlMessageSize": 10 * 1024,
            "Limits.exemptNetworks": (
                ipaddress.ip_network("127.0.0.0/8"),
                ipaddress.ip_network("::1"),
            ),
        }.items():
            self.assertEqual(self.settings[name], expected, name)

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
                self.settings.set(setting.name, setting.notation.write(setting.default))
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

    def test_attributes(self) -> None:
        """Section and key of the file are attributes; a section begins with a small letter."""
        for section, attribute in SECTIONS.items():
            self.assertEqual(attribute.casefold(), section.casefold())
            self.assertTrue(attribute[0].islower(), attribute)
        self.settings.set("Limits.maxConnections", "12")
        self.settings.set("ProxyServer.aloneTimeout", "1500")
        self.assertEqual(self.settings.limits.maxConnections, 12)
        self.assertEqual(self.settings.proxyServer.aloneTimeout, 1.5)
        self.assertEqual(self.settings["ProxyServer.aloneTimeout"], 1.5)

    def test_unknownName(self) -> None:
        """Asking for what was never declared is a fault of the program."""
        self.assertRaises(KeyError, self.settings.__getitem__, "ProxyServer.nonsense")
