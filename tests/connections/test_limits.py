"""Owns the checks of the limits: who is let in, and that the counts stay right."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.connections import limits
from nymearemoteproxy.connections.limits import LOOPBACK, Bounds, Bucket, Gate, Ticket, sourceOf
from nymearemoteproxy.protocol.outcomes import Outcome

PROPERTY = settings(max_examples=200, deadline=None, database=None)

HERE, THERE = "192.0.2.1", "192.0.2.2"


class GateCase(SynchronousTestCase):
    """Helpers for the checks of a gate."""

    def setUp(self) -> None:
        self.clock = Clock()

    def gate(self, **bounds: Any) -> Gate:
        """Return a gate with these bounds, all others off."""
        return Gate(self.clock, Bounds(**bounds))

    def enter(self, gate: Gate, host: str | None = HERE) -> Ticket:
        """Let one in that must be let in."""
        ticket = gate.enter(host)
        assert isinstance(ticket, Ticket), ticket
        return ticket

    def assertRefused(self, gate: Gate, outcome: Outcome, host: str | None = HERE) -> None:
        """The next one is refused, and not counted."""
        counts = (gate.connections, gate.unauthenticated)
        self.assertIs(gate.enter(host), outcome)
        self.assertEqual((gate.connections, gate.unauthenticated), counts)


class BoundTests(GateCase):
    """Each bound by itself."""

    def test_none(self) -> None:
        """Without bounds everybody comes in."""
        gate = self.gate()
        for _ in range(2000):
            self.enter(gate)
        self.assertEqual((gate.connections, gate.unauthenticated), (2000, 2000))

    def test_connections(self) -> None:
        """The bound on all connections holds for everybody, authenticated or local as well."""
        gate = self.gate(connections=3)
        tickets = [self.enter(gate, host) for host in (HERE, "127.0.0.1", None)]
        for ticket in tickets:
            gate.authenticated(ticket)
        for host in (HERE, THERE, "127.0.0.1", None):
            self.assertRefused(gate, Outcome.TOO_MANY_CONNECTIONS, host)
        gate.leave(tickets[1])
        self.enter(gate, THERE)
        self.assertRefused(gate, Outcome.TOO_MANY_CONNECTIONS)

    def test_unauthenticated(self) -> None:
        """Who authenticates makes room, and so does who leaves."""
        gate = self.gate(unauthenticated=2)
        first, second = self.enter(gate, HERE), self.enter(gate, None)
        self.assertRefused(gate, Outcome.TOO_MANY_UNAUTHENTICATED, THERE)
        gate.authenticated(first)
        self.enter(gate)
        self.assertRefused(gate, Outcome.TOO_MANY_UNAUTHENTICATED, None)
        gate.leave(second)
        self.enter(gate)
        gate.leave(first)
        self.assertRefused(gate, Outcome.TOO_MANY_UNAUTHENTICATED)

    def test_oneUnauthenticated(self) -> None:
        """One at a time is a bound, too."""
        gate = self.gate(unauthenticated=1)
        first = self.enter(gate)
        self.assertRefused(gate, Outcome.TOO_MANY_UNAUTHENTICATED)
        gate.authenticated(first)
        self.enter(gate)

    def test_connectionsPerAddress(self) -> None:
        """One address's connections do not count against another's."""
        gate = self.gate(connectionsPerAddress=2)
        first = self.enter(gate)
        gate.authenticated(self.enter(gate))
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS)
        self.enter(gate, THERE)
        gate.leave(first)
        self.enter(gate)
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS)

    def test_unauthenticatedPerAddress(self) -> None:
        """Per address, too, authenticating makes room."""
        gate = self.gate(unauthenticatedPerAddress=1)
        first = self.enter(gate)
        self.assertRefused(gate, Outcome.TOO_MANY_UNAUTHENTICATED_FROM_ADDRESS)
        self.enter(gate, THERE)
        gate.authenticated(first)
        second = self.enter(gate)
        self.assertRefused(gate, Outcome.TOO_MANY_UNAUTHENTICATED_FROM_ADDRESS)
        gate.leave(second)
        self.enter(gate)

    def test_exempt(self) -> None:
        """The limits per address do not apply to exempt networks and Unix sockets."""
        gate = self.gate(
            connectionsPerAddress=1,
            unauthenticatedPerAddress=1,
            attemptsPerSecondPerAddress=1,
            exempt=(*LOOPBACK, ipaddress.ip_network("198.51.100.0/24")),
        )
        for host in (None, "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "198.51.100.7"):
            for _ in range(3):
                self.enter(gate, host)
        self.enter(gate, "198.51.101.7")
        self.assertRefused(gate, Outcome.TOO_MANY_ATTEMPTS, "198.51.101.7")

    def test_ipv6Network(self) -> None:
        """A /64 is one source."""
        gate = self.gate(connectionsPerAddress=1)
        self.enter(gate, "2001:db8::1")
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS, "2001:db8::ffff:0:0:1")
        self.enter(gate, "2001:db8:0:1::1")

    def test_mapped(self) -> None:
        """An IPv4 address is the same on a socket that takes both."""
        gate = self.gate(connectionsPerAddress=1)
        self.enter(gate, HERE)
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS, f"::ffff:{HERE}")
        self.enter(gate, f"::ffff:{THERE}")


class AttemptTests(GateCase):
    """The token bucket of each address."""

    def admitted(self, gate: Gate, attempts: int, host: str = HERE) -> int:
        """Return how many of so many attempts are let in."""
        results = [gate.enter(host) for _ in range(attempts)]
        for result in results:
            if isinstance(result, Ticket):
                gate.leave(result)
            else:
                self.assertIs(result, Outcome.TOO_MANY_ATTEMPTS)
        return sum(isinstance(result, Ticket) for result in results)

    def test_burst(self) -> None:
        """One second's worth at once, then at the rate."""
        gate = self.gate(attemptsPerSecondPerAddress=4)
        self.assertEqual(self.admitted(gate, 10), 4)
        self.clock.advance(0.25)
        self.assertEqual(self.admitted(gate, 10), 1)
        self.clock.advance(0.125)
        self.assertEqual(self.admitted(gate, 10), 0)
        self.clock.advance(0.125)
        self.assertEqual(self.admitted(gate, 10), 1)

    def test_neverMoreThanASecondsWorth(self) -> None:
        """Silence is not saved up."""
        gate = self.gate(attemptsPerSecondPerAddress=3)
        self.admitted(gate, 1)
        self.clock.advance(1000)
        self.assertEqual(self.admitted(gate, 10), 3)

    def test_perAddress(self) -> None:
        """One address's attempts do not count against another's."""
        gate = self.gate(attemptsPerSecondPerAddress=1)
        self.assertEqual(self.admitted(gate, 5, HERE), 1)
        self.assertEqual(self.admitted(gate, 5, THERE), 1)
        self.assertEqual(self.admitted(gate, 5, "2001:db8::1"), 1)
        self.assertEqual(self.admitted(gate, 5, "2001:db8::2"), 0)

    @PROPERTY
    @given(
        st.integers(1, 5),
        st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=12),
    )
    def test_rate(self, rate: int, visits: list[tuple[int, int]]) -> None:
        """In no span of time more than its worth and one second's is let in."""
        clock = Clock()
        gate = Gate(clock, Bounds(attemptsPerSecondPerAddress=rate))
        times: list[float] = []
        for eighths, attempts in visits:
            clock.advance(eighths / 8)
            times += [clock.seconds()] * self.admitted(gate, attempts)
        for start in range(len(times)):
            for end in range(start, len(times)):
                span = times[end] - times[start]
                self.assertLessEqual(end - start + 1, rate + span * rate)

    def test_boundedTable(self) -> None:
        """Only so many addresses are remembered; the longest silent is forgotten first."""
        self.patch(limits, "MAX_TRACKED_ADDRESSES", 3)
        gate = self.gate(attemptsPerSecondPerAddress=1)
        hosts = [f"192.0.2.{number}" for number in range(3)]
        for host in hosts:
            self.assertEqual(self.admitted(gate, 1, host), 1)
        self.assertEqual(self.admitted(gate, 1, hosts[0]), 0)  # speaks up again
        self.assertEqual(self.admitted(gate, 1, "192.0.2.99"), 1)
        self.assertEqual(len(gate._attempts), 3)
        self.assertEqual(self.admitted(gate, 1, hosts[0]), 0, "still remembered")
        self.assertEqual(self.admitted(gate, 1, hosts[2]), 0, "still remembered")
        self.assertEqual(self.admitted(gate, 1, hosts[1]), 1, "forgotten")


class IdentifiedTests(GateCase):
    """A reverse proxy tells the client's real address."""

    def test_countsThere(self) -> None:
        """The client counts for its real address, no longer for the proxy's."""
        gate = self.gate(connectionsPerAddress=1)
        ticket = self.enter(gate, HERE)
        self.assertIsNone(gate.identified(ticket, THERE))
        self.assertEqual(ticket.source, THERE)
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS, THERE)
        self.enter(gate, HERE)
        gate.leave(ticket)
        self.enter(gate, THERE)

    def test_fromAnExemptProxy(self) -> None:
        """The usual case: the proxy is on this machine, its clients are limited all the same."""
        gate = self.gate(unauthenticatedPerAddress=1)
        first, second = self.enter(gate, "127.0.0.1"), self.enter(gate, "127.0.0.1")
        self.assertIsNone(gate.identified(first, THERE))
        self.assertIs(gate.identified(second, THERE), Outcome.TOO_MANY_UNAUTHENTICATED_FROM_ADDRESS)
        gate.leave(second)
        gate.authenticated(first)
        third = self.enter(gate, "127.0.0.1")
        self.assertIsNone(gate.identified(third, THERE))

    def test_refused(self) -> None:
        """Who is refused still has its place among all connections until it leaves.

        It counts for no address any more, neither for the client's nor, again, for the proxy's.
        """
        gate = self.gate(connectionsPerAddress=1)
        self.enter(gate, THERE)
        ticket = self.enter(gate, HERE)
        self.assertIs(gate.identified(ticket, THERE), Outcome.TOO_MANY_FROM_ADDRESS)
        self.assertIsNone(ticket.source)
        self.assertEqual(gate.connections, 2)
        self.enter(gate, HERE)
        gate.leave(ticket)
        self.assertEqual(gate.connections, 2)
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS, THERE)
        self.assertRefused(gate, Outcome.TOO_MANY_FROM_ADDRESS, HERE)

    def test_toAnExemptAddress(self) -> None:
        """A local client of a proxy elsewhere is not limited."""
        gate = self.gate(connectionsPerAddress=1)
        for _ in range(3):
            ticket = self.enter(gate, HERE)
            self.assertIsNone(gate.identified(ticket, "127.0.0.1"))
            self.assertIsNone(ticket.source)


HOSTS = st.sampled_from([None, HERE, THERE, "127.0.0.1", "2001:db8::1", "2001:db8::2"])
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "authenticated", "identified", "leave", "wait"]),
        HOSTS,
        st.integers(0, 100),
    ),
    max_size=60,
)


class BookkeepingTests(SynchronousTestCase):
    """The counts against a list of who is there."""

    @PROPERTY
    @given(ACTIONS, st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3))
    def test_anySequence(
        self,
        actions: list[tuple[str, str | None, int]],
        connections: int,
        unauthenticated: int,
        perAddress: int,
        unauthenticatedPerAddress: int,
    ) -> None:
        """Counts are right after every step, bounds hold, and in the end all is zero."""
        clock = Clock()
        gate = Gate(
            clock,
            Bounds(
                connections=connections,
                unauthenticated=unauthenticated,
                connectionsPerAddress=perAddress,
                unauthenticatedPerAddress=unauthenticatedPerAddress,
                attemptsPerSecondPerAddress=5,
            ),
        )
        there: list[Ticket] = []
        for action, host, choice in actions:
            if action == "wait":
                clock.advance(choice / 50)
            elif action == "enter":
                result = gate.enter(host)
                if isinstance(result, Ticket):
                    there.append(result)
            elif there:
                ticket = there[choice % len(there)]
                if action == "leave":
                    there.remove(ticket)
                    gate.leave(ticket)
                elif action == "identified" and host is not None:
                    gate.identified(ticket, host)
                elif action == "authenticated" and not ticket.authenticated:
                    gate.authenticated(ticket)
            self.checkCounts(gate, there)
            if connections:
                self.assertLessEqual(gate.connections, connections)
            if unauthenticated:
                self.assertLessEqual(gate.unauthenticated, unauthenticated)
            for source in {ticket.source for ticket in there} - {None}:
                mine = [ticket for ticket in there if ticket.source == source]
                self.assertLessEqual(len(mine), perAddress or len(mine))
                new = [ticket for ticket in mine if not ticket.authenticated]
                self.assertLessEqual(len(new), unauthenticatedPerAddress or len(new))
        for ticket in there:
            gate.leave(ticket)
        self.checkCounts(gate, [])

    def checkCounts(self, gate: Gate, there: list[Ticket]) -> None:
        """Compare all counts with who is there."""
        new = [ticket for ticket in there if not ticket.authenticated]
        self.assertEqual(gate.connections, len(there))
        self.assertEqual(gate.unauthenticated, len(new))
        for counts, tickets in (
            (gate._connectionsFrom, there),
            (gate._unauthenticatedFrom, new),
        ):
            sources = [ticket.source for ticket in tickets if ticket.source is not None]
            self.assertEqual(dict(counts), {source: sources.count(source) for source in sources})


class SourceTests(SynchronousTestCase):
    """What the limits count an address as."""

    def test_sources(self) -> None:
        """IPv4 by address, IPv6 by network, exempt ones and Unix sockets not at all."""
        for host, expected in (
            (HERE, HERE),
            (f"::ffff:{HERE}", HERE),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            (None, None),
            ("", None),
            ("/run/socket", None),
            ("a\0b", None),
            ("\ud800", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("::ffff:127.0.0.5", None),
        ):
            self.assertEqual(sourceOf(host, LOOPBACK), expected, host)

    @PROPERTY
    @given(st.ip_addresses())
    def test_any(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Any address counts as `ipaddress` has it, however it is calculated."""
        expected = str(address)
        if isinstance(address, ipaddress.IPv6Address):
            network = ipaddress.ip_network((address, 64), strict=False)
            expected = str(address.ipv4_mapped or network)
        self.assertEqual(sourceOf(str(address), ()), expected)

    def test_exempt(self) -> None:
        """Only what the networks say is exempt, loopback included."""
        networks = (ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32"))
        for host in (HERE, f"::ffff:{HERE}", "2001:db8::1"):
            self.assertIsNone(sourceOf(host, networks), host)
        for host in ("127.0.0.1", "192.0.3.1", "2001:db9::1", "::1"):
            self.assertIsNotNone(sourceOf(host, networks), host)
        self.assertEqual(sourceOf("127.0.0.1", ()), "127.0.0.1")


class BucketTests(SynchronousTestCase):
    """What may be done so often."""

    def test_levels(self) -> None:
        """All at once, then as fast as it fills; it never holds more than its size."""
        clock = Clock()
        bucket = Bucket(clock, 2, 3)

        def times() -> int:
            count = 0
            while not bucket.isEmpty():
                bucket.take()
                count += 1
            return count

        self.assertEqual(times(), 3)
        clock.advance(1)
        self.assertEqual(times(), 2)
        clock.advance(1000)
        self.assertEqual(times(), 3)
