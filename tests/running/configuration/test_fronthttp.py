"""Where visitors come in without TLS."""

from __future__ import annotations

from itertools import product

from nymearemoteproxy.connections.records import FRONT, FRONT_HTTP
from tests.support.configured import ConfigurationCase


class FrontHttpTests(ConfigurationCase):
    """The option, and the setting."""

    def test_listeners(self) -> None:
        """Both say the same, and with either the tunnel proxy is on, as homes are there."""
        for arguments in (
            ("--front-http", "tcp:80", "--front-http", "haproxy:tcp:81"),
            ("--set", "Front.httpListeners=tcp:80, haproxy:tcp:81"),
        ):
            configured = self.configured("--token=t", "--websocket=tcp:1", *arguments)
            listeners = configured.listeners[1:]
            self.assertEqual([each.plain for each in listeners], ["tcp:80", "tcp:81"])
            self.assertEqual([each.behindProxy for each in listeners], [False, True])
            self.assertEqual([each.transport for each in listeners], [FRONT_HTTP] * 2)
            self.assertIsNotNone(configured.terms)

    def test_both(self) -> None:
        configured = self.configured("--token=t", "--front-http", "tcp:80", "--front", "tcp:443")
        transports = [each.transport for each in configured.listeners[1:]]
        self.assertEqual(sorted(transports), [FRONT, FRONT_HTTP])

    def test_tls(self) -> None:
        """Whose TLS ended here would not reach the home with it, nor need to be told of https."""
        for option, description in product(
            ("--front", "--front-http"), ("tls:tcp:80", "ssl:80", "haproxy:tls:tcp:80")
        ):
            mistake = self.assertMistake("--token=t", option, description)
            self.assertIn(f"{option} or [Front]", mistake)
            self.assertIn("write it without tls: and ssl:", mistake)

    def test_commas(self) -> None:
        """An option is one endpoint, as with ``--stream``; only in the file there are several."""
        for option in "--front", "--front-http":
            configured = self.configured("--token=t", option, "unix:/run/a,b.sock")
            self.assertEqual(configured.listeners[-1].plain, "unix:/run/a,b.sock")
            for nothing in ",", " ", "tcp:1, tcp:2":
                self.assertIn(
                    f"{option} or [Front]", self.assertMistake("--token=t", option, nothing)
                )
