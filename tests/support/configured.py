"""What command lines and files amount to."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.configuration import bounds
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.options import WRONG_USAGE, ServerOptions
from tests.support.certificates import issue, pem

FILES = 5000
"""What the limit of open files pretends to be."""


class ConfigurationCase(SynchronousTestCase):
    """Helpers for the checks of the command line.

    :cvar isInstalled: what speaks with the directory of a cluster; whether it is does not matter.
    """

    isInstalled = True

    def setUp(self) -> None:
        self.state = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {**os.environ, "STATE_DIRECTORY": str(self.state)})
        self.patch(bounds, "raiseFileLimit", lambda: FILES)
        find = importlib.util.find_spec

        def findSpec(name: str) -> object:
            if name == "txredisapi":
                return object() if self.isInstalled else None
            return find(name)

        self.patch(importlib.util, "find_spec", findSpec)

    def write(self, content: str | bytes) -> str:
        """Write a file that is for us only, return its path."""
        path = os.path.abspath(self.mktemp())
        Path(path).touch(mode=0o600)
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def certificate(self) -> str:
        """Return the path of a certificate with its key."""
        return self.write(pem(*issue("test", None)))

    def configured(self, *arguments: str, file: str | None = None) -> Configuration:
        """Return what these arguments, and this content of a file, amount to."""
        options = ServerOptions()
        options.parseOptions([*arguments, *(() if file is None else ("-C", self.write(file)))])
        return options.configuration

    def assertMistake(
        self, *arguments: str, file: str | None = None, status: int = WRONG_USAGE, lines: int = 1
    ) -> str:
        """The operator is told in one line on standard error, with this exit status; return it.

        :param lines: more than one for several mistakes.
        """
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            mistake = self.assertRaises(SystemExit, self.configured, *arguments, file=file)
        text = shown.getvalue()
        self.assertEqual(mistake.code, status, text)
        for line in text.splitlines():
            self.assertRegex(line, r"^(<3>)?nymea-remoteproxy: ")
        self.assertEqual((text.count("\n"), text[-1]), (lines, "\n"))
        return text.rstrip("\n")

    def descriptions(self, configured: Configuration) -> list[tuple[str, str, bool]]:
        """Return where it listens: description for Twisted, transport, secure."""
        return [
            (listener.plain, listener.transport, listener.secure)
            for listener in configured.listeners
        ]


class RereadCase(ConfigurationCase):
    """Helpers for what is read anew; `file` is the configuration file."""

    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.write(""))

    def options(self, *arguments: str, parent: Any = None) -> ServerOptions:
        """Return options that have been read."""
        options = ServerOptions()
        options.parent = parent
        options.parseOptions([*arguments, "-C", str(self.file)])
        return options
