"""Owns the checks of what a visit costs whose home is in this process."""

from __future__ import annotations

from tests.support.fronts import NAMED, AtTheFront
from tests.support.hellos import helloTo


class NearbyTests(AtTheFront):
    """Visitors whose home is in this process."""

    def test_notPaused(self) -> None:
        """They are read from all the time: to pause and go on would be two calls of epoll's."""
        self.register()
        visitor = self.come()
        self.patch(visitor, "pauseProducing", self.fail)
        visitor.receive(helloTo(NAMED))
        self.assertEqual(visitor.producerState, "producing")
