"""What is logged while a test runs."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


def logged(case: SynchronousTestCase) -> list[str]:
    """Return the texts of what the server's code logs from now on."""
    texts: list[str] = []

    def note(event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith("nymearemoteproxy"):
            texts.append(formatEvent(event))

    globalLogPublisher.addObserver(note)
    case.addCleanup(globalLogPublisher.removeObserver, note)
    return texts
