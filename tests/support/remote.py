"""The tests of one process, again with several members."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def again(module: dict[str, Any], tests: ModuleType, base: type, *instead: type) -> None:
    """Add a test class for each one of another module.

    :param module: the `globals()` of the one that gets them.
    :param base: only those of which this is a base.
    :param instead: what comes before it.
    """
    for name, case in list(vars(tests).items()):
        if isinstance(case, type) and issubclass(case, base) and case.__module__ == tests.__name__:
            name = f"Remote{name}"
            module[name] = type(name, (*instead, case), {"__module__": module["__name__"]})
