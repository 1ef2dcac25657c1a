"""What is logged while a test runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


def logged(case: SynchronousTestCase) -> Callable[[], list[str]]:
    """Return what returns the texts that the server's code has logged from now on."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    case.addCleanup(globalLogPublisher.removeObserver, events.append)

    def lines() -> list[str]:
        return [
            formatEvent(event)
            for event in events
            if event.get("log_namespace", "").startswith("nymearemoteproxy.")
        ]

    return lines
