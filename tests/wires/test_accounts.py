"""Limits of accounts on the wires: who is refused when it authenticates, and whose tunnels end."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone

from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList, parseDenyList
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe


class AccountTests(InMemory):
    """One account, with a bound on its tunnels and on its bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.backend.subject = "somebody"

    def limit(self, bounds: AccountBounds, denied: DenyList | None = None) -> None:
        """Have these limits count from now on."""
        self.proxy.registry.limit(Bounds(), bounds, denied or DenyList())
        self.clock.advance(0)

    def count(self) -> None:
        """Look at what accounts have sent; what workers tell of it is here by then."""
        report = getattr(self.proxy.registry, "report", lambda: None)
        report()
        self.clock.advance(0)
        self.proxy.registry.countAccounts()
        self.clock.advance(0)

    def refused(self, kind: str) -> Pipe:
        """Return a client that is not let in when it authenticates."""
        pipe = self.open(kind)
        self.authenticate(pipe, nonce="another")
        self.assertTold(kind, pipe)
        return pipe

    def assertTold(self, kind: str, pipe: Pipe) -> None:
        """It was told why, and that it may try again."""
        said = pipe.take()
        self.assertIn(b"A limit of this account is reached", said)
        self.assertNotIn(b"nvalid token", said)
        if kind == "WebSocket":
            self.assertIn((1013).to_bytes(2), said)

    def test_tunnels(self) -> None:
        """Who would have one too many is refused, and may come when there is room."""
        self.limit(AccountBounds(tunnels=1))
        for kind in "WebSocket", "TCP":
            one, two = self.join(kind, kind)
            three = self.refused(kind)
            one.lose(ConnectionDone())
            two.lose(ConnectionDone())
            three.lose(ConnectionDone())
            outcomes = self.proxy.registry.counters.outcomes
            self.assertEqual(outcomes.pop(Outcome.TOO_MANY_TUNNELS), 1)

    def test_bytes(self) -> None:
        """Both ends of a tunnel are told when all is used up; then nobody of it is let in."""
        self.limit(AccountBounds(bytesPerDay=2000))
        one, two = self.join("TCP", "TCP")
        one.receive(bytes(1000))
        self.count()
        self.assertFalse(one.phase.finished)
        two.receive(bytes(1000))
        self.count()
        self.assertTrue(one.phase.finished and two.phase.finished)
        three = self.refused("TCP")
        for each in one, two, three:
            each.lose(ConnectionDone())
        self.assertOutcomes(*[Outcome.QUOTA_USED_UP] * 3)

    def test_denied(self) -> None:
        """One that is denied by now is cut off, in whichever phase it is."""
        one, two = self.join("TCP", "WebSocket")
        waiting = self.open("TCP")
        self.limit(AccountBounds(), parseDenyList([(1, "127.0.0.1")]))
        for each in one, two, waiting:
            self.assertTrue(each.lost)
        self.assertIsNone(self.accept("TCP").protocol)
        outcomes = self.proxy.registry.counters.outcomes
        # In memory the partner hears of it before it is looked at itself.
        outcomes[Outcome.ADDRESS_DENIED] += outcomes.pop(Outcome.PARTNER_LEFT, 0)
        self.assertEqual(outcomes, {Outcome.ADDRESS_DENIED: 4})
