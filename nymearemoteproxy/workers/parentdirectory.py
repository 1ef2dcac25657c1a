"""How a worker asks its parent for who holds which place.

Owns what is asked and answered about the table, and that what a worker held goes with it. Knows
nothing of who waits at a place, nor of how messages get to the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory, Member
from nymearemoteproxy.workers.placetable import PlaceTable
from nymearemoteproxy.workers.questions import NoAnswer, Questions, answering
from nymearemoteproxy.workers.reporting import Handlers, Send

Written = list[Any]
"""A `Holder` or a `Member` as JSON."""


@implementer(IDirectory)
class ParentDirectory:
    """A worker's view of it.

    Nobody else can take its places while it lives, as the parent sees its end; so it has no lease.

    :param me: this member.
    :param secret: the parent's table's.
    """

    isLasting = True
    hasOtherSecrets = False

    def __init__(self, questions: Questions, me: Member, secret: bytes) -> None:
        self.me = me
        self.secret = secret
        self.commands = self.failures = 0
        self._questions = questions
        self.follow: Callable[[Callable[[], object]], None] = questions.follow

    @property
    def isAnswering(self) -> bool:
        """Of the parent."""
        return self._questions.isAnswering

    @property
    def outages(self) -> int:
        """How often the parent began not to answer."""
        return self._questions.outages

    def isLeaseOver(self) -> bool:
        return False

    def renew(self) -> Deferred[None]:
        return self._ask("renew", _writeMember(self.me))

    def claim(self, place: str, holder: Holder) -> Deferred[Holder]:
        return self._ask("claim", place, _write(holder)).addCallback(_read)

    def claimAll(self, claims: Sequence[tuple[str, Holder]]) -> Deferred[list[Holder]]:
        written = [(place, _write(holder)) for place, holder in claims]
        return self._ask("claimAll", written).addCallback(_readAll)

    def replace(self, place: str, old: Holder, new: Holder) -> Deferred[Holder]:
        return self._ask("replace", place, _write(old), _write(new)).addCallback(_read)

    def release(self, place: str, holder: Holder) -> Deferred[None]:
        return self._ask("release", place, _write(holder))

    def find(self, place: str) -> Deferred[Holder | None]:
        return self._ask("find", place).addCallback(_readIfAny)

    def member(self, id: bytes) -> Deferred[Member | None]:
        return self._ask("member", id.hex()).addCallback(_readMember)

    def _ask(self, kind: str, *arguments: Any) -> Deferred[Any]:
        self.commands += 1
        return self._questions.ask(kind, *arguments).addErrback(self._unanswered)

    def _unanswered(self, failure: Failure) -> NoReturn:
        failure.trap(NoAnswer)
        self.failures += 1
        raise DirectoryError(str(failure.value))


class DirectoryDesk:
    """Answers one worker out of the parent's table.

    :param send: sends a message to the worker.
    :ivar handlers: take its messages.
    """

    def __init__(self, table: PlaceTable, send: Send) -> None:
        self.handlers: Handlers = answering(
            send,
            {
                "renew": self._renew,
                "claim": self._claim,
                "claimAll": self._claimAll,
                "replace": self._replace,
                "release": self._release,
                "find": self._find,
                "member": self._member,
            },
        )
        self._table = table
        self._members: set[bytes] = set()

    def lost(self) -> None:
        """The worker is gone: its places are free."""
        for id in self._members:
            self._table.forget(id)

    def _renew(self, member: Written) -> None:
        entered = _readMember(member)
        assert entered is not None
        self._members.add(entered.id)
        self._table.enter(entered)

    def _claim(self, place: str, written: Written) -> Written:
        return _write(self._table.claim(place, self._holder(written)))

    def _claimAll(self, claims: list[tuple[str, Written]]) -> list[Written]:
        return [self._claim(place, holder) for place, holder in claims]

    def _replace(self, place: str, old: Written, new: Written) -> Written:
        return _write(self._table.replace(place, _read(old), self._holder(new)))

    def _holder(self, written: Written) -> Holder:
        """Read who wants a place, which must not outlive the worker."""
        holder = _read(written)
        self._members.add(holder.member)
        return holder

    def _release(self, place: str, holder: Written) -> None:
        self._table.release(place, _read(holder))

    def _find(self, place: str) -> Written | None:
        holder = self._table.find(place)
        return None if holder is None else _write(holder)

    def _member(self, id: str) -> Written | None:
        member = self._table.member(bytes.fromhex(id))
        return None if member is None else _writeMember(member)


def _write(holder: Holder) -> Written:
    return [holder.member.hex(), holder.claim]


def _read(written: Written) -> Holder:
    member, claim = written
    return Holder(bytes.fromhex(member), claim)


def _readAll(written: list[Written]) -> list[Holder]:
    return list(map(_read, written))


def _readIfAny(written: Written | None) -> Holder | None:
    return None if written is None else _read(written)


def _writeMember(member: Member) -> Written:
    return [member.id.hex(), member.address, member.version, member.name]


def _readMember(written: Written | None) -> Member | None:
    if written is None:
        return None
    id, address, version, name = written
    return Member(bytes.fromhex(id), address, version, name)
