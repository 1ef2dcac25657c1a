"""What a monitor is sent by a server, of whatever generation.

The promises: what is shown does not depend on how it is cut; whatever is no such message ends the
connection, with a line that says why; and a terminal is shown nothing that it could obey.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from fuzz.target import Planted, Target, isLine, pieces, taken
from nymearemoteproxy.monitor.model import Model
from nymearemoteproxy.monitor.orders import RELOAD, Reply
from nymearemoteproxy.monitor.page import line, page
from nymearemoteproxy.monitor.polling import Poller
from nymearemoteproxy.monitor.sample import Sample
from nymearemoteproxy.monitor.text import MAX_TEXT, safe, width
from tests.support.nearby import Endpoint

Shown = tuple[list[str], list[str], list[Reply]]
"""Pages, why there is no connection any more, and what came of an order."""


def check(data: bytes) -> None:
    how, data = taken(data)
    assert _show([data]) == _show(pieces(data, how)), "it depends on how it is cut"
    text = data.decode("utf-8", "surrogateescape")
    for isUnicode in (False, True):
        shown = safe(text, isUnicode)
        assert shown.isprintable() and width(shown) <= MAX_TEXT, "a terminal may obey it"
        assert isUnicode or shown.isascii()


def _show(parts: list[bytes]) -> Shown:
    clock, model = Clock(), Model()
    endpoint: Any = Endpoint()
    shown: Shown = [], [], []

    def answered(message: Mapping[str, Any], sample: Sample) -> None:
        written = line(message)
        assert json.loads(written) == message and isLine(written)
        model.update(sample, clock.seconds())
        shown[0].append(page(model, 1e9))

    poller = Poller(clock, endpoint, 1.0, answered, shown[1].append)
    poller.start()
    transport = endpoint.succeed()
    poller.give(RELOAD, shown[2].append)
    for part in parts:
        if shown[1]:
            break
        transport.protocol.dataReceived(part)
    poller.stop()
    for each in (*shown[1], *(row for one in shown[0] for row in one.split("\n") if row)):
        assert isLine(each), "a terminal may obey it"
    return shown


TARGET = Target(
    check,
    covers=(
        "monitor.model",
        "monitor.orders",
        "monitor.page",
        "monitor.polling",
        "monitor.sample",
        "monitor.text",
    ),
    planted=(
        Planted("monitor/sample.py", " or not isinstance(value, (int, float))", ""),
        Planted(
            "monitor/sample.py",
            "if not math.isfinite(number):",
            "if math.isnan(number):",
        ),
        Planted(
            "monitor/text.py",
            "character if character.isprintable() else _escaped(character)",
            "character",
        ),
        Planted(
            "monitor/polling.py",
            "while not self._isAborted and (message",
            "if not self._isAborted and (message",
        ),
    ),
    words=(
        b'{"proxyStatistic":{',
        b'"clients":[{"id":"1","name":"\\u001b[1m"',
        b'"tunnels":[{"clientOne":"1","clientTwo":"2","timestamp":1}]',
        b'"tunnelProxyStatistic":{"tunnelConnections":[{"clientConnections":[{"id":"c1"}]}]',
        b'"total":{"totalTraffic":1e30}',
        b'"troughput":1.5',
        b'{"result":{"mistakes":1}}',
        b'{"error":"x"}',
        b'"rxDataCount":-1',
        b"\\ud800",
        b"1e999",
    ),
)
