"""Puts faults into copies of the program: what finds none of them proves nothing.

Owns how a fault is planted. Knows nothing of how it is found.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.target import Mistake, Planted

CHECKOUT = Path(__file__).parents[1]

_COPIED = ("fuzz", "nymearemoteproxy")
_SHARED = ("tests", "twisted")


def plant(text: str, fault: Planted) -> str:
    """Return the text of a module with a fault in it.

    :raises Mistake: what it stands instead of is not there once.
    """
    if text.count(fault.text) != 1:
        raise Mistake(f"{fault.path} has {text.count(fault.text)} times {fault.text!r}")
    return text.replace(fault.text, fault.fault)


@contextmanager
def planted(fault: Planted) -> Iterator[Path]:
    """Make a copy with a fault, for as long as it is needed."""
    with TemporaryDirectory() as directory:
        root = Path(directory)
        for folder in _COPIED:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / folder, root / folder, ignore=ignored)
        for folder in _SHARED:
            (root / folder).symlink_to(CHECKOUT / folder)
        module = root / "nymearemoteproxy" / fault.path
        module.write_text(plant(module.read_text(encoding="utf-8"), fault), encoding="utf-8")
        yield root
