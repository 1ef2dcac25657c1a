"""The server, as those see it who watch it.

Owns what they are given of it. Knows nothing of who they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.watching.actions import Actions
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload
from nymearemoteproxy.watching.pulse import Pulse

if TYPE_CHECKING:
    from nymearemoteproxy.watching.company import Company


@dataclass(frozen=True)
class Entrance:
    """Where clients come in.

    :ivar url: with which they connect.
    :ivar behindProxy: only a reverse proxy does, which tells their addresses by a PROXY header.
    :ivar isFront: it is the front door, which is for visitors of homes only.
    """

    url: str
    behindProxy: bool = False
    isFront: bool = False


@dataclass(frozen=True)
class Watched:
    """A server that runs.

    :ivar condition: tells where it stands.
    :ivar actions: does what operators ask for.
    :ivar company: tells what goes on with those who serve together; None = this process is alone.
    :ivar lastReload: tells what became of it; None = there was none.
    :ivar places: tells where clients come in at the moment; none while nobody is let in.
    :ivar hasFront: there is a front door, be it closed by now.
    """

    proxy: Proxy
    pulse: Pulse
    calendar: Calendar
    condition: Callable[[], Condition]
    actions: Actions
    company: Callable[[], Company] | None = None
    lastReload: Callable[[], LastReload | None] = lambda: None
    places: Callable[[], Sequence[Entrance]] = tuple
    hasFront: bool = False
