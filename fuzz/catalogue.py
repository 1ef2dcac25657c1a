"""Which targets there are: each is a module of `fuzz.targets`, of the same name.

Owns where they are found, and what is said of those that are not there. Imports only those that are
asked for, so that a fuzzer watches nothing else.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from fuzz import targets
from fuzz.target import Mistake, Target

NEEDED = {"redis": "txredisapi"}
"""Packages that not everybody has, by the target that cannot do without."""

NAMES = sorted(module.name for module in iter_modules(targets.__path__))


def available() -> list[str]:
    """Return the targets for which all is installed."""
    return [name for name in NAMES if name not in NEEDED or find_spec(NEEDED[name])]


def load(name: str) -> Target:
    """Return a target.

    :raises Mistake: there is none of this name, or it cannot be had here.
    """
    if name not in NAMES:
        raise Mistake(f"there is no target {name!r}; there are: {', '.join(NAMES)}")
    if name not in available():
        raise Mistake(f"for {name} {NEEDED[name]} has to be installed")
    target: Target = import_module(f"{targets.__name__}.{name}").TARGET
    return target
