"""Places that another member has, too: whether somebody is there, and what that means for ours.

Owns whom is asked, and how many at a time. Knows nothing of links, nor of who is at a place.

Theory of operation
-------------------

When the directory did not answer, a place may have been taken that it knows to be another member's.
It may stand there for nobody: that member died meanwhile, or whoever was at it came over to us. So
the holder is asked before anything is done here. If nobody is there the place is taken from it, and
nothing happens to ours. If it does not answer we are told of the place again, and ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import DeferredSemaphore, inlineCallbacks

from nymearemoteproxy.cluster.asking import IAsking, MemberGone, MemberSilent, NobodyThere
from nymearemoteproxy.cluster.directory import Holder
from nymearemoteproxy.cluster.places import Places, PlaceSeat

QUESTIONS = 64
"""Places that others are asked about at a time: each takes a link, and some milliseconds."""


class Contests:
    """Asks about contested places.

    :param lost: is called with a place at which another member has somebody, too.
    """

    def __init__(
        self, places: Places, asking: IAsking, lost: Callable[[PlaceSeat], object]
    ) -> None:
        self._places = places
        self._asking = asking
        self._lost = lost
        self._doubted: set[PlaceSeat] = set()
        self._questions = DeferredSemaphore(QUESTIONS)

    def doubt(self, seat: PlaceSeat, holder: Holder) -> None:
        """Ask the one who holds a place, unless that is under way."""
        if self._places.isContested(seat) and seat not in self._doubted:
            self._doubted.add(seat)
            self._questions.run(self._ask, seat, holder)

    @inlineCallbacks
    def _ask(self, seat: PlaceSeat, holder: Holder) -> Any:
        try:
            yield self._asking.look(holder, self._places.name(seat))
        except (NobodyThere, MemberGone):
            self._places.retake(seat, holder)
        except MemberSilent:
            pass
        else:
            if self._places.isContested(seat):  # still
                self._lost(seat)
        finally:
            self._doubted.remove(seat)
