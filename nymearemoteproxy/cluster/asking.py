"""What other members are asked: to let a client meet one of theirs, or whether one is there.

Owns the questions, and how each may fail. Knows nothing of who asks, nor of how a question gets to
another member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from nymearemoteproxy.cluster.directory import Holder
from nymearemoteproxy.meeting.place import Place
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity
from nymearemoteproxy.tunnelproxy.ends import Origin


class NobodyThere(Exception):
    """The member says that nobody is at the place."""


class MemberGone(Exception):
    """The member is no more: nobody listens at its address, or its lease is over."""


class MemberUnknown(MemberGone):
    """The directory has no entry of it: its lease is over, or what the directory had is lost."""


class MemberSilent(Exception):
    """The member is there, but did not answer in time, or not as it should."""


class IAsking(Interface):
    """Asks other members.

    Each Deferred fails in bounded time with `NobodyThere`, `MemberGone` or `MemberSilent`.
    """

    def meet(holder: Holder, place: str, identity: Identity, record: Any) -> Deferred[Place]:
        """Join a client of ours with the one that waits at a place.

        :returns: also fails with `PlaceRefused`. Cancelling it gives up.
        """

    def visit(
        holder: Holder,
        place: str,
        registration: ClientRegistration,
        origin: Origin,
        release: Callable[[], object],
    ) -> Deferred[Place]:
        """Connect a client of ours to the server that is registered at a place.

        :param release: is called when the client has left its tunnel, or has got none.
        :returns: also fails with `PlaceRefused`.
        """

    def look(holder: Holder, place: str) -> Deferred[None]:
        """Fire if somebody is at a place."""
