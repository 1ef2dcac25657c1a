"""What the server is to reach, as data.

Owns the limits and the judgement. Knows nothing of how a figure was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.names import BEFORE, FLOODS, HAPROXY, SNITUN, STOCK, STREAM_FLOODS, TRANSPORTS
from benchmarks.results import Results, Series


@dataclass(frozen=True)
class Target:
    """A limit for one figure.

    :ivar limit: for the ratio of the medians, or for the figure itself if there is no other.
    :ivar overPeer: whose value of the same figure is the other.
    :ivar overFigure: the figure of the same peer that is the other.
    """

    figure: str
    transport: str
    limit: float
    overPeer: str = ""
    overFigure: str = ""


@dataclass(frozen=True)
class Verdict:
    """How one peer did.

    :ivar value: what is limited; None when there was nothing to compare with.
    """

    target: Target
    peer: str
    value: float | None

    @property
    def text(self) -> str:
        """Whether the target was reached."""
        if self.value is None:
            return "not measured"
        return "yes" if self.value <= self.target.limit else "no"


OVER_BEFORE = {
    "ping-pong": (0.75, 0.78, 0.72, 0.75),
    "64KiB": (0.95, 0.8, 0.9, 0.8),
    "set-up": (0.7, 0.75, 0.7, 0.75),
}
"""Over the commit with which issue 13 began, by transport."""

OVER_SNITUN = (
    *("visits-ping-pong", "visits-down", "visits-up"),
    *(f"visitors-{part}" for part in ("set-up", "close", "whole", "memory")),
)
"""What of a visitor's TLS, and of its coming and going, is to cost less than there."""

TARGETS = (
    Target("ping-pong", "ws", 0.5, overPeer=STOCK),
    Target("ping-pong", "wss", 0.45, overPeer=STOCK),
    Target("256B-x32", "ws", 0.05, overPeer=STOCK),
    Target("256B-x32", "wss", 0.07, overPeer=STOCK),
    Target("64KiB", "ws", 0.18, overPeer=STOCK),
    Target("64KiB", "wss", 0.28, overPeer=STOCK),
    Target("ping-pong", "tcp", 1.4, overPeer=HAPROXY),
    Target("64KiB", "tcp", 0.7, overPeer=HAPROXY),
    Target("ping-pong", "tls", 1.2, overPeer=HAPROXY),
    Target("64KiB", "tls", 1.2, overPeer=HAPROXY),
    Target("set-up", "tls", 1.2, overPeer=HAPROXY),
    *(
        Target(figure, transport, limit, overPeer=BEFORE)
        for figure, limits in OVER_BEFORE.items()
        for transport, limit in zip(TRANSPORTS, limits, strict=True)
    ),
    *(Target("idle-most", transport, 1.15, overFigure="idle-none") for transport in TRANSPORTS),
    *(Target("set-up-last", transport, 1.2, overFigure="set-up-first") for transport in TRANSPORTS),
    *(
        Target("tunnelproxy-ping-pong", transport, 1.5, overFigure="tunnelproxy-plain")
        for transport in TRANSPORTS
    ),
    *(Target(figure, "tcp", 1, overPeer=SNITUN) for figure in OVER_SNITUN),
    Target("visits-down", "tcp", 1),
    Target("visitors-set-up", "tcp", 200),
    Target("visitors-close", "tcp", 80),
    Target("tunnelproxy-down", "tcp", 2.5),
    Target("tunnelproxy-up", "tcp", 2.5),
    Target("tunnelproxy-down", "tls", 4),
    Target("tunnelproxy-up", "tls", 4),
    *(
        Target(f"flood-{sort}-{kind}", transport, limit)
        for transport, sorts in (("ws", FLOODS), ("tcp", STREAM_FLOODS))
        for sort in sorts
        for kind, limit in (("p99", 50), ("max", 150))
    ),
    Target("memory", "ws", 8),
    Target("memory", "wss", 44),
)


def judge(results: Results) -> list[Verdict]:
    """Compare what was measured of every judged peer with the targets.

    Those over an older commit count when there is one.
    """
    verdicts = []
    measured = {series.peer for series in results.series}
    for target in TARGETS:
        if target.overPeer == BEFORE and BEFORE not in measured:
            continue
        for peer in results.judged:
            own = results.find(target.figure, target.transport, peer)
            if own is not None:
                verdicts.append(Verdict(target, peer, _value(results, target, own)))
    return verdicts


def _value(results: Results, target: Target, own: Series) -> float | None:
    if not (target.overPeer or target.overFigure):
        return own.median
    figure, peer = target.overFigure or target.figure, target.overPeer or own.peer
    other = results.find(figure, target.transport, peer)
    return own.median / other.median if other is not None and other.median else None
