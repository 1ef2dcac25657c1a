"""Owns the checks of what every directory does, over each of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from nymearemoteproxy.cluster.directory import CLAIMS_AT_ONCE, Holder, IDirectory, Member
from tests.support.endtoend import PATIENCE
from tests.support.memorydirectory import LeasedTable, MemoryDirectory
from tests.support.redis import RedisServer, reasonToSkip

reactor: Any = globalReactor
Steps = Generator[Deferred[Any], Any, None]

ANNA = Member(b"a" * 16, "unix:/run/anna", 1, "Anna's")
BERT = Member(b"\xffb" * 8, "tcp:[2001:db8::1]:4711", 2, "B\u00e4rt")
A1, A2, B1 = Holder(ANNA.id, 1), Holder(ANNA.id, 2), Holder(BERT.id, 10**17)


class DirectorySuite:
    """What two members see of one directory."""

    anna: Any
    bert: Any

    def empty(self) -> None:
        """Let all be forgotten."""
        raise NotImplementedError

    def test_interface(self: Any) -> None:
        """It has all that a directory has."""
        verifyObject(IDirectory, self.anna)
        self.assertTrue(self.anna.isAnswering)

    @inlineCallbacks
    def test_firstComeFirstServed(self: Any) -> Steps:
        """A place has one holder; claiming it again changes nothing."""
        self.assertIsNone((yield self.bert.find("key:1")))
        self.assertEqual((yield self.anna.claim("key:1", A1)), A1)
        self.assertEqual((yield self.bert.claim("key:1", B1)), A1)
        self.assertEqual((yield self.anna.claim("key:1", A1)), A1)
        self.assertEqual((yield self.anna.claim("key:1", A2)), A1)
        self.assertEqual((yield self.bert.find("key:1")), A1)
        self.assertIsNone((yield self.bert.find("key:2")))

    @inlineCallbacks
    def test_findClaimsNothing(self: Any) -> Steps:
        """Whoever looks leaves nothing behind."""
        yield self.anna.find("key:1")
        self.assertEqual((yield self.bert.claim("key:1", B1)), B1)

    @inlineCallbacks
    def test_release(self: Any) -> Steps:
        """Only by the claim that holds it: a late one of another claim does nothing."""
        yield self.anna.claim("key:1", A2)
        for other in (A1, B1):
            self.assertIsNone((yield self.anna.release("key:1", other)))
            self.assertEqual((yield self.anna.find("key:1")), A2)
        yield self.anna.release("key:1", A2)
        self.assertIsNone((yield self.anna.find("key:1")))
        self.assertIsNone((yield self.anna.release("key:1", A2)))

    @inlineCallbacks
    def test_replace(self: Any) -> Steps:
        """Of exactly the one that was seen, or of nobody; once more does not harm."""
        yield self.anna.claim("key:1", A1)
        self.assertEqual((yield self.bert.replace("key:1", A2, B1)), A1)
        self.assertEqual((yield self.bert.replace("key:1", A1, B1)), B1)
        self.assertEqual((yield self.bert.replace("key:1", A1, B1)), B1)
        self.assertEqual((yield self.anna.find("key:1")), B1)
        self.assertEqual((yield self.bert.replace("key:2", A1, B1)), B1)
        self.assertEqual((yield self.anna.find("key:2")), B1)

    @inlineCallbacks
    def test_claimAll(self: Any) -> Steps:
        """As many as may be, each as if alone, the answers in the same order."""
        yield self.bert.claim("key:1", B1)
        claims = [(f"key:{number}", Holder(ANNA.id, number)) for number in range(CLAIMS_AT_ONCE)]
        holders = yield self.anna.claimAll(claims)
        self.assertEqual(holders.pop(1), B1)
        del claims[1]
        self.assertEqual(holders, [holder for _place, holder in claims])
        self.assertEqual((yield self.bert.find("key:199")), Holder(ANNA.id, 199))

    @inlineCallbacks
    def test_manyAtATime(self: Any) -> Steps:
        """Each gets its own answer."""
        numbers = range(300)
        claimed = [self.anna.claim(f"key:{each}", Holder(ANNA.id, each)) for each in numbers]
        found = yield gatherResults([*claimed, *(self.bert.find(f"key:{n}") for n in numbers)])
        self.assertEqual(found[:300], [Holder(ANNA.id, each) for each in numbers])

    @inlineCallbacks
    def test_members(self: Any) -> Steps:
        """They find each other, as they are."""
        self.assertEqual((yield self.anna.member(BERT.id)), BERT)
        self.assertEqual((yield self.bert.member(ANNA.id)), ANNA)
        self.assertIsNone((yield self.bert.member(b"x" * 16)))
        self.assertFalse(self.anna.isLeaseOver())

    @inlineCallbacks
    def test_leaves(self: Any) -> Steps:
        """Then it is no longer found."""
        yield self.bert.stop()
        self.assertIsNone((yield self.anna.member(BERT.id)))
        yield self.bert.start()

    @inlineCallbacks
    def test_sharedSecret(self: Any) -> Steps:
        """All members have the same."""
        yield self.anna.renew()
        self.assertEqual(self.anna.secret, self.bert.secret)
        self.assertEqual(len(self.anna.secret), 32)

    @inlineCallbacks
    def test_renewalFindsNothing(self: Any) -> Steps:
        """All is claimed anew then, once."""
        told: list[str] = []
        self.anna.follow(lambda: told.append("anna"))
        yield self.anna.renew()
        self.assertEqual(told, [])
        self.empty()
        yield self.anna.renew()
        yield self.anna.renew()
        self.assertEqual(told, ["anna"])
        self.assertEqual((yield self.anna.member(ANNA.id)), ANNA)


class MemorySuite(DirectorySuite, TestCase):
    """In memory."""

    def setUp(self) -> None:
        clock = Clock()
        self.table = LeasedTable(clock.seconds)
        self.anna = MemoryDirectory(self.table, ANNA, clock, clock.seconds)
        self.bert = MemoryDirectory(self.table, BERT, clock, clock.seconds)
        for directory in (self.anna, self.bert):
            self.successResultOf(directory.start())

    def empty(self) -> None:
        for member in (ANNA, BERT):
            self.table.forget(member.id)


class RedisSuite(DirectorySuite, TestCase):
    """In a Redis."""

    skip = reasonToSkip()

    @inlineCallbacks
    def setUp(self) -> Steps:
        from nymearemoteproxy.cluster.redisdirectory import RedisDirectory
        from nymearemoteproxy.cluster.redisurl import readRedisUrl

        self.server = RedisServer()
        self.addCleanup(self.server.close)
        url = readRedisUrl(f"redis+unix:{self.server.path}")
        self.anna = RedisDirectory(reactor, url, lambda _host: ANNA, timeout=PATIENCE)
        self.bert = RedisDirectory(reactor, url, lambda _host: BERT, timeout=PATIENCE)
        yield gatherResults([self.anna.start(), self.bert.start()])

    @inlineCallbacks
    def tearDown(self) -> Steps:
        yield gatherResults([self.anna.stop(), self.bert.stop()])

    def empty(self) -> None:
        self.server.do("FLUSHALL")
