"""Owns the checks of the directory in a Redis: in which ways one can fail, and come back."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Generator
from itertools import chain
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet import reactor as globalReactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, Member
from nymearemoteproxy.cluster.identity import checkOf
from nymearemoteproxy.cluster.lease import LEASE
from nymearemoteproxy.cluster.redisurl import readRedisUrl
from tests.support.certificates import issue, pem
from tests.support.endtoend import PATIENCE, SLACK
from tests.support.redis import FakeRedis, RedisServer, freePort, reasonToSkip

reason = reasonToSkip()
if reason is None:
    from nymearemoteproxy.cluster import redisclient, redisdirectory
    from nymearemoteproxy.cluster.redisdirectory import RedisDirectory
    from nymearemoteproxy.cluster.redisscripts import (
        CHECK_KEY,
        OTHER_CHECK_KEY,
        PREFIX,
        memberKey,
        placeKey,
        spellHolder,
    )

reactor: Any = globalReactor
Steps = Generator[Deferred[Any], Any, None]

ANNA = Member(b"a" * 16, "unix:/run/anna", 1, "Anna's")
A1, A2, B1 = Holder(ANNA.id, 1), Holder(ANNA.id, 2), Holder(b"b" * 16, 1)
PASSWORD = "hunter2"
TIMEOUT = 0.3
"""Seconds, shorter than in life, so that the tests are."""

RETURN = 3.0 + SLACK
"""Seconds in which all is to be claimed anew."""


class RedisCase(TestCase):
    """Helpers for a directory and its Redis."""

    skip = reason
    timeout = 300

    def setUp(self) -> None:
        self.told = 0
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def serve(self, *options: str, password: str = "") -> RedisServer:
        server = RedisServer(*options, password=password)
        self.addCleanup(server.close)
        return server

    def connect(self, url: str, **given: Any) -> Deferred[Any]:
        """Start a directory."""
        given = {"timeout": PATIENCE, **given}
        directory = RedisDirectory(reactor, readRedisUrl(url), lambda _host: ANNA, **given)
        directory.follow(self._tell)
        self.addCleanup(directory.stop)
        return directory.start().addCallback(lambda _none: directory)

    def _tell(self) -> None:
        self.told += 1

    def until(self, condition: Callable[[], object], within: float = PATIENCE) -> Deferred[None]:
        """Wait for what no event tells of."""
        deadline = time.monotonic() + within

        def look() -> Any:
            if condition():
                return None
            self.assertLess(time.monotonic(), deadline, f"not within {within} s")
            return deferLater(reactor, 0.01, look)

        return deferLater(reactor, 0, look)

    def failsAtOnce(self, asked: Deferred[Any]) -> str:
        """Expect a failure that nobody has to wait for; return its text."""
        text = str(self.failureResultOf(asked, DirectoryError).value)
        self.assertNotIn(PASSWORD, text)
        return text

    @inlineCallbacks
    def fails(self, asked: Deferred[Any]) -> Generator[Deferred[Any], Any, str]:
        """Wait for a failure, which comes in time; return its text."""
        began = time.monotonic()
        error = yield self.assertFailure(asked, DirectoryError)
        self.assertLess(time.monotonic() - began, TIMEOUT + SLACK)
        self.assertNotIn(PASSWORD, str(error))
        return str(error)

    def lines(self, least: LogLevel = LogLevel.info) -> list[str]:
        """Return what was logged."""
        ours = [event for event in self.events if "nymearemoteproxy" in event["log_namespace"]]
        lines = [formatEvent(event) for event in ours if event["log_level"] >= least]
        self.assertNotIn(PASSWORD, repr(self.events))
        return lines

    @inlineCallbacks
    def comesBack(self, directory: Any, told: int) -> Steps:
        """Wait until it answers again; it has failed before, and both is in the log, once."""
        yield self.until(lambda: directory.isAnswering, RETURN)
        self.assertEqual(self.told, told + 1)
        self.assertEqual((yield directory.claim("key:back", A1)), A1)
        failed, answers = self.lines()[-2:]
        self.assertIn(f"The directory {directory.url} fails: ", failed)
        self.assertEqual(answers, f"The directory {directory.url} answers again")


class LifeTests(RedisCase):
    """What becomes of a directory whose Redis does not live as it should."""

    @inlineCallbacks
    def test_connects(self) -> Steps:
        """It says nothing, tells who follows, and counts."""
        server = self.serve()
        directory = yield self.connect(f"redis://127.0.0.1:{server.port}/2")
        self.assertEqual((directory.isAnswering, self.told, self.lines()), (True, 1, []))
        self.assertEqual(directory.client.localHost, "127.0.0.1")
        before = directory.client.commands
        yield directory.member(ANNA.id)
        self.assertEqual(directory.client.commands, before + 1)
        self.assertEqual(server.do("INFO", "keyspace").count("db2:keys=2"), 1)

    @inlineCallbacks
    def test_killedAndStartedEmpty(self) -> Steps:
        """What was asked fails at once, and so does all until it is back, in which all is anew."""
        server = self.serve()
        directory = yield self.connect(f"redis://127.0.0.1:{server.port}")
        secret = directory.secret
        yield directory.claim("key:1", B1)
        server.kill()
        yield self.until(lambda: not directory.isAnswering)
        asked = directory.client.commands
        self.failsAtOnce(directory.find("key:1"))
        self.failsAtOnce(directory.claimAll([("key:1", A1)]))
        self.assertEqual(directory.client.commands, asked)
        server.start()
        yield self.comesBack(directory, 1)
        self.assertEqual((yield directory.claim("key:1", A1)), A1)
        self.assertEqual(directory.secret, secret)

    @inlineCallbacks
    def test_notThereAtTheStart(self) -> Steps:
        """`start` does not wait for it."""
        server = self.serve()
        server.kill()
        directory = yield self.connect(f"redis://127.0.0.1:{server.port}")
        self.assertFalse(directory.isAnswering)
        self.assertIsNone(directory.secret)
        self.assertTrue(directory.isLeaseOver())
        self.assertEqual(len(self.lines(LogLevel.error)), 1)
        self.failsAtOnce(directory.renew())
        server.start()
        yield self.comesBack(directory, 0)
        self.assertFalse(directory.isLeaseOver())

    @inlineCallbacks
    def test_noUnixSocket(self) -> Steps:
        """A path where nothing is."""
        directory = yield self.connect(f"redis+unix:{self.mktemp()}".replace(":", ":/", 1))
        self.assertFalse(directory.isAnswering)

    @inlineCallbacks
    def test_frozen(self) -> Steps:
        """Each command fails in time, later ones at once, though the kernel takes connections."""
        server = self.serve()
        directory = yield self.connect(f"redis://127.0.0.1:{server.port}", timeout=TIMEOUT)
        server.freeze()
        answers = [directory.find(f"key:{number}") for number in range(10)]
        for asked in answers:
            self.assertIn("did not answer in time", (yield self.fails(asked)))
            self.assertFalse(directory.isAnswering)
        self.failsAtOnce(directory.find("key:1"))
        yield deferLater(reactor, 2.5, lambda: None)  # some attempts that are not answered
        self.assertFalse(directory.isAnswering)
        self.assertEqual(len(self.lines(LogLevel.error)), 1)
        server.thaw()
        yield self.comesBack(directory, 1)

    @inlineCallbacks
    def test_frozenWhenWeSayWhoWeAre(self) -> Steps:
        """With a password, AUTH is what is late; txredisapi alone would give up for ever."""
        server = self.serve("--requirepass", PASSWORD, password=PASSWORD)
        server.freeze()
        directory = yield self.connect(
            f"redis://:{PASSWORD}@127.0.0.1:{server.port}/1", timeout=TIMEOUT
        )
        self.assertFalse(directory.isAnswering)
        yield deferLater(reactor, 1.5, lambda: None)
        server.thaw()
        yield self.comesBack(directory, 0)
        self.assertIn("db1", server.do("INFO", "keyspace"))

    @inlineCallbacks
    def test_slow(self) -> Steps:
        """An answer that is late is nobody's."""
        server = self.serve("--enable-debug-command", "local")
        directory = yield self.connect(f"redis+unix:{server.path}", timeout=TIMEOUT)
        yield directory.claim("key:1", A1)
        sleeping = directory.client.ask(b"DEBUG", b"SLEEP", b"0.6")
        late = directory.find("key:1")
        yield self.fails(sleeping)
        yield self.fails(late)
        yield self.comesBack(directory, 1)
        self.assertEqual((yield directory.find("key:2")), None)
        self.assertEqual((yield directory.find("key:1")), A1)

    @inlineCallbacks
    def test_lateClaimHarmsNoLaterOne(self) -> Steps:
        """A claim that nobody waits for any more may come true; a later one is told so."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}", timeout=TIMEOUT)
        server.freeze()
        yield self.fails(directory.claim("key:1", A1))
        server.thaw()
        yield self.until(lambda: directory.isAnswering, RETURN)
        holder = yield directory.claim("key:1", A2)
        self.assertIn(holder, (A1, A2))
        yield directory.release("key:1", A1)
        self.assertEqual((yield directory.claim("key:1", A2)), A2)

    @inlineCallbacks
    def test_hundredTimes(self) -> Steps:
        """It connects again after every loss; txredisapi alone waits for ten seconds by then."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        self.patch(redisclient, "RETRY", 0.01)
        for told in range(2, 102):
            server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            yield self.until(lambda: self.told == told, RETURN)  # noqa: B023 - at once
            self.assertTrue(directory.isAnswering)

    @inlineCallbacks
    def test_emptied(self) -> Steps:
        """It is noticed at a renewal, and the secret of who was there first is kept."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        secret = directory.secret
        server.do("FLUSHALL")
        yield directory.renew()
        self.assertEqual(self.told, 2)
        self.assertEqual(server.do("GET", PREFIX + b"secret"), secret.hex())

    @inlineCallbacks
    def test_emptiedMembers(self) -> Steps:
        """Nobody is said to be gone until all have had the time to be renewed."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        self.assertIsNone((yield directory.member(B1.member)))
        server.do("FLUSHALL")
        yield self.fails(directory.member(B1.member))
        yield directory.renew()
        yield self.fails(directory.member(B1.member))
        self.patch(redisdirectory, "EMPTIED", 0.0)
        self.assertIsNone((yield directory.member(B1.member)))

    @inlineCallbacks
    def test_emptiedServers(self) -> Steps:
        """The same of what is looked for: who holds it may not have claimed anew."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        self.assertIsNone((yield directory.find("uuid:1")))
        server.do("FLUSHALL")
        yield self.fails(directory.find("uuid:1"))
        yield self.until(lambda: self.told == 2)  # our own are there again
        server.do("SET", placeKey("uuid:1"), spellHolder(B1))
        self.assertEqual((yield directory.find("uuid:1")), B1)
        yield self.fails(directory.find("uuid:2"))
        self.patch(redisdirectory, "EMPTIED", 0.0)
        self.assertIsNone((yield directory.find("uuid:2")))

    @inlineCallbacks
    def test_stopsWheneverItIs(self) -> Steps:
        """While it connects, waits, greets, and has failed."""
        server = self.serve()
        url = readRedisUrl(f"redis://127.0.0.1:{server.port}")
        for freeze in (False, True):
            if freeze:
                server.freeze()
            for delay in (None, 0.0, 0.05, TIMEOUT + 0.1):
                directory = RedisDirectory(reactor, url, lambda _host: ANNA, timeout=TIMEOUT)
                directory.start()
                if delay is not None:
                    yield deferLater(reactor, delay, lambda: None)
                yield directory.stop()
                self.assertFalse(directory.isAnswering)

    @inlineCallbacks
    def test_tooManyCommands(self) -> Steps:
        """There is a bound; what is beyond fails at once, and nothing else does."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        self.patch(redisclient, "MOST_COMMANDS", 5)
        asked = [directory.find("key:1") for _number in range(6)]
        self.assertIn("5 commands are under way", self.failsAtOnce(asked.pop()))
        self.assertEqual((yield gatherResults(asked)), [None] * 5)
        self.assertTrue(directory.isAnswering)

    @inlineCallbacks
    def test_faultOfWhoFollows(self) -> Steps:
        """It is logged, and the others are told all the same."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        told: list[str] = []
        directory.follow(lambda: 1 / 0)
        directory.follow(lambda: told.append("next"))
        server.do("FLUSHALL")
        yield directory.renew()
        self.assertEqual((told, directory.isAnswering), (["next"], True))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @inlineCallbacks
    def test_faultOfOurs(self) -> Steps:
        """It is logged, and does not end the attempts."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        self.patch(directory, "_describe", lambda _host: 1 / 0)
        server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield self.until(lambda: self.flushLoggedErrors(ZeroDivisionError))
        self.assertFalse(directory.isAnswering)
        self.patch(directory, "_describe", lambda _host: ANNA)
        yield self.until(lambda: directory.isAnswering, RETURN)

    @inlineCallbacks
    def test_askedByNobodyAnyMore(self) -> Steps:
        """Who cancels does not hear of it, and takes nobody else's answer away."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        yield directory.claim("key:1", A1)
        cancelled, other = directory.find("key:0"), directory.find("key:1")
        cancelled.addErrback(lambda _failure: None)
        cancelled.cancel()
        self.assertEqual((yield other), A1)
        self.assertTrue(directory.isAnswering)


class RefusalTests(RedisCase):
    """A Redis that answers with errors."""

    @inlineCallbacks
    def test_full(self) -> Steps:
        """Then one can look, and is renewed; nothing new can be put until there is room."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        yield directory.claim("key:1", B1)
        server.do("CONFIG", "SET", "maxmemory", "1")
        self.assertIn("memory is full", (yield self.fails(directory.claim("key:2", A1))))
        self.assertFalse(directory.isAnswering)
        self.assertEqual((yield directory.claim("key:1", A1)), B1)
        self.assertEqual((yield directory.find("key:1")), B1)
        self.assertEqual((yield directory.member(ANNA.id)), ANNA)
        yield self.fails(directory.claimAll([("key:1", A1), ("key:2", A1)]))
        yield self.fails(directory.replace("key:1", B1, A1))
        server.do("PEXPIRE", memberKey(ANNA.id), "5000")
        yield directory.renew()
        self.assertGreater(int(server.do("PTTL", memberKey(ANNA.id))), 5000)
        self.assertFalse(directory.isAnswering)
        yield directory.release("key:1", B1)
        self.assertEqual(self.told, 1)
        server.do("CONFIG", "SET", "maxmemory", "0")
        yield self.comesBack(directory, 1)
        self.assertEqual(len(self.lines()), 2)

    @inlineCallbacks
    def test_fullFromTheStart(self) -> Steps:
        """Without a secret nothing can be named; there is one as soon as there is room."""
        server = self.serve("--maxmemory", "1")
        directory = yield self.connect(f"redis+unix:{server.path}")
        self.assertFalse(directory.isAnswering)
        self.assertIsNone(directory.secret)
        server.do("CONFIG", "SET", "maxmemory", "0")
        yield self.comesBack(directory, 0)

    @inlineCallbacks
    def test_fullAtTheReturn(self) -> Steps:
        """With a secret one can look, and nothing is claimed anew before it can be put."""
        server = self.serve()
        yield self.serveHolder(server)
        server.do("CONFIG", "SET", "maxmemory", "1")
        directory = yield self.connect(f"redis+unix:{server.path}", secret=b"s" * 32)
        self.assertFalse(directory.isAnswering)
        yield self.fails(directory.renew())
        self.assertEqual((yield directory.find("key:1")), B1)
        self.assertEqual(self.told, 0)
        server.do("CONFIG", "SET", "maxmemory", "0")
        yield self.comesBack(directory, 0)

    def serveHolder(self, server: RedisServer) -> Deferred[None]:
        server.do("SET", placeKey("key:1"), spellHolder(B1))
        return deferLater(reactor, 0, lambda: None)

    @inlineCallbacks
    def test_readOnlyReplica(self) -> Steps:
        """It is left again and again, until it is a master, or the name is a master's."""
        master, server = self.serve(), self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        server.do("REPLICAOF", "127.0.0.1", str(master.port))
        self.assertIn("read-only replica", (yield self.fails(directory.claim("key:1", A1))))
        yield deferLater(reactor, 1.2, lambda: None)  # another attempt
        self.assertFalse(directory.isAnswering)
        self.assertEqual(len(self.lines(LogLevel.error)), 1)
        server.do("REPLICAOF", "NO", "ONE")
        yield self.comesBack(directory, 1)

    @inlineCallbacks
    def test_wrongPassword(self) -> Steps:
        """It is tried again: the Redis may be told the right one."""
        server = self.serve("--requirepass", "other", password="other")
        directory = yield self.connect(f"redis://:{PASSWORD}@127.0.0.1:{server.port}")
        self.assertFalse(directory.isAnswering)
        self.assertIn("refuses user and password", self.lines()[0])
        server.do("CONFIG", "SET", "requirepass", PASSWORD)
        yield self.comesBack(directory, 0)

    @inlineCallbacks
    def test_passwordIsChanged(self) -> Steps:
        """First the connection is closed, then there is another reason: each is told once."""
        server = self.serve()
        allowed = f"on >{PASSWORD} ~* +@all".split()
        server.do("ACL", "SETUSER", "proxy", *allowed)
        directory = yield self.connect(f"redis+unix://proxy:{PASSWORD}@{server.path}")
        server.do("ACL", "SETUSER", "proxy", "resetpass", ">other")
        server.do("CLIENT", "KILL", "USER", "proxy")
        yield self.until(lambda: len(self.lines()) == 2)
        self.assertIn("fails: it closed the connection", self.lines()[0])
        self.assertIn("still fails; the reason now is: it refuses user", self.lines()[1])
        server.do("ACL", "SETUSER", "proxy", *allowed)
        yield self.until(lambda: len(self.lines()) == 3)
        self.assertTrue(directory.isAnswering)
        self.assertIn("answers again", self.lines()[2])
        self.assertEqual(directory.outages, 1)

    @inlineCallbacks
    def test_noPassword(self) -> Steps:
        """Neither one too few nor one too many."""
        server = self.serve("--requirepass", PASSWORD, password=PASSWORD)
        yield self.connect(f"redis://127.0.0.1:{server.port}")
        self.assertIn("wants a password", self.lines()[0])
        server = self.serve()
        yield self.connect(f"redis://:{PASSWORD}@127.0.0.1:{server.port}")
        self.assertIn("has no password, and was given one", self.lines()[1])

    @inlineCallbacks
    def test_userMayLessThanBefore(self) -> Steps:
        """Until that is mended it fails."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        yield directory.client.ask(b"ACL", b"SETUSER", b"default", b"-get")
        self.assertIn("may not do", (yield self.fails(directory.renew())))
        self.assertFalse(directory.isAnswering)
        server.do("ACL", "SETUSER", "default", "+get")
        yield self.comesBack(directory, 1)

    @inlineCallbacks
    def test_userWithNoMoreThanItNeeds(self) -> Steps:
        """That is what the documentation tells; INFO is not needed."""
        server = self.serve("--maxmemory-policy", "allkeys-lru")
        commands = "+get +set +del +expire +getrange +evalsha +eval"
        rule = f"on >{PASSWORD} ~{PREFIX.decode()}* {commands}".split()
        server.do("ACL", "SETUSER", "proxy", *rule)
        directory = yield self.connect(f"redis+unix://proxy:{PASSWORD}@{server.path}")
        self.assertTrue(directory.isAnswering)
        self.assertEqual((yield directory.claim("key:1", A1)), A1)
        self.assertEqual((yield directory.replace("key:1", A1, B1)), B1)
        self.assertEqual((yield directory.find("key:1")), B1)
        yield directory.release("key:1", B1)
        self.assertEqual((yield directory.member(ANNA.id)), ANNA)
        self.assertEqual(self.lines(), [])

    @inlineCallbacks
    def test_noSuchDatabase(self) -> Steps:
        """The log says so, in Redis' words."""
        server = self.serve()
        yield self.connect(f"redis+unix:{server.path}?db=99")
        self.assertIn("DB index is out of range", self.lines()[0])

    @inlineCallbacks
    def test_forgotScripts(self) -> Steps:
        """They are given again."""
        server = self.serve()
        directory = yield self.connect(f"redis+unix:{server.path}")
        for number in (1, 2):
            server.do("SCRIPT", "FLUSH")
            self.assertEqual((yield directory.claim("key:1", A1)), A1, number)
        self.assertTrue(directory.isAnswering)

    @inlineCallbacks
    def test_throwsPlacesAway(self) -> Steps:
        """A warning, once."""
        server = self.serve("--maxmemory-policy", "volatile-lru")
        directory = yield self.connect(f"redis+unix:{server.path}")
        server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield self.until(lambda: self.told == 2)
        warnings = [line for line in self.lines() if "volatile-lru" in line]
        self.assertEqual(len(warnings), 1)
        self.assertTrue(directory.isAnswering)


class ContentTests(RedisCase):
    """What is kept, and what is kept by others at the same keys."""

    @inlineCallbacks
    def setUp(self) -> Steps:
        super().setUp()
        if self.skip is None:
            self.server = self.serve()
            self.now = 1000.0
            url = f"redis+unix:{self.server.path}"
            self.directory = yield self.connect(url, now=lambda: self.now)

    @inlineCallbacks
    def test_values(self) -> Steps:
        """As other members, and the documentation, have them."""
        yield self.directory.claim("key:1", A1)
        key = b"nymea-remoteproxy:place:key:1"
        self.assertEqual(self.server.do("GET", key), ANNA.id.hex() + "#1")
        self.assertIn(int(self.server.do("TTL", key)), range(86000, 86401))
        key = b"nymea-remoteproxy:member:" + ANNA.id.hex().encode()
        entry = {"address": ANNA.address, "version": 1, "name": ANNA.name}
        self.assertEqual(json.loads(self.server.do("GET", key)), entry)
        self.assertIn(int(self.server.do("PTTL", key)), range(10000, 15001))

    @inlineCallbacks
    def test_placesLastAsLongAsTheyAreClaimed(self) -> Steps:
        """Claiming what one holds begins its day anew; whoever else asks does not."""
        key = placeKey("key:1")
        yield self.directory.claim("key:1", A1)
        self.server.do("EXPIRE", key, "100")
        yield self.directory.claim("key:1", B1)
        self.assertLessEqual(int(self.server.do("TTL", key)), 100)
        yield self.directory.claimAll([("key:1", A1)])
        self.assertGreater(int(self.server.do("TTL", key)), 86000)

    @inlineCallbacks
    def test_leaseCountsFromWhenItWasSent(self) -> Steps:
        """By a clock that goes on while the machine sleeps."""
        self.assertFalse(self.directory.isLeaseOver())
        renewed = self.directory.renew()
        self.now += 10  # it is on its way for so long
        yield renewed
        self.now += LEASE - 10
        self.assertFalse(self.directory.isLeaseOver())
        self.now += 0.1
        self.assertTrue(self.directory.isLeaseOver())
        yield self.directory.renew()
        self.assertFalse(self.directory.isLeaseOver())

    @inlineCallbacks
    def test_nonsenseAtAPlace(self) -> Steps:
        """An error for who asks, and nobody else."""
        long = "a" * 10**6
        id = ANNA.id.hex()
        for value in ("", "x", "a b", "1", "#", "gg#1", f"{id}#", f"{id}#-1", long):
            self.server.do("SET", placeKey("key:1"), value)
            if value:  # as if it were not there
                yield self.fails(self.directory.find("key:1"))
            yield self.fails(self.directory.claim("key:1", A1))
            yield self.fails(self.directory.replace("key:1", B1, A1))
            yield self.directory.release("key:1", A1)
            self.assertTrue(self.directory.isAnswering, value[:9])
        self.assertEqual(self.server.do("GET", placeKey("key:1")), long)

    @inlineCallbacks
    def test_otherKindsOfValues(self) -> Steps:
        """The same."""
        for place, words in {"key:1": ("LPUSH", "x"), "key:2": ("HSET", "x", "y")}.items():
            self.server.do(words[0], placeKey(place), *words[1:])
            yield self.fails(self.directory.find(place))
            yield self.fails(self.directory.claim(place, A1))
            yield self.fails(self.directory.replace(place, A1, A2))
            yield self.fails(self.directory.release(place, A1))
        self.assertTrue(self.directory.isAnswering)
        self.assertEqual((self.told, self.lines()), (1, []))

    @inlineCallbacks
    def test_nonsenseForAMember(self) -> Steps:
        """An error for who asks; what newer members add is none."""
        key = memberKey(B1.member)
        for value in (
            *("x", "1", "[]", "{}", "null", '{"address": 1, "version": 1}', "[" * 100000),
            *('{"address": "unix:/x", "version": "1"}', '{"address": "unix:/x", "version": true}'),
            '{"address": "unix:/x", "version": 1, "name": 7}',
            '{"address": "unix:/x", "version": 1, "name": "\\ud800"}',
            b"\xff\xfe",
        ):
            self.server.do("SET", key, value)
            yield self.fails(self.directory.member(B1.member))
        self.server.do("SET", key, '{"address": "unix:/x", "version": 3, "more": []}')
        member = yield self.directory.member(B1.member)
        self.assertEqual(member, Member(B1.member, "unix:/x", 3))
        self.server.do("DEL", key)
        self.server.do("LPUSH", key, "x")
        yield self.fails(self.directory.member(B1.member))
        self.assertTrue(self.directory.isAnswering)

    @inlineCallbacks
    def test_anotherSecret(self) -> Steps:
        """It is adopted, and all is claimed anew."""
        self.server.do("SET", PREFIX + b"secret", "ab" * 32)
        yield self.directory.renew()
        self.assertEqual((self.directory.secret, self.told), (b"\xab" * 32, 2))
        self.assertEqual(len(self.lines(LogLevel.warn)), 1)
        self.assertNotIn("abab", repr(self.events))

    @inlineCallbacks
    def test_nonsenseAsTheSecret(self) -> Steps:
        """Nothing can be done with that until it is mended; the log does not quote it."""
        for value in ("ab", "x" * 64, "ab" * 100, b"\xff"):
            told = self.told
            self.server.do("SET", PREFIX + b"secret", value)
            yield self.fails(self.directory.renew())
            self.assertFalse(self.directory.isAnswering)
            self.server.do("DEL", PREFIX + b"secret")
            yield self.comesBack(self.directory, told)

    @inlineCallbacks
    def test_secretOfAFile(self) -> Steps:
        """It is not put there, and that of others is not adopted."""
        url = f"redis+unix:{self.server.path}"
        self.server.do("DEL", PREFIX + b"secret")
        other = yield self.connect(url, secret=b"file")
        self.assertEqual(self.server.do("GET", PREFIX + b"secret"), "")
        self.server.do("SET", PREFIX + b"secret", "ab" * 32)
        yield other.renew()
        self.assertEqual(other.secret, b"file")


class SecretsTests(RedisCase):
    """Members that do not have the same secret."""

    ONE, OTHER = b"o" * 32, b"p" * 32

    @inlineCallbacks
    def setUp(self) -> Steps:
        super().setUp()
        if self.skip is None:
            self.patch(redisdirectory, "SETTLED", 0.0)
            self.server = self.serve()
            self.url = f"redis+unix:{self.server.path}"
            self.first = yield self.connect(self.url, secret=self.ONE)

    @inlineCallbacks
    def renewed(self, *directories: Any) -> Generator[Deferred[Any], Any, list[bool]]:
        """Renew them all, as often as it takes; return of which others have another secret."""
        for _time in range(3):
            for directory in directories:
                yield directory.renew()
        return [directory.hasOtherSecrets for directory in directories]

    def leave(self) -> None:
        """Let the leases of check values end."""
        for key in (CHECK_KEY, OTHER_CHECK_KEY):
            self.assertIn(int(self.server.do("PTTL", key)), (-2, *range(10000, 15001)))
            self.server.do("DEL", key)

    @inlineCallbacks
    def test_same(self) -> Steps:
        """Nothing is said of it."""
        second = yield self.connect(self.url, secret=self.ONE)
        self.assertEqual((yield self.renewed(self.first, second)), [False, False])
        self.assertEqual(self.lines(), [])

    @inlineCallbacks
    def test_differ(self) -> Steps:
        """All are told, whoever came first; once, and once more when it is mended."""
        second = yield self.connect(self.url, secret=self.OTHER)
        third = yield self.connect(self.url, secret=b"t" * 32)
        members = (self.first, second, third)
        self.assertEqual((yield self.renewed(*members)), [True, True, True])
        lines = self.lines(LogLevel.error)
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertIn("members with another secret", line)
            self.assertIn("Cluster.secretFile", line)
        self.leave()
        self.assertEqual((yield self.renewed(second)), [False])
        self.assertIn("have the same secret", self.lines()[-1])
        self.assertEqual((yield self.renewed(third, self.first, second)), [True, True, True])

    @inlineCallbacks
    def test_fileAndNone(self) -> Steps:
        """One is of a file, the other one is that of the directory."""
        second = yield self.connect(self.url)
        self.assertEqual((yield self.renewed(self.first, second)), [True, True])

    @inlineCallbacks
    def test_adopted(self) -> Steps:
        """Before a member knows the directory's it has none to compare."""
        self.leave()
        members = []
        for _number in range(2):
            members.append((yield self.connect(self.url)))
        self.assertEqual((yield self.renewed(*members)), [False, False])

    @inlineCallbacks
    def test_changed(self) -> Steps:
        """Who is started anew with another one finds its own old check value for a while."""
        self.patch(redisdirectory, "SETTLED", LEASE)
        second = yield self.connect(self.url, secret=self.OTHER)
        self.assertEqual((yield self.renewed(second)), [False])
        self.leave()
        self.assertEqual((yield self.renewed(second)), [False])
        self.assertEqual(self.lines(), [])

    def test_tellsLittle(self) -> None:
        """What is kept of it could be that of one secret in 65,536."""
        for key in (CHECK_KEY, OTHER_CHECK_KEY):
            self.assertIn(self.server.do("GET", key), ("", checkOf(self.ONE).hex()))
        self.assertEqual(len(checkOf(self.ONE)), 2)


class RedisClusterTests(RedisCase):
    """A node of a Redis Cluster, where each has some of the places."""

    @inlineCallbacks
    def test_fails(self) -> Steps:
        """It is said in one line, whatever it answers to what."""
        options = {"enabled": "yes", "config-file": "nodes", "port": str(freePort())}
        words = [(f"--cluster-{name}", value) for name, value in options.items()]
        server = self.serve(*chain.from_iterable(words))
        for query in ("", "?db=1"):
            directory = yield self.connect(f"redis+unix:{server.path}{query}")
            self.assertFalse(directory.isAnswering)
            self.assertIn("node of a Redis Cluster", self.lines()[-1])
        self.assertEqual(len(self.lines()), 2)


class NonsenseTests(RedisCase):
    """What listens there is no Redis."""

    @inlineCallbacks
    def speak(self, answer: Callable[[bytes], bytes], told: str = "") -> Steps:
        """Connect to what answers so; nothing but an error comes of it, and one line of log."""

        class Fake(FakeRedis):
            pass

        Fake.answer = staticmethod(answer)  # type: ignore[assignment]
        factory = Factory.forProtocol(Fake)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"redis://:{PASSWORD}@127.0.0.1:{port.getHost().port}/1"
        began = time.monotonic()
        directory = yield self.connect(url, timeout=TIMEOUT)
        self.assertFalse(directory.isAnswering)
        self.assertLess(time.monotonic() - began, 5 * TIMEOUT + SLACK)
        (line,) = self.lines()
        self.assertIn(told, line)
        self.failsAtOnce(directory.find("key:1"))
        yield directory.stop()
        self.addCleanup(directory.start)  # or the clean-up could not stop it

    def test_silent(self) -> Deferred[None]:
        return self.speak(lambda _data: b"", "did not answer in time")

    def test_http(self) -> Deferred[None]:
        return self.speak(lambda _data: b"HTTP/1.1 400 Bad Request\r\n\r\n<html>nonsense</html>")

    def test_bytes(self) -> Deferred[None]:
        return self.speak(lambda _data: b"\xff\xfe\r\n" * 10, "does not speak Redis' protocol")

    def test_bytesBehindAnAnswer(self) -> Deferred[None]:
        """They are read in another turn of the reactor."""
        return self.speak(lambda _data: b"$1\r\nx\r\n\xff\xfe\r\n", "does not speak")

    def test_notANumber(self) -> Deferred[None]:
        return self.speak(lambda _data: b":x\r\n", "does not speak")

    def test_oneLineWithoutEnd(self) -> Deferred[None]:
        return self.speak(lambda _data: b"+" + b"x" * 200000)

    def test_oneTextWithoutEnd(self) -> Deferred[None]:
        return self.speak(lambda _data: b"$999999999\r\n" + b"x" * 200000, "has no end")

    def test_oneListWithoutEnd(self) -> Deferred[None]:
        return self.speak(lambda _data: b"*999999999\r\n" + b":%01000d\r\n" % 1 * 200, "has no end")

    def test_fits(self) -> Deferred[None]:
        """It looks like an answer, and is none to what was asked."""
        return self.speak(lambda _data: b"+OK\r\n", "secret")

    def test_quotesThePassword(self) -> Deferred[None]:
        """As Redis quotes an unknown command's arguments, or without any marks."""
        return self.speak(lambda data: b"-ERR no command " + data.replace(b"\r\n", b" ") + b"\r\n")

    def test_elsewhere(self) -> Deferred[None]:
        """A node of a Redis Cluster."""
        moved = b"-MOVED 3999 192.0.2.1:6381\r\n"
        return self.speak(lambda _data: moved * 2, "node of a Redis Cluster")

    def test_fullOfClients(self) -> Deferred[None]:
        return self.speak(lambda _data: b"-ERR max number of clients reached\r\n" * 2)


class TlsTests(RedisCase):
    """A Redis that speaks TLS."""

    def serveTls(self, name: x509.GeneralName) -> tuple[RedisServer, int, Any]:
        """Return it, its port, and whom to trust."""
        ca = issue("Test CA", None)
        certificate, key = issue("redis", [name], ca)
        path = Path(self.mktemp()).absolute()
        path.write_bytes(pem(certificate, key))
        port = freePort()
        server = self.serve(
            *("--tls-port", str(port), "--tls-cert-file", str(path), "--tls-key-file", str(path)),
            *("--tls-ca-cert-file", str(path), "--tls-auth-clients", "no"),
        )
        return server, port, trustRootFromCertificates([Certificate.loadPEM(pem(*ca))])

    @inlineCallbacks
    def test_works(self) -> Steps:
        """All as without, and it comes back, too."""
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        server, port, trustRoot = self.serveTls(address)
        directory = yield self.connect(
            f"rediss://127.0.0.1:{port}", trustRoot=trustRoot, timeout=1.0
        )
        self.assertTrue(directory.isAnswering, self.lines())
        self.assertEqual((yield directory.claim("key:1", A1)), A1)
        claims = [(f"key:{number}", A1) for number in range(200)]
        self.assertEqual((yield directory.claimAll(claims)), [A1] * 200)
        server.freeze()
        yield self.fails(directory.find("key:1"))
        server.thaw()
        yield self.comesBack(directory, 1)

    @inlineCallbacks
    def test_certificateIsForAnother(self) -> Steps:
        """Then the password is not sent."""
        server, port, trustRoot = self.serveTls(x509.DNSName("example.org"))
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}"
        yield self.connect(url, trustRoot=trustRoot, timeout=1.0)
        self.assertIn("certificate verify failed", self.lines()[0])
        self.assertNotIn("auth", server.do("INFO", "commandstats"))

    @inlineCallbacks
    def test_unknownAuthority(self) -> Steps:
        """The system does not know that of the tests."""
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        _server, port, _trustRoot = self.serveTls(address)
        yield self.connect(f"rediss://127.0.0.1:{port}", timeout=1.0)
        self.assertIn("certificate verify failed", self.lines()[0])

    @inlineCallbacks
    def test_noTls(self) -> Steps:
        """TLS to a Redis without is an error like any other."""
        server = self.serve()
        directory = yield self.connect(f"rediss://127.0.0.1:{server.port}", timeout=1.0)
        self.assertFalse(directory.isAnswering)
        self.assertEqual(len(self.lines(LogLevel.error)), 1)
