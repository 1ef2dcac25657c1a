"""The programs of docs/clients.rst."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import SkipTest

from tests.support.browser import MISSING, Browser
from tests.support.endtoend import (
    BINARY,
    ESTABLISHED_FIRST,
    STREAM,
    EndToEnd,
    Stream,
    frame,
    inThread,
    join,
    secret,
)

try:
    import websockets
except ImportError:
    websockets = None  # type: ignore[assignment]

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


class ClientExampleTests(EndToEnd):
    """Each says hello, and shows what it is answered."""

    @inThread
    def setUp(self) -> None:
        self.token = secret()
        self.server = self.start("--websocket", STREAM, "--token", self.token)
        self.url = self.server.url("ws")

    def partner(self) -> Stream:
        """Return who waits at the other end."""
        partner = join(self.url, self.token)
        self.keep(partner)
        return partner

    def talk(self, partner: Stream, name: str) -> None:
        """Be joined, hear hello, and answer."""
        self.assertEqual(partner.message(), ESTABLISHED_FIRST)
        self.assertEqual(partner.frame()[1], f"hello from {name}\n".encode())
        partner.send(frame(BINARY, b"good day\n"))

    @inThread
    def testTwisted(self) -> None:
        partner = self.partner()
        port = self.url.rpartition(":")[2]
        endpoint = f"nymea:127.0.0.1:{port}:transport=ws:token={self.token}"
        program = self.launchProgram(
            [sys.executable, str(EXAMPLES / "twisted_tunnel.py"), endpoint]
        )
        self.talk(partner, "Twisted")
        self.assertEqual(program.wait(), 0, program.text())
        self.assertEqual(program.text(), "received: good day")

    @inThread
    def testAsyncio(self) -> None:
        partner = self.partner()
        program = self.launchProgram(
            [sys.executable, str(EXAMPLES / "asyncio_tunnel.py"), self.url, self.token]
        )
        self.talk(partner, "asyncio")
        self.assertEqual(program.wait(), 0, program.text())
        self.assertIn("received: good day", program.text())

    @inThread
    def testBrowser(self) -> None:
        """The page as it is, in Chromium."""
        if MISSING:
            raise SkipTest(MISSING)
        browser = Browser()
        self.addCleanup(browser.stop)
        browser.get((EXAMPLES / "browser.html").as_uri())
        for token, said in ("wrong", "not let in: "), (self.token, "waiting for the partner"):
            browser.run(
                "document.getElementById('url').value = arguments[0];"
                "document.getElementById('token').value = arguments[1];"
                "document.getElementById('connect').click();",
                self.url,
                token,
            )
            self.untilShown(browser, said)
        self.talk(self.partner(), "a browser")
        self.untilShown(browser, "partner: ")
        self.untilShown(browser, "received: good day")

    def untilShown(self, browser: Browser, said: str) -> None:
        """Wait until the page says this."""
        browser.until("document.getElementById('output').textContent.includes(arguments[0])", said)

    @inThread
    def testAsyncioNotLetIn(self) -> None:
        """It says why, and fails."""
        program = self.launchProgram(
            [sys.executable, str(EXAMPLES / "asyncio_tunnel.py"), self.url, "wrong"]
        )
        self.assertEqual(program.wait(), 1)
        self.assertRegex(program.text(), "^not let in: ")

    if websockets is None:
        testAsyncio.skip = testAsyncioNotLetIn.skip = (  # type: ignore[attr-defined]
            "the websockets library is not installed"
        )
