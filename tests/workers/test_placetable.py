"""Owns the checks of the parent's table of places."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import Holder, Member
from nymearemoteproxy.workers.placetable import PlaceTable

ME = Member(b"m" * 16, "unix:/run/me", 1, "me")
OTHER = Member(b"o" * 16, "unix:/run/other", 1, "other")
MINE, HIS = Holder(ME.id, 1), Holder(OTHER.id, 1)

PLACES = st.sampled_from(["key:1", "key:2"])
HOLDERS = st.builds(Holder, st.sampled_from([ME.id, OTHER.id]), st.integers(1, 3))


class TableTests(SynchronousTestCase):
    """Places and members."""

    def setUp(self) -> None:
        self.table = PlaceTable()

    def test_forgetsMemberAndItsPlaces(self) -> None:
        """And no others."""
        self.table.enter(ME)
        self.table.enter(OTHER)
        for place, holder in (("a", MINE), ("b", MINE), ("c", HIS)):
            self.table.claim(place, holder)
        self.table.release("b", MINE)
        self.table.forget(ME.id)
        self.assertEqual([self.table.find(place) for place in "abc"], [None, None, HIS])
        self.assertIsNone(self.table.member(ME.id))
        self.assertEqual(self.table.member(OTHER.id), OTHER)

    def test_forgetsWhoIsUnknown(self) -> None:
        """A worker that came to nothing."""
        self.table.forget(ME.id)
        self.assertIsNone(self.table.member(ME.id))

    def test_keepsNothingOfWhatIsOver(self) -> None:
        """A table that is empty again holds nothing."""
        empty = [len(each) for each in vars(self.table).values() if isinstance(each, dict)]
        self.table.claim("a", MINE)
        self.table.replace("a", MINE, HIS)
        self.table.release("a", HIS)
        self.assertEqual(
            [len(each) for each in vars(self.table).values() if isinstance(each, dict)], empty
        )


class TableMachine(RuleBasedStateMachine):
    """A table against a dict, which is all that it is for those who do not forget members."""

    def __init__(self) -> None:
        super().__init__()
        self.table = PlaceTable()
        self.model: dict[str, Holder] = {}

    @rule(place=PLACES, holder=HOLDERS)
    def claim(self, place: str, holder: Holder) -> None:
        assert self.table.claim(place, holder) == self.model.setdefault(place, holder)

    @rule(place=PLACES, old=HOLDERS, new=HOLDERS)
    def replace(self, place: str, old: Holder, new: Holder) -> None:
        if self.model.get(place, old) == old:
            self.model[place] = new
        assert self.table.replace(place, old, new) == self.model[place]

    @rule(place=PLACES, holder=HOLDERS)
    def release(self, place: str, holder: Holder) -> None:
        self.table.release(place, holder)
        if self.model.get(place) == holder:
            del self.model[place]
        assert self.table.find(place) == self.model.get(place)

    @rule(member=st.sampled_from([ME, OTHER]))
    def forget(self, member: Member) -> None:
        self.table.forget(member.id)
        self.model = {
            place: holder for place, holder in self.model.items() if holder.member != member.id
        }
        assert all(self.table.find(place) == self.model.get(place) for place in ("key:1", "key:2"))


class TableMachineTests(SynchronousTestCase):
    """Whatever is done, in any order."""

    def test_anything(self) -> None:
        """A table is a dict."""
        run_state_machine_as_test(
            TableMachine, settings=settings(max_examples=50, stateful_step_count=20, deadline=None)
        )
