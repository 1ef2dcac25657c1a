"""Owns the check that each command on a page is run by a test, or says why it is not."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.options import ServerOptions
from tests.support import documented
from tests.support.certificates import issue, pem
from tests.support.documented import commandsOf

SERVER = "nymea-remoteproxy"
UUID = "6f4ff7c5-41b1-4a3c-9f3f-3f0f5b0f6b6a"


class MarkTests(SynchronousTestCase):
    """What stands above each block of commands."""

    def test_everyCommandIsRunOrSaysWhyNot(self) -> None:
        unmarked = [
            block.place for block in documented.blocks() if not block.test and not block.reason
        ]
        self.assertEqual(unmarked, [], "each needs '.. run by: TEST' or '.. not run: REASON' above")

    def test_noMarkIsAstray(self) -> None:
        """Above something else it would be believed, and mean nothing."""
        self.assertEqual(documented.marks(), len(documented.blocks()))

    def test_everyTestTakesItsCommandsFromThePage(self) -> None:
        for block in documented.blocks():
            if not block.test:
                continue
            module, _, name = block.test.rpartition(".")
            module, _, case = module.rpartition(".")
            method = getattr(getattr(importlib.import_module(module), case), name, None)
            self.assertIsNotNone(method, f"{block.place}: there is no {block.test}")
            source = inspect.getsource(inspect.unwrap(method))
            self.assertIn("commandsOf(self)", source, f"{block.place}: {block.test}")

    def test_thereAreCommands(self) -> None:
        """The blocks are found: some are known to be there."""
        commands = [each for block in documented.blocks() for each in block.commands]
        self.assertIn("make test", commands)
        self.assertGreater(len(commands), 100)


class ReadingTests(SynchronousTestCase):
    """How a page is read."""

    def read(self, text: str) -> list[documented.Block]:
        page = Path(self.mktemp())
        page.write_text(textwrap.dedent(text), encoding="utf-8")
        self.patch(documented, "ROOT", page.parent)
        return list(documented._blocksOf(page))

    def test_literalBlock(self) -> None:
        (block,) = self.read(
            """
            .. not run: a reason
               of two lines

            A paragraph of
            two lines::

                one \\
                    --option   # a comment
                # another one
                two '#' |
                    three

                four
            """
        )
        self.assertEqual(block.reason, "a reason of two lines")
        self.assertEqual(block.commands, ("one --option", "two '#' | three", "four"))

    def test_directives(self) -> None:
        shell, console = self.read(
            """
            .. run by: tests.a.B.c

            .. code-block:: sh

                one

            .. code-block:: ini

                [two]

            #. In a list:

               .. not run: why

               .. code-block:: console

                   $ three
                   its answer
            """
        )
        self.assertEqual((shell.test, shell.commands), ("tests.a.B.c", ("one",)))
        self.assertEqual((console.reason, console.commands), ("why", ("three",)))

    def test_noMark(self) -> None:
        """One that is further up belongs to something else."""
        (block,) = self.read(
            """
            .. not run: astray

            Text.

            ::

                one
            """
        )
        self.assertEqual((block.test, block.reason), ("", ""))


class CheckedTests(SynchronousTestCase):
    """Commands that start the server, with ``--check``: they would."""

    def files(self) -> Mapping[str, str]:
        """Return where the files are that pages name."""
        directory = Path(self.mktemp())
        directory.mkdir()
        content = {
            "certificate": pem(*issue("localhost", None)).decode(),
            "tokens": "a-token",
            "servers": UUID,
            "passwords": "admin:password",
            "configuration": "",
        }
        for name, text in content.items():
            path = directory / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)
        names = {
            "certificate": (
                "/etc/letsencrypt/live/proxy.example.org/fullchain.pem",
                "/etc/letsencrypt/live/proxy.example.org/privkey.pem",
                "/etc/nymea/proxy.key",
                "/etc/nymea/proxy.pem",
                "/etc/nymea/chain.pem",
            ),
            "tokens": ("/etc/nymea/nymea-remoteproxy.tokens", "tokens"),
            "servers": ("/etc/nymea/servers",),
            "passwords": ("/etc/nymea/admin-passwords",),
            "configuration": ("/etc/nymea/nymea-remoteproxy.conf",),
        }
        return {there: str(directory / here) for here in names for there in names[here]}

    def here(self, word: str, files: Mapping[str, str]) -> str:
        """Return a word with paths of this machine: as a whole, or behind a separator."""
        if word in files:
            return files[word]
        for separator in "=:":
            if separator in word:
                return separator.join(self.here(each, files) for each in word.split(separator))
        return word

    def check(self, arguments: list[str]) -> str:
        """Return what is wrong with a server's arguments."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            end = self.assertRaises(SystemExit, ServerOptions().parseOptions, arguments)
        return "" if end.code in (0, None) else said.getvalue()

    def test_starts(self) -> None:
        """Lines that are options only are those of a server with tokens."""
        files = self.files()
        mistakes = []
        for command in commandsOf(self):
            words = [self.here(word, files) for word in shlex.split(command)]
            if command.startswith("-"):
                arguments = ["--token", "a-token", *words]
            else:
                arguments = words[len(words) - words[::-1].index(SERVER) :]
            wrong = self.check([*arguments, "--check"])
            if wrong:
                mistakes.append(f"{command}: {wrong}")
        self.assertEqual(mistakes, [])

    def test_tellsWhatIsWrong(self) -> None:
        self.assertIn("cannot read", self.check(["--token-file", "/nonexistent", "--check"]))
