"""The lifetime totals, kept across restarts.

Owns the file and when it is written. Knows nothing of how things are counted, nor of the thread
that waits for the disk.

Two servers may share the file, since the old one still drains while the new one serves. So each
adds what it has counted since it last did, while nobody else does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nymearemoteproxy.accounting.linefile import LAST_WORDS, Run, runAtOnce
from nymearemoteproxy.common.files import openToWrite, readFile
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.connections.counters import Counters
from nymearemoteproxy.connections.records import Totals

log = ProxyLogger()

INTERVAL = 5.0
"""Seconds between two writes; a killed server forgets what it counted since the last one."""

LAST_PAUSE = 0.05
"""Seconds until it is tried again at the end, when another server has the file; it needs it for a
millisecond."""

MODE = 0o640

MAX_SIZE = 1 << 16
"""Bytes of a file that can be ours."""

MAX_COUNT = 1 << 63
"""Nobody counts that far: 100 Gbit/s for twenty years."""

NAMES = tuple(field.name for field in fields(Totals))


class Busy(Exception):
    """Another server is at the file."""


class Damaged(Exception):
    """The file does not hold what was written; the text says what is wrong."""


class TotalsFile:
    """The file: a JSON object of counts.

    Keys that this version does not know stay as they are. Any thread may use it, one at a time.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)  # of a link, what it leads to is replaced

    def read(self) -> dict[str, Any] | None:
        """Return what it holds; None if there is nothing that can be used.

        A damaged file is moved aside.

        :raises OSError: it is there, and cannot be read.
        """
        try:
            return _parse(readFile(self.path, mayWait=False))
        except FileNotFoundError:
            return None
        except Damaged as problem:
            aside = f"{self.path}.damaged"
            os.replace(self.path, aside)
            log.warn(
                "the lifetime totals in {path} are damaged ({reason}); the file is {aside} now",
                path=self.path,
                reason=str(problem),
                aside=aside,
            )
            return None

    def add(self, before: Mapping[str, int], now: Mapping[str, int], durably: bool) -> None:
        """Add what was counted between `before` and `now`.

        If the file is gone or damaged, all of `now` is written.

        :param durably: wait until the disk has it.
        :raises Busy: another server does the same; nothing was written.
        :raises OSError: it cannot be read or written.
        """
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        with self._locked():
            kept = self.read()
            if kept is None:
                self._replace(now, durably)
                return
            for name, count in now.items():
                kept[name] = max(0, kept.get(name, 0) + count - before[name])
            self._replace(kept, durably)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # A file of its own, since the other one is replaced each time.
        descriptor = openToWrite(f"{self.path}.lock", os.O_CREAT)
        try:
            try:
                # Never wait: whoever has it may have been stopped.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy from None
            yield
        finally:
            os.close(descriptor)

    def _replace(self, counts: Mapping[str, Any], durably: bool) -> None:
        new = f"{self.path}.new"
        descriptor = openToWrite(new, os.O_CREAT | os.O_TRUNC, MODE)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(json.dumps(counts) + "\n")
            if durably:
                file.flush()
                os.fsync(descriptor)
        os.replace(new, self.path)


class Lifetime:
    """Has a proxy go on counting where the last one stopped.

    :param path: of the file.
    :param run: has the file written, one job after the other.
    """

    def __init__(
        self, clock: IReactorTime, counters: Counters, path: str, run: Run = runAtOnce
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._file = TotalsFile(path)
        self._run = run
        self._warned = False
        self._saves = Periodic(
            clock, INTERVAL, self._countAndSave, "the lifetime totals are not kept", onTheGrid=True
        )
        try:
            kept = self._file.read() or {}
        except OSError as error:
            kept = {}
            self._warn("read", error)
        counters.totals = Totals(**{name: kept.get(name, 0) for name in NAMES})
        self._saved = asdict(counters.totals)  # nobody is here yet
        self._jobs = 0  # while there are any, what is saved is theirs

    def start(self) -> None:
        """Save now and then."""
        self._saves.start()

    def stop(self) -> Deferred[None]:
        """Save for the last time, after what is being written.

        :returns: a Deferred that fires in `LAST_WORDS` seconds at the latest.
        """
        self._saves.stop()
        saved: Deferred[None] = self._saveAtLast()
        return saved.addTimeout(LAST_WORDS, self._clock).addErrback(self._outOfTime)

    @inlineCallbacks
    def _saveAtLast(self) -> Any:
        while not (yield self.save(durably=True)):
            yield deferLater(self._clock, LAST_PAUSE, lambda: None)

    def save(self, durably: bool = False) -> Deferred[bool]:
        """Write what has changed, if anything has.

        :param durably: until the disk has it. That is not done every few seconds: it wears flash
            memory, and a file system that loses a renamed file in a power failure is rare.
        :returns: a Deferred that tells whether there is no need to try again.
        """
        return self._save(self._counters.load().totals, durably)

    def _countAndSave(self) -> Deferred[object]:
        return self._counters.countTotals().addCallback(self._saveUnlessStopped)

    def _saveUnlessStopped(self, totals: Totals) -> Deferred[bool] | None:
        return self._save(totals, durably=False) if self._saves.running else None

    def _save(self, totals: Totals, durably: bool) -> Deferred[bool]:
        counts = asdict(totals)
        if not self._jobs and counts == self._saved:
            return succeed(True)
        saved: Deferred[bool] = Deferred()
        results: list[bool | Failure] = []

        def job() -> None:
            try:
                results.append(self._add(counts, durably))
            except Exception:
                results.append(Failure())

        def done() -> None:
            self._jobs -= 1
            saved.callback(results[0])

        self._jobs += 1
        self._run(job, done)
        return saved.addErrback(self._cannotWrite)

    def _add(self, counts: dict[str, int], durably: bool) -> bool:
        """Do what takes its time; tell whether there is no need to try again."""
        if counts == self._saved:
            return True
        try:
            self._file.add(self._saved, counts, durably)
        except Busy:
            return False
        self._saved = counts
        return True

    def _cannotWrite(self, failure: Failure) -> bool:
        failure.trap(OSError)
        error: Any = failure.value
        self._warn("write", error)
        return True

    def _outOfTime(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        log.warn(
            "the lifetime totals in {path} could not be written in time; "
            "what was counted last may be missing",
            path=self._file.path,
        )

    def _warn(self, verb: str, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            log.warn(
                "cannot {verb} the lifetime totals in {path}: {reason}",
                verb=verb,
                path=self._file.path,
                reason=error.strerror,
            )


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_SIZE:
        raise Damaged("too large")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise Damaged("no JSON") from None
    if not isinstance(content, dict):
        raise Damaged("no JSON object")
    for name in NAMES:
        count = content.get(name, 0)
        if type(count) is not int or not 0 <= count < MAX_COUNT:
            raise Damaged(f"{name} is no count")
    return content
