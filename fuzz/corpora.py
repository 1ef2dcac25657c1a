"""The inputs that are kept for each target: few, small, and together they reach all that is known.

Those with names were written by hand, or have found a planted fault, and stay. The others have a
digest for a name, as libFuzzer gives it, and stay as long as they reach something that no smaller
one does.

Owns where they are, and which inputs take their place. Knows nothing of what they mean.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent / "corpora"

LONGEST = 600
"""Bytes of an input that is kept. Whatever needs more of them is not found by chance."""

_DIGEST = re.compile("[0-9a-f]{40}")


def inputs(name: str, root: Path = ROOT) -> list[Path]:
    """Return the inputs of a target, always in the same order."""
    return sorted(root.joinpath(name).iterdir())


def add(name: str, called: str, found: Path) -> None:
    """Keep one more input, for good."""
    ROOT.joinpath(name, called).write_bytes(found.read_bytes())


def replace(name: str, merged: Path, root: Path = ROOT) -> None:
    """Keep the inputs that have names, and these."""
    named = set()
    for old in inputs(name, root):
        if _DIGEST.fullmatch(old.name):
            old.unlink()
        else:
            named.add(old.read_bytes())
    for new in merged.iterdir():
        if (content := new.read_bytes()) not in named:
            root.joinpath(name, new.name).write_bytes(content)
