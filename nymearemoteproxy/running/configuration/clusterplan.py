"""What comes out: how to be a member of a cluster.

Owns nothing but the words for it. Knows nothing of how it was worked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nymearemoteproxy.listening.listeners import Listener

if TYPE_CHECKING:
    from nymearemoteproxy.cluster.redisurl import RedisUrl


@dataclass(frozen=True)
class ClusterPlan:
    """How to be a member.

    :ivar directories: where they are.
    :ivar secret: that all members know; None = it is in the directory.
    :ivar listener: where links of other machines come in; None = there are none.
    :ivar address: host and port at which others reach that; None = what is listened on.
    :ivar name: for people.
    :ivar linkTimeout: seconds.
    :ivar directoryTimeout: seconds.
    """

    directories: Sequence[RedisUrl]
    secret: bytes | None = field(repr=False)
    listener: Listener
    address: tuple[str, int] | None
    name: str
    linkTimeout: float
    directoryTimeout: float
