"""How the status page looks, of servers of every kind and on every screen.

With NYMEA_SCREENSHOTS set to a directory, the screenshots stay there, for people to look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import blockingCallFromThread
from twisted.trial.unittest import TestCase

from nymearemoteproxy.wires.direct import DirectFactory
from tests.support import scenes
from tests.support.browser import DESKTOP, MISSING, PHONE, Browser, browser
from tests.support.endtoend import inThread

reactor: Any = globalReactor

SCREENS = {
    "360": (360, 740, True),
    "390": PHONE,
    "768": (768, 1024, False),
    "1280": DESKTOP,
    "1920": (1920, 1080, False),
}
"""By their width; what is narrow is a phone."""

FLAWS = """
const [width] = arguments, flaws = [];
const isSeen = (node) => node.checkVisibility() && !node.closest('.sr-only, .skip, dialog')
  && [node, node.closest('thead')].every((at) => !at || getComputedStyle(at).clipPath === 'none');
const name = (node) => `${node.tagName}.${node.getAttribute('class')} "${node.textContent}"`;
if (document.documentElement.scrollWidth > width) flaws.push('the page scrolls sideways');
for (const node of document.querySelectorAll('.scroll')) {
  if (node.scrollWidth > node.clientWidth) flaws.push(`scrolls sideways: ${name(node)}`);
}
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode, node = text.parentElement;
  if (!text.data.trim() || !isSeen(node)) continue;
  const range = document.createRange();
  range.selectNodeContents(text);
  const box = range.getBoundingClientRect();
  const card = node.closest('.card, .tile')?.getBoundingClientRect() ?? { left: 0, right: width };
  const edge = node.closest('.card, .tile') ? 8 : 0;
  if (box.left < card.left + edge || box.right > card.right - edge) {
    flaws.push(`touches the edge: ${name(node)}`);
  }
  if (range.getClientRects().length > 7) flaws.push(`is squeezed: ${name(node)}`);
  for (let at = node; at !== document.body; at = at.parentElement) {
    const isOpen = !at.clientWidth || getComputedStyle(at).overflowX === 'visible';
    if (!isOpen && at.scrollWidth > at.clientWidth) {
      flaws.push(`is cut: ${name(node)}`);
    }
  }
}
return flaws;
"""
"""What is wrong with where texts are, on a screen of that width."""

FAINT = """
const colour = (text) => {
  const numbers = text.match(/[\\d.]+(?:e-?\\d+)?/g).map(Number);
  const isSrgb = text.startsWith('color(srgb');
  const [red, green, blue] = numbers.slice(0, 3).map((value) => isSrgb ? value * 255 : value);
  return [red, green, blue, numbers[3] ?? 1];
};
const over = ([r, g, b, alpha], ground) =>
  [r, g, b].map((value, index) => value * alpha + ground[index] * (1 - alpha));
const ground = (node) => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    layers.push(colour(getComputedStyle(at).backgroundColor));
  }
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((value) => {
    const share = value / 255;
    return share <= .03928 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4;
  });
  return .2126 * r + .7152 * g + .0722 * b;
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
  if (node.closest(':disabled, .sr-only')) continue;
  const below = ground(node), style = getComputedStyle(node);
  const ink = over(colour(node.closest('svg') ? style.fill : style.color), below);
  const pair = [ink, below].map(luminance);
  const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
  if (ratio < 4.5) faint.push(`${ratio.toFixed(2)}: ${node.tagName} ${node.textContent}`);
}
return faint;
"""
"""Texts that do not stand out from their ground as WCAG 2.1 level AA asks for (4.5 to 1)."""

UNNAMED = """
return [...document.querySelectorAll(
  'button, a, input, table, section, figure .plot, [role=region], [role=group]')]
  .filter((node) => node.checkVisibility())
  .filter((node) => !(node.ariaLabel
    || node.textContent.trim() && !node.matches('table, section, div')
    || document.getElementById(node.getAttribute('aria-labelledby')) || node.labels?.length))
  .map((node) => node.outerHTML.slice(0, 100));
"""
"""What a screen reader has no name for."""

ONES = re.compile(
    r"(?<![\d.,:])1 (tunnels|servers|clients|connections|restarts|mistakes|days|times)\b"
)
"""A number with the wrong noun."""


class LookTests(TestCase):
    """Whatever there is to show, it can be read."""

    skip = MISSING
    timeout = 300

    def show(self, make: Callable[[], scenes.Scene]) -> None:
        """Serve the page of a scene; to be called in a thread."""
        blockingCallFromThread(reactor, self.serve, make())

    def serve(self, scene: scenes.Scene) -> None:
        port = reactor.listenTCP(0, DirectFactory(scene.made.admin.factory), interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{port.getHost().port}/"
        relaying = LoopingCall(scene.relay)
        relaying.start(0.5)
        self.addCleanup(self.leave, scene, port, relaying)

    @inlineCallbacks
    def leave(self, scene: scenes.Scene, port: Any, relaying: LoopingCall) -> Any:
        relaying.stop()
        yield port.stopListening()
        scene.made.admin.factory.closeAll()
        while scene.made.admin.factory.protocols:
            yield deferLater(reactor, 0.01)

    def look(self, size: tuple[int, int, bool], scheme: str = "light") -> Browser:
        """Open the page on such a screen."""
        page = browser()
        page.get("about:blank")
        page.console()
        page.resize(*size)
        page.prefer(scheme)
        page.get(self.url)
        page.run("localStorage.clear()")
        page.get(self.url)
        page.until("document.body.dataset.ready")
        page.until("document.querySelectorAll('.plot svg').length === 4")
        return page

    def check(self, name: str, *widths: str) -> None:
        """Look at a scene on these screens, by default on those where most is different."""
        for width in widths or ("360", "1280"):
            size = SCREENS[width]
            for scheme in ("light", "dark") if size in (DESKTOP, PHONE) else ("light",):
                page = self.look(size, scheme)
                page.screenshot(f"{name}-{width}-{scheme}")
                where = f"{name}, {width} px, {scheme}"
                self.assertEqual(page.run(FLAWS, size[0]), [], where)
                self.assertEqual(page.run(FAINT), [], where)
                self.assertEqual(page.console(), [], where)
        self.assertEqual(page.run(UNNAMED), [])
        self.assertNotRegex(page.run("return document.body.innerText"), ONES)

    @inThread
    def test_idle(self) -> None:
        self.show(scenes.idle)
        self.check("idle")

    @inThread
    def test_few(self) -> None:
        self.show(scenes.few)
        self.check("few", *SCREENS)

    @inThread
    def test_hundreds(self) -> None:
        """This server has a front door: its page tells of names, and of each server's visitors."""
        self.show(scenes.hundreds)
        self.check("hundreds", *SCREENS)
        told = browser().run("return document.body.innerText")
        (visitors,) = re.findall(r"servers / clients, (\d+) visitors", told)
        shown = re.findall(r"\d+ clients?(?:, (\d+) visitors?)?$", told, re.M)
        self.assertEqual(sum(int(number or 0) for number in shown), int(visitors))
        self.assertRegex(told, rf"clients of servers\s+\d+\s+0\s+{visitors}\s+0\n")
        self.assertIn("https://[::]:443 front door, 1,200 names", told)

    @inThread
    def test_frontWithoutList(self) -> None:
        """Where a home's name is its uuid, how many names there are is nothing to be told."""
        self.show(lambda: scenes.Scene(age=5, hasFront=True))
        told = self.look(PHONE).run("return document.body.innerText")
        self.assertRegex(told, r"(?m)^https://\[::\]:443 front door$")

    @inThread
    def test_drained(self) -> None:
        self.show(scenes.drained)
        self.check("drained")

    @inThread
    def test_failedReload(self) -> None:
        """It is told in a line of its own, which does not push the buttons about."""
        self.show(scenes.failedReload)
        self.check("failed-reload")
        page = self.look(SCREENS["360"])
        told = page.run("return document.querySelector('#last-reload').textContent")
        self.assertRegex(told, r"^The reload at \d+ \w+, \d\d:\d\d found 2 mistakes\. ")
        about = page.run("return document.querySelector('#about').textContent")
        self.assertNotIn("reload", about)
        self.assertLess(page.run("return document.querySelector('.bar').offsetHeight"), 130)

    @inThread
    def test_workers(self) -> None:
        """Each connection says which of them serves it, those that wait too."""
        self.show(scenes.workers)
        self.check("workers")
        for table in ("tunnels", "servers", "waiting"):
            self.assertEqual(
                browser().run(
                    "return [...document.querySelectorAll(arguments[0])]"
                    ".filter((node) => !/worker [1-4]/.test(node.textContent)).length",
                    f"#{table} .where",
                ),
                0,
            )

    @inThread
    def test_cluster(self) -> None:
        self.show(scenes.cluster)
        self.check("cluster")

    @inThread
    def test_columns(self) -> None:
        """No empty area stands beside the cards at the end: the columns are about as high."""
        for make in (scenes.idle, scenes.hundreds, scenes.cluster):
            self.show(make)
            page = self.look(DESKTOP)
            bottoms = page.run(
                "const bottoms = {}, heights = [];"
                "for (const card of document.querySelectorAll('.columns .card:not([hidden])')) {"
                "  const box = card.getBoundingClientRect();"
                "  heights.push(box.height);"
                "  bottoms[box.left] = Math.max(bottoms[box.left] ?? 0, box.bottom);"
                "}"
                "return [Object.values(bottoms), Math.max(...heights)];"
            )
            (left, right), tallest = bottoms
            self.assertLess(abs(left - right), tallest * 0.6)

    @inThread
    def test_outcomesOnAPhone(self) -> None:
        """What they mean has the room that there is."""
        self.show(scenes.hundreds)
        page = self.look(SCREENS["360"])
        shares = page.run(
            "return [...document.querySelectorAll('#outcomes small')].map("
            "(node) => node.offsetWidth / node.closest('.card').offsetWidth)"
        )
        self.assertEqual(len(shares), 6)
        self.assertGreater(min(shares), 0.8)

    @inThread
    def test_ticks(self) -> None:
        """The labels of an axis have one unit, and as many decimals, at equal steps."""
        self.show(scenes.hundreds)
        page = self.look(DESKTOP)
        for top in (0, 1, 3, 17, 950, 1001, 1.9e6, 2e6, 2.3e6, 7.7e6, 1.2e9, 9.9e12):
            for unit in ("", "B/s"):
                labels = page.run(
                    "const [most, unit] = arguments; return tickLabels(...niceTop(most), unit)",
                    top,
                    unit,
                )
                numbers, units = zip(*(f"{label} ".split(" ")[:2] for label in labels), strict=True)
                self.assertEqual(len(set(units)), 1, labels)
                values = [int(number.replace(",", "")) for number in numbers]
                steps = {after - before for before, after in zip(values, values[1:], strict=False)}
                self.assertEqual(len(steps), 1, labels)
        shown = page.run(
            "return [...document.querySelectorAll('#chart-throughput .tick')].map("
            "(node) => node.textContent)"
        )
        self.assertEqual(shown[0], "0 MB/s")

    def rangeShown(self, page: Browser) -> tuple[str, float]:
        """Return which range is chosen, and how much of the chart its curve fills."""
        chosen, filled = page.run(
            "const curve = document.querySelector('#chart-connections .curve').getBBox();"
            "const base = document.querySelector('#chart-connections .base').getBBox();"
            "return [[...document.querySelectorAll('[data-range][aria-pressed=true]')].map("
            "(node) => node.textContent).join(), curve.width / base.width]"
        )
        return chosen, filled

    @inThread
    def test_rangeFollowsUptime(self) -> None:
        """A young server's charts show all its life, an old one's the last hour: none is blank."""
        for make, wanted in ((scenes.few, "Since start"), (scenes.hundreds, "1 h")):
            self.show(make)
            chosen, filled = self.rangeShown(self.look(DESKTOP))
            self.assertEqual(chosen, wanted)
            self.assertGreater(filled, 0.9)

    @inThread
    def test_chosenRange(self) -> None:
        """Of an old server, its whole life too; a page that is open keeps what was chosen."""
        self.show(scenes.hundreds)
        page = self.look(DESKTOP)
        titles = set()
        for name, title in (
            ("start", "Since the start"),
            ("minutes", "The last 5 minutes"),
            ("hour", "The last hour"),
        ):
            page.run(f"document.querySelector('[data-range={name}]').click()")
            page.until(f"document.querySelector('#range-title').textContent === '{title}'")
            page.until("(() => { const [curve, base] = ['.curve', '.base'].map((what) =>"
                "document.querySelector(`#chart-connections ${what}`)?.getBBox().width ?? 0);"
                "return curve / base > .9; })()")  # fmt: skip
            times = page.run(
                "return [...document.querySelectorAll('#chart-connections .time')].map("
                "(node) => node.textContent)"
            )
            for one, next in zip(times, times[1:], strict=False):
                self.assertNotEqual(one, next, times)
            self.assertGreater(len(times), 2)
            titles.add(page.run("return document.querySelector('#chart-outcomes h3').textContent"))
            page.screenshot(f"range-{name}-1280-light")
        self.assertEqual(
            titles,
            {
                "Connections ended per hour",
                "Connections ended per 5 s",
                "Connections ended per min",
            },
        )

    @inThread
    def test_chosenWhileAsking(self) -> None:
        """What a range needs is asked for at once, also if just then all else is asked for."""
        self.show(scenes.hundreds)
        page = self.look(DESKTOP)
        page.run(
            "const [ask, wait, choose] = [fetch, setTimeout,"
            "  (name) => document.querySelector(`[data-range=${name}]`).click()];"
            "window.waits = [];"
            "window.setTimeout = (call, time) => { waits.push(time); return wait(call, time); };"
            "window.fetch = (url, options) => {"
            "  if (String(url).includes('api/waiting')) { window.fetch = ask; choose('start'); }"
            "  return ask(url, options);"
            "};"
            "choose('minutes');"
        )
        page.until("waits.length >= 2")
        self.assertEqual(page.run("return waits.slice(0, 2)"), [0, 3000])

    @inThread
    def test_registeredServers(self) -> None:
        """They and their clients are none of the tunneled connections."""
        self.show(scenes.workers)
        page = self.look(DESKTOP)
        rows = dict(
            page.run(
                "return [...document.querySelectorAll('#states tbody tr')].map("
                "(row) => [row.cells[0].textContent, row.cells[1].textContent])"
            )
        )
        self.assertEqual((rows["tunneled"], rows["registered servers"]), ("7", "2"))
        # Without a front door there is nothing of it.
        self.assertNotRegex(page.run("return document.body.innerText"), "(?i)visitor|front")

    @inThread
    def test_expiry(self) -> None:
        """What expires soon comes first, and says so in words."""
        self.show(scenes.few)
        page = self.look(PHONE)
        rows = page.run(
            "return [...document.querySelectorAll('#certificates tbody tr')].map("
            "(row) => row.textContent)"
        )
        self.assertRegex(rows[0], r"old\.example\.org.*in 3 days$")
        self.assertRegex(rows[1], r"proxy\.example\.org.*in 61 days$")

    @inThread
    def test_more(self) -> None:
        """Long lists are shown in part."""
        self.show(scenes.hundreds)
        page = self.look(DESKTOP)
        for table, all in (("tunnels", 120), ("waiting", 31)):
            note = page.run(f"return document.querySelector('#{table}-note').textContent")
            self.assertEqual(note, f"20 of {all}")
            page.run(f"document.querySelector('#{table}-more').click()")
            page.until(f"document.querySelectorAll('#{table} tbody tr').length === {min(all, 100)}")

    @inThread
    def test_words(self) -> None:
        page = browser()
        self.show(scenes.idle)
        self.look(DESKTOP)
        self.assertEqual(
            page.run("return [0, 1, 2, 1000].map((number) => counted(number, 'tunnel'))"),
            ["0 tunnels", "1 tunnel", "2 tunnels", "1,000 tunnels"],
        )
