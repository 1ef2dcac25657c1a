"""What the server promises whatever comes, as far as it can be seen from outside.

Its log, its counts, its files and its memory. Owns the promises. Knows nothing of how the server
was started, nor of what is sent to it. All of it blocks.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
from collections import Counter
from pathlib import Path

from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.endtoend import MARK, PATIENCE, TLS, Server

SETTLED = 30.0
"""Seconds in which all is as it was when everybody has gone, on a machine that is busy."""

MOST_GROWTH = 96 << 20
"""Bytes of memory: what the backlogs may hold, with what the allocators keep of it."""

FORBIDDEN = re.compile(
    rf"Traceback|Unhandled|[Ii]nternal.error|\b{MARK}-|^\S+ (error|critical) |^\w+Error\b"
)
"""What no line of log says, whatever a stranger does."""

_OPENED = re.compile(r"connection (\d+) from .+ opened \(")
_ENDED = re.compile(r"connection (\d+) from .+ ended: (\S+) \(")
_METRIC = re.compile(r"nymea_remoteproxy_(\w+)(?:\{(.*)\})? ([0-9.e+]+)")
_GAUGES = ("connections", "tunnels", "tunnel_proxy_servers", "tunnel_proxy_clients")
_OUTCOMES = {outcome.label for outcome in Outcome}


class Promises:
    """Those of a server that runs, and serves nobody yet.

    :param admin: the port of its admin endpoint.
    :param isSecure: that has TLS.
    """

    def __init__(self, server: Server, admin: int, isSecure: bool) -> None:
        self._server = server
        self._admin = admin
        self._isSecure = isSecure
        self._scanned = 0
        self._memory = self._usedMemory()
        self._files = self._openFiles()
        # Both are 0 where /proc cannot be read, and never more than they were.
        assert self._memory and self._files, "its memory or its files cannot be seen"

    def look(self) -> list[str]:
        """Return what is wrong while there are conversations."""
        problems = self.read()
        if (status := self._server.process.poll()) is not None:
            problems.append(f"the server has ended, status {status}")
        return problems

    def read(self) -> list[str]:
        """Return what the log says that it should not; each line is looked at once."""
        lines = self._server.lines
        start, self._scanned = self._scanned, len(lines)
        wrong = [text for _stream, text in lines[start : self._scanned] if FORBIDDEN.search(text)]
        return [f"the log says: {text[:500]}" for text in wrong[:3]]

    def settle(self) -> list[str]:
        """Wait until the server is as it was; return what is not, or does not add up."""
        deadline = time.monotonic() + SETTLED
        while (problems := self._differences()) and time.monotonic() < deadline:
            if self._server.process.poll() is not None:
                break
            time.sleep(0.05)
        grown = self._usedMemory() - self._memory
        if grown > MOST_GROWTH:
            problems.append(f"it has {grown >> 20} MiB more of memory")
        return problems

    def _differences(self) -> list[str]:
        text = self._server.text()
        opened = Counter(_OPENED.findall(text))
        ends = _ENDED.findall(text)
        ended = Counter(number for number, _outcome in ends)
        outcomes = Counter(outcome for _number, outcome in ends)
        problems = []
        if (files := self._openFiles()) > self._files:
            problems.append(f"{files} files are open, {self._files} at the start")
        try:
            metrics = self._metrics()
        except OSError as error:
            return [f"the admin endpoint does not answer: {error}"]
        problems += [
            f"{metrics[name, '']:.0f} {name} are left" for name in _GAUGES if metrics[name, ""]
        ]
        accepted = int(metrics["connections_accepted_total", ""])
        if opened != ended or accepted != len(ends):
            problems.append(
                f"{accepted} connections were accepted, {len(opened)} opened in the log, "
                f"{len(ends)} ended, such as {list((opened - ended) + (ended - opened))[:3]}"
            )
        for outcome, count in outcomes.items():
            counted = metrics["outcomes_total", f'outcome="{outcome}"']
            if outcome not in _OUTCOMES or counted < count:
                problems.append(f"{counted:.0f} counted of the {count} that ended: {outcome}")
        return problems

    def _metrics(self) -> Counter[tuple[str, str]]:
        """Return what the server counts, by name and labels; the sum of a name without labels.

        :raises OSError: it does not tell.
        """
        place = "127.0.0.1", self._admin
        if self._isSecure:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                *place, timeout=PATIENCE, context=TLS
            )
        else:
            connection = http.client.HTTPConnection(*place, timeout=PATIENCE)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()
        values: Counter[tuple[str, str]] = Counter()
        for name, labels, value in _METRIC.findall(text):
            values[name, labels] += float(value)  # type: ignore[assignment]
            if labels:
                values[name, ""] += float(value)  # type: ignore[assignment]
        return values

    def _processes(self) -> list[int]:
        pid = self._server.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [pid, *map(int, children.split())]
        return []

    def _openFiles(self) -> int:
        with contextlib.suppress(OSError):
            return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self._processes())
        return 0

    def _usedMemory(self) -> int:
        """Return the bytes of memory that are its own."""
        total = 0
        for pid in self._processes():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(size) << 10 for size in re.findall(r"Private_\w+: +(\d+)", text))
        return total
