"""Whether a file with a secret is for its user only.

Owns what counts as open, and the command that mends it. Knows nothing of which files hold secrets,
and of what is in them.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

FOR_OTHERS = stat.S_IROTH | stat.S_IWOTH
"""Whose bits of a mode are no group's. Of a group there is no telling who it is for."""


def warningsOfOpen(files: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield one line for each file that every user of the machine may read, or write.

    :param files: what each is, such as ``token file``, and its path. One that is empty, not there
        or no regular file is passed over, and one that comes twice is told of once.
    """
    for what, path in dict.fromkeys(files):
        if path and _isOpen(path):
            yield (
                f"the {what} {path} is open to every user of this machine; mend that with: "
                f"chmod o= {shlex.quote(path)}"
            )


def _isOpen(path: str) -> bool:
    try:
        mode = Path(path).stat().st_mode
    except OSError:  # who reads it tells
        return False
    return stat.S_ISREG(mode) and bool(mode & FOR_OTHERS)
