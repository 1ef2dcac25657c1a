"""What members show of themselves, and what it is together."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.figures import Figures, figuresOf, readFigures
from nymearemoteproxy.cluster.latencies import CLAIM_BOUNDS, Latencies
from nymearemoteproxy.cluster.links import CLOSING, CONTROL, OPENING, RELAYING
from nymearemoteproxy.cluster.places import Kind, PlaceSeat
from tests.support.stories import Node, StoryCase

PROPERTY = settings(max_examples=100, deadline=None, database=None)

COUNTS = st.integers(0, 1 << 40)
NAMED = st.dictionaries(st.text(max_size=8), st.integers(1, 1 << 40), max_size=4).map(Counter)
BUCKETS = st.dictionaries(st.integers(0, len(CLAIM_BOUNDS)), st.integers(1, 1 << 40)).map(Counter)
FIGURES = st.builds(
    Figures,
    **{
        each.name: {
            "incoming": NAMED,
            "outgoing": NAMED,
            "strangers": NAMED,
            "claims": BUCKETS,
            "claimSeconds": st.integers(0, 1 << 20).map(float),
            "delays": BUCKETS,
            "delaySeconds": st.integers(0, 1 << 20).map(float),
        }.get(each.name, COUNTS)
        for each in fields(Figures)
    },
)


class FiguresTests(SynchronousTestCase):
    """Figures of any members."""

    @PROPERTY
    @given(FIGURES)
    def test_written(self, figures: Figures) -> None:
        self.assertEqual(readFigures(json.loads(json.dumps(figures.write()))), figures)

    @PROPERTY
    @given(FIGURES, FIGURES)
    def test_sum(self, one: Figures, other: Figures) -> None:
        total = one + other
        self.assertEqual(total, other + one)
        for each in fields(Figures):
            values = [getattr(figures, each.name) for figures in (one, other, total)]
            if isinstance(values[0], Counter):
                for key in values[2]:
                    self.assertEqual(values[2][key], values[0][key] + values[1][key])
            else:
                self.assertEqual(values[2], values[0] + values[1])

    @PROPERTY
    @given(FIGURES)
    def test_past(self, figures: Figures) -> None:
        """What has been does not get less, and what is, is over."""
        past = figures.past
        for name in ("members", "unanswered", "held", "unlisted", "contested"):
            self.assertEqual(getattr(past, name), 0)
        self.assertEqual((past.incoming, past.outgoing), (Counter(), Counter()))
        for name in ("losses", "claims", "claimSeconds", "commands", "failures", "outages"):
            self.assertEqual(getattr(past, name), getattr(figures, name))
        for name in ("deaths", "cuts", "strangers", "delays", "delaySeconds"):
            self.assertEqual(getattr(past, name), getattr(figures, name))


class LatencyTests(SynchronousTestCase):
    """How long answers took."""

    def test_bounds(self) -> None:
        """A bound is in its own bucket, as Prometheus has it."""
        latencies = Latencies()
        for seconds in (
            0,
            CLAIM_BOUNDS[0],
            CLAIM_BOUNDS[0] * 1.01,
            CLAIM_BOUNDS[-1],
            CLAIM_BOUNDS[-1] * 1.01,
            1e9,
        ):
            latencies.add(seconds)
        last = len(CLAIM_BOUNDS)
        self.assertEqual(latencies.buckets, Counter({0: 2, 1: 1, last - 1: 1, last: 2}))
        self.assertGreater(latencies.seconds, 1e9)


class MemberTests(StoryCase):
    """Figures of members that do something."""

    def figures(self, node: Node) -> Figures:
        return figuresOf(node.membership, node.directory, [])

    def links(self, node: Node) -> tuple[dict[Any, int], dict[Any, int]]:
        """Return the links in and out by state."""
        figures = self.figures(node)
        return dict(+figures.incoming), dict(+figures.outgoing)

    def test_alone(self) -> None:
        figures = self.figures(self.one)
        self.assertEqual((figures.members, figures.unanswered, figures.held), (1, 0, 0))
        self.assertEqual(self.links(self.one), ({}, {}))

    def test_tunnel(self) -> None:
        """Where a link stands is seen at both ends."""
        first = self.land.join(self.one, "k")
        self.land.advance(0.1)
        second = self.land.join(self.two, "k")
        self.land.advance(2)
        self.assertTunnel(first, second)
        both = {RELAYING: 1, CONTROL: 1}
        self.assertEqual(self.links(self.one), (both, {CONTROL: 1}))
        self.assertEqual(self.links(self.two), ({CONTROL: 1}, both))
        self.assertEqual([self.figures(node).held for node in (self.one, self.two)], [1, 0])
        self.assertEqual(self.figures(self.one).claims.total(), 1)
        first.leave()
        second.leave()
        self.land.advance(30)
        for node in (self.one, self.two):
            self.assertEqual(self.links(node), ({}, {}))
            self.assertEqual(self.figures(node).held, 0)

    def test_opening(self) -> None:
        """A link whose member does not answer is there, and is not for ever."""
        self.land.join(self.one, "k")
        self.land.advance(0.1)
        self.one.freeze()
        self.land.join(self.two, "k")
        self.land.advance(0.5)
        self.assertEqual(self.links(self.two), ({}, {OPENING: 1}))

    def test_closing(self) -> None:
        """One side has left, and the other one does not take what there is for it."""
        first = self.land.join(self.one, "k")
        self.land.advance(0.1)
        second = self.land.join(self.two, "k")
        self.land.advance(1)
        states: set[str] = set()
        closing = self.one.membership.links.closing

        def noted(link: Any) -> None:
            closing(link)
            states.update(+self.one.membership.links.incomingBy)

        self.one.membership.links.closing = noted  # type: ignore[method-assign]
        first.leave()
        self.land.advance(1)
        self.assertIn(CLOSING, states)
        second.leave()

    def test_death(self) -> None:
        first = self.land.join(self.one, "k")
        self.land.advance(0.1)
        second = self.land.join(self.two, "k")
        self.land.advance(1)
        self.assertTunnel(first, second)
        self.one.freeze()
        self.land.advance(40)
        figures = self.figures(self.two)
        self.assertEqual((figures.deaths, figures.cuts), (1, 1))

    def test_contested(self) -> None:
        """A place that another member has is not told twice, and what was lost stays counted."""
        self.land.isFailing = True
        for node in (self.one, self.two):
            for _ in range(2):
                self.land.join(node, "k")
        self.land.advance(2)
        for node in (self.one, self.two):
            figures = self.figures(node)
            self.assertEqual((figures.held, figures.unlisted, figures.contested), (0, 1, 0))
            self.assertEqual(figures.unanswered, 1)
        self.land.restore()
        self.land.advance(3)
        total = self.figures(self.one) + self.figures(self.two)
        self.assertEqual((total.held, total.unlisted, total.contested), (1, 0, 1))
        self.assertEqual((total.losses, total.unanswered, total.members), (1, 0, 2))
        for client in self.land.clients:
            client.leave()
        self.land.advance(10)
        total = self.figures(self.one) + self.figures(self.two)
        self.assertEqual((total.held, total.contested, total.losses), (0, 0, 1))

    def test_seat(self) -> None:
        """A place that nobody has come to is counted once, however often it is wanted."""
        seat = PlaceSeat(Kind.KEY, b"k" * 16)
        places = self.one.places
        for _ in range(3):
            self.one.do(lambda: places.take(seat))
        self.land.advance(1)
        self.assertEqual(self.figures(self.one).held, 1)
        self.one.do(lambda: places.leave(seat))
        self.land.advance(1)
        self.assertEqual(self.figures(self.one).held, 0)
