"""How the files are opened, read and written that somebody names in an option or a setting.

Owns that nobody has to wait for a file, and that each is read once. Knows nothing of what is in
them.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable, Iterator, Mapping

MAX_SIZE = 16 << 20
"""Bytes of a file: a list of 300,000 tokens. What is larger, such as a device that never ends, was
named by mistake."""

PATIENCE = 60.0
"""Seconds without a byte from a pipe, a terminal or another device after which it is given up: who
writes may ask somebody for a passphrase first, and systemd gives a start 90."""

_PIECE = 1 << 16
"""Bytes: what a pipe holds."""

Read = Callable[[str], bytes]
"""Returns what a file holds; raises OSError."""

Outcomes = Mapping[str, bytes | OSError]
"""What came of reading files: what each holds, or why it could not be read."""


def openToWrite(path: str, flags: int, mode: int = 0o600) -> int:
    """Return the descriptor of a file that is written to.

    A pipe that nobody reads is an error, and none that somebody reads ever holds us up.

    :param flags: besides those for that.
    :param mode: of the file, if it is made; less what the umask takes.
    :raises OSError: it cannot be opened.
    """
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | flags, mode)


def readFile(path: str, mayWait: bool = True) -> bytes:
    """Return what a file holds.

    :param mayWait: at a start, when nobody else has to wait, a pipe may be read too, until whoever
        writes it has finished, or is silent for too long. Otherwise only a regular file is.
    :raises OSError: it cannot be read; `strerror` says why.
    """

    def open_(path: str, flags: int) -> int:
        # Without O_NONBLOCK, opening a pipe waits until somebody opens its other end.
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)

    with open(path, "rb", buffering=0, opener=open_) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            pieces = iter(lambda: file.read(MAX_SIZE + 1), b"")
        elif mayWait:
            pieces = _arriving(file.fileno(), path)
        else:
            raise OSError(errno.EINVAL, "it is no regular file, and nobody is to wait for it", path)
        content = bytearray()
        for piece in pieces:
            content += piece
            if len(content) > MAX_SIZE:
                raise OSError(errno.EFBIG, f"it is larger than {MAX_SIZE >> 20} MiB", path)
    return bytes(content)


def _arriving(descriptor: int, path: str) -> Iterator[bytes]:
    """Yield what somebody is writing, as it comes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        # Of a pipe that nobody has opened yet the end would be read at once, but it is not polled.
        if not poll.poll(PATIENCE * 1000):
            raise OSError(errno.ETIMEDOUT, f"nothing came from it for {PATIENCE:.0f} s", path)
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return
        yield piece


class Files:
    """Reads files, each of them once.

    The shell's ``<(...)`` is a pipe, which gives what it holds to the first reader only. And what
    is made of one file in two places, such as a certificate and its fingerprint, is of one piece,
    though somebody may replace the file meanwhile.

    :param mayWait: see `readFile`.
    """

    def __init__(self, mayWait: bool) -> None:
        self._mayWait = mayWait
        self._outcomes: dict[str, bytes | OSError] = {}

    @property
    def outcomes(self) -> Outcomes:
        """What came of each that was to be read."""
        return self._outcomes

    def read(self, path: str) -> bytes:
        """Return what a file holds, or held when it was read for the first time.

        :raises OSError: it cannot be read; `strerror` says why.
        """
        if path not in self._outcomes:
            try:
                self._outcomes[path] = readFile(path, self._mayWait)
            except OSError as error:
                self._outcomes[path] = OSError(error.errno, error.strerror, path)
        return _result(self._outcomes[path])


class FilesOfAnother:
    """What another process read, in the place of the files themselves.

    :param outcomes: of all that is going to be asked for.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def read(self, path: str) -> bytes:
        """Return what a file held.

        :raises OSError: it could not be read; `strerror` says why.
        """
        if path not in self._outcomes:
            raise OSError(errno.ENOENT, "it was not handed down", path)
        return _result(self._outcomes[path])


def _result(outcome: bytes | OSError) -> bytes:
    if isinstance(outcome, OSError):
        # Another one each time: who raises one that was raised before adds to its traceback.
        raise OSError(outcome.errno, outcome.strerror, outcome.filename)
    return outcome
