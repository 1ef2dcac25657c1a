"""Another date for a server than the machine's, which a test may set while it runs.

For the C library, and so for OpenSSL, it is the machine's: to change that needs rights.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_DATED = """
import datetime, sys, time
real, path = time.time, sys.argv.pop(1)
time.time = lambda: real() + float(open(path).read())
class Datetime(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromtimestamp(time.time(), zone)
datetime.datetime = Datetime
program = sys.argv.pop(1)
if program == "twistd":
    from twisted.scripts.twistd import run
    run()
else:
    from nymearemoteproxy.running.cli import main
    main()
"""
"""The server, whose date differs from the machine's by the seconds in a file."""


class Date:
    """The date of one server.

    :param folder: for a file that the server looks at.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "date"
        self.set(0)

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return how to start it.

        :param program: ``twistd`` or ``console``.
        """
        return [sys.executable, "-c", _DATED, str(self._path), program, *arguments]

    def set(self, by: float) -> None:
        """Have it differ from the machine's by so many seconds."""
        self._by = by
        (new := self._path.with_suffix(".new")).write_text(str(by))
        new.rename(self._path)

    def now(self) -> float:
        """Return the Unix time, as the server has it."""
        return time.time() + self._by
