"""Several directories that are one: a place's hash chooses which one knows it.

Owns that choice, and what is made of several answers. Knows nothing of where the directories are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory, Member

Result = TypeVar("Result")


@implementer(IDirectory)
class ShardedDirectory:
    """This member's view of all of them. Its entry is in each.

    All members must have the same directories in the same order.

    :param directories: the first one's secret is that of all.
    :ivar directories: these.
    """

    isLasting = False

    def __init__(self, directories: Sequence[Any]) -> None:
        self.directories = directories

    @property
    def secret(self) -> bytes | None:
        """The first one's."""
        secret: bytes | None = self.directories[0].secret
        return secret

    @property
    def isAnswering(self) -> bool:
        """Whether all do. Those that do are asked in any case."""
        return all(directory.isAnswering for directory in self.directories)

    @property
    def commands(self) -> int:
        """How many all were sent."""
        return sum(directory.commands for directory in self.directories)

    @property
    def failures(self) -> int:
        """Of those, how many were not answered, or not as they should."""
        return sum(directory.failures for directory in self.directories)

    @property
    def outages(self) -> int:
        """How often one of them began not to answer."""
        return sum(directory.outages for directory in self.directories)

    @property
    def hasOtherSecrets(self) -> bool:
        """Whether at any of them there are members, too, that have another secret."""
        return any(directory.hasOtherSecrets for directory in self.directories)

    def isLeaseOver(self) -> bool:
        """Whether any has not been reached for too long: who asks does not say for which place."""
        return any(directory.isLeaseOver() for directory in self.directories)

    def follow(self, returned: Callable[[], object]) -> None:
        for directory in self.directories:
            directory.follow(returned)

    def start(self) -> Deferred[None]:
        """Connect to each; fires after the first attempts."""
        return self._all([directory.start() for directory in self.directories]).addCallback(_none)

    def stop(self) -> Deferred[None]:
        """Leave each."""
        return self._all([directory.stop() for directory in self.directories]).addCallback(_none)

    def renew(self) -> Deferred[None]:
        return self._all([directory.renew() for directory in self.directories]).addCallback(_none)

    def claim(self, place: str, holder: Holder) -> Deferred[Holder]:
        return self._at(place).claim(place, holder)  # type: ignore[no-any-return]

    @inlineCallbacks
    def claimAll(
        self, claims: Sequence[tuple[str, Holder]]
    ) -> Generator[Deferred[Any], Any, list[Holder]]:
        numbers = [self._number(place) for place, _holder in claims]
        used = sorted(set(numbers))
        parts = [
            [claim for claim, number in zip(claims, numbers, strict=True) if number == each]
            for each in used
        ]
        asked = [
            self.directories[each].claimAll(part) for each, part in zip(used, parts, strict=True)
        ]
        answers = yield self._all(asked)
        holders = {each: iter(answer) for each, answer in zip(used, answers, strict=True)}
        return [next(holders[number]) for number in numbers]

    def replace(self, place: str, old: Holder, new: Holder) -> Deferred[Holder]:
        return self._at(place).replace(place, old, new)  # type: ignore[no-any-return]

    def release(self, place: str, holder: Holder) -> Deferred[None]:
        return self._at(place).release(place, holder)  # type: ignore[no-any-return]

    def find(self, place: str) -> Deferred[Holder | None]:
        return self._at(place).find(place)  # type: ignore[no-any-return]

    @inlineCallbacks
    def member(self, id: bytes) -> Generator[Deferred[Any], Any, Member | None]:
        """Fire with a member that any of them knows; None only when all say so."""
        trouble: DirectoryError | None = None
        for directory in self.directories:
            try:
                member: Member | None = yield directory.member(id)
            except DirectoryError as error:
                trouble = error
            else:
                if member is not None:
                    return member
        if trouble is not None:
            raise trouble
        return None

    def _number(self, place: str) -> int:
        return zlib.crc32(place.encode()) % len(self.directories)

    def _at(self, place: str) -> Any:
        return self.directories[self._number(place)]

    def _all(self, asked: Sequence[Deferred[Result]]) -> Deferred[list[Result]]:
        """Wait for all, also when one fails; then it fails."""
        return DeferredList(asked, consumeErrors=True).addCallback(_resultsOf)


def _resultsOf(ended: list[tuple[bool, Any]]) -> Any:
    for isGood, result in ended:
        if not isGood:
            assert isinstance(result, Failure)
            return result
    return [result for _isGood, result in ended]


def _none(_results: object) -> None:
    return None
