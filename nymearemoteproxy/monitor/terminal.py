"""The terminal while a view is on it.

Owns curses, keys, looks, resizing, and giving it back. Knows nothing of what is shown: all of the
view's lines are handed to curses each time, and it writes what has changed.
"""

from __future__ import annotations

import codecs
import contextlib
import curses
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.monitor import view as styles
from nymearemoteproxy.monitor.text import width
from nymearemoteproxy.monitor.view import View

STDIN, STDOUT = 0, 1

# Milliseconds that the Escape key is waited for to be the beginning of another key's sequence. More
# than these take over the slowest connection, and less than anybody notices.
_ESCAPE_DELAY = 25

_NAMES = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pageup",
    curses.KEY_NPAGE: "pagedown",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_BTAB: "backtab",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
}
_CHARACTERS = {
    "\t": "tab",
    "\n": "enter",
    "\r": "enter",
    "\x1b": "escape",
    "\x7f": "backspace",
    "\x08": "backspace",
}

# Times that standard input is readable without a key before it is taken for gone: it stays readable
# then, and otherwise once in a while.
_MOST_FRUITLESS = 16

# Styles without colour, and the colour of their text where there are colours.
_LOOKS = {
    styles.PLAIN: (curses.A_NORMAL, None),
    styles.TITLE: (curses.A_REVERSE, None),
    styles.TROUBLE: (curses.A_REVERSE | curses.A_BOLD, curses.COLOR_RED),
    styles.TAB: (curses.A_REVERSE, curses.COLOR_CYAN),
    styles.HEAD: (curses.A_BOLD, None),
    styles.SORTED: (curses.A_BOLD | curses.A_UNDERLINE, curses.COLOR_YELLOW),
    styles.SELECTED: (curses.A_REVERSE, None),
    styles.SPARK: (curses.A_NORMAL, curses.COLOR_GREEN),
    styles.DIM: (curses.A_DIM, None),
}


class TerminalError(Exception):
    """The terminal cannot show a view; ``str()`` is one line."""


@implementer(IReadDescriptor)
class Terminal:
    """Standard input and output, as the place of one view.

    :param reactor: an `IReactorFDSet`.
    :param onQuit: is called when the view is over.
    :param onGone: is called when the terminal is gone.
    :param hasColor: colours may be used if the terminal has any.
    """

    def __init__(
        self,
        reactor: Any,
        view: View,
        onQuit: Callable[[], None],
        onGone: Callable[[], None],
        hasColor: bool = True,
    ) -> None:
        self._reactor = reactor
        self._view = view
        self._onQuit = onQuit
        self._onGone = onGone
        self._hasColor = hasColor
        self._window: Any = None
        self._looks: dict[int, int] = {}
        self._fruitless = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")

    @staticmethod
    def check() -> None:
        """Make sure that a view can be shown, and change nothing.

        :raises TerminalError: it cannot.
        """
        if not (os.isatty(STDIN) and os.isatty(STDOUT)):
            raise TerminalError("no terminal; use --once or --json")
        # What curses would do itself, but then it ends the process.
        try:
            curses.setupterm(fd=STDOUT)
        except curses.error:
            kind = ascii(os.environ.get("TERM", ""))
            raise TerminalError(f"unknown terminal {kind}; set TERM, or use --once") from None
        if not curses.tigetstr("cup"):
            raise TerminalError("this terminal cannot move its cursor; use --once or --json")

    @property
    def isOpen(self) -> bool:
        """Whether the view is on the terminal."""
        return self._window is not None

    def open(self) -> None:
        """Take the terminal and show the view."""
        self._window = curses.initscr()
        curses.set_escdelay(_ESCAPE_DELAY)
        curses.noecho()
        curses.cbreak()
        self._window.keypad(True)
        self._window.nodelay(True)
        with contextlib.suppress(curses.error):  # not every terminal can hide it
            curses.curs_set(0)
        self._looks = self._makeLooks()
        self._reactor.addReader(self)
        self.draw()

    def close(self) -> None:
        """Give the terminal back as it was; any number of times."""
        if self._window is not None:
            self._window = None
            self._reactor.removeReader(self)
            with contextlib.suppress(curses.error):  # the terminal may be gone
                curses.endwin()

    def resized(self) -> None:
        """Show the view at the terminal's new size."""
        if self._window is None:
            return
        # The terminal may be gone, or have no size.
        with contextlib.suppress(OSError, curses.error):
            columns, rows = os.get_terminal_size(STDOUT)
            curses.resizeterm(rows, columns)
            # What the terminal made of the old content is anybody's guess.
            self._window.clear()
        self.draw()

    def draw(self) -> None:
        """Show the view as it is now; it must be open."""
        height, columns = self._window.getmaxyx()
        for y, line in enumerate(self._view.lines(columns, height)):
            x = 0
            for style, text in line:
                # curses shows the last cell of the last line, and complains about where to go on.
                with contextlib.suppress(curses.error):
                    self._window.addstr(y, x, text, self._looks[style])
                x += width(text)
        self._window.refresh()

    def fileno(self) -> int:
        """Where keys come from."""
        return STDIN

    def logPrefix(self) -> str:
        """Return a name for logs."""
        return "terminal"

    def doRead(self) -> Failure | None:
        """Pass all keys that are there to the view."""
        self._fruitless += 1
        while not self._view.isOver and (key := self._read()) is not None:
            self._fruitless = 0
            if key:
                self._view.key(key)
        if self._view.isOver:
            self._onQuit()
        elif self._fruitless > _MOST_FRUITLESS:
            self._onGone()
        elif not self._fruitless:
            self.draw()
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given up reading: the terminal is gone."""
        self._onGone()

    def _read(self) -> str | None:
        """Return the name of the next key, "" for one that means nothing, None for no key."""
        key = self._window.getch()
        if key < 0:
            return None
        if key > 0xFF:
            return _NAMES.get(key, "")
        # Not get_wch(): it never gets over a byte that is no UTF-8, and loses half a character.
        character = self._decoder.decode(bytes([key]))
        return _CHARACTERS.get(character, character)

    def _makeLooks(self) -> dict[int, int]:
        hasColor = self._hasColor
        if hasColor:
            curses.start_color()
            hasColor = curses.has_colors()
        if not hasColor:
            return {style: look for style, (look, _) in _LOOKS.items()}
        curses.use_default_colors()
        looks = {}
        for style, (look, color) in _LOOKS.items():
            if color is not None:
                curses.init_pair(style, color, -1)
                look |= curses.color_pair(style)
            looks[style] = look
        return looks
