"""The command ``nymea-remoteproxy-monitor``.

Owns the life of one run: what the options lead to, and the exit status. Knows nothing of how the
server is asked, nor of how a view looks.
"""

from __future__ import annotations

import locale
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.logger import globalLogBeginner
from twisted.python import usage
from twisted.python.failure import Failure

from nymearemoteproxy.monitor import page
from nymearemoteproxy.monitor.model import Model
from nymearemoteproxy.monitor.options import DEFAULT_INTERVAL, PROGRAM, MonitorOptions
from nymearemoteproxy.monitor.orders import Order, Reply
from nymearemoteproxy.monitor.polling import ANSWER_PATIENCE, Poller, explain
from nymearemoteproxy.monitor.sample import Sample
from nymearemoteproxy.monitor.terminal import Terminal, TerminalError
from nymearemoteproxy.monitor.text import safe
from nymearemoteproxy.monitor.view import View

# Exit status; all other mistakes have 1.
_WRONG_USAGE = 2


class MonitorRun:
    """One run of the command.

    :ivar status: the exit status.
    :ivar reason: the line to say at the end, if any.
    """

    def __init__(self, reactor: Any, options: MonitorOptions, isUnicode: bool) -> None:
        self.status = 0
        self.reason: str | None = None
        self._reactor = reactor
        self._options = options
        self._isUnicode = isUnicode
        self._isOver = False
        self._model = Model()
        path = options["socket"]
        self._poller = Poller(
            reactor,
            UNIXClientEndpoint(reactor, path, timeout=ANSWER_PATIENCE),
            options["interval"] or DEFAULT_INTERVAL,
            self._answered,
            self._troubled,
            onConnected=self._connected,
            isPrintingAll=bool(options["all"]),
            explain=lambda problem: explain(problem, path),
        )
        self._view: View | None = None
        self._terminal: Terminal | None = None
        if options.isView:
            Terminal.check()
            self._view = View(
                self._model,
                time.time,
                isUnicode,
                bool(options["all"]),
                self._printAll,
                self._give,
            )
            hasColor = not (options["no-color"] or os.environ.get("NO_COLOR"))
            self._terminal = Terminal(reactor, self._view, self.stop, self._gone, hasColor)

    def start(self) -> None:
        """Begin; to be called once the reactor runs."""
        self._poller.start()

    def stop(self, status: int = 0, reason: str | None = None) -> None:
        """End the run. The first end counts."""
        if self._isOver:
            return
        self._isOver = True
        self.status, self.reason = status, reason
        self._poller.stop()
        if self._terminal is not None:
            self._terminal.close()
        self._reactor.stop()

    def signalled(self, number: int, _: object) -> None:
        """End the run; Ctrl-C in a view is an ordinary way to do that."""
        isOrdinary = self._options.isView and number == signal.SIGINT
        self._reactor.callFromThread(self.stop, 0 if isOrdinary else 128 + number)

    def resized(self, number: int, _: object) -> None:
        """The view's terminal has another size."""
        assert self._terminal is not None, "only with a view is anybody told"
        self._reactor.callFromThread(self._terminal.resized)

    def logged(self, event: Mapping[str, Any]) -> None:
        """Take an event of Twisted's log: a failure in there is a bug of ours.

        Nobody would see it behind a view, and the view would stand still.
        """
        failure = event.get(
            "log_failure", event.get("failure")
        )  # the older spelling is in use, too
        if isinstance(failure, Failure):
            self.stop(1, "internal error, please report it:\n" + failure.getTraceback())

    def _gone(self) -> None:
        # Whether the signal or this is noticed first is chance.
        self.stop(128 + signal.SIGHUP)

    def _connected(self) -> None:
        self._model.restart()
        if self._options.order is not None:
            self._poller.give(self._options.order, self._done)

    def _give(self, order: Order) -> None:
        """Somebody at the view wants it."""
        self._poller.give(order, self._showReply)

    def _showReply(self, reply: Reply) -> None:
        assert self._view is not None and self._terminal is not None
        self._view.notice = reply.words
        if self._terminal.isOpen:
            self._terminal.draw()

    def _done(self, reply: Reply) -> None:
        """What the command line asked for is over."""
        words = safe(reply.words)
        if reply.isDone:
            self._write(words)
            self.stop()
        else:
            self.stop(1, words)

    def _answered(self, message: Mapping[str, Any], sample: Sample) -> None:
        if self._options.order is not None:
            return
        self._model.update(sample, self._reactor.seconds())
        if self._view is not None and self._terminal is not None:
            self._view.trouble = ""
            self._view.update()
            if self._terminal.isOpen:
                self._terminal.draw()
            else:
                # Not earlier: a line of text is better than a screen with nothing to see.
                self._terminal.open()
        else:
            self._print(message)

    def _print(self, message: Mapping[str, Any]) -> None:
        if self._options["json"]:
            shown = page.line(message)
        else:
            shown = page.page(self._model, time.time(), self._isUnicode)
        self._write(shown)
        if self._options["interval"] is None:
            self.stop()

    def _write(self, shown: str) -> None:
        try:
            print(shown, flush=True)
        except OSError as problem:
            # Whoever read it had enough, as in a pipe to head; or there is no room on the disk.
            isEnough = isinstance(problem, BrokenPipeError)
            self.stop(0 if isEnough else 1, None if isEnough else f"cannot write: {problem}")

    def _troubled(self, reason: str) -> None:
        if self._view is None or self._terminal is None or not self._terminal.isOpen:
            self.stop(1, reason)
        else:
            self._view.trouble = f"{reason}; trying again"
            self._view.update()
            self._terminal.draw()

    def _printAll(self, isPrintingAll: bool) -> None:
        self._poller.isPrintingAll = isPrintingAll
        self._poller.ask()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, else the process's arguments; return its exit status."""
    # A missing descriptor's number would be given to the reactor's own files.
    if sys.stdin is None or sys.stdout is None:
        return _refuse("standard input or standard output is closed")
    try:
        options = MonitorOptions()
        options.parseOptions(list(sys.argv[1:] if argv is None else argv))
        from twisted.internet import reactor as globalReactor

        reactor: Any = globalReactor
        # Deadlines and pauses must not follow the date, which may be set.
        reactor.seconds = time.monotonic
        run = MonitorRun(reactor, options, _isUnicode())
    except usage.UsageError as problem:
        return _refuse(safe(" ".join(str(problem).split())), _WRONG_USAGE)
    except TerminalError as problem:
        return _refuse(safe(str(problem)))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    observer: Any = run.logged
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, run.signalled)
    if options.isView:
        signal.signal(signal.SIGWINCH, run.resized)
    reactor.callWhenRunning(run.start)
    # Twisted's own handlers would replace ours.
    reactor.run(installSignalHandlers=False)
    if run.reason is not None:
        _say(run.reason)
    return run.status


def _isUnicode() -> bool:
    """Tell whether everything on the way to the terminal takes UTF-8."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        return False  # curses would write bytes that nobody understands
    encodings = (locale.nl_langinfo(locale.CODESET), sys.stdout.encoding)
    return all(encoding.upper() in ("UTF-8", "UTF8") for encoding in encodings)


def _refuse(reason: str, status: int = 1) -> int:
    _say(reason)
    return status


def _say(text: str) -> None:
    # print() would take a missing stderr for stdout, and a status line is not worth dying for.
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{PROGRAM}: {text}\n")
            sys.stderr.flush()
        except OSError:
            pass


if __name__ == "__main__":
    sys.exit(main())
