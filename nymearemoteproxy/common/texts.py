"""Which strings are text: not all that Python has can be written as UTF-8.

Owns that check. Knows nothing of where a string comes from.
"""

from __future__ import annotations


def isText(text: str) -> bool:
    """Tell whether a string can be written as UTF-8.

    Bytes that are none arrive as surrogates from the command line and from the environment, and
    JSON can spell such, too.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
