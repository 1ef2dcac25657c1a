"""Whether the files can be written and the sockets made without which there is no start.

Owns how that is found out without making one. Knows nothing of what is written there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from nymearemoteproxy.accounting.bookkeeping import Books
from nymearemoteproxy.common.files import openToWrite
from nymearemoteproxy.running.configuration.mistakes import Mistakes
from nymearemoteproxy.running.settings.errors import FileError

RUN = Path("/run")


def checkWritten(books: Books, logFile: str | None, mistakes: Mistakes) -> None:
    """Find the files that a start would fail to write.

    :param logFile: the path; None = there is none.
    """
    for what, path in (
        ("log file", logFile),
        ("tunnel log", books.tunnelLog),
        ("statistics log", books.statisticsLog),
    ):
        if path:
            with mistakes.collecting():
                _check(what, path)


def checkSockets(paths: Iterable[str | None], mistakes: Mistakes) -> None:
    """Find the Unix sockets that a start would fail to make.

    :param paths: where they are to be; None = nowhere.
    """
    for path in filter(None, paths):
        directory = Path(path).absolute().parent
        # Those right there are made by systemd, at the start (RuntimeDirectory=).
        if directory.parent == RUN or directory == RUN:
            continue
        if not directory.is_dir():
            mistakes.add(FileError(f"cannot listen on {path}: there is no directory {directory}"))
        elif not os.access(directory, os.W_OK | os.X_OK):
            mistakes.add(
                FileError(f"cannot listen on {path}: this user may not make a file in {directory}")
            )
        elif os.path.lexists(path) and not Path(path).is_socket():
            mistakes.add(FileError(f"cannot listen on {path}: there is something else already"))


def _check(what: str, path: str) -> None:
    try:
        # What a start does, but for making the file. Nothing is read from a pipe by that.
        os.close(openToWrite(path, os.O_APPEND))
    except FileNotFoundError as error:
        directory = Path(path).resolve().parent  # of a link, that of the file to make
        if not directory.is_dir():
            raise FileError(f"cannot write the {what} {path}: {error.strerror}") from None
        if not os.access(directory, os.W_OK | os.X_OK):
            raise FileError(
                f"cannot write the {what} {path}: this user may not make a file in {directory}"
            ) from None
    except OSError as error:
        raise FileError(f"cannot write the {what} {path}: {error.strerror}") from None
