"""Owns the checks of when keys are fetched, how long they are good, and every kind of failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface.verify import verifyObject

from nymearemoteproxy.authentication.answers import MAX_ANSWER
from nymearemoteproxy.authentication.backend import BackendError
from nymearemoteproxy.authentication.keysets import IKeys, KeySet
from nymearemoteproxy.authentication.remotekeys import (
    FETCH_TIMEOUT,
    LIFETIME,
    PAUSE,
    REFRESH,
    RETRY,
    RemoteKeys,
)
from nymearemoteproxy.common.turns import Turns
from tests.support.endtoend import hang
from tests.support.issuers import IssuerKey, keySet
from tests.support.loglines import logged

URL = "https://id.example/realms/home/certs?secret=1"

ONE, TWO = IssuerKey("ES256", "one"), IssuerKey("ES256", "two")


class Issuer(Resource):
    """Publishes keys, or answers as it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.gone: list[Request] = []
        self.publish(ONE)

    def publish(self, *keys: IssuerKey) -> None:
        self.answer: Callable[[Request], bytes | int] = lambda request: keySet(keys)

    def render(self, request: Request) -> bytes | int:
        self.requests.append(request)
        request.notifyFinish().addErrback(lambda _: self.gone.append(request))
        return self.answer(request)


def broken(request: Request) -> bytes:
    """Answer with an error."""
    request.setResponseCode(500)
    return b"secret"


class RemoteKeysCase(SynchronousTestCase):
    """An issuer in memory, and keys of it."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.issuer = Issuer()
        self.client = StubTreq(self.issuer)
        self.keys = RemoteKeys(self.clock, self.client, URL, Turns(self.clock))
        self.events = logged(self)

    def find(self, id: str | None = "one") -> Deferred[KeySet]:
        """Ask for the keys, and let pass what takes no time."""
        found: Deferred[KeySet] = Deferred.fromCoroutine(self.keys.find(id))
        self.settle()
        return found

    def settle(self) -> None:
        self.client.flush()
        for _turn in range(3):
            self.clock.advance(0)

    def ids(self, id: str | None = "one") -> list[str | None]:
        """Return the ids of the keys, which are there."""
        return [key.id for key in self.successResultOf(self.find(id)).keys]

    def reason(self, id: str | None = "one") -> str:
        """Return why there are none."""
        text = str(self.failureResultOf(self.find(id), BackendError).value)
        self.assertNotIn("secret", text)
        self.assertNotIn("\n", text)
        return text

    def assertFetched(self, times: int) -> None:
        self.assertEqual(len(self.issuer.requests), times)

    def lines(self, *words: str) -> int:
        """Return how many lines of the log have all these words."""
        return sum(all(word in line for word in words) for line in self.events)


class TimeTests(RemoteKeysCase):
    """When keys are fetched."""

    def test_interface(self) -> None:
        """They are keys."""
        self.assertTrue(verifyObject(IKeys, self.keys))

    def test_atFirst(self) -> None:
        """For the first one who needs them, and then they are there."""
        self.assertFetched(0)
        self.assertEqual(self.ids(), ["one"])
        self.assertEqual(self.ids(), ["one"])
        self.assertEqual(self.ids(None), ["one"])
        self.assertFetched(1)
        (request,) = self.issuer.requests
        self.assertEqual((request.method, request.uri), (b"GET", b"/realms/home/certs?secret=1"))
        self.assertIn("json", request.getHeader("Accept") or "")
        self.assertEqual(self.lines("keys of tokens are fetched"), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_oneAtATime(self) -> None:
        """Whoever comes meanwhile waits for the same answer."""
        self.issuer.answer = hang
        found = [self.find() for _ in range(5)]
        for each in found:
            self.assertNoResult(each)
        self.assertFetched(1)
        (request,) = self.issuer.requests
        request.write(keySet([ONE]))
        request.finish()
        self.settle()
        self.clock.pump([0] * 5)
        for each in found:
            self.assertEqual(self.successResultOf(each).keys[0].id, "one")
        self.assertFetched(1)

    def test_givenUp(self) -> None:
        """One who leaves takes nobody's answer away."""
        self.issuer.answer = hang
        leaves, stays = self.find(), self.find()
        leaves.cancel()
        self.failureResultOf(leaves)
        self.assertEqual(self.issuer.gone, [])
        (request,) = self.issuer.requests
        request.write(keySet([ONE]))
        request.finish()
        self.settle()
        self.successResultOf(stays)

    def test_refresh(self) -> None:
        """Old ones are fetched again, and nobody waits for it."""
        self.ids()
        self.clock.advance(REFRESH - 1)
        self.ids()
        self.assertFetched(1)
        self.clock.advance(1)
        self.issuer.answer = hang
        self.assertEqual(self.ids(), ["one"])
        self.assertEqual(self.ids(), ["one"])
        self.assertFetched(2)
        request = self.issuer.requests[-1]
        request.write(keySet([TWO]))
        request.finish()
        self.settle()
        self.assertEqual(self.ids("two"), ["two"])
        self.assertFetched(2)
        self.assertEqual(self.lines("keys of tokens are fetched"), 2)

    def test_unknown(self) -> None:
        """A key that is not known is fetched, at most once a minute."""
        self.ids()
        self.issuer.publish(ONE, TWO)
        self.assertEqual(self.ids("two"), ["one"])
        self.clock.advance(PAUSE - 1)
        self.assertEqual(self.ids("two"), ["one"])
        self.assertFetched(1)
        self.clock.advance(1)
        self.assertEqual(self.ids("two"), ["one", "two"])
        self.assertFetched(2)
        for _ in range(10):
            self.assertEqual(self.ids("three"), ["one", "two"])
        self.assertFetched(2)

    def test_known(self) -> None:
        """While one waits for an unknown key, those of known ones do not."""
        self.ids()
        self.clock.advance(PAUSE)
        self.issuer.answer = hang
        waits = self.find("two")
        self.assertNoResult(waits)
        self.assertEqual(self.ids(), ["one"])
        self.clock.advance(FETCH_TIMEOUT)
        self.settle()
        self.failureResultOf(waits, BackendError)

    def test_uselessKeys(self) -> None:
        """Keys for something else are counted in the log."""
        self.issuer.answer = lambda request: keySet([ONE, TWO.public(use="enc")])
        self.assertEqual(self.ids(), ["one"])
        self.assertEqual(self.lines("keys of tokens are fetched: 1 of use, 1 not"), 1)

    def test_sameKeys(self) -> None:
        """What has not changed is not told."""
        for _ in range(3):
            self.ids()
            self.clock.advance(REFRESH)
        self.ids()
        self.assertFetched(4)
        self.assertEqual(self.lines("keys of tokens"), 1)


class FailureTests(RemoteKeysCase):
    """No keys: nobody gets in."""

    def test_answers(self) -> None:
        """What is no key set, is too large, or comes too late."""

        def status(code: int) -> Callable[[Request], bytes]:
            def answer(request: Request) -> bytes:
                request.setResponseCode(code)
                request.setHeader(b"Location", b"https://elsewhere.example/")
                return keySet([ONE])

            return answer

        def breakOff(request: Request) -> int:
            request.setHeader(b"Content-Length", b"10000")
            request.write(keySet([ONE]))
            request.transport.loseConnection()
            return NOT_DONE_YET

        for answer, words in (
            (status(404), "404"),
            (status(302), "302"),
            (status(401), "401"),
            (lambda request: b"<html>secret", "JSON"),
            (lambda request: b"{}", "keys"),
            (lambda request: b'{"keys": []}', "no key is of use"),
            (lambda request: keySet([{"kty": "oct", "k": "secret"}]), "secret and not"),
            (lambda request: keySet([ONE]).ljust(MAX_ANSWER + 1), "larger"),
            (breakOff, "request failed"),
        ):
            self.clock.advance(RETRY)
            self.issuer.answer = answer
            found = self.find()
            text = str(self.failureResultOf(found, BackendError).value)
            self.assertIn(words, text)
            self.assertTrue(text.startswith("its keys cannot be fetched: "), text)
        self.assertEqual(self.lines("keys of tokens cannot be fetched"), 1)
        self.clock.advance(RETRY)
        self.issuer.answer = lambda request: keySet([ONE]).ljust(MAX_ANSWER)
        self.assertEqual(self.ids(), ["one"])

    def test_late(self) -> None:
        """An issuer that does not answer, or does not end its answer: it is hung up on."""

        def begin(request: Request) -> int:
            request.write(b'{"keys": [')
            return NOT_DONE_YET

        for answer in (hang, begin):
            self.issuer.answer = answer
            found = [self.find() for _ in range(3)]
            self.clock.advance(FETCH_TIMEOUT)
            self.settle()
            self.clock.pump([0] * 3)
            for each in found:
                text = str(self.failureResultOf(each, BackendError).value)
                self.assertIn("did not answer within 5 s", text)
            self.assertEqual(self.issuer.gone, self.issuer.requests)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFetched(2)

    def test_unreachable(self) -> None:
        """It is told what the network says."""
        self.client.get = self.refuse  # type: ignore[method-assign]
        self.assertIn("request failed: ValueError", self.reason())

    def refuse(self, *_arguments: object, **_options: object) -> Any:
        raise ValueError("secret")

    def test_retry(self) -> None:
        """It is not asked again at once, and logged once; then it is told that it works."""
        self.issuer.answer = broken
        for _ in range(5):
            self.assertIn("500", self.reason())
        self.assertFetched(1)
        self.clock.advance(RETRY)
        self.assertIn("500", self.reason())
        self.assertFetched(2)
        self.assertEqual(self.lines("keys of tokens cannot be fetched", "500"), 1)
        self.clock.advance(RETRY)
        self.issuer.publish(ONE)
        self.assertEqual(self.ids(), ["one"])
        self.assertEqual(self.lines("keys of tokens are fetched"), 1)

    def test_oldKeys(self) -> None:
        """Keys stay good for a while when there are no new ones, and then nobody gets in."""
        self.ids()
        self.issuer.answer = broken
        self.clock.advance(REFRESH)
        for _ in range(3):
            self.assertEqual(self.ids(), ["one"])
        self.assertFetched(2)
        self.clock.advance(LIFETIME - REFRESH - 1)
        self.assertEqual(self.ids(), ["one"])
        self.assertFetched(3)
        self.clock.advance(RETRY)
        self.assertIn("500", self.reason())
        self.assertFetched(4)
        self.assertEqual(self.lines("cannot be fetched"), 1)
        self.clock.advance(RETRY)
        self.issuer.publish(TWO)
        self.assertEqual(self.ids("two"), ["two"])

    def test_unknownKey(self) -> None:
        """Nobody can tell whether it is good, and its client's token is not to blame."""
        self.ids()
        self.issuer.answer = broken
        self.clock.advance(PAUSE)
        for _ in range(3):
            self.assertIn("500", self.reason("two"))
            self.assertEqual(self.ids(), ["one"])
        self.assertFetched(2)

    def test_fault(self) -> None:
        """A fault of ours keeps everybody out, too, and is logged as such."""
        self.keys._fetch = self.fault  # type: ignore[method-assign]
        self.assertIn("internal error", self.reason())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def fault(self) -> KeySet:
        raise ZeroDivisionError
