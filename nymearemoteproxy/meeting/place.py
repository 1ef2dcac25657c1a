"""What is asked for before a tunnel, and what is answered: a place, or why there is none.

Owns the one form in which both `IRendezvous` and `ISwitchboard` answer, so that whoever asks, be it
for a client here or for one that another process holds, has one path. Knows nothing of how a place
is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Identity

Look = Callable[[], Deferred[bool]]
"""Finds out whether a client is still there; see `Presence.look`."""


@dataclass(frozen=True)
class Place:
    """There is a tunnel for the client that asked.

    :ivar tunnel: the one to attach its leg to. Whoever does not want it any more abandons it.
    :ivar partner: who is on the other side; empty in the tunnel proxy, whose messages say it.
    """

    tunnel: Tunnel
    partner: Identity = Identity()


class PlaceRefused(Exception):
    """There is no place for this client.

    :ivar outcome: how its connection ends.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.label)
        self.outcome = outcome
