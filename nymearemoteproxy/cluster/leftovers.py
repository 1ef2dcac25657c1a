"""Places that may stand in the directory, although nobody is there any more.

Owns how many of them are kept, and that they are freed when the directory answers. Knows nothing of
how they came to be left.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.python.failure import Failure

from nymearemoteproxy.cluster.directory import (
    CLAIMS_AT_ONCE,
    DirectoryError,
    Holder,
    IDirectory,
    unheeded,
)

MOST_LEFTOVERS = 10_000
"""About two megabytes here, and some hundred milliseconds of a Redis. Others that were left
meanwhile are found to be free by whoever comes there next."""


class Leftovers:
    """Those of this member.

    Of one place there may be several: each claim that was not answered may be done yet.
    """

    def __init__(self, directory: IDirectory) -> None:
        self._directory = directory
        self._left: dict[tuple[str, Holder], None] = {}

    def __len__(self) -> int:
        return len(self._left)

    def add(self, name: str, holder: Holder) -> None:
        """Free a place later."""
        if len(self._left) < MOST_LEFTOVERS:
            self._left[name, holder] = None

    def free(self, name: str, holder: Holder) -> Deferred[None]:
        """Free a place now; later, if that is not answered.

        :returns: a Deferred that fires in either case.
        """
        return self._directory.release(name, holder).addErrback(self._notFreed, name, holder)

    def _notFreed(self, failure: Failure, name: str, holder: Holder) -> None:
        failure.trap(DirectoryError)
        self.add(name, holder)

    @inlineCallbacks
    def clear(self) -> Generator[Deferred[Any], Any, None]:
        """Free all, as long as the directory answers."""
        while self._left:
            some = list(islice(self._left, CLAIMS_AT_ONCE))
            yield gatherResults([unheeded(self._directory.release(*each)) for each in some])
            if not self._directory.isAnswering:
                return
            for each in some:
                self._left.pop(each, None)
