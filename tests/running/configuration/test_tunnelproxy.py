"""When the tunnel proxy is on, and what it demands."""

from __future__ import annotations

from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.running.configuration.tunnelproxy import whoIsProven
from nymearemoteproxy.running.options import FAILED
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.configured import ConfigurationCase, RereadCase


class TunnelProxyTests(ConfigurationCase):
    """The switch, the terms, and who may register."""

    sections = (
        "WebSocketServerTunnelProxy",
        "TcpServerTunnelProxy",
        "UnixSocketServerTunnelProxy",
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

    def test_authentication(self) -> None:
        """Who has to show a token; by default nobody, as in the field."""
        for options, proven in (
            ([], set()),
            (["none"], set()),
            (["servers"], {Role.SERVER}),
            (["everybody"], {Role.SERVER, Role.CLIENT}),
        ):
            given = [f"--set=TunnelProxy.authentication={each}" for each in options]
            configuration = self.configured("--tunnelproxy", *given)
            self.assertEqual(whoIsProven(configuration.settings), proven)
        text = self.assertMistake("--set=TunnelProxy.authentication=clients")
        self.assertIn("none, servers or everybody", text)

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


class RereadTests(RereadCase):
    """When it is read anew."""

    def test_nobodyMayRegister(self) -> None:
        """A list of servers that names none is hardly meant."""
        uuids = self.write("# none\n")
        options = self.options("--tunnelproxy", f"--set=TunnelProxy.serverUuidFile={uuids}")
        (warning,) = options.configuration.warnings
        self.assertIn(f"{uuids} names none", warning)
