"""What is raised when what was asked for cannot be done.

Owns this error. Knows nothing of when it is raised.
"""

from __future__ import annotations


class Mistake(Exception):
    """It cannot be done; the text says why, in one line."""
