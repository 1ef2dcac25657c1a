"""The server, as those see it who watch it.

Owns what they are given of it. Knows nothing of who they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.pulse import Pulse

if TYPE_CHECKING:
    from nymearemoteproxy.watching.company import Company


@dataclass(frozen=True)
class Watched:
    """A server that runs.

    :ivar condition: tells where it stands.
    :ivar drain: stops listening and ends the process when the last tunnel has ended.
    :ivar company: tells what goes on with those who serve together; None = this process is alone.
    """

    proxy: Proxy
    pulse: Pulse
    calendar: Calendar
    condition: Callable[[], Condition]
    drain: Callable[[], object]
    company: Callable[[], Company] | None = None
