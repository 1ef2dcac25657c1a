"""The full-screen view.

Owns what is shown at a size, and what a key does: lines of styled text come out, names of keys go
in. Knows nothing of curses, a terminal or a connection. Only rows that are visible are spelled out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.monitor import page, text
from nymearemoteproxy.monitor.columns import GAP, TABLES, Column, Table
from nymearemoteproxy.monitor.model import Model, PeerRow, Row, TunnelRow, arrange
from nymearemoteproxy.monitor.orders import (
    DRAIN,
    ELSEWHERE,
    RELOAD,
    Order,
    endConnection,
    endTunnel,
)

LEAST_WIDTH, LEAST_HEIGHT = 40, 10
"""A smaller terminal only shows that it is too small."""

# A line is made of pieces: a style and a text. The styles are names that a terminal gives looks to.
PLAIN, TITLE, TROUBLE, TAB, HEAD, SORTED, SELECTED, SPARK, DIM = range(9)
Piece = tuple[int, str]
Line = list[Piece]

KEYS = (
    ("1 2 3, Tab", "clients, tunnels, servers"),
    ("↑ ↓, k j", "select a row"),
    ("PgUp PgDn, Home End", "the same, faster"),
    ("Enter", "all about the selected row, and back"),
    ("← →, < >", "the column to sort by"),
    ("r", "reverse the order"),
    ("/", "filter: show only rows with the text that is typed"),
    ("Esc", "no filter, no selection"),
    ("a", "also servers without clients, and back"),
    ("x", "end the selected connection or tunnel"),
    ("R", "have the server read its configuration anew"),
    ("D", "drain the server"),
    ("?, h", "this help, and back"),
    ("q, Ctrl-C", "quit"),
)
"""What every key does."""

_HINTS = "q quit  ? help  Tab table  ←→ sort  r reverse  / filter  ↑↓ select  Enter details  x end"
_ASCII_ARROWS = str.maketrans({"←": "<", "→": ">", "↑": "^", "↓": "v"})

# Characters of a filter; a longer text than a uuid is not typed.
_MAX_FILTER = 60

# Characters of a name in a question, which is one line.
_MAX_NAME = 30


@dataclass
class Cursor:
    """Where somebody is in one table.

    :ivar sort: the position of the column that the rows are sorted by.
    :ivar selected: the key of the selected row, None for none; and its last position.
    :ivar top: the position of the first visible row.
    """

    sort: int
    isReverse: bool = True
    selected: str | None = None
    position: int = 0
    top: int = 0


class View:
    """What somebody sees of a model.

    :param model: is looked at, never changed.
    :param time: returns the Unix time.
    :param isUnicode: the terminal shows more than ASCII.
    :param onPrintAll: is called with whether servers without clients are wanted.
    :param onOrder: is given what the server is to do, after somebody has said yes to it.
    :ivar notice: a line about what came of it, until the next key; may be a stranger's text.
    :ivar isOver: the view is to be closed.
    :ivar trouble: a line about what is wrong with the connection; empty for nothing.
    """

    def __init__(
        self,
        model: Model,
        time: Callable[[], float],
        isUnicode: bool = True,
        isPrintingAll: bool = False,
        onPrintAll: Callable[[bool], None] = lambda isPrintingAll: None,
        onOrder: Callable[[Order], None] = lambda order: None,
    ) -> None:
        self.isOver = False
        self.trouble = self.notice = ""
        self._onOrder = onOrder
        self._asked: Order | None = None  # the order that waits for a yes
        self._model = model
        self._time = time
        self._isUnicode = isUnicode
        self._isPrintingAll = isPrintingAll
        self._onPrintAll = onPrintAll
        self._table: Table = TABLES[0]
        self._cursors = {table.title: Cursor(table.position("Traffic")) for table in TABLES}
        self._filter = ""
        self._isTyping = False
        self._hasHelp = False
        self._hasDetails = False
        self._page = 1  # rows that were visible last
        self._rows: list[tuple[Row, int]] = []
        self.update()

    # What changes

    def update(self) -> None:
        """Look at the model anew: it has changed."""
        if self.trouble:
            self._asked = None  # ids mean others to the next server
        cursor, columns = self._cursor, self._columns
        cursor.sort = min(cursor.sort, len(columns) - 1)  # there may be less than before
        column = columns[cursor.sort]
        wanted = self._filter.casefold()
        everything: Sequence[Row] = self._table.rows(self._model)

        def isWanted(row: Row) -> bool:
            return not wanted or self._table.matches(row, wanted)

        self._rows = list(arrange(everything, column.value, cursor.isReverse, isWanted))
        if cursor.selected is not None:
            found = (i for i, (row, _) in enumerate(self._rows) if row.key == cursor.selected)
            position = next(found, None)
            if position is None:
                self._select(cursor.position)  # the one that has taken its place
            else:
                cursor.position = position

    def key(self, name: str) -> None:
        """Do what a key is for; `name` is a character, or a word for one that has none."""
        self.notice = ""
        if self._asked is not None:
            self._decide(name)
        elif self._isTyping:
            self._type(name)
        elif name in ("1", "2", "3"):
            self._show(TABLES[int(name) - 1])
        elif action := self._ACTIONS.get(name):
            action(self)
        self.update()

    @property
    def _cursor(self) -> Cursor:
        return self._cursors[self._table.title]

    @property
    def _columns(self) -> Sequence[Column]:
        return self._table.present(self._model.hasWorkers)

    def _show(self, table: Table) -> None:
        self._table = table

    def _turn(self, step: int) -> None:
        self._show(TABLES[(TABLES.index(self._table) + step) % len(TABLES)])

    def _type(self, name: str) -> None:
        """A key while the filter is typed."""
        if name == "escape":
            self._filter, self._isTyping = "", False
        elif name == "enter":
            self._isTyping = False
        elif name == "backspace":
            self._filter = self._filter[:-1]
        elif len(name) == 1 and name.isprintable() and len(self._filter) < _MAX_FILTER:
            self._filter += name

    def _move(self, step: int) -> None:
        cursor = self._cursor
        # The first step selects what is at the top, wherever that is.
        self._select(cursor.top if cursor.selected is None else cursor.position + step)

    def _select(self, position: int) -> None:
        cursor = self._cursor
        cursor.position = max(min(position, len(self._rows) - 1), 0)
        cursor.selected = self._rows[cursor.position][0].key if self._rows else None

    def _sort(self, step: int) -> None:
        self._cursor.sort = (self._cursor.sort + step) % len(self._columns)

    def _reverse(self) -> None:
        self._cursor.isReverse = not self._cursor.isReverse

    def _beginTyping(self) -> None:
        self._isTyping = True

    def _toggleDetails(self) -> None:
        self._hasDetails = not self._hasDetails
        if self._hasDetails and self._cursor.selected is None:
            self._move(0)

    def _toggleHelp(self) -> None:
        self._hasHelp = not self._hasHelp

    def _togglePrintAll(self) -> None:
        self._isPrintingAll = not self._isPrintingAll
        self._onPrintAll(self._isPrintingAll)

    def _leave(self) -> None:
        self._filter = ""
        self._hasHelp = self._hasDetails = False
        self._cursor.selected = None
        self._cursor.top = 0

    def _decide(self, name: str) -> None:
        """A key behind a question: everything but a y is no."""
        order, self._asked = self._asked, None
        assert order is not None
        if name == "y":
            self._onOrder(order)
        else:
            self.notice = "nothing was done"

    def _ask(self, order: Order) -> None:
        if self.trouble:
            self.notice = "there is no connection to the server"
        else:
            self._asked = order

    def _askToEnd(self) -> None:
        cursor = self._cursor
        if cursor.selected is None or not self._rows:
            self.notice = "select a row first, with the arrow keys"
            return
        self._ask(_ending(self._rows[cursor.position][0]))

    def _quit(self) -> None:
        self.isOver = True

    _ACTIONS: dict[str, Callable[[Any], None]] = {
        "tab": lambda self: self._turn(1),
        "backtab": lambda self: self._turn(-1),
        "up": lambda self: self._move(-1),
        "down": lambda self: self._move(1),
        "k": lambda self: self._move(-1),
        "j": lambda self: self._move(1),
        "pageup": lambda self: self._move(-self._page),
        "pagedown": lambda self: self._move(self._page),
        "home": lambda self: self._select(0),
        "end": lambda self: self._select(len(self._rows)),
        "left": lambda self: self._sort(-1),
        "right": lambda self: self._sort(1),
        "<": lambda self: self._sort(-1),
        ">": lambda self: self._sort(1),
        "r": _reverse,
        "/": _beginTyping,
        "enter": _toggleDetails,
        "escape": _leave,
        "a": _togglePrintAll,
        "x": _askToEnd,
        "R": lambda self: self._ask(RELOAD),
        "D": lambda self: self._ask(DRAIN),
        "?": _toggleHelp,
        "h": _toggleHelp,
        "q": _quit,
    }

    # What is shown

    def lines(self, width: int, height: int) -> list[Line]:
        """Return `height` lines, each of pieces that take `width` columns together."""
        if width < LEAST_WIDTH or height < LEAST_HEIGHT:
            small = f"needs {LEAST_WIDTH}x{LEAST_HEIGHT}"
            lines = [[(TROUBLE, small)]] if height else []
        else:
            lines = self._head(width)
            details = self._details(width) if self._hasDetails else []
            # At least a few rows of the table stay.
            details = details[: max(height - len(lines) - 4, 0)]
            room = height - len(lines) - len(details) - 1
            lines += self._help(room) if self._hasHelp else self._body(width, room)
            lines += [[] for _ in range(height - len(details) - 1 - len(lines))]
            lines += [*details, self._foot(width)]
        return [self._filled(line, width) for line in lines] + [
            [(PLAIN, " " * width)] for _ in range(height - len(lines))
        ]

    def _filled(self, line: Line, width: int) -> Line:
        """Return a line cut or filled to the width, in the style of its last piece."""
        filled: Line = []
        for style, shown in line:
            shown = text.cut(shown, width, self._isUnicode)
            filled.append((style, shown))
            width -= text.width(shown)
        if width:
            filled.append((line[-1][0] if line else PLAIN, " " * width))
        return filled

    def _head(self, width: int) -> list[Line]:
        model = self._model
        title = [(TITLE, " nymea-remoteproxy-monitor ")]
        if model.sample is not None:
            title.append((TITLE, f" {page.server(model, self._isUnicode)} "))
        if self.trouble:
            title = [(TROUBLE, f" {text.safe(self.trouble, self._isUnicode)} ")]
        lines = [title]
        if model.sample is not None:
            counts = model.sample.counts
            lines.append([(PLAIN, f" Token tunnels: {page.tokenTunnels(counts)}")])
            tunnelProxy = page.tunnelProxy(counts, self._isUnicode)
            lines.append([(PLAIN, f" Tunnel proxy:  {tunnelProxy}")])
        start = f" Throughput:    {text.rate(model.throughput):>7}/s "
        room = width - len(start) - 1
        spark = text.sparkline(list(model.history), room, self._isUnicode)
        return [*lines, [(PLAIN, start), (SPARK, spark), (PLAIN, " ")], self._tabs()]

    def _tabs(self) -> Line:
        line: Line = []
        for number, table in enumerate(TABLES, 1):
            style = TAB if table is self._table else PLAIN
            count = len(table.rows(self._model))
            line += [(PLAIN, " "), (style, f" {number} {table.title} {count} ")]
        if self._filter or self._isTyping:
            shown = sum(1 for row, depth in self._rows if not depth)
            wanted = text.safe(self._filter, self._isUnicode)
            line += [(PLAIN, "  "), (SORTED, f"filter: {wanted}"), (PLAIN, f" ({shown} shown)")]
        return line

    def _help(self, height: int) -> list[Line]:
        least = max(len(keys) for keys, _ in KEYS)
        lines: list[Line] = [[(HEAD, " Keys")]]
        for keys, what in KEYS:
            lines.append([(PLAIN, f"   {self._arrows(keys):{least}}  {what}")])
        return lines[:height]

    def _arrows(self, shown: str) -> str:
        return shown if self._isUnicode else shown.translate(_ASCII_ARROWS)

    def _body(self, width: int, height: int) -> list[Line]:
        """Return the table: its head, and the rows that are visible."""
        cursor = self._cursor
        self._page = max(height - 1, 1)
        if cursor.selected is not None:
            cursor.top = max(min(cursor.top, cursor.position), cursor.position - self._page + 1)
        cursor.top = max(min(cursor.top, len(self._rows) - self._page), 0)
        layout = self._table.layout(width - 2, cursor.sort, self._model.hasWorkers)
        head: Line = [(HEAD, " ")]
        for column, columns in layout:
            isSorted = column is self._table.columns[cursor.sort]
            arrow = self._arrows("↓" if cursor.isReverse else "↑") if isSorted else " "
            if column.isText:
                shown = text.fit(column.title + arrow, columns + GAP, isUnicode=self._isUnicode)
            else:
                # Its arrow takes the gap.
                shown = f"{column.title:>{columns}}{arrow}"
            head.append((SORTED if isSorted else HEAD, shown))
        lines = [head]
        now = self._time()
        for row, depth in self._rows[cursor.top : cursor.top + self._page]:
            style = SELECTED if row.key == cursor.selected else PLAIN
            line: Line = [(style, " ")]
            for position, (column, columns) in enumerate(layout):
                cell = column.cell(row, now, self._isUnicode)
                if not position:
                    cell = depth * page.BELOW[not self._isUnicode] + cell
                shown = text.fit(cell, columns, not column.isText, self._isUnicode)
                isSpark = column.isHistory and style == PLAIN
                line.append((SPARK if isSpark else style, shown + " " * GAP))
            lines.append(line)
        if not self._rows:
            lines.append([(DIM, f" no {self._table.title.lower()}")])
        return lines

    def _details(self, width: int) -> list[Line]:
        """Return all columns of the selected row, one a line, but two where they are short."""
        cursor = self._cursor
        if cursor.selected is None or not self._rows:
            return []
        row, _ = self._rows[cursor.position]
        now = self._time()
        parts = [
            f" {column.title}: {column.cell(row, now, self._isUnicode) or text.UNKNOWN} "
            for column in self._columns
            if not column.isHistory
        ]
        lines: list[str] = []
        for part in parts:
            if lines and text.width(lines[-1]) + text.width(part) <= width:
                lines[-1] += part
            else:
                lines.append(part)
        return [[(HEAD, " Selected")], *([(PLAIN, line)] for line in lines)]

    def _foot(self, width: int) -> Line:
        if self._asked is not None:
            # The end of it must be seen, whatever a client calls itself.
            answers = "?  y yes, any other key no "
            question = text.safe(f" {self._asked.question}", self._isUnicode)
            question = text.cut(question, width - len(answers), self._isUnicode)
            return [(TROUBLE, question), (TROUBLE, answers)]
        if self.notice:
            return [(SORTED, f" {text.safe(self.notice, self._isUnicode)}")]
        if self._isTyping:
            wanted = text.safe(self._filter, self._isUnicode)
            return [(SORTED, f" filter: {wanted}_"), (DIM, "   Enter keep, Esc drop")]
        first = self._cursor.top + 1 if self._rows else 0
        last = min(self._cursor.top + self._page, len(self._rows))
        position = f" {first}-{last} of {len(self._rows)} "
        hints = text.fit(f" {self._arrows(_HINTS)}", width - len(position), False, self._isUnicode)
        return [(DIM, hints), (DIM, position)]


def _ending(row: Row) -> Order:
    """Return what ends what a row shows."""
    if isinstance(row, TunnelRow):
        isSecond = row.pair.one == ELSEWHERE
        id, peer = (row.pair.two, row.two) if isSecond else (row.pair.one, row.one)
        return endTunnel(id, _nameOf(peer))
    return endConnection(row.peer.id, _nameOf(row))


def _nameOf(row: PeerRow | None) -> str:
    if row is None:
        return "somebody unknown"
    return row.peer.name[:_MAX_NAME] or row.peer.address
