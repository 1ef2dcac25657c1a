"""The status page in a real browser: what is shown, and that nothing but that happens.

With NYMEA_SCREENSHOTS set to a directory, the screenshots stay there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import reactor as globalReactor

from nymearemoteproxy.watching.admin.access import SHOWS_ONLY
from tests.support.adminhttp import basic
from tests.support.browser import (
    ARROW_LEFT,
    DESKTOP,
    ENTER,
    ESCAPE,
    HOME,
    MISSING,
    PHONE,
    TAB,
    browser,
)
from tests.support.endtoend import SECOND, EndToEnd, Stream, call, connect, inThread, join, secret

reactor: Any = globalReactor

LOOPBACK = "tcp:0:interface=127.0.0.1"

RIGHT_TO_LEFT = "\u202egnp.exe"

HOSTILE = (
    "<script>window.pwned = 1</script>",
    '<img src=x onerror="window.pwned = 2">',
    '"><svg onload=window.pwned=3>',
    "{{constructor.constructor('window.pwned=4')()}}",
    "javascript:window.pwned=5",
    "\u202a\u2066\u0000\u0007",
    "https://tracker.example/pixel.png",
    "a" * 9000,
    "\u0301" * 1500,
    "\u05d0\u05d1\u05d2 Kitchen",
    RIGHT_TO_LEFT,
    "",
)
"""Names that clients give themselves; an even number."""


class PageTests(EndToEnd):
    """The page of a real server with real clients."""

    skip = MISSING
    authorization = ""

    def open(
        self,
        size: tuple[int, int, bool] = DESKTOP,
        scheme: str = "light",
        more: tuple[str, ...] = (),
    ) -> None:
        """Start a server, and look at it."""
        self.token = secret()
        self.server = self.start(
            *("--websocket", LOOPBACK, "--token", self.token, "--admin", LOOPBACK, "--tunnelproxy"),
            *more,
        )
        self.url = self.server.waitFor(r"admin endpoint on (\S+)")[1]
        self.browser = browser()
        self.giveBrowser(self.authorization)
        self.browser.get("about:blank")
        self.browser.console()
        self.browser.requested()
        self.look(size, scheme)
        self.addCleanup(self.assertQuiet)

    def giveBrowser(self, authorization: str) -> None:
        """Have the browser send this from now on, as one that was told a password."""
        headers = {"Authorization": authorization} if authorization else {}
        self.browser.command("Network.enable")
        self.browser.command("Network.setExtraHTTPHeaders", headers=headers)

    def openProtected(self, *more: str) -> None:
        """Start a server whose endpoint has a password, and look at it."""
        users = self.file("anna:s3cret-word\n")
        self.authorization = basic("anna", "s3cret-word")
        self.addCleanup(lambda: self.giveBrowser(""))
        self.open(more=("--set", f"Admin.passwordFile={users}", *more))

    def look(self, size: tuple[int, int, bool], scheme: str) -> None:
        """Load the page on such a screen."""
        self.width = size[0]
        self.browser.resize(*size)
        self.browser.prefer(scheme)
        self.browser.get(self.url)
        self.browser.run("localStorage.clear()")
        self.browser.get(self.url)
        self.browser.until("document.body.dataset.ready")

    def assertQuiet(self) -> None:
        """No error and no violation of the policy on the console, no request to anybody else."""
        self.assertEqual(self.browser.console(), [])
        others = [url for url in self.browser.requested() if not url.startswith(self.url)]
        self.assertEqual(others, [])

    def meet(self, *names: str) -> list[Stream]:
        """Have two clients of these names for each tunnel."""
        clients = []
        for first, second in zip(names[::2], names[1::2], strict=True):
            nonce = secret("nonce")
            pair = [
                join(
                    self.server.urls[0],
                    self.token,
                    SECOND,
                    name=name,
                    nonce=nonce,
                    uuid=f"{{{uuid4()}}}",
                )
                for name in (first, second)
            ]
            self.keep(*pair)
            clients += pair
        count = len(names) // 2
        self.browser.until(
            "document.querySelectorAll('#tunnels tbody [class=end]').length === arguments[0]",
            2 * count,
        )
        return clients

    def register(self, name: str) -> Stream:
        """Have a server of this name."""
        client = connect(self.server.urls[0])
        uuid = f"{{{uuid4()}}}"
        client.sendMessage(call("TunnelProxy.RegisterServer", serverName=name, serverUuid=uuid))
        client.message()
        self.keep(client)
        return client

    def assertFits(self) -> None:
        """Nothing is wider than the screen; a phone's window grows with what is in it."""
        wide = self.browser.run("return document.documentElement.scrollWidth")
        self.assertLessEqual(wide, self.width)

    @inThread
    def test_hostileNames(self) -> None:
        """On every screen they are text, and the page keeps its shape."""
        self.open()
        for name in HOSTILE:
            self.register(name or "none")
        self.meet(*HOSTILE)
        for size, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
            self.look(size, scheme)
            shown = self.browser.run(
                "return [...document.querySelectorAll('#tunnels .name')].map(n => n.textContent)"
            )
            for name in HOSTILE[:5]:
                self.assertIn(name, shown)
            self.assertIn("\ufffdgnp.exe", shown)
            self.assertFalse([text for text in shown if "\u202e" in text])
            self.assertLessEqual(max(map(len, shown)), 200)
            self.assertEqual(
                self.browser.run(
                    "return ['script', 'img', 'svg', 'a', '[onload]', '[style]'].map("
                    "what => document.querySelectorAll('main table ' + what).length)"
                ),
                [0] * 6,
            )
            self.assertEqual(self.browser.run("return typeof window.pwned"), "undefined")
            self.assertFits()
            kind = "phone" if size is PHONE else "desktop"
            self.browser.screenshot(f"hostile-names-{kind}-{scheme}")
        tall = self.browser.run(
            "return Math.max(...[...document.querySelectorAll('.name')].map(n => n.offsetHeight))"
        )
        self.assertLess(tall, 250)  # all of 200 letters, on a phone

    @inThread
    def test_workers(self) -> None:
        """With several workers each connection says which; there is more about them on the page."""
        self.open(more=("--workers", "2"))
        self.server.waitFor(r"worker \d serves", count=2)
        self.meet("one", "two")
        self.browser.until("document.querySelectorAll('#workers tbody tr').length === 2")
        self.browser.until("document.getElementById('workers').textContent.includes('serves')")
        ends = "[...document.querySelectorAll('#tunnels .where')].map(n => n.textContent).join()"
        self.browser.until(f"/worker [12].*worker [12]/.test({ends})")
        told = self.browser.run("return document.getElementById('company').textContent")
        self.assertIn("Directoryanswers", told)
        self.assertEqual(
            self.browser.run("return document.getElementById('condition').textContent"), "ready"
        )
        self.assertFits()
        self.browser.screenshot("workers-desktop-light")
        self.look(PHONE, "dark")
        self.assertFits()
        self.browser.screenshot("workers-phone-dark")

    @inThread
    def test_waiting(self) -> None:
        """Who waits for a partner, for how long, and where; and by which way clients come in."""
        self.open(more=("--workers", "2"))
        self.server.waitFor(r"worker \d serves", count=2)
        client = join(self.server.urls[0], self.token, SECOND, name="lonely", nonce=secret("nonce"))
        self.keep(client)
        row = "document.querySelector('#waiting tbody tr').textContent"
        self.browser.until(f"/^lonely.* · WebSocket · worker [12].*\\d s$/.test({row})")
        self.browser.until(
            "document.querySelector('#more-connections').textContent === '1 waiting'"
        )
        told = self.browser.run("return document.querySelector('#listeners').textContent")
        self.assertEqual(told, self.server.urls[0])

    @inThread
    def test_noWorkers(self) -> None:
        self.open()
        for card in ("workers-card", "company-card"):
            self.assertTrue(self.browser.run(f"return document.getElementById('{card}').hidden"))

    @inThread
    def test_charts(self) -> None:
        """They are drawn from what the server remembers, at once when the page is opened."""
        self.open()
        one, two = self.meet("one", "two")
        self.browser.until("document.querySelectorAll('#chart-tunnels .curve').length === 3")
        self.browser.until("document.querySelector('#chart-tunnels .area')")
        one.close()
        two.close()
        self.browser.until("document.querySelector('#chart-outcomes .bar-part')")
        self.browser.get(self.url)
        self.browser.until("document.querySelector('#chart-tunnels .area')")
        self.browser.until("document.querySelector('#chart-outcomes .bar-part')")
        self.browser.until("document.querySelector('#outcomes tbody th')")
        axes = self.browser.run(
            "return [...document.querySelectorAll('#chart-throughput text')]"
            ".map(t => t.textContent)"
        )
        self.assertIn("0 B/s", axes)
        self.assertRegex(" ".join(axes), r"\d\d:\d\d")

    @inThread
    def test_readingAChart(self) -> None:
        """By pointer and by keyboard: the legend shows the values of the moment."""
        self.open()
        self.browser.until("document.querySelector('#chart-tunnels .curve')")
        when = "document.querySelector('#chart-tunnels .when').textContent"
        self.assertEqual(self.browser.run(f"return {when}"), "now")
        self.browser.hover("#chart-tunnels .plot", x=40)
        self.browser.until("document.querySelector('#chart-tunnels .cursor')")
        self.browser.until(f"/^\\d\\d:\\d\\d:\\d\\d$/.test({when})")
        self.browser.hover("h1")
        self.browser.until(f"{when} === 'now'")
        self.browser.run("document.querySelector('#chart-tunnels .plot').focus()")
        for key in (ARROW_LEFT, HOME):
            self.browser.press(key)
            self.browser.until(
                "/tunnels 0, servers 0/.test("
                "document.querySelector('#chart-tunnels [role=status]').textContent)"
            )
        self.browser.press(ESCAPE)
        self.browser.until("!document.querySelector('#chart-tunnels .cursor')")

    def tabTo(self, condition: str) -> None:
        """Press Tab until what has the focus is this."""
        for _time in range(40):
            self.browser.press(TAB)
            if self.browser.run(f"const it = document.activeElement; return {condition}"):
                return
        raise AssertionError(f"never reached by Tab: {condition}")

    @inThread
    def test_keyboard(self) -> None:
        """Everything is reached with Tab, and it is seen where the focus is."""
        self.open()
        self.meet("b", "x", "C", "x", "a", "x")
        self.browser.run("document.activeElement.blur()")
        self.tabTo("it.className === 'skip'")
        self.browser.press(ENTER)
        self.browser.until("document.activeElement.id === 'main'")
        self.tabTo("it.dataset.sort === 'name' && it.closest('#tunnels')")
        outline = self.browser.run("return getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(outline, "solid")
        first = "[...document.querySelectorAll('#tunnels tr .end:first-child .name')]"
        names = f"{first}.map(n => n.textContent).join()"
        for direction, wanted in (("ascending", "a,b,C"), ("descending", "C,b,a")):
            self.browser.press(ENTER)
            self.browser.until(f"{names} === '{wanted}'")
            self.assertEqual(
                self.browser.run(
                    "return [document.activeElement.dataset.sort, "
                    "[...document.querySelectorAll('#tunnels [aria-sort]')].map("
                    "h => h.textContent + ' ' + h.ariaSort).join()]"
                ),
                ["name", f"Clients {direction}"],
            )
            self.assertIn(
                direction,
                self.browser.run("return document.querySelector('#announce').textContent"),
            )

    @inThread
    def test_filter(self) -> None:
        self.open()
        self.meet("kitchen", "x", "office", "y")
        self.browser.run("document.querySelector('#tunnels-filter').focus()")
        self.browser.press(*"OFF")
        note = "document.querySelector('#tunnels-note').textContent"
        self.browser.until(f"{note} === '1 matching, 2 in all'")
        self.browser.press(*"<b>")
        self.browser.until("document.querySelector('#tunnels .nothing')")

    @inThread
    def test_colours(self) -> None:
        """The system's choice, until the person makes one, which is kept."""
        self.open(scheme="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = self.browser.run(f"return {ground}")
        self.browser.prefer("light")
        self.browser.until(f"{ground} !== arguments[0]", dark)
        light = self.browser.run(f"return {ground}")
        self.browser.run("document.querySelector('#theme').focus()")
        self.browser.press(ENTER)
        self.browser.until(f"{ground} === arguments[0]", dark)
        self.browser.get(self.url)
        self.assertEqual(self.browser.run(f"return {ground}"), dark)
        self.browser.press(TAB, TAB, ENTER)  # past the skip link
        self.browser.until(f"{ground} === arguments[0]", light)

    def focus(self, selector: str) -> None:
        """Go to an element."""
        self.browser.run("document.querySelector(arguments[0]).focus()", selector)

    def confirm(self, selector: str, *keys: str) -> None:
        """Press a button, and these keys when it asks back."""
        self.browser.until("document.querySelector(arguments[0])", selector)
        self.focus(selector)
        self.browser.press(ENTER)
        self.browser.until("document.querySelector('dialog').open")
        self.assertEqual(self.browser.run("return document.activeElement.id"), "action-no")
        self.browser.press(*keys)
        if keys:
            self.browser.until("!document.querySelector('dialog').open")

    @inThread
    def test_drain(self) -> None:
        """It is asked for twice; afterwards the page says that the server is gone."""
        self.openProtected()
        self.confirm("#drain", ENTER)
        self.assertIsNone(self.server.process.poll())
        self.confirm("#drain", TAB, ENTER)
        self.assertEqual(self.server.wait(), 0)
        self.browser.until("document.querySelector('#condition').textContent === 'unreachable'")
        self.browser.until("!document.querySelector('#trouble').hidden")
        self.browser.get("about:blank")
        # Chromium itself writes to the console that the server does not answer.
        for line in self.browser.console():
            self.assertIn("net::ERR_", line)

    @inThread
    def test_endTunnel(self) -> None:
        """A tunnel ends when that is confirmed, and both clients are told."""
        self.openProtected()
        one, two = self.meet(*HOSTILE[:2])
        self.confirm("[data-end]", ENTER)
        self.confirm("[data-end]", ESCAPE)
        self.confirm("[data-end]")
        self.browser.screenshot("end-a-tunnel")
        self.browser.press(TAB, ENTER)
        for client in one, two:
            self.assertEqual(client.goodbye()[1], 1008)
            self.assertEqual(self.server.ended(client), "ended-by-operator")
        self.assertIn("anna from 127.0.0.1 ends the tunnel of connection", self.server.text())
        self.browser.until("document.querySelector('#announce').textContent.endsWith('ended.')")
        self.browser.until("document.querySelector('#tunnels .nothing')")
        self.assertFalse(self.browser.run("return window.pwned"))

    @inThread
    def test_reload(self) -> None:
        """What is wrong with it is told where it was asked for."""
        tokens = self.file(secret())
        self.openProtected("--token-file", tokens)
        self.confirm("#reload", TAB, ENTER)
        self.server.waitFor("reloaded: ")
        Path(tokens).write_text("")
        self.confirm("#reload")
        self.browser.press(TAB, ENTER)
        trouble = "document.querySelector('#action-trouble').textContent"
        self.browser.until(
            f"{trouble} === 'Not everything was read anew: the log names a mistake.'"
        )

    @inThread
    def test_unprotected(self) -> None:
        """Without a password the page shows, and says why it does no more."""
        self.open()
        self.meet("one", "two")
        for button in "#reload", "#drain":
            state = self.browser.run(
                "const each = document.querySelector(arguments[0]);"
                "return [each.disabled, each.title]",
                button,
            )
            self.assertEqual(state, [True, SHOWS_ONLY])
        self.assertFalse(self.browser.run("return document.querySelector('[data-end]')"))

    @inThread
    def test_foreignPage(self) -> None:
        """A page of another site, in the browser of an operator, has nothing done."""
        self.openProtected()
        drain = f"{self.url}api/v1/drain"
        foreign = self.url.replace("127.0.0.1", "localhost")  # another site to the browser
        self.browser.get(f"{foreign}healthz")
        for headers in {}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}:
            self.browser.run(
                "window.over = false; const [url, headers] = arguments;"
                "fetch(url, {method: 'POST', headers, body: '{}', credentials: 'include'})"
                ".catch(() => 0).finally(() => { window.over = true; })",
                drain,
                headers,
            )
            self.browser.until("window.over")
        self.browser.get("about:blank")
        self.browser.console()
        self.browser.requested()
        self.assertEqual(self.server.find("draining"), [])
