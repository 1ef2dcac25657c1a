"""The command line of ``nymea-remoteproxy-monitor``.

Owns the options, and how they go together. Knows nothing of what they lead to.
"""

from __future__ import annotations

import math
import os

from twisted.python import usage

from nymearemoteproxy import __version__
from nymearemoteproxy.common.onlyoptions import OnlyOptions
from nymearemoteproxy.monitor.orders import DRAIN, RELOAD, Order, endConnection, endTunnel, isId

PROGRAM = "nymea-remoteproxy-monitor"
DEFAULT_SOCKET = "/run/nymea-remoteproxy/monitor.sock"
DEFAULT_INTERVAL = 1.0

# Seconds. More often the server would be busy with telling rather than relaying; less often than
# once a day, nobody would notice a mistake for a day.
_LEAST_INTERVAL, _MOST_INTERVAL = 0.1, 86400.0

# Bytes of a Unix socket's path: sun_path of Linux without the zero at its end.
_LONGEST_PATH = 107

# Options that have something done: to one connection, and to all of the server.
_ABOUT_ONE = {"end": endConnection, "end-tunnel": endTunnel}
_ABOUT_ALL = {"reload": RELOAD, "drain": DRAIN}


class MonitorOptions(OnlyOptions):
    """The command line.

    :ivar order: what the server is to do; None = it is only looked at.
    """

    order: Order | None = None

    synopsis = f"Usage: {PROGRAM} [options]"
    longdesc = (
        "Shows what a nymea-remoteproxy on this machine is doing: its clients, tunnels and "
        "registered servers, and how much each of them moves. In a terminal it is a live view; "
        "the key ? tells what can be done there. With --once it is a page of text, with --json a "
        "line for scripts. The server's monitor socket is for its user and group only, and only "
        "its user and root may have something done by it. "
        "Exit status 0: asked to quit, or all is printed, or it is done. 1: the server could not "
        "be asked, or it was not done."
    )
    optParameters = [
        ["socket", "s", DEFAULT_SOCKET, "the server's monitor socket"],
        [
            "interval",
            "i",
            None,
            "seconds between two looks at the server, 1 in the view; "
            "with --once or --json: print again and again, not only once",
        ],
        ["end", None, None, "end the connection with this id, and with it the tunnel it has"],
        ["end-tunnel", None, None, "the same, if it is in a tunnel of two clients"],
    ]
    optFlags = [
        ["once", None, "print a page of text, and exit"],
        ["json", None, "print what the server says as one line of JSON, and exit"],
        ["all", "a", "registered servers without clients, too"],
        ["reload", None, "have the server read its configuration anew"],
        ["drain", None, "have the server let nobody in any more, and end with its last tunnel"],
        ["no-color", None, "no colours; the variable NO_COLOR does the same"],
    ]

    def opt_version(self) -> None:
        """show the version"""
        print(PROGRAM, __version__)
        raise SystemExit(0)

    opt_V = opt_version
    opt_h = usage.Options.opt_help

    def postOptions(self) -> None:
        """Check the options together."""
        exclusive = ("once", "json", *_ABOUT_ONE, *_ABOUT_ALL)
        given = [name for name in exclusive if self[name] not in (0, None)]
        if len(given) > 1:
            raise usage.UsageError(f"--{given[0]} and --{given[1]} exclude each other")
        self.order = self._readOrder(given[0]) if given else None
        if self.order is not None and (self["interval"] is not None or self["all"]):
            raise usage.UsageError(f"--{given[0]} goes neither with --interval nor with --all")
        # Twisted does not get over what no socket's path can be.
        size = len(os.fsencode(self["socket"]))
        if not 0 < size <= _LONGEST_PATH or "\0" in self["socket"]:
            raise usage.UsageError(f"--socket: not a path of 1 to {_LONGEST_PATH} bytes")
        if self["interval"] is not None:
            self["interval"] = _seconds(self["interval"])

    @property
    def isView(self) -> bool:
        """Whether a view is wanted, rather than something printed."""
        return not (self["once"] or self["json"] or self.order)

    def _readOrder(self, name: str) -> Order | None:
        """Return what an option of this name has the server do, if that is what it is for."""
        make = _ABOUT_ONE.get(name)
        if make is None:
            return _ABOUT_ALL.get(name)
        if not isId(self[name]):
            raise usage.UsageError(f"--{name}: not the id of a connection, which is a number")
        return make(self[name])


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not _LEAST_INTERVAL <= seconds <= _MOST_INTERVAL:
        raise usage.UsageError(
            f"--interval: not a number from {_LEAST_INTERVAL:g} to {_MOST_INTERVAL:g}"
        )
    return seconds
