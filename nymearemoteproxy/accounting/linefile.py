"""A file that lines are appended to.

Owns opening, rotation, and what happens when the disk is full or does not answer. Knows nothing of
what the lines say.

It is no `Spool`, which has a thread for writing, too: only the reactor writes here, and the end
must not hold it up; and losses are told in the log, for who reads such a file expects no line about
them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nymearemoteproxy.common.files import openToWrite
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.words import counted

log = ProxyLogger()

MODE = 0o640
"""Less what the umask takes: who has dealt with whom is not for every user of the machine."""

RETRY = 10.0
"""Seconds until a file that could not be written is tried again."""

MAX_HELD = 16 << 20
"""Bytes of lines that wait to be written: twenty thousand tunnels, which may all end at once."""

LAST_WORDS = 1.0
"""Seconds that the end of the server waits for what is being written."""

Run = Callable[[Callable[[], object], Callable[[], object]], object]
"""Does the first, which may take its time, and calls the second when it is done."""


def runAtOnce(job: Callable[[], object], done: Callable[[], object]) -> None:
    """Do a job without a thread."""
    job()
    done()


class RunInThread:
    """Does jobs one after the other in a thread of its own, for a disk may not answer for hours.

    The process can end nevertheless. The thread begins with the first job, since a daemon forks.

    :param reactor: calls when a job is done.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[tuple[Callable[[], object], Callable[[], object]]] = SimpleQueue()
        self._hasThread = False

    def __call__(self, job: Callable[[], object], done: Callable[[], object]) -> None:
        self._jobs.put((job, done))
        if not self._hasThread:
            self._hasThread = True
            threading.Thread(target=self._work, name="files", daemon=True).start()

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            job()
            self._reactor.callFromThread(done)


class LineFile:
    """Appends lines to a file; the lines of one turn of the reactor are written at once.

    What cannot be written waits, up to `MAX_HELD`, and is tried again every `RETRY` seconds. The
    log tells of it once, and once more when it works again.

    :param run: has the file written.
    :ivar path: absolute, since the process may change its directory.
    :ivar lost: lines that were given up since the file could last be written.
    """

    def __init__(self, clock: IReactorTime, path: str, run: Run = runAtOnce) -> None:
        self.path = os.path.abspath(path)
        self.lost = 0
        self._clock = clock
        self._run = run
        self._held: list[bytes] = []
        self._size = 0
        self._descriptor: int | None = None
        self._work: _Work | None = None
        self._isFlushDue = False
        self._isReopenDue = False
        self._timer: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._isFailing = False
        self._isGivenUp = False
        self._closed: Deferred[None] | None = None

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
        """Have written what waits, and the file opened first if it is not open."""
        self._cancelTimer()
        self._isFlushDue = True
        if self._work is None:
            self._isFlushDue = False
            self._work = _Work(self.path, self._descriptor, b"".join(self._held))
            self._work.reopens, self._isReopenDue = self._isReopenDue, False
            self._held = []
            self._run(self._work.do, self._done)

    def reopen(self) -> None:
        """The file was renamed: go on with a new one."""
        self._isReopenDue = True
        self.flush()

    def close(self) -> Deferred[None]:
        """Write what waits; what cannot be written, or not in time, is lost.

        :returns: a Deferred that fires when that is decided.
        """
        closed: Deferred[None] = Deferred()
        self._closed = closed
        if self._held:
            self.flush()
        self._cancelTimer()
        if self._work is None:
            self._close()
        else:
            self._deadline = self._clock.callLater(LAST_WORDS, self._close)
        return closed

    def _done(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        self._descriptor = work.descriptor
        if self._isGivenUp:
            return
        if work.data:
            self._held.insert(0, work.data)
        self._size = sum(map(len, self._held))
        if work.error is not None:
            self._failed(work.error)
        else:
            self._worked()
        if self._isFlushDue:
            self.flush()
        elif self._closed is not None:
            self._close()

    def _failed(self, error: Exception) -> None:
        if not self._isFailing:
            self._isFailing = True
            log.error(
                "cannot write {path}: {reason}; trying again every {seconds:.0f} s",
                path=self.path,
                reason=getattr(error, "strerror", None) or repr(error),
                seconds=RETRY,
            )
        if self._timer is None:
            self._timer = self._clock.callLater(RETRY, self.flush)

    def _worked(self) -> None:
        if self._isFailing or self.lost:
            self._isFailing = False
            log.warn(
                "{path} is written again; {lines} lost",
                path=self.path,
                lines=counted(self.lost, "line"),
                count=self.lost,
            )
            self.lost = 0

    def _cancelTimer(self) -> None:
        timer, self._timer = self._timer, None
        _cancel(timer)

    def _close(self) -> None:
        """Nothing more is written; what is still being written may be lost."""
        self._cancelTimer()
        _cancel(self._deadline)
        if self._work is None:
            _close(self._descriptor)
            self._descriptor = None
        else:
            self._isGivenUp = True
            self._held.insert(0, self._work.data)
        self.lost += b"".join(self._held).count(b"\n")
        if self._held:
            self._held, self._size = [], 0
            log.error(
                "{path}: {lines} lost",
                path=self.path,
                lines=counted(self.lost, "line"),
                count=self.lost,
            )
        closed, self._closed = self._closed, None
        if closed is not None:
            closed.callback(None)


class _Work:
    """One write, as far as it may take its time.

    :ivar data: what is not written yet, from the beginning of a line on.
    :ivar descriptor: of the file; None when it is not open.
    :ivar reopens: the file that has the path now is to be opened, after a last write to the old.
    :ivar error: what went wrong.
    """

    def __init__(self, path: str, descriptor: int | None, data: bytes) -> None:
        self.data = data
        self.descriptor = descriptor
        self.reopens = False
        self.error: Exception | None = None
        self._path = path

    def do(self) -> None:
        try:
            if self.reopens:
                with contextlib.suppress(OSError):
                    self._append()
                self._close()
            self._append()
        except Exception as error:  # without its thread nothing would be written any more
            self.error = error
            self._close()

    def _append(self) -> None:
        if self.descriptor is None:
            self.descriptor = _open(self._path)
        data, written = self.data, 0
        try:
            while written < len(data):
                written += os.write(self.descriptor, data[written:])
        finally:
            # Of a line that was cut the whole is written again; `_open` ends the half one.
            self.data = data[data.rfind(b"\n", 0, written) + 1 :]

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, None
        _close(descriptor)


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        with contextlib.suppress(OSError):  # some file systems tell of a full disk only now
            os.close(descriptor)


def _open(path: str) -> int:
    """Open a file so that the next byte begins a line."""
    descriptor = openToWrite(path, os.O_CREAT | os.O_APPEND, MODE)
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
