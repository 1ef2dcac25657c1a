"""Fair shares of what is too little for all: who has more than that, and who has the most.

Owns what each of several has. Knows nothing of what it is, nor of what happens to anybody.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)


class Shares(Generic[Owner]):
    """What each of several has.

    Those whose sizes have the same number of binary digits are kept together. How long a change and
    a share take does not depend on how many there are, but on how many digits.

    :ivar total: what all have together.
    """

    __slots__ = ("total", "_number", "_owners", "_sums")

    def __init__(self) -> None:
        self.total = 0
        self._number = 0
        self._owners: dict[int, dict[Owner, int]] = {}  # by digits, what each has; none is empty
        self._sums: dict[int, int] = {}  # by digits as well

    def change(self, owner: Owner, before: int, now: int) -> None:
        """Somebody who had so much before has so much now; who has nothing is forgotten."""
        self.total += now - before
        digits = now.bit_length()
        if before.bit_length() == digits > 0:
            self._owners[digits][owner] = now
            self._sums[digits] += now - before
            return
        if before:
            self._remove(owner, before)
        if now:
            self._owners.setdefault(digits, {})[owner] = now
            self._sums[digits] = self._sums.get(digits, 0) + now
            self._number += 1

    def _remove(self, owner: Owner, size: int) -> None:
        digits = size.bit_length()
        owners = self._owners[digits]
        del owners[owner]
        self._sums[digits] -= size
        self._number -= 1
        if not owners:
            del self._owners[digits], self._sums[digits]

    def fair(self, room: int) -> int:
        """Return how much each may have, so that all together have no more than there is room for.

        Who has less leaves the rest to the others, as far as the digits tell. It is an equal part
        of the room or more, and there is always somebody who has more than this.

        :param room: less than `total`.
        """
        number = self._number
        for digits in sorted(self._owners):
            if number << digits > room:
                break
            room -= self._sums[digits]
            number -= len(self._owners[digits])
        return room // number

    def largest(self) -> Owner:
        """Return who has the most. It takes as long as there are owners of nearly as much."""
        owners = self._owners[max(self._owners)]
        return max(owners, key=owners.__getitem__)
