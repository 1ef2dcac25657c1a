"""A command line that has options and nothing else.

Owns what is said to who gives more. Knows nothing of the options.
"""

from __future__ import annotations

from twisted.python import usage


class OnlyOptions(usage.Options):
    """Options of a program that takes no arguments."""

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option.

        :raises UsageError: there is something.
        """
        if arguments:
            raise usage.UsageError(
                f"it takes no arguments, but options: {arguments[0]!r}; --help shows them"
            )
