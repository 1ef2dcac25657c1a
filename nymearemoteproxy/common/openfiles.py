"""How many files this process may have open.

Owns the limit that the system sets. Knows nothing of what the files are.
"""

from __future__ import annotations

import resource

MAX_RAISED_FILES = 1 << 20
"""Far more connections than one process can serve; some systems allow a billion files."""


def raiseFileLimit() -> int:
    """Raise this process's limit of open files as far as it may be; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_RAISED_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_RAISED_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return min(soft, MAX_RAISED_FILES) if soft > 0 else MAX_RAISED_FILES
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # the kernel's own limit may be lower than what it calls the hard one
    return wanted
