"""The classes of the program, and the names that they define."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import nymearemoteproxy

HARMLESS = ("builtins", "enum", "typing", "abc", "zope", "collections", "dataclasses")
"""Packages whose classes are made to be derived from, and define next to nothing besides."""

OPTIONAL = {"txredisapi"}
"""Packages that need not be installed; modules that use them are left out then."""


def modules() -> Iterator[ModuleType]:
    """Yield all modules of the program."""
    for found in pkgutil.walk_packages(nymearemoteproxy.__path__, "nymearemoteproxy."):
        if not found.name.endswith("__main__"):
            try:
                yield import_module(found.name)
            except ModuleNotFoundError as error:
                if error.name not in OPTIONAL:
                    raise


def classes() -> Iterator[type]:
    """Yield all classes of the program."""
    for module in modules():
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield value


def package(one: type) -> str:
    """Return the name of the package that a class is from."""
    return one.__module__.partition(".")[0]


def namesOf(one: type) -> set[str]:
    """Return what a class defines: in its body, and in its methods as attributes of `self`."""
    names = set(vars(one))
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
    except (OSError, TypeError, SyntaxError):  # made at run time, or in C
        return names
    names.update(
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )
    return names
