"""What each account uses: how many tunnels it has, how much it has sent, and what comes of that."""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections import accounts
from nymearemoteproxy.connections.accounts import SECONDS_PER_DAY, AccountBounds
from nymearemoteproxy.connections.denylist import DenyList, parseDenyList
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from tests.support.memory import Guest
from tests.support.observed import ProxyCase

WITHOUT_BOUNDS = AccountBounds()


class AccountCase(ProxyCase):
    """A registry without connections, on a fake date."""

    bounds = AccountBounds()

    def setUp(self) -> None:
        self.date = 20_000 * SECONDS_PER_DAY + 1.0
        super().setUp()
        self.registry = self.proxy.registry
        self.limit(self.bounds)

    def makeRegistry(self) -> Any:
        turns = Turns(self.clock)
        return Registry(self.clock, turns, Gate(self.clock, Bounds()), lambda: self.date)

    def limit(self, bounds: AccountBounds = WITHOUT_BOUNDS, denied: DenyList | None = None) -> None:
        """Have these limits count from now on."""
        self.registry.limit(Bounds(), bounds, denied or DenyList())
        self.clock.advance(0)

    def guest(self, subject: str | None, role: Role | None = None) -> Guest:
        """Return a client that has shown a token."""
        guest = Guest(self.proxy, role)
        guest.record.subject = subject
        return guest

    def pair(self, subject: str | None) -> tuple[Guest, Guest]:
        """Return two clients of an account, with a tunnel."""
        one, two = self.guest(subject, Role.PARTNER), self.guest(subject, Role.PARTNER)
        self.registry.joined(one.record, two.record)
        self.registry.joined(two.record, one.record)
        self.clock.advance(0)
        return one, two

    def refusal(self, subject: str | None, role: Role = Role.PARTNER) -> Outcome | None:
        """Return what is in the way of another client of an account."""
        guest = self.guest(subject)
        refusal = self.registry.named(guest.record, role)
        guest.leave()
        return refusal

    def count(self) -> None:
        """Look at what accounts have sent."""
        self.registry.countAccounts()
        self.clock.advance(0)


class LaterTests(AccountCase):
    """A limit of bytes that comes while clients are there."""

    bounds = AccountBounds()

    def test_switchedOn(self) -> None:
        """What was sent before does not count, however often it is switched."""
        one, two = self.pair("a")
        self.clock.advance(1)
        for most in 1000, 1999:
            one.record.received += 10_000
            self.registry.limit(Bounds(), AccountBounds(bytesPerDay=most), DenyList())
            self.count()
            one.record.received += 999
            self.count()
            self.assertEqual((one.asked, two.asked), ([], []))
            self.registry.limit(Bounds(), AccountBounds(), DenyList())
            self.clock.advance(1)
        self.registry.limit(Bounds(), AccountBounds(bytesPerDay=1999), DenyList())
        self.count()
        one.record.received += 1
        self.count()
        self.assertEqual((one.asked, two.asked), (["dismiss"], ["dismiss"]))


class TunnelsTests(AccountCase):
    """How many tunnels an account has."""

    bounds = AccountBounds(tunnels=2)

    def test_limit(self) -> None:
        """With as many as it may have it gets no more, until one has ended."""
        one, two = self.pair("a")
        self.assertIsNone(self.refusal("a"))
        self.pair("a")
        self.assertIs(self.refusal("a"), Outcome.TOO_MANY_TUNNELS)
        self.assertIs(self.refusal("a", Role.CLIENT), Outcome.TOO_MANY_TUNNELS)
        self.assertIsNone(self.refusal("a", Role.SERVER), "it is no tunnel")
        self.assertIsNone(self.refusal("b"))
        one.leave()
        two.leave()
        self.assertIsNone(self.refusal("a"))

    def test_withoutAccount(self) -> None:
        """Who has no account is not counted."""
        pairs = [self.pair(None) for _ in range(5)]
        self.assertIsNone(self.refusal(None))
        self.assertFalse([each.asked for pair in pairs for each in pair if each.asked])

    def test_toldTwice(self) -> None:
        """A tunnel counts once, whenever it became known whose it is."""
        for each in self.pair("a"):
            self.registry.countTunnel(each.record)
        self.assertIsNone(self.refusal("a"))

    def test_atOnce(self) -> None:
        """Those that were let in at the same moment are too many when they begin."""
        pairs = [self.pair("a") for _ in range(3)]
        self.assertEqual([each.asked for pair in pairs for each in pair][:4], [[], [], [], []])
        for each in pairs[2]:
            self.assertEqual(each.asked, ["dismiss"])
            self.assertIs(each.record.outcome, Outcome.TOO_MANY_TUNNELS)

    def test_leftAtOnce(self) -> None:
        """One that leaves at that moment is not dismissed."""
        self.pair("a")
        self.pair("a")
        guest = self.guest("a", Role.CLIENT)
        self.registry.joined(guest.record, None)
        guest.leave()
        self.clock.advance(0)
        self.assertEqual(guest.asked, [])

    def test_tunnelProxy(self) -> None:
        """A client of a server has a tunnel, the server has none."""
        for role in Role.SERVER, Role.CLIENT, Role.CLIENT:
            self.assertIsNone(self.refusal("a"))
            self.registry.joined(self.guest("a", role).record, None)
        self.assertIs(self.refusal("a"), Outcome.TOO_MANY_TUNNELS)

    def test_nothingLeft(self) -> None:
        """Accounts without connections are not kept."""
        for each in self.pair("a"):
            each.leave()
        self.assertFalse(self.registry.accounts._ends)
        self.assertFalse(self.registry.accounts._tunnels)


class BytesTests(AccountCase):
    """How much an account has sent."""

    bounds = AccountBounds(bytesPerDay=1000)

    def test_quota(self) -> None:
        """When it is used up its tunnels end, and it gets no more that day."""
        self.guest(None)
        one, two = self.pair("a")
        other, _partner = self.pair("b")
        waiting = self.guest("a")
        one.record.received = 600
        two.record.received = 399
        self.count()
        self.assertIsNone(self.refusal("a"))
        two.record.received = 400
        self.count()
        self.count()  # the first one was looked at before the second one was counted
        for each in one, two:
            self.assertIs(each.record.outcome, Outcome.QUOTA_USED_UP)
        self.assertEqual((waiting.asked, other.asked), ([], []))
        self.assertIs(self.refusal("a"), Outcome.QUOTA_USED_UP)
        self.assertIsNone(self.refusal("b"))
        self.date += SECONDS_PER_DAY
        self.assertIsNone(self.refusal("a"))

    def test_midnight(self) -> None:
        """What was sent before does not count any more, also of those who stay."""
        one, _two = self.pair("a")
        one.record.received = 900
        self.count()
        self.date += SECONDS_PER_DAY
        one.record.received = 1800
        self.count()
        self.assertEqual(one.asked, [])

    def test_closed(self) -> None:
        """What a connection has sent counts when it is closed, too."""
        one, _two = self.pair("a")
        one.record.received = 1000
        one.leave()
        self.assertIs(self.refusal("a"), Outcome.QUOTA_USED_UP)
        self.assertEqual(len(self.registry.accounts._counted), 0)

    def test_manyAccounts(self) -> None:
        """Not more than so many are remembered, the longest silent ones are forgotten."""
        self.patch(accounts, "MAX_TRACKED_ACCOUNTS", 2)
        for subject in "a", "b", "a", "c":
            guest = self.guest(subject)
            guest.record.received = 1000
            guest.leave()
        self.assertIsNone(self.refusal("b"))
        for subject in "a", "c":
            self.assertIs(self.refusal(subject), Outcome.QUOTA_USED_UP)

    def test_changed(self) -> None:
        """What was sent before another limit came counts."""
        one, _two = self.pair("a")
        self.clock.advance(1)
        one.record.received = 600
        self.limit(AccountBounds(bytesPerDay=600))
        self.count()
        self.assertIs(self.refusal("a"), Outcome.QUOTA_USED_UP)

    def test_smallest(self) -> None:
        """One byte is a limit, and not used up before it is sent."""
        self.limit(AccountBounds(bytesPerDay=1))
        self.assertIsNone(self.refusal("a"))
        one, _two = self.pair("a")
        one.record.received = 1
        self.count()
        self.assertIs(self.refusal("a"), Outcome.QUOTA_USED_UP)

    def test_off(self) -> None:
        """Without a limit nothing is kept."""
        self.limit()
        one, _two = self.pair("a")
        one.record.received = 1000
        self.count()
        one.leave()
        self.assertFalse(self.registry.accounts._used)
        self.assertFalse(self.registry.accounts._counted)

    def test_fault(self) -> None:
        """Who cannot be dismissed is cut off."""
        one, _two = self.pair("a")
        one.dismiss = lambda outcome: 1 / 0  # type: ignore[method-assign, assignment]
        one.record.received = 1000
        self.count()
        self.assertEqual(one.asked, ["abort"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class DeniedTests(AccountCase):
    """Addresses that are denied by now."""

    def test_connected(self) -> None:
        """Who is connected from there is cut off, once."""
        one, two = self.pair("a")
        two.record.host = "192.0.2.1"
        denied = parseDenyList([(1, "192.0.2.0/24")])
        self.limit(denied=denied)
        self.limit(denied=denied)
        self.assertEqual((one.asked, two.asked), ([], ["abort"]))
        self.assertIs(two.record.outcome, Outcome.ADDRESS_DENIED)

    def test_newcomers(self) -> None:
        """They are refused, counted and logged, also those behind a reverse proxy."""
        guest = self.guest(None)
        self.limit(denied=parseDenyList([(1, "127.0.0.1"), (2, "192.0.2.1")]))
        gate = self.registry.gate
        self.assertIs(gate.enter("127.0.0.1"), Outcome.ADDRESS_DENIED)
        self.assertIs(gate.identified(guest.record.ticket, "192.0.2.1"), Outcome.ADDRESS_DENIED)
        gate.leave(guest.record.ticket)
        self.assertEqual(gate.connections, 0)
