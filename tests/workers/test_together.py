"""Owns what holds for several workers as it does for one process: by the same tests.

Each connection goes to another worker than the one before, so most tunnels are between two. What is
asked of the registry is asked of the parent's.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.connections import test_dismissal, test_presence
from tests.support.memory import Pipe
from tests.support.mirrored import Together
from tests.watching import test_visitors
from tests.wires import (
    test_accounts,
    test_deadlines,
    test_errands,
    test_farewells,
    test_introduction,
    test_logging,
    test_registration,
)


class TogetherMixin:
    """Two workers and their parent in the place of one process."""

    clock: Any
    bounds: Any

    def makeRegistry(self) -> Together:
        return Together(self.clock, getattr(self, "bounds", None))


class DrainTests(TogetherMixin, test_dismissal.DrainTests):
    """Who is told to leave."""

    @test_dismissal.PROPERTY
    @given(st.data())
    def test_anyOrder(self, data: Any) -> None:
        self.checkAnyOrder(data)


class PartnerTests(TogetherMixin, test_presence.PartnerTests):
    """A client that comes back."""


class RegistrationClashTests(TogetherMixin, test_presence.RegistrationTests):
    """A server that comes back."""

    def makeRegistry(self) -> Together:
        return Together(self.clock, self.bounds, turns=self.turns)


class DeadlineTests(TogetherMixin, test_deadlines.DeadlineTests):
    """How long each step may take."""


class AuthenticationTests(TogetherMixin, test_errands.AuthenticationTests):
    """How tokens are judged."""


class FarewellTests(TogetherMixin, test_farewells.MemoryFarewellTests):
    """How connections end."""


class ReverseProxyTests(TogetherMixin, test_introduction.ReverseProxyTests):
    """A PROXY header tells the address."""


class RefusalTests(TogetherMixin, test_logging.RefusalTests):
    """Who is not let in."""


class RegistrationTests(TogetherMixin, test_registration.RegistrationTests):
    """Registering with the tunnel proxy."""


class CountedVisitorTests(TogetherMixin, test_visitors.CountedTests):
    """Visitors of homes, which the parent counts."""


class AccountTests(TogetherMixin, test_accounts.AccountTests):
    """Limits of accounts, which the parent keeps."""

    def assertTold(self, kind: str, pipe: Pipe) -> None:
        """It is sent away, when the parent has been asked."""
        self.clock.advance(0)
        if kind == "WebSocket":
            self.assertIn((1013).to_bytes(2), pipe.take())
        else:
            self.assertTrue(pipe.halfClosed)
