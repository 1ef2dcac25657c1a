"""What the three tables consist of.

Owns their columns, and which of them fit into a width. Knows nothing of where on a screen or page a
table is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.monitor import text
from nymearemoteproxy.monitor.model import ROW_HISTORY, Model, PeerRow, Row, TunnelRow

GAP = 1
"""Columns of space between two cells."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    :ivar title: its head.
    :ivar least: terminal columns that it needs.
    :ivar most: what it takes when there is room.
    :ivar rank: those with the lowest go first into a narrow terminal.
    :ivar value: what it is sorted by.
    :ivar show: the cell, of a row and the Unix time now; may be a stranger's text, and unsafe.
    :ivar isText: words, which the filter searches, at the left; else a number, at the right.
    :ivar isHistory: `value` is for sorting only, what is shown is a sparkline.
    :ivar isOfWorkers: it is there only when the server has several; such a column is the last one.
    """

    title: str
    least: int
    most: int
    rank: int
    value: Callable[[Any], float | str]
    show: Callable[[Any, float], str]
    isText: bool = False
    isHistory: bool = False
    isOfWorkers: bool = False

    def cell(self, row: Row, now: float, isUnicode: bool) -> str:
        """Return what is shown, safe for a terminal, of any width."""
        if self.isHistory:
            return text.sparkline(list(row.history), ROW_HISTORY, isUnicode)
        return text.safe(self.show(row, now), isUnicode)


@dataclass(frozen=True)
class Table:
    """One of the three tables.

    :ivar title: its name, also the word for its rows.
    :ivar columns: all that there can be, in the order in which they are shown.
    :ivar rows: its rows without those below others.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Callable[[Model], Sequence[Row]]

    def position(self, title: str) -> int:
        """Return where a column is in `columns`."""
        return [column.title for column in self.columns].index(title)

    def matches(self, row: Row, wanted: str) -> bool:
        """Tell whether a column with words has `wanted`, which is casefolded."""
        return any(
            wanted in column.show(row, 0).casefold() for column in self.columns if column.isText
        )

    def present(self, hasWorkers: bool) -> tuple[Column, ...]:
        """Return the columns that there are for a server.

        :param hasWorkers: it has several processes.
        """
        return tuple(each for each in self.columns if hasWorkers or not each.isOfWorkers)

    def layout(self, width: int, first: int, hasWorkers: bool = False) -> list[tuple[Column, int]]:
        """Return the columns that fit into `width`, and how wide each is.

        :param first: the position of the column that goes in before all others.
        """
        ranked = sorted(self.present(hasWorkers), key=lambda column: column.rank)
        ranked.sort(key=lambda column: column is not self.columns[first])
        chosen: dict[str, int] = {}
        left = width + GAP
        for column in ranked:
            if column.least + GAP > left:
                break
            chosen[column.title] = column.least
            left -= column.least + GAP
        for column in ranked:
            if column.title in chosen:
                more = min(column.most - column.least, left)
                chosen[column.title] += more
                left -= more
        return [(column, chosen[column.title]) for column in self.columns if column.title in chosen]


def _words(title: str, least: int, most: int, rank: int, show: Callable[[Any], str]) -> Column:
    return Column(
        title, least, most, rank, lambda row: show(row).casefold(), lambda row, _: show(row), True
    )


def _age(rank: int, since: Callable[[Any], int]) -> Column:
    # Sorted by age, the youngest is the least.
    return Column(
        "Age", 6, 6, rank, lambda row: -since(row), lambda row, now: text.age(since(row), now)
    )


def _bytes(title: str, rank: int, count: Callable[[Any], int]) -> Column:
    return Column(title, 7, 7, rank, count, lambda row, _: text.amount(count(row)))


def _rate(title: str, rank: int, rate: Callable[[Any], float | None]) -> Column:
    def value(row: Any) -> float:
        known = rate(row)
        return -1 if known is None else known

    return Column(title, max(7, len(title)), 8, rank, value, lambda row, _: text.rate(rate(row)))


def _traffic(rank: int) -> Column:
    def value(row: Row) -> float:
        return (row.rateIn or 0) + (row.rateOut or 0)

    return Column(
        "Traffic", ROW_HISTORY, ROW_HISTORY, rank, value, lambda row, _: "", isHistory=True
    )


def _name(row: PeerRow | None, id: str) -> str:
    """What a tunnel's end is called."""
    return id if row is None else row.peer.name or row.peer.uuid or row.peer.address


def _end(title: str, least: int, most: int, rank: int, attribute: str, of: str) -> Column:
    """A column about one of a tunnel's two clients."""

    def show(row: TunnelRow) -> str:
        end = getattr(row, of)
        return "" if end is None else str(getattr(end.peer, attribute))

    return _words(title, least, most, rank, show)


def _worker(rank: int) -> Column:
    return Column(
        "Worker",
        6,
        6,
        rank,
        lambda row: row.peer.worker,
        lambda row, _: str(row.peer.worker or ""),
        isOfWorkers=True,
    )


def _workers(rank: int) -> Column:
    def show(row: TunnelRow, _now: float) -> str:
        ends = [end.peer.worker for end in (row.one, row.two) if end]
        return ", ".join(str(worker) for worker in ends if worker)

    return Column(
        "Workers", 7, 10, rank, lambda row: show(row, 0), show, isText=True, isOfWorkers=True
    )


# Enough for an IPv4 address and port, and for an IPv6 address with both.
_ADDRESS = 21
_LONG_ADDRESS = 47
_UUID = 38

CLIENTS = Table(
    "Clients",
    (
        _words("Name", 12, 32, 0, lambda row: row.peer.name),
        _words("State", 7, 7, 4, lambda row: row.peer.state),
        _words("Address", _ADDRESS, _LONG_ADDRESS, 3, lambda row: row.peer.address),
        _age(5, lambda row: row.peer.since),
        _rate("In/s", 1, lambda row: row.rateIn),
        _rate("Out/s", 2, lambda row: row.rateOut),
        _traffic(6),
        _bytes("In", 8, lambda row: row.peer.received),
        _bytes("Out", 9, lambda row: row.peer.sent),
        _words("User", 12, 32, 10, lambda row: row.peer.user),
        _words("Uuid", _UUID, _UUID, 11, lambda row: row.peer.uuid),
        _words("Id", 6, _UUID, 12, lambda row: row.peer.id),
        _worker(7),
    ),
    lambda model: model.clients,
)

TUNNELS = Table(
    "Tunnels",
    (
        _words("One", 12, 32, 0, lambda row: _name(row.one, row.pair.one)),
        _words("Two", 12, 32, 1, lambda row: _name(row.two, row.pair.two)),
        _age(4, lambda row: row.pair.since),
        _rate("1 to 2/s", 2, lambda row: row.rateIn),
        _rate("2 to 1/s", 3, lambda row: row.rateOut),
        _traffic(5),
        _bytes("Total", 7, lambda row: row.traffic),
        _end("Address 1", _ADDRESS, _LONG_ADDRESS, 8, "address", "one"),
        _end("Address 2", _ADDRESS, _LONG_ADDRESS, 9, "address", "two"),
        _end("User 1", 12, 32, 10, "user", "one"),
        _end("User 2", 12, 32, 11, "user", "two"),
        _end("Uuid 1", _UUID, _UUID, 12, "uuid", "one"),
        _end("Uuid 2", _UUID, _UUID, 13, "uuid", "two"),
        _workers(6),
    ),
    lambda model: model.tunnels,
)

SERVERS = Table(
    "Servers",
    (
        _words("Name", 12, 32, 0, lambda row: row.peer.name),
        Column(
            "Clients",
            7,
            7,
            4,
            lambda row: len(row.children),
            lambda row, _: str(len(row.children)) if row.children else "",
        ),
        _words("Address", _ADDRESS, _LONG_ADDRESS, 3, lambda row: row.peer.address),
        _age(5, lambda row: row.peer.since),
        _rate("In/s", 1, lambda row: row.rateIn),
        _rate("Out/s", 2, lambda row: row.rateOut),
        _traffic(6),
        _bytes("In", 8, lambda row: row.peer.received),
        _bytes("Out", 9, lambda row: row.peer.sent),
        _words("Uuid", _UUID, _UUID, 10, lambda row: row.peer.uuid),
        _words("Id", 6, _UUID, 11, lambda row: row.peer.id),
        _worker(7),
    ),
    lambda model: model.servers,
)

TABLES = (CLIENTS, TUNNELS, SERVERS)
