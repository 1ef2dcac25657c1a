"""Files with one entry per line, such as tokens.

Owns what is an entry. Knows nothing of what entries mean.
"""

from __future__ import annotations

from pathlib import Path


def readList(path: str) -> list[str]:
    """Return the entries; empty lines and lines that begin with # do not count.

    :raises OSError: the file cannot be read.
    :raises UnicodeDecodeError: it is not UTF-8.
    """
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
