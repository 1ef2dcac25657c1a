"""The tests of one process, again with several members."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def again(
    module: dict[str, Any],
    tests: ModuleType,
    base: type,
    *instead: type,
    others: dict[str, type | None] | None = None,
) -> None:
    """Add a test class for each one of another module.

    :param module: the `globals()` of the one that gets them.
    :param base: only those of which this is a base.
    :param instead: what comes before it.
    :param others: by a class's name, what comes before it besides, None = it is not wanted.
    """
    others = {} if others is None else others
    for name, case in list(vars(tests).items()):
        isMeant = isinstance(case, type) and case.__module__ == tests.__name__
        if not isMeant or not issubclass(case, base) or others.get(name, base) is None:
            continue
        bases = (others[name], *instead, case) if name in others else (*instead, case)
        assert f"Remote{name}" not in module, name
        module[f"Remote{name}"] = type(
            f"Remote{name}", bases, {"__module__": module["__name__"], "__doc__": case.__doc__}
        )
