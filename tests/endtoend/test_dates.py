"""The date of the machine is set, by hours and by years, while the real server is at work.

What is told to people has the date of then, and tokens and certificates are judged by it. Nothing
else notices: what is to happen in a while does, and what took a while took no other.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.dates import Date
from tests.support.endtoend import (
    ESTABLISHED_FIRST,
    FIRST,
    SIGHUP,
    STREAM,
    Certificate,
    EndToEnd,
    Stream,
    accepted,
    authenticate,
    connect,
    inThread,
    join,
    refused,
    secret,
    tunnel,
    until,
)
from tests.support.issuers import ISSUER, IssuerKey, keySet

HOUR, YEAR = 3600, 365 * 86400

JUMPS = (2 * HOUR, -HOUR, 20 * YEAR, -25 * YEAR, 0)
"""Seconds that the server's date differs from the machine's, one after the other."""

NEAR = 60.0
"""Seconds by which what is told may differ, as a test may take so long."""


class JumpTests(EndToEnd):
    """All in one server, as it has to go on."""

    def launch(self) -> None:
        """Start it, with all that could go by the date."""
        folder = self.temporary()
        self.key, self.token = IssuerKey("ES256", "a"), secret()
        self.tunnels, self.statistics = folder / "tunnels", folder / "statistics"
        self.date = Date(folder)
        settings = {
            "Accounting.tunnelLog": self.tunnels,
            "Accounting.statisticsLog": self.statistics,
            "Accounting.statisticsInterval": 1000,
            "Accounting.totalsFile": folder / "totals",
            "Admin.endpoint": STREAM,
            "Authentication.jwks": self.file(keySet([self.key])),
            "Authentication.issuer": ISSUER,
            "Authentication.audience": "proxy",
            "Limits.bytesPerSubjectPerDay": 1_000_000,
            "Limits.tunnelIdleTimeout": 100_000,
            "Limits.tunnelMaxAge": 100_000,
            "Limits.tunnelRate": 10_000_000,
            "ProxyServer.aloneTimeout": 100_000,
            "ProxyServer.inactiveTimeout": 700,
        }
        self.certificate = Certificate(str(folder), days=10)
        self.server = self.launchProgram(
            [
                *self.date.command("console", "--stream", STREAM, "--websocket", STREAM),
                *("--stream", f"tls:{STREAM}", "-c", self.certificate.both),
                *("--token", self.token, *(f"--set={k}={v}" for k, v in settings.items())),
            ]
        )
        self.url = self.server.waitFor(r"listening on (tcp://\S+)")[1]
        self.admin = self.server.waitFor(r"admin endpoint on (\S+)/")[1]

    @inThread
    def testAll(self) -> None:
        """From the first to the last, back and forth."""
        self.launch()
        kept = tunnel(self.url, self.token, nonce=secret())
        self.keep(*kept)
        uptime = 0.0
        for jump in JUMPS:
            waiting, closing = join(self.url, self.token), tunnel(self.url, self.token, nonce="x")
            self.keep(waiting)
            mark, lines = self.server.mark(), len(self.lines(self.statistics))
            self.date.set(jump)
            kept[0].send(b"x" * 100_000)
            self.assertEqual(len(kept[1].read(100_000)), 100_000)
            self.judges()
            self.limits(mark)
            self.established(waiting)
            for client in closing:
                client.close()
            self.accounts(lines)
            self.reloads(jump, mark)
            uptime = self.shows(uptime)
        for outcome, seconds in re.findall(r"ended: (\S+) \(\w+, (\S+) s", self.server.text()):
            self.assertIn(
                outcome,
                ("client-left", "partner-left", "left-early", "token-refused", "inactive-timeout"),
            )
            self.assertTrue(0 <= float(seconds) < NEAR, self.server.text())

    # What goes by the date

    def judges(self) -> None:
        """A token is good until its time by the date of now."""
        for left, answer in (60, accepted), (-60, refused):
            client = connect(self.url)
            client.send(authenticate(self.key.token(exp=self.date.now() + left, sub=secret())))
            self.assertEqual(client.message(), answer(FIRST))
            client.close()

    def reloads(self, jump: int, mark: int) -> None:
        """A certificate is good until its time, too; the log has the date of now."""
        self.server.signal(SIGHUP)
        line = self.server.waitFor("reloaded(:|, but not everything)", mark).string
        self.assertEqual(", but not" in line, jump == 20 * YEAR, self.server.text(since=mark))
        self.near(datetime.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%S%z").timestamp())

    def near(self, date: float) -> None:
        """It is about now, as the server sees it."""
        self.assertLess(abs(date - self.date.now()), NEAR)

    # What does not

    def limits(self, mark: int) -> None:
        """A time limit that began after the jump is over neither at once nor never."""
        began = time.monotonic()
        silent = connect(self.url)
        self.assertEqual(silent.rest(), b"")
        self.assertGreater(time.monotonic() - began, 0.6)
        silent.close()
        self.server.waitFor("ended: inactive-timeout", mark)

    def established(self, waiting: Stream) -> None:
        """One that began before it is not over."""
        partner = join(self.url, self.token)
        for client in (waiting, partner):
            self.assertEqual(client.message(), ESTABLISHED_FIRST)
            client.close()

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """Return the entries of a file."""
        return [json.loads(line) for line in path.read_text().splitlines()]

    def accounts(self, before: int) -> None:
        """What is written down has dates of now, and the lengths that it had."""
        until(lambda: len(self.lines(self.statistics)) > before + 1, "no statistics")
        for entry in self.lines(self.statistics)[before:]:
            self.assertTrue(0 < entry["interval"] < NEAR, entry)
        self.near(_date(entry["time"]))
        for entry in self.lines(self.tunnels):
            self.assertTrue(0 <= entry["duration"] < NEAR, entry)
            length = _date(entry["time"]) - _date(entry["started"])
            self.assertLess(abs(length - entry["duration"]), 0.01)
        self.near(_date(entry["time"]))

    def shows(self, before: float) -> float:
        """The admin page and the metrics have nothing negative, and only go on."""
        metrics = self.get("/metrics")
        self.assertEqual(re.findall(r"^nymea\S+ -.*", metrics, re.M), [])
        status = json.loads(self.get("/api/status"))
        self.near(status["time"])
        uptime = float(status["time"] - status["started"])
        self.assertTrue(before <= uptime < before + NEAR, status)
        history = json.loads(self.get("/api/history"))
        self.assertNotIn("-", re.sub(r"e-\d+", "", json.dumps(history)), history)
        return uptime

    def get(self, path: str) -> str:
        """Return a page of the admin endpoint."""
        with urllib.request.urlopen(self.admin + path, timeout=NEAR) as answer:
            return str(answer.read().decode())


def _date(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()
