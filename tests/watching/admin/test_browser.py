"""The status page in a real browser: what is shown, and that nothing but that happens.

With NYMEA_SCREENSHOTS set to a directory, the screenshots stay there.
"""

from __future__ import annotations

import atexit
import math
import random
from typing import Any
from uuid import uuid4

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.admin.history import Point
from nymearemoteproxy.wires.direct import DirectFactory
from tests.support.admin import AdminInMemory, add, addTunnel
from tests.support.browser import ARROW_LEFT, ENTER, ESCAPE, HOME, MISSING, TAB, Browser
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

DESKTOP, PHONE = (1280, 900, False), (390, 844, True)

_browsers: list[Browser] = []


def browser() -> Browser:
    """Return the one of this run; it starts when it is needed."""
    if not _browsers:
        _browsers.append(Browser())
    return _browsers[0]


@atexit.register
def _stop() -> None:
    while _browsers:
        _browsers.pop().stop()


class PageTests(EndToEnd):
    """The page of a real server with real clients."""

    skip = MISSING
    timeout = 120

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
        self.browser.get("about:blank")
        self.browser.console()
        self.browser.requested()
        self.look(size, scheme)
        self.addCleanup(self.assertQuiet)

    def look(self, size: tuple[int, int, bool], scheme: str) -> None:
        """Load the page on such a screen."""
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
        """Nothing is wider than the screen."""
        wide = self.browser.run("return document.documentElement.scrollWidth - innerWidth")
        self.assertLessEqual(wide, 0)

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
        self.assertLess(tall, 40)

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

    @inThread
    def test_drain(self) -> None:
        """It is asked for twice; afterwards the page says that the server is gone."""
        self.open()
        self.browser.run("document.querySelector('#drain').focus()")
        self.browser.press(ENTER)
        self.browser.until("document.querySelector('dialog').open")
        self.assertEqual(self.browser.run("return document.activeElement.id"), "drain-no")
        self.browser.press(ENTER)
        self.browser.until("!document.querySelector('dialog').open")
        self.assertIsNone(self.server.process.poll())
        self.browser.press(ENTER)
        self.browser.press(TAB, ENTER)
        self.assertEqual(self.server.wait(), 0)
        self.browser.until("document.querySelector('#condition').textContent === 'unreachable'")
        self.browser.until("!document.querySelector('#trouble').hidden")
        self.browser.get("about:blank")
        # Chromium itself writes to the console that the server does not answer.
        for line in self.browser.console():
            self.assertIn("net::ERR_", line)


class LookTests(EndToEnd):
    """The page of a server with an hour behind it, for people to look at."""

    skip = MISSING
    timeout = 120

    def setUp(self) -> None:
        self.made = AdminInMemory(
            clock=reactor, TunnelProxy_enabled="true", ProxyServer_name="Remote access"
        )
        self.made.proxy.switchboard = object()  # type: ignore[assignment]
        self.populate()
        port = reactor.listenTCP(0, DirectFactory(self.made.admin.factory), interface="127.0.0.1")
        self.addCleanup(self.leave, port)
        self.url = f"http://127.0.0.1:{port.getHost().port}/"
        self.relaying = LoopingCall(self.relay)
        self.relaying.start(0.5)

    def relay(self) -> None:
        """Let something move."""
        for record in self.made.proxy.registry.records:
            record.received += record.number * 700 % 90_001

    @inlineCallbacks
    def leave(self, port: Any) -> Any:
        self.relaying.stop()
        yield port.stopListening()
        self.made.admin.factory.closeAll()
        while self.made.admin.factory.protocols:
            yield deferLater(reactor, 0.01)

    def populate(self) -> None:
        """Invent an hour that looks like one."""
        chance = random.Random(5)
        proxy, now = self.made.proxy, reactor.seconds()
        names = ("Kitchen", "Anna's phone", "Energy manager", "Büro 2. OG", "nymea:core", "Garage")
        for _number in range(120):
            first = addTunnel(proxy, chance.choice(names), chance.choice(names))
            assert first.partner is not None
            for record in (first, first.partner):
                record.started = now - chance.expovariate(1 / 2000)
                record.joined = record.started + 1
                record.received = int(chance.expovariate(1 / 4e6))
                record.secure = True
        for number in range(5):
            server = add(proxy, role=Role.SERVER, name=f"core {number}", uuid=f"{{{number}}}")
            server.received = int(chance.expovariate(1 / 9e6))
            for _client in range(chance.randrange(30)):
                add(proxy, role=Role.CLIENT, name=chance.choice(names), serverUuid=server.uuid)
        totals = proxy.registry.counters.totals
        totals.connections, totals.tunnels, totals.traffic = 184_223, 80_211, 4_812_883_112_331
        totals.servers, totals.clients, totals.tunnelProxyTraffic = 42, 9_012, 812_331_000_000
        history = self.made.admin._history
        for outcome in (
            Outcome.CLIENT_LEFT,
            Outcome.PARTNER_LEFT,
            Outcome.CONNECTION_LOST,
            Outcome.TLS_HANDSHAKE_FAILED,
            Outcome.TOKEN_REFUSED,
            Outcome.AUTHENTICATION_ERROR,
        ):
            proxy.registry.counters.outcomes[outcome] = chance.randrange(10, 9000)
            history.lastHour[outcome] = proxy.registry.counters.outcomes[outcome] // 20
        for step in range(720):
            wave = 1 + 0.3 * math.sin(step / 110) + 0.08 * math.sin(step / 13)
            trouble = 9 if 400 < step < 425 else 1
            history._points.append(
                Point(
                    time=round(now - 3600 + (step + 1) * 5, 1),
                    connections=int(300 * wave),
                    tunnels=int(110 * wave),
                    servers=5,
                    clients=int(62 * wave),
                    throughput=int(2.4e6 * wave**2 * (1 + chance.random() * 0.4)),
                    tunnelProxyThroughput=int(6e5 * wave * (1 + chance.random())),
                    delay=0.002,
                    orderly=chance.randrange(3),
                    lost=int(chance.random() < 0.2),
                    failed=int(chance.random() < 0.02) * trouble,
                    refused=int(chance.random() < 0.12) * trouble,
                )
            )

    def test_screens(self) -> Deferred[None]:
        """On a desktop and a phone, by day and by night."""
        return deferToThread(self.screens)

    def screens(self) -> None:
        shots = set()
        for kind, size in (("desktop", DESKTOP), ("phone", PHONE)):
            for scheme in ("light", "dark"):
                page = browser()
                page.get("about:blank")
                page.console()
                page.resize(*size)
                page.prefer(scheme)
                page.get(self.url)
                page.run("localStorage.clear()")
                page.get(self.url)
                page.until("document.body.dataset.ready")
                page.until("document.querySelectorAll('.curve').length === 6")
                page.until("document.querySelectorAll('.bar-part').length > 60")
                rows = page.run("return document.querySelectorAll('#tunnels tbody tr').length")
                self.assertEqual(rows, 20)
                note = page.run("return document.querySelector('#tunnels-note').textContent")
                self.assertEqual(note, "20 of 120")
                page.run("document.querySelector('#tunnels-more').click()")
                page.until("document.querySelectorAll('#tunnels tbody tr').length === 100")
                self.assertLessEqual(
                    page.run("return document.documentElement.scrollWidth - innerWidth"), 0
                )
                page.get(self.url)
                page.until("document.querySelectorAll('.curve').length === 6")
                shots.add(page.screenshot(f"status-{kind}-{scheme}"))
                self.assertEqual(page.console(), [])
                self.assertContrast(page)
        self.assertEqual(len(shots), 4)

    def assertContrast(self, page: Browser) -> None:
        """Text stands out from its ground, as WCAG 2.1 asks for (4.5 to 1)."""
        ratios = page.run(
            """
            const luminance = (colour) => {
              const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map((value) => {
                const share = value / 255;
                return share <= .03928 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4;
              });
              return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
            };
            const ground = (node) => {
              for (let at = node; at; at = at.parentElement) {
                const colour = getComputedStyle(at).backgroundColor;
                if (colour.startsWith('rgb(')) return colour;
              }
              return 'rgb(255, 255, 255)';
            };
            return ['h1', '#about', '#condition', '.tile dd', '.tile dt', '.name', '.where', 'td',
              'thead th', '#drain', 'footer a', '#outcomes small', '.legend li'].map((selector) => {
              const node = document.querySelector(selector);
              const pair = [getComputedStyle(node).color, ground(node)].map(luminance);
              return [selector, (Math.max(...pair) + .05) / (Math.min(...pair) + .05)];
            });
            """
        )
        for selector, ratio in ratios:
            self.assertGreaterEqual(ratio, 4.5, selector)
