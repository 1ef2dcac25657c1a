"""A file that lines are appended to.

Owns opening, rotation, and what happens when the disk is full. Knows nothing of what the lines say.
"""

from __future__ import annotations

import contextlib
import os
import stat

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nymearemoteproxy.logs import ProxyLogger

log = ProxyLogger()

MODE = 0o640
"""Less what the umask takes: who has dealt with whom is not for every user of the machine."""

RETRY = 10.0
"""Seconds until a file that could not be written is tried again."""

MAX_HELD = 2 << 20
"""Bytes of lines that wait to be written: some thousand tunnels, while the disk is full."""


class LineFile:
    """Appends lines to a file; the lines of one turn of the reactor are written at once.

    What cannot be written waits, up to `MAX_HELD`, and is tried again every `RETRY` seconds. The
    log tells of it once, and once more when it works again.

    :ivar path: absolute, since the process may change its directory.
    :ivar lost: lines that were given up since the file could last be written.
    """

    def __init__(self, clock: IReactorTime, path: str) -> None:
        self.path = os.path.abspath(path)
        self.lost = 0
        self._clock = clock
        self._held: list[bytes] = []
        self._size = 0
        self._descriptor: int | None = None
        self._timer: IDelayedCall | None = None
        self._isFailing = False

    def open(self) -> None:
        """Open the file; it is made if it is not there.

        :raises OSError: it cannot be written.
        """
        self._descriptor = _open(self.path)

    def write(self, line: str) -> None:
        """Append a line soon.

        :param line: ASCII, without its end.
        """
        data = line.encode("ascii") + b"\n"
        if self._size + len(data) > MAX_HELD and not self._isFailing:
            self.flush()
        if self._size + len(data) > MAX_HELD:
            self.lost += 1
            return
        self._held.append(data)
        self._size += len(data)
        if self._timer is None:
            self._timer = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Write what waits, and open the file first if it is not open."""
        self._cancelTimer()
        try:
            if self._descriptor is None:
                self.open()
            self._writeHeld()
        except OSError as error:
            self._failed(error)
        else:
            self._worked()

    def reopen(self) -> None:
        """The file was renamed: go on with a new one."""
        self.flush()
        self._close()
        self.flush()

    def close(self) -> None:
        """Write what waits; what cannot be written is lost."""
        if self._held:
            self.flush()
        self._cancelTimer()
        self._close()
        if self._held:
            self.lost += b"".join(self._held).count(b"\n")
            self._hold(b"")
            log.error("{path}: {count} lines are lost", path=self.path, count=self.lost)

    def _writeHeld(self) -> None:
        data, written = b"".join(self._held), 0
        assert self._descriptor is not None
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            # Of a line that was cut the whole is written again; `_open` ends the half one.
            self._hold(data[data.rfind(b"\n", 0, written) + 1 :])
            raise
        self._hold(b"")

    def _hold(self, data: bytes) -> None:
        self._held = [data] if data else []
        self._size = len(data)

    def _failed(self, error: OSError) -> None:
        self._close()
        if not self._isFailing:
            self._isFailing = True
            log.error(
                "cannot write {path}: {reason}; trying again every {seconds:.0f} s",
                path=self.path,
                reason=error.strerror,
                seconds=RETRY,
            )
        self._timer = self._clock.callLater(RETRY, self.flush)

    def _worked(self) -> None:
        if self._isFailing:
            self._isFailing = False
            log.warn(
                "{path} is written again; {count} lines are lost", path=self.path, count=self.lost
            )
            self.lost = 0

    def _cancelTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # some file systems tell of a full disk only now
                os.close(descriptor)


def _open(path: str) -> int:
    """Open a file so that the next byte begins a line."""
    # A pipe without a reader must not hold up the server.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, MODE)
    try:
        if _isCut(path, descriptor):
            os.write(descriptor, b"\n")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _isCut(path: str, descriptor: int) -> bool:
    """Tell whether somebody was stopped in the middle of the last line, such as by a full disk."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # we may be allowed to write only
        return False
