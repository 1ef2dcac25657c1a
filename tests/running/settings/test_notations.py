"""The kinds of values."""

from __future__ import annotations

import ipaddress
from typing import Any

from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.running.settings.values import Settings
from tests.support.settings import SettingsCase


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
            "ProxyServer.aloneTimeout", **{"1": 0.001, " 500 ": 0.5, "86400000": 86400.0}
        )
        self.assertRejected(
            "ProxyServer.aloneTimeout", "0", "-1", "86400001", "1.5", "8s", "", "nan", "1e3"
        )

    def test_timeoutsThatCanBeOff(self) -> None:
        """Where nothing is a choice, 0 is it."""
        for key in ("notificationGap", "pingInterval", "shutdownTimeout"):
            self.assertValues(f"ProxyServer.{key}", **{"0": 0})
            self.assertRejected(f"ProxyServer.{key}", "-1", "86400001")
        self.assertValues("ProxyServer.notificationGap", **{"10000": 10.0})
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
        self.assertValues("ProxyServer.aloneTimeout", **{"+5": 0.005, "007": 0.007})

    def test_pingInterval(self) -> None:
        """As much as Linux takes for TCP_KEEPIDLE."""
        self.assertValues("ProxyServer.pingInterval", **{"32767000": 32767.0})
        self.assertRejected("ProxyServer.pingInterval", "32767001")

    def test_messageSize(self) -> None:
        """A message is read in one turn of the reactor."""
        self.assertValues("Limits.maxControlMessageSize", **{"0": 0, "1048576": 1 << 20})
        self.assertRejected("Limits.maxControlMessageSize", "-1", "1048577")

    def test_mode(self) -> None:
        """As chmod takes it."""
        self.assertValues("ProxyServer.monitorSocketMode", **{"0": 0, "0660": 0o660, "777": 0o777})
        self.assertRejected("ProxyServer.monitorSocketMode", "1000", "8", "-1", "rw-rw----", "")

    def test_name(self) -> None:
        """It goes to strangers with every answer to Hello."""
        self.assertValues("ProxyServer.name", **{"": "", "ä" * 255: "ä" * 255})
        said = self.assertFails(self.settings.set, "ProxyServer.name", "x" * 256)
        self.assertIn("at most 255 characters", said)

    def test_userName(self) -> None:
        """HTTP would take what is behind a colon for the password."""
        self.assertValues("Authentication.clientId", **{"": "", "m e": "m e"})
        self.assertRejected("Authentication.clientId", "me:secret")

    def test_keys(self) -> None:
        """A URL that can be asked, or a path, which may not exist yet."""
        for place in (
            "",
            "/etc/keys.json",
            "keys.json",
            "https://id.example/keys",
            "http://[::1]/",
        ):
            self.assertValues("Authentication.jwks", **{place: place})
        for wrong in ("ftp://id.example/", "https://", "https://a b/", "file:///etc/keys"):
            said = self.assertFails(self.settings.set, "Authentication.jwks", wrong)
            self.assertIn("[Authentication] jwks cannot be used: ", said)

    def test_texts(self) -> None:
        """With commas between them, and perhaps blanks."""
        self.assertValues(
            "Authentication.audience",
            **{"": (), "a": ("a",), " a b ,c,, https://x/y ": ("a b", "c", "https://x/y")},
        )

    def test_hosts(self) -> None:
        """Addresses, and names that the system may know."""
        for host in "", "127.0.0.1", "::", "fe80::1%eth0", "localhost", "my-host.example.org":
            self.assertValues("WebSocketServer.host", **{host: host})
        self.assertRejected(
            "TcpServer.host",
            *("999.1.1.1", "1.2.3", "[::1]", "127.0.0.1:80", "localhost:80", "a b", "http://a"),
        )

    def test_domains(self) -> None:
        """The name of a host, as names are compared; empty means none."""
        domain = "Front.domain"
        self.assertValues(domain, **{"": "", "homes.example.org": "homes.example.org"})
        self.assertValues(domain, **{"Homes.Example.Org.": "homes.example.org"})
        self.assertValues(domain, **{"homes.bücher.example": "homes.xn--bcher-kva.example"})
        self.assertRejected(domain, "*.a", ".", ".a", "a b", "a_b", "https://a", "a:443")

    def test_controlCharacters(self) -> None:
        """No setting has any; a line that is indented by mistake is told as such."""
        for text in "a\0b", "a\x1b[31mb", "a\tb", "a\x85b", "a\rb":
            said = self.assertFails(self.settings.set, "ProxyServer.name", text)
            self.assertIn("[ProxyServer] name has characters", said)
        said = self.assertFails(self.load, "[SSL]\ncertificate=/a\n  certificateKey=/b\n")
        self.assertIn("[SSL] certificate goes on in an indented line", said)

    def test_seconds(self) -> None:
        """Milliseconds for people, seconds for the reactor."""
        self.assertEqual(self.settings.proxyServer.notificationGap, 0.02)
        self.settings.set("ProxyServer.aloneTimeout", "1500")
        self.assertEqual(self.settings.proxyServer.aloneTimeout, 1.5)

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
                self.settings.set(name, choice)
                value = self.settings[name]
                self.assertEqual(getattr(value, "value", value), choice)
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

    def test_subprotocols(self) -> None:
        """With commas; what no client can offer is none."""
        for text, expected in {
            "": (),
            "chat": ("chat",),
            "v1.nymea , Chat,": ("v1.nymea", "Chat"),
        }.items():
            self.settings.set("WebSocketServer.subprotocols", text)
            self.assertEqual(self.settings["WebSocketServer.subprotocols"], expected)
        self.assertRejected("WebSocketServer.subprotocols", "a b", "a;b", "\u00e4", 'a, "b"')

    def test_white_space(self) -> None:
        """White space around a text does not belong to it."""
        self.assertValues("ProxyServer.name", **{"  a name \t": "a name"})
