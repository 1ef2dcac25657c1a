"""What workers have from their parent, which is the same for all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.heritage import (
    BEGIN,
    MOST_RELOADS,
    RELOAD,
    SECRET_SIZE,
    SERVE,
    Heritage,
    inherit,
    readFiles,
)
from nymearemoteproxy.running.options import ServerOptions

SECRET = b"\xff" * 32


def heritageOf(parent: ServerOptions, linksAt: tuple[str, int] | None = None) -> Heritage:
    """Return what a parent hands down."""
    return Heritage(parent, "/directory", SECRET, linksAt)


class HeritageTests(SynchronousTestCase):
    """A parent and the workers that it would have."""

    def write(self, content: str | bytes) -> str:
        """Return the path of a new file."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def parent(self, *arguments: str) -> ServerOptions:
        """Return the options of a parent that has started."""
        self.patch(ServerOptions, "program", "test")
        options = ServerOptions()
        options.parseOptions(["--websocket", "tcp:1:interface=127.0.0.1", *arguments])
        return options

    def worker(self, heritage: Heritage) -> Configuration:
        """Return what a worker that starts now would do."""
        begin, *reloads, serve = json.loads(json.dumps(heritage.messages(2)))
        self.assertEqual((begin[:2], serve), ([BEGIN, 2], [SERVE]))
        options = inherit(begin[2])
        for kind, files in reloads:
            self.assertEqual(kind, RELOAD)
            options.reread(readFiles(files).read)
        return options.configuration

    def assertSame(self, one: Configuration, two: Configuration) -> None:
        """They do the same."""

        def essence(made: Configuration) -> Any:
            return (
                made.acceptedTokens,
                made.listeners,
                made.terms,
                made.allowedServers,
                made.timing,
                made.generatedToken,
                made.settings.proxyServer,
            )

        self.assertEqual(essence(one), essence(two))

    def test_everything(self) -> None:
        """Files may be gone by then, and hold any bytes."""
        tokens, ini = self.write("ä\none\n"), self.write("[ProxyServer]\nname = x\n")
        parent = self.parent("--token-file", tokens, "-C", ini, "--token", "another")
        heritage = heritageOf(parent)
        Path(tokens).unlink()
        Path(ini).write_text("broken")
        made = self.worker(heritage)
        self.assertEqual(made.acceptedTokens, ["another", "ä", "one"])
        self.assertSame(made, parent.configuration)

    def test_madeToken(self) -> None:
        """All have the one that was made."""
        parent = self.parent()
        self.assertIsNotNone(parent.configuration.generatedToken)
        self.assertSame(self.worker(heritageOf(parent)), parent.configuration)

    def test_reloads(self) -> None:
        """Whatever was broken when, a later worker is as the parent."""
        tokens, ini = self.write("one"), self.write("[ProxyServer]\nname = x\npingInterval = 9000")
        parent = self.parent("--token-file", tokens, "-C", ini)
        heritage = heritageOf(parent)

        def reload() -> None:
            _configuration, problems = parent.reread()
            heritage.reloaded(bool(problems))
            self.assertSame(self.worker(heritage), parent.configuration)

        Path(tokens).write_text("two")
        reload()
        Path(ini).write_text("[ProxyServer]\nname = y\npingInterval = 5000")
        Path(tokens).unlink()
        reload()
        self.assertEqual(parent.configuration.acceptedTokens, ["two"])
        self.assertEqual(parent.configuration.settings.proxyServer.name, "y")
        self.assertEqual(parent.configuration.settings.proxyServer.pingInterval, 9.0)
        Path(ini).write_text("broken")
        reload()
        Path(ini).write_text("[ProxyServer]\nname = z")
        Path(tokens).write_text("three")
        reload()
        self.assertEqual(parent.configuration.acceptedTokens, ["three"])

    def test_bounded(self) -> None:
        """Neither many reloads nor many broken ones make it grow."""
        tokens, ini = self.write("one"), self.write("[ProxyServer]\nname = x")
        parent = self.parent("--token-file", tokens, "-C", ini)
        heritage = heritageOf(parent)
        for _ in range(3):
            parent.reread()
            heritage.reloaded(False)
        self.assertEqual(len(heritage.messages(1)), 3)
        for _ in range(3):
            heritage.reloaded(True)
        self.assertEqual(len(heritage.messages(1)), 3)
        for number in range(MOST_RELOADS + 3):
            Path(ini).write_text(f"[ProxyServer]\nname = x{number}")
            parent.reread()
            heritage.reloaded(True)
        self.assertEqual(len(heritage.messages(1)), MOST_RELOADS + 2)

    def test_mistakes(self) -> None:
        """What has become wrong since is the parent's to tell, so nothing is said here."""
        parent = self.parent("--token-file", self.write("one"))
        begin = json.loads(json.dumps(heritageOf(parent).messages(1)))[0][2]
        begin["files"] = {}
        error = self.assertRaises(SystemExit, inherit, begin)
        self.assertIn("was not handed down", str(error))

    def test_places(self) -> None:
        """Where sockets and links are, and the secrets, which differ from one start to another."""
        parent = self.parent("--token", "x")
        begins = [
            json.loads(json.dumps(each.messages(1)))[0][2]
            for each in (heritageOf(parent), heritageOf(parent, ("::", 2213)))
        ]
        self.assertEqual([begin["linksAt"] for begin in begins], [None, ["::", 2213]])
        self.assertEqual([begin["directory"] for begin in begins], ["/directory"] * 2)
        self.assertEqual([begin["tableSecret"] for begin in begins], [SECRET.hex()] * 2)
        one, two = (bytes.fromhex(begin["keySecret"]) for begin in begins)
        self.assertEqual((len(one), len(two)), (SECRET_SIZE, SECRET_SIZE))
        self.assertNotEqual(one, two)
