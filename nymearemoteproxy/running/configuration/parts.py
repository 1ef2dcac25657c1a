"""The parts that are in files of their own, and what becomes of them when a file is broken.

Owns that what was there stays then, and that it is told. Knows nothing of what is in the files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from nymearemoteproxy.common.files import Files, Read
from nymearemoteproxy.running.configuration.mistakes import MISTAKES, Mistakes
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.settings.errors import FileError

Part = TypeVar("Part")


@contextlib.contextmanager
def readable(what: str, path: str) -> Iterator[None]:
    """Say in one line what is wrong with a file."""
    try:
        yield
    except OSError as error:
        raise FileError(f"cannot read the {what} {path}: {error.strerror}") from None
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise FileError(f"cannot use the {what} {path}: {reason}") from None


@dataclass(frozen=True)
class Inherited:
    """What a worker process has from its parent, and must not make or find out by itself.

    :ivar token: that was made because none was given.
    :ivar isOfService: nobody is there to be shown a token.
    """

    token: str | None = field(repr=False)
    isOfService: bool


class Parts:
    """Reads the parts that are in files.

    :param previous: what to keep where a file is broken; None at the start, when nothing may be.
    :param read: reads a file; by default each only once, and waits for none but at the start.
    :param isCheck: nothing is going to run: no file may be made.
    :ivar mistakes: what is wrong so that there is no going on with it.
    :ivar problems: why what stays as it was, one line each.
    :ivar inherited: from the parent of this process; None if it has none.
    """

    def __init__(
        self,
        previous: Configuration | None = None,
        read: Read | None = None,
        inherited: Inherited | None = None,
        isCheck: bool = False,
    ) -> None:
        self.mistakes = Mistakes()
        self.isCheck = isCheck
        self.previous = previous
        self.inherited = inherited
        self.problems: list[str] = []
        self.read = read or Files(mayWait=previous is None).read

    def part(
        self, what: str, read: Callable[[], Part], keep: Callable[[Configuration], Part]
    ) -> Part:
        """Return a part as it is in its file now, else as it was.

        :param what: to say of it in that case.
        """
        try:
            return read()
        except MISTAKES as error:
            if self.previous is None:
                raise
            self.problems.append(f"{what}: {error}")
            return keep(self.previous)
