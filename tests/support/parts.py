"""A proxy whose parts nobody asked for are the plainest there are."""

from __future__ import annotations

from typing import Any

from nymearemoteproxy.authentication.tokens import AnyToken
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.policy import Policy
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.session import PairingKeys


def makeProxy(
    clock: Any,
    bounds: Bounds | None = None,
    authenticator: Any = None,
    rendezvous: Any = None,
    switchboard: Any = None,
    turns: Turns | None = None,
    registry: Any = None,
    keys: PairingKeys | None = None,
    **policy: Any,
) -> Proxy:
    """Return a proxy without connections.

    :param registry: all connections; `bounds` are for when there is none.
    :param policy: what is other than usual in its `Policy`.
    """
    turns = turns or Turns(clock)
    usual = {"name": "test", "timing": Timing()}
    return Proxy(
        clock=clock,
        turns=turns,
        registry=registry or Registry(clock, turns, Gate(clock, bounds or Bounds())),
        policy=Policy(**{**usual, **policy, "hasTunnelProxy": switchboard is not None}),
        keys=keys or PairingKeys(),
        authenticator=authenticator or AnyToken(),
        rendezvous=rendezvous or Rendezvous(),
        switchboard=switchboard,
    )
