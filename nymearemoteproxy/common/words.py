"""Words for people: how a number and what it counts are written.

Owns the plural. Knows nothing of what is counted.
"""

from __future__ import annotations


def counted(number: float, thing: str) -> str:
    """Return a number with its noun, such as ``1 token`` or ``2 tokens``."""
    whole = int(number) if number == int(number) else number
    return f"{whole} {thing}" if number == 1 else f"{whole} {thing}s"


def joined(parts: list[str]) -> str:
    """Return several things as one does in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
