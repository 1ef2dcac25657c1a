"""How many servers and clients are registered from each address.

Owns the counting, and the limit that it is for. Knows nothing of registrations. `SourceCounts`
counts in this process; what counts for several provides the same interface, which is why it answers
through Deferreds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from zope.interface import Interface, implementer

from nymearemoteproxy.protocol.session import Role

Release = Callable[[], object]
"""Gives back what was counted; to be called once."""


class ICounts(Interface):
    """Counts registrations by where they come from."""

    def take(role: Role, source: str | None, limit: int) -> Deferred[Release | None]:
        """Count one more.

        :param role: SERVER or CLIENT, each of which is counted for itself.
        :param source: what the limits count its address as; None where they do not apply.
        :param limit: how many there may be; 0 = any number.
        :returns: a Deferred that fires with what counts it no longer; with None when there are as
            many already. It does not fail.
        """


@implementer(ICounts)
class SourceCounts:
    """Those of one process, or what those of several are counted with."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Role, str]] = Counter()

    @property
    def isEmpty(self) -> bool:
        """Nothing is counted."""
        return not self._counts

    def take(self, role: Role, source: str | None, limit: int) -> Deferred[Release | None]:
        return succeed(self.count(role, source, limit))

    def count(self, role: Role, source: str | None, limit: int) -> Release | None:
        """The same, at once."""
        if source is None:
            return _nothing
        counts, key = self._counts, (role, source)
        if 0 < limit <= counts[key]:
            return None
        counts[key] += 1

        def release() -> None:
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

        return release


def _nothing() -> None:
    """It was not counted."""
