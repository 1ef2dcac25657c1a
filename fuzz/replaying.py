"""Gives inputs to checks in this very process: no atheris is needed.

Owns what is told of an input that breaks a promise. Knows nothing of where inputs come from.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from fuzz.target import Target


def replay(target: Target, inputs: Iterable[Path]) -> str:
    """Check each; return where and how the first one breaks a promise, or nothing."""
    for path in inputs:
        try:
            target.check(path.read_bytes())
        except Exception:
            return f"{path}\n{traceback.format_exc()}"
    return ""
