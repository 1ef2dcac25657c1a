"""What differs where mutmut runs the tests, whose runner is pytest: see docs/development.rst.

Owns in which order they are run then, and how Hypothesis goes about it. Nothing else here is run
by pytest.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutation",
    parent=settings.get_profile("everywhere"),
    # Thousands of runs: few examples each, always the same ones, and the first that fails will do.
    max_examples=20,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    # Each mutant's tests run in a copy of a process that has run them all before.
    suppress_health_check=[HealthCheck.differing_executors],
)
settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: nearly every mutant is found by one of these."""
    stats = Path("mutmut-stats.json")  # of the first run, which has no mutant
    if stats.exists():
        seconds = json.loads(stats.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0))
