"""Several members looked at as if they were one, so that the same tests do for one and for many."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, gatherResults


def together(values: list[Any]) -> Any:
    """Return values of the same kind as one.

    Numbers are added up, tables joined; what is asked is asked of all, and what is set is set for
    all.
    """
    first = values[0]
    if isinstance(first, Counter):
        return sum(values, Counter())
    if isinstance(first, (int, float)):
        return sum(values)
    if isinstance(first, dict):
        return {key: value for each in values for key, value in each.items()}
    if isinstance(first, Deferred):
        return gatherResults(values)
    if first is None:
        return None
    if callable(first):
        return lambda *args, **named: together([each(*args, **named) for each in values])
    return Together(values)


class Together:
    """Several objects of one class as one."""

    def __init__(self, parts: list[Any]) -> None:
        self.__dict__["parts"] = parts

    def __getattr__(self, name: str) -> Any:
        return together([getattr(part, name) for part in self.parts])

    def __setattr__(self, name: str, value: Any) -> None:
        for part in self.parts:
            setattr(part, name, value)
