"""The text page of ``--once``, and the line of ``--json``.

Owns how both look. Knows nothing of where they are written to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nymearemoteproxy.common.words import counted
from nymearemoteproxy.monitor import text
from nymearemoteproxy.monitor.columns import TABLES, Table
from nymearemoteproxy.monitor.model import Model, arrange
from nymearemoteproxy.monitor.sample import Counts

# Columns of one cell: a uuid with braces fits, an IPv6 address with its port too.
_WIDEST = 48

BELOW = ("└ ", "` ")
"""Stands before the name of a row below another one, in Unicode and in ASCII."""


def line(message: Mapping[str, Any]) -> str:
    """Return a message as one line of ASCII, as the server sent it otherwise."""
    compact = json.dumps(message, separators=(",", ":"))
    # The one control character that JSON allows as it is; terminals are not to see it.
    return compact.replace("\x7f", "\\u007f")


def page(model: Model, now: float, isUnicode: bool = True) -> str:
    """Return all that is known after a sample as text of many lines.

    :param now: Unix time.
    """
    return "\n".join(_lines(model, now, isUnicode))


def server(model: Model, isUnicode: bool) -> str:
    """Return who the server is."""
    sample = model.sample
    assert sample is not None
    parts = (sample.serverName, sample.serverVersion)
    shown = " ".join(text.safe(part, isUnicode) for part in parts if part)
    shown = f"{shown} (API {text.safe(sample.apiVersion, isUnicode) or text.UNKNOWN})".lstrip()
    condition = text.safe(sample.condition, isUnicode)
    return shown if condition in ("", "ready") else f"{shown}, {condition}"


def tokenTunnels(counts: Counts) -> str:
    """Return the counts of the tunnels by token."""
    now = f"{counted(counts.clients, 'client')}, {counted(counts.tunnels, 'tunnel')}"
    clients = counted(counts.everClients, "client")
    tunnels = counted(counts.everTunnels, "tunnel")
    return f"{now}; so far {clients}, {tunnels}, {text.amount(counts.everTraffic)}"


def tunnelProxy(counts: Counts, isUnicode: bool) -> str:
    """Return the counts of the tunnel proxy."""
    used = [
        f"{text.safe(name, isUnicode)} {count}"
        for name, count in counts.transports.items()
        if count
    ]
    over = f" ({', '.join(used)})" if used else ""
    servers, clients = counts.servers, counts.serverClients
    return f"{counted(servers, 'server')}, {counted(clients, 'client')}{over}"


def _lines(model: Model, now: float, isUnicode: bool) -> Iterator[str]:
    sample = model.sample
    assert sample is not None
    yield f"Server:        {server(model, isUnicode)}"
    yield f"Throughput:    {text.rate(model.throughput)}/s"
    yield f"Token tunnels: {tokenTunnels(sample.counts)}"
    yield f"Tunnel proxy:  {tunnelProxy(sample.counts, isUnicode)}"
    for table in TABLES:
        if table.rows(model):
            yield ""
            yield table.title.upper()
            yield from _table(table, model, now, isUnicode)


def _table(table: Table, model: Model, now: float, isUnicode: bool) -> Iterator[str]:
    columns = [column for column in table.present(model.hasWorkers) if not column.isHistory]
    rows = [[column.title for column in columns]]
    # As the server has them: for others to sort.
    for row, depth in arrange(table.rows(model), lambda row: 0):
        cells = [
            text.cut(column.cell(row, now, isUnicode), _WIDEST, isUnicode) for column in columns
        ]
        cells[0] = depth * BELOW[not isUnicode] + cells[0]
        rows.append(cells)
    widths = [max(map(text.width, cells)) for cells in zip(*rows, strict=True)]
    for cells in rows:
        yield "  ".join(
            text.fit(cell, width, isRight=not column.isText, isUnicode=isUnicode)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        ).rstrip()
