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


def readUsers(path: str) -> dict[str, str]:
    """Return the passwords by user, from lines ``user:password``.

    :raises OSError: the file cannot be read.
    :raises ValueError: it is not UTF-8, names nobody, or has a line of another kind; the text is
        one line that does not repeat it.
    """
    users = {}
    for number, entry in enumerate(readList(path), 1):
        user, colon, password = entry.partition(":")
        if not (user and colon and password):
            raise ValueError(f"entry {number} is not user:password")
        users[user] = password
    if not users:
        raise ValueError("it names nobody")
    return users
