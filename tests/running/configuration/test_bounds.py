"""How long, and how many."""

from __future__ import annotations

import ipaddress

from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.connections.limits import LOOPBACK, RESERVED_FILES, Bounds
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.running.configuration import bounds
from tests.support.configured import FILES, ConfigurationCase


class BareTests(ConfigurationCase):
    """The command without options."""

    def test_timing(self) -> None:
        """The contract's time limits, in seconds."""
        self.assertEqual(
            self.configured().timing,
            Timing(
                tlsHandshake=5,
                webSocketHandshake=5,
                inactive=8,
                authentication=8,
                alone=300,
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


class FileTests(ConfigurationCase):
    """What settings amount to."""

    def test_timeForAGeneratedToken(self) -> None:
        """Who copies it from a terminal needs longer than a program; a time that is set counts."""
        given = ("--set", "ProxyServer.aloneTimeout=8000")
        for arguments, expected in (
            ((), 300),
            (given, 8),
            (("--token", "t"), 8),
            (("--token-file", self.write("t")), 8),
            (("--accept-any-token",), 8),
            (("--server", "http://a"), 8),
        ):
            self.assertEqual(self.configured(*arguments).timing.alone, expected, arguments)
        self.assertEqual(self.configured(file="[ProxyServer]\naloneTimeout=9000\n").timing.alone, 9)

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

    def test_linksAreFiles(self) -> None:
        """A client whose partner is with another process takes two, be that elsewhere."""
        one = FILES - RESERVED_FILES
        for options, connections in (
            (["--workers=4"], 2 * one),
            (["--cluster=redis://127.0.0.1"], one // 2),
            (["--cluster=redis://127.0.0.1", "--workers=4"], 2 * one),
        ):
            self.assertEqual(self.configured(*options).bounds.connections, connections)

    def test_tinyFileLimit(self) -> None:
        """However few files there may be, no limit becomes none by accident."""
        self.patch(bounds, "raiseFileLimit", lambda: 10)
        for options in ([], ["--workers=2"], ["--cluster=redis://127.0.0.1"]):
            self.assertEqual(self.configured(*options).bounds.connections, 1)


class TunnelLimitTests(ConfigurationCase):
    """Limits of tunnels and of accounts."""

    def test_none(self) -> None:
        """By default there are none."""
        configured = self.configured()
        self.assertEqual(configured.tunnelLimits, TunnelLimits())
        self.assertEqual(configured.accountBounds, AccountBounds())
        self.assertEqual(configured.denied, DenyList())

    def test_all(self) -> None:
        """Times become seconds, and of what all share each worker has its part."""
        configured = self.configured(
            *("--set", "Limits.tunnelRate=1000", "--set", "Limits.totalRate=5000"),
            *("--set", "Limits.tunnelIdleTimeout=3000", "--set", "Limits.tunnelMaxAge=4000"),
            *("--workers", "2", "--tunnelproxy"),
        )
        self.assertEqual(
            configured.tunnelLimits,
            TunnelLimits(rate=1000, totalRate=2500, idleTimeout=3, maxAge=4),
        )
        assert configured.terms is not None
        self.assertEqual(configured.terms.clientRate, 1000)

    def test_accounts(self) -> None:
        """They have no effect where nobody names an account, which a warning tells."""
        limits = ("--set", "Limits.tunnelsPerSubject=1", "--set", "Limits.bytesPerSubjectPerDay=2")
        configured = self.configured(*limits)
        self.assertEqual(configured.accountBounds, AccountBounds(1, 2))
        for name, warning in zip(
            ("tunnelsPerSubject", "bytesPerSubjectPerDay"), configured.warnings, strict=True
        ):
            self.assertTrue(warning.startswith(f"[Limits] {name} has no effect: "), warning)
        configured = self.configured(*limits, "--server", "http://127.0.0.1/")
        self.assertEqual(list(configured.warnings), [])
