"""Whether the journal takes what is written, and what it wants to know of each line."""

from __future__ import annotations

import os

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.journal import isJournal, withPriority


class JournalTests(SynchronousTestCase):
    """systemd's journal at standard error."""

    def test_isJournal(self) -> None:
        """The variable names the very file."""
        with open(self.mktemp(), "w") as file, open(self.mktemp(), "w") as other:
            status = os.fstat(file.fileno())
            environment = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
            self.assertTrue(isJournal(environment, file.fileno()))
            self.assertFalse(isJournal(environment, other.fileno()))
            self.assertFalse(isJournal({}, file.fileno()))
            descriptor = file.fileno()
        self.assertFalse(isJournal(environment, descriptor))

    def test_priorities(self) -> None:
        """Those of syslog(3), for every level that there is."""
        priorities = {level.name: withPriority("x\n", level) for level in LogLevel.iterconstants()}
        self.assertEqual(
            priorities,
            {
                "debug": "<7>x\n",
                "info": "<6>x\n",
                "warn": "<4>x\n",
                "error": "<3>x\n",
                "critical": "<2>x\n",
            },
        )

    def test_lines(self) -> None:
        """The journal takes each line by itself, such as those of a traceback."""
        self.assertEqual(withPriority("a\nb\n", LogLevel.error), "<3>a\n<3>b\n")
