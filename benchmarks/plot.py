"""The two plots, as SVG. The same results give the same bytes.

Owns how figures look. Knows nothing of how they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.names import TRANSPORTS
from benchmarks.results import Results, Series, reference
from benchmarks.targets import TARGETS

STYLE: Any = {
    "svg.hashsalt": "nymea-remoteproxy",  # otherwise every file has other identifiers
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Of Okabe and Ito, to be told apart with any eyes."""
REFERENCE_COLOUR = "#767676"
TARGET_COLOUR = "#d00000"
COMPARED = (
    *("ping-pong", "256B-x1", "256B-x32", "64KiB", "1MiB", "set-up", "close", "memory"),
    *("visits-ping-pong", "visits-down", "visits-up"),
    *("visitors-set-up", "visitors-close", "visitors-whole", "visitors-memory"),
)
"""Figures of the first plot: those that a reference has too."""
KINDS = ("idle", "set-up")
"""Of the curves in the second plot: by idle tunnels, by open tunnels."""
COLUMNS = 2
BAR = 0.22
"""Inches that one bar is high."""
GAP = 0.5
"""Between two groups of bars, in bars."""
CUT = 3.0
"""Longer bars are cut here; their number is still there."""

Compared = tuple[list[Series], Series]
"""The judged ones, and what they are compared with."""


def draw(results: Results, directory: Path) -> None:
    """Write all plots for which there is something to be seen."""
    colours = _colours(results)
    with rc_context(STYLE):
        _costs(results, colours, directory / "results.svg")
        _growth(results, colours, directory / "growth.svg")


def _colours(results: Results) -> dict[str, str]:
    """Give every peer one colour in all plots."""
    names = list(dict.fromkeys(series.peer for series in results.series))
    names.sort(key=lambda name: name not in results.judged)  # the judged ones come first
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, facecolor="white", bbox_inches="tight")


def _costs(results: Results, colours: dict[str, str], path: Path) -> None:
    """Draw each cost relative to the peer it is compared with."""
    panels = [
        (transport, groups)
        for transport in TRANSPORTS
        for groups in _compared(results, transport).values()
    ]
    if not panels:
        return
    rows = -(-len(panels) // COLUMNS)
    most = max(sum(len(shown) + GAP for shown, _other in groups) for _transport, groups in panels)
    size = 10, rows * (BAR * most + 0.9) + 0.6
    figure = Figure(size, layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    figure.suptitle("Cost relative to another server: shorter is better")
    for panel, (transport, groups) in zip(axes.flat, panels, strict=False):
        _panel(panel, transport, groups, colours)
    for unused in axes.flat[len(panels) :]:
        unused.remove()
    _legend(figure)
    _save(figure, path)


def _compared(results: Results, transport: str) -> dict[str, list[Compared]]:
    """Return what has a counterpart in a server that the judged ones are compared with, by that."""
    found: dict[str, list[Compared]] = {}
    for figure, its, group in results.groups():
        other = reference(group)
        shown = [series for series in group if series.peer in results.judged]
        if its == transport and figure.name in COMPARED and shown and other is not None:
            found.setdefault(other.peer, []).append((shown, other))
    return found


def _panel(
    panel: Axes, transport: str, groups: Sequence[Compared], colours: dict[str, str]
) -> None:
    ticks, labels = [], []
    top = 0.0
    for shown, other in groups:
        for row, series in enumerate(shown):
            _bar(panel, top + row, series, other.median, colours[series.peer])
        ends = top - 0.5, top + len(shown) - 0.5
        for target in TARGETS:
            place = target.figure, target.transport, target.overPeer
            if place == (shown[0].figure.name, transport, other.peer):
                panel.plot([target.limit] * 2, ends, color=TARGET_COLOUR, lw=2, label="target")
        ticks.append(sum(ends) / 2)
        labels.append(shown[0].figure.title)
        top += len(shown) + GAP
    panel.axvline(1, color=REFERENCE_COLOUR, ls="--", lw=1.2, label="the other server")
    panel.set_yticks(ticks, labels)
    panel.invert_yaxis()
    panel.set_xlim(0, CUT)
    panel.set_title(f"{transport}, compared with {other.peer}", fontweight="bold")
    panel.set_xlabel(f"ratio to {other.peer}")


def _bar(panel: Axes, at: float, series: Series, other: float, colour: str) -> None:
    """Draw one ratio, with a thin line from the lowest to the highest."""
    ratio = series.median / other
    lowest, highest = min(series.values) / other, max(series.values) / other
    panel.barh(at, ratio, 0.8, color=colour, label=series.peer)
    panel.plot([lowest, highest], [at, at], color="black", lw=0.8)
    isCut = max(ratio, highest) > CUT
    panel.annotate(
        f"{ratio:.2f}",
        (CUT if isCut else max(ratio, highest), at),
        (-4 if isCut else 4, 0),
        textcoords="offset points",
        ha="right" if isCut else "left",
        va="center",
        color="white" if isCut and ratio > CUT else "black",
        bbox=None if isCut else {"color": "white", "pad": 0.5},
    )


def _legend(figure: Figure) -> None:
    """Name each thing once, below all panels."""
    named = {
        label: handle
        for panel in figure.axes
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=6, frameon=False)


def _growth(results: Results, colours: dict[str, str], path: Path) -> None:
    """Draw what happens as the number of connections grows."""
    transports = [
        transport
        for transport in TRANSPORTS
        if any(results.growth(transport, kind) for kind in KINDS)
    ]
    if not transports:
        return
    figure = Figure((2.6 * len(transports) + 1.5, 5.4), layout="constrained")
    axes = figure.subplots(2, len(transports), squeeze=False)
    figure.suptitle("Cost as the number of tunnels grows: flat is right")
    for column, transport in enumerate(transports):
        upper, lower = axes[0][column], axes[1][column]
        for panel, kind in zip((upper, lower), KINDS, strict=True):
            for peer, points in results.growth(transport, kind).items():
                line = panel.plot(*zip(*points, strict=True), "o-", ms=4, color=colours[peer])[0]
                line.set(label=peer, clip_on=False)
        upper.set_title(transport, fontweight="bold")
        upper.set_xlabel("idle tunnels")
        lower.set_xlabel("tunnels already open")
        for panel in (upper, lower):
            panel.set_ylim(bottom=0)
            panel.set_xlim(left=0)
            panel.margins(x=0.08)
    axes[0][0].set_ylabel("CPU µs per round trip of 256 B")
    axes[1][0].set_ylabel("CPU µs to set up a tunnel")
    _legend(figure)
    _save(figure, path)
