"""Several members looked at as if they were one, so that the same tests do for one and for many."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, ValuesView
from typing import Any

from twisted.internet.defer import Deferred, gatherResults


def together(values: list[Any]) -> Any:
    """Return values of the same kind as one.

    Numbers are added up, tables joined; what is the same for all is that; what is asked is asked of
    all, and what is set is set for all.
    """
    first = values[0]
    if isinstance(first, Counter):
        return Sum(values)
    if isinstance(first, (int, float)):
        return sum(values)
    if isinstance(first, dict):
        return {key: value for each in values for key, value in each.items()}
    if isinstance(first, ValuesView):
        return list(itertools.chain(*values))
    if all(each is first or each == first for each in values):
        return first
    if isinstance(first, Deferred):
        return gatherResults(values)
    if callable(first):
        return lambda *args, **named: together([each(*args, **named) for each in values])
    return Together(values)


class Sum(Counter[Any]):
    """Several counters as one; what is taken out of it is taken out of them."""

    def __init__(self, parts: list[Counter[Any]]) -> None:
        super().__init__()
        self._parts = parts
        for part in parts:
            self.update(part)

    def pop(self, key: Any) -> int:
        return sum(part.pop(key, 0) for part in self._parts)


class Together:
    """Several objects of one class as one."""

    def __init__(self, parts: list[Any]) -> None:
        self.__dict__["parts"] = parts

    def __getattr__(self, name: str) -> Any:
        return together([getattr(part, name) for part in self.parts])

    def __setattr__(self, name: str, value: Any) -> None:
        for part in self.parts:
            setattr(part, name, value)


def numbered(registry: Any, numbers: Iterator[int]) -> Callable[..., Any]:
    """Return what lets connections in, and numbers those of several members together."""
    admit = registry.admit

    def admitNext(*arguments: Any) -> Any:
        registry._number = next(numbers)
        return admit(*arguments)

    return admitNext
