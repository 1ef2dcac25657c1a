"""The tests of one process, again with several members."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any


def again(
    module: dict[str, Any],
    tests: ModuleType,
    base: type,
    *instead: type,
    prefix: str = "Remote",
    only: Collection[str] | None = None,
    others: Mapping[str, type | None] | None = None,
) -> None:
    """Add a test class for each one of another module.

    :param module: the `globals()` of the one that gets them.
    :param base: only those of which this is a base.
    :param instead: what comes before it.
    :param prefix: of their names.
    :param only: the names of those that are wanted; None = all.
    :param others: by a class's name, what comes before it besides, None = it is not wanted.
    """
    others = {} if others is None else others
    for name, case in list(vars(tests).items()):
        isCase = isinstance(case, type) and case.__module__ == tests.__name__
        isWanted = others.get(name, base) is not None and (only is None or name in only)
        if not isCase or not issubclass(case, base) or not isWanted:
            continue
        bases = (others[name], *instead, case) if name in others else (*instead, case)
        name = prefix + name
        assert name not in module, name
        members = {"__module__": module["__name__"], "__doc__": case.__doc__}
        module[name] = type(name, bases, members)
