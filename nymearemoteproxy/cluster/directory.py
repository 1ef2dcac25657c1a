"""What the members of a cluster share: who holds which place, and which members there are.

Owns what a directory must answer, and that it answers in time or fails. Knows nothing of who waits
at a place, nor how one member reaches another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

T = TypeVar("T")

MEMBER_SIZE = 16
"""Bytes of a member's id, made at random at each start: none is ever met twice."""

NAME_SIZE = 2 * MEMBER_SIZE
"""Bytes of an id as it is written: hexadecimal digits."""

SECRET_SIZE = 32
"""Bytes of a secret that is made here, as many as the digests have that are made with it."""

CLAIMS_AT_ONCE = 200
"""Places in one `IDirectory.claimAll`: a fraction of a millisecond for a Redis, which does one
thing at a time."""


class DirectoryError(Exception):
    """The directory did not answer in time, or not as it should; the text says what it did."""


@dataclass(frozen=True)
class Holder:
    """Who holds a place.

    :ivar member: its id.
    :ivar claim: counts that member's claims, so that what is late can harm no later one.
    """

    member: bytes
    claim: int


@dataclass(frozen=True)
class Member:
    """A process that clients connect to.

    :ivar id: `MEMBER_SIZE` bytes.
    :ivar address: where it takes links: ``unix:PATH``, or ``tcp:HOST:PORT`` with TLS.
    :ivar version: of the links that it speaks, the newest.
    :ivar name: for people; need not be unique.
    """

    id: bytes
    address: str
    version: int
    name: str = ""


class IDirectory(Interface):
    """Knows places and members.

    A place is a short text that tells nothing, such as ``key:<digest>``. Each Deferred fires or
    fails with `DirectoryError` within the directory's own time limit, whatever becomes of the
    directory; while it is known not to answer they fail at once.
    """

    secret = Attribute("Keys the names of places, the same in all members; None = not known yet.")
    isAnswering = Attribute("False from a failure on until it has answered again.")
    isLasting = Attribute("True for one that loses nothing, however late it answers.")
    commands = Attribute("How many it was sent.")
    failures = Attribute("Of those, how many it did not answer, or not as it should.")
    outages = Attribute("How often it began not to answer.")

    def follow(returned: Callable[[], object]) -> None:
        """Have this called whenever all places have to be claimed anew.

        That is when it answers again after a failure, has lost what it held (this member's entry
        was gone), or has another secret.
        """

    def isLeaseOver() -> bool:
        """True when others may have taken this member's places: it was not renewed for too long.

        By a clock that goes on while the machine sleeps.
        """

    def renew() -> Deferred[None]:
        """Renew this member's entry now."""

    def claim(place: str, holder: Holder) -> Deferred[Holder]:
        """Take a place that is free; fires with who holds it now."""

    def claimAll(claims: Sequence[tuple[str, Holder]]) -> Deferred[list[Holder]]:
        """The same for at most `CLAIMS_AT_ONCE` places, all at once."""

    def replace(place: str, old: Holder, new: Holder) -> Deferred[Holder]:
        """Take a place from its holder, or the last one; fires with who holds it now."""

    def release(place: str, holder: Holder) -> Deferred[None]:
        """Free a place, if it is this one who holds it."""

    def find(place: str) -> Deferred[Holder | None]:
        """Fire with who holds a place; None = nobody. Claims nothing."""

    def member(id: bytes) -> Deferred[Member | None]:
        """Fire with a member; None = its lease is over."""


def unheeded(asked: Deferred[T]) -> Deferred[T | None]:
    """Go on whether the directory answers or not; fires with None if it does not."""
    return asked.addErrback(lambda failure: failure.trap(DirectoryError) and None)
