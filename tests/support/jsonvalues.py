"""JSON for Hypothesis, full of what matters to those who look for its end, and streams cut up."""

from __future__ import annotations

from hypothesis import strategies as st

TEXTS = st.text(st.sampled_from('{}"\\[]:, \n\té€😀a'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut `data` at the given places, wherever they lie."""
    bounds = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *bounds], [*bounds, len(data)], strict=True)]
