"""What the log says at the start of who is served."""

from __future__ import annotations

from pathlib import Path

from nymearemoteproxy.running import announcing
from nymearemoteproxy.running.announcing import essentials
from tests.support.configured import ConfigurationCase


class EssentialsTests(ConfigurationCase):
    """A line each."""

    def line(self, what: str, *arguments: str) -> str:
        """Return what the one line about this says."""
        lines = [*essentials(self.configured("--websocket=tcp:1:interface=127.0.0.1", *arguments))]
        (line,) = [each for each in lines if each.startswith(f"{what}: ")]
        return line.removeprefix(f"{what}: ")

    def test_whoMayIn(self) -> None:
        """How many tokens, and which server; no more of its URL, which may hold secrets."""
        one, two = ("--token=a",), ("--token=a", "--token=b")
        server = "--server=https://auth.example:8443/check?key=s3cr3t"
        for arguments, expected in (
            (one, "who has the token"),
            (two, "who has one of 2 tokens"),
            ((server,), "whom https://auth.example:8443 lets in"),
            ((server, *two), "who has one of 2 tokens and whom https://auth.example:8443 lets in"),
            (("--accept-any-token",), "everybody, as with --accept-any-token"),
        ):
            self.assertEqual(self.line("who may in", *arguments), expected)

    def test_tunnelProxy(self) -> None:
        """Whether it is on, and for whom."""
        uuid = self.write("00000000-0000-4000-8000-000000000001")
        for arguments, expected in (
            ((), "off"),
            (("--tunnelproxy",), "on, any server may register"),
            (
                ("--tunnelproxy", f"--set=TunnelProxy.serverUuidFile={uuid}"),
                "on, for 1 server",
            ),
            (
                ("--tunnelproxy", "--set=TunnelProxy.authentication=servers"),
                "on, any server may register, servers show a token",
            ),
            (
                ("--tunnelproxy", "--set=TunnelProxy.authentication=everybody"),
                "on, any server may register, servers show a token, clients show a token",
            ),
        ):
            self.assertEqual(self.line("tunnel proxy", "--token=t", *arguments), expected)

    def test_limits(self) -> None:
        """Those that there are."""
        limits = (
            "--set=Limits.maxConnections=100",
            "--set=Limits.maxUnauthenticated=20",
            "--set=Limits.maxConnectionsPerAddress=10",
            "--set=Limits.maxUnauthenticatedPerAddress=5",
            "--set=Limits.attemptsPerSecondPerAddress=3",
        )
        self.assertEqual(
            self.line("limits", *limits),
            "100 connections, 20 not authenticated, 10 from one address, "
            "5 not authenticated from one address, 3 a second from one address",
        )
        self.assertEqual(
            self.line(
                "limits",
                *(f"{each.partition('=')[0]}={each.split('=')[1]}=0" for each in limits),
                "--set=Limits.tunnelRate=1000000",
                "--set=Limits.totalRate=100000000",
                "--set=Limits.tunnelIdleTimeout=60000",
                "--set=Limits.tunnelMaxAge=500",
                "--set=Limits.tunnelsPerSubject=1",
                "--set=Limits.bytesPerSubjectPerDay=123456789012",
                f"--set=Limits.denyFile={self.write('192.0.2.1')}",
            ),
            "1000000 bytes a second in a tunnel, 100000000 bytes a second in all of them, "
            "60 seconds of silence in a tunnel, 0.5 seconds of a tunnel, 1 tunnel of one account, "
            "123456789012 bytes a day of one account, 1 network denied",
        )
        self.assertEqual(self.line("limits", "--set=Limits.maxConnections=1")[:13], "1 connection,")
        none = [f"{each.partition('=')[0]}={each.split('=')[1]}=0" for each in limits]
        self.assertEqual(self.line("limits", *none), "none")

    def test_stateDirectory(self) -> None:
        """Where files of the server's own are; a container may have no such place."""
        self.assertEqual(self.line("state directory"), str(self.state))

        def noHome() -> Path:
            raise RuntimeError

        configured = self.configured("--websocket=tcp:1:interface=127.0.0.1")
        self.patch(announcing, "stateDirectory", noHome)
        self.assertIn("state directory: none", [*essentials(configured)])
