"""The other members: where each is, and the way there.

Owns which addresses are remembered, and when a member is gone. Knows nothing of what is said to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IProtocol

from nymearemoteproxy.cluster.asking import MemberGone, MemberSilent, MemberUnknown
from nymearemoteproxy.cluster.directory import DirectoryError, IDirectory, Member
from nymearemoteproxy.cluster.linking import ILinker, LinkRefused

MOST_KNOWN = 1024
"""Members whose addresses are remembered, until they do not answer there; clusters are smaller."""


class Members:
    """Finds them by their ids, and connects to them."""

    def __init__(self, directory: IDirectory, linker: ILinker) -> None:
        self._directory = directory
        self._linker = linker
        self._known: OrderedDict[bytes, Member] = OrderedDict()

    @inlineCallbacks
    def connect(self, id: bytes, protocol: IProtocol) -> Generator[Deferred[Any], Any, None]:
        """Open a link to a member.

        :returns: a Deferred that fires when the protocol has it, and fails with `MemberGone`,
            `MemberSilent` or `LinkFailed`.
        """
        try:
            member = yield self._find(id)
            yield self._linker.connect(member, protocol)
        except LinkRefused:
            raise MemberGone from None
        except DirectoryError:
            raise MemberSilent from None

    @inlineCallbacks
    def isGone(self, id: bytes) -> Generator[Deferred[Any], Any, bool]:
        """Tell whether the lease of a member that does not answer is over."""
        try:
            member = yield self._directory.member(id)
        except DirectoryError:
            return False
        if member is not None and id in self._known:
            self._known[id] = member  # it may be elsewhere by now
        return member is None

    def describe(self, id: bytes) -> str:
        """Return what a member is called, for people."""
        member = self._known.get(id)
        if member is None:
            return f"member {id.hex()}"
        return f"{member.name or 'a member'} ({id.hex()}, at {member.address})"

    def _find(self, id: bytes) -> Deferred[Member]:
        known = self._known.get(id)
        if known is not None:
            return succeed(known)
        return self._directory.member(id).addCallback(self._found)

    def _found(self, member: Member | None) -> Member:
        if member is None:
            raise MemberUnknown
        self._known[member.id] = member
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return member
