"""Who may ask what of the admin endpoint."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.unixpeers import UnixPeer
from nymearemoteproxy.watching.admin import access
from nymearemoteproxy.watching.admin.access import Access, isCrossSite, isLoopbackName
from nymearemoteproxy.watching.admin.web import Question
from tests.support.adminhttp import basic

USERS = {"anna": "s3cret", "bärbel": "pässword:with:colons"}


def makeAccess(clock: Clock, users: Mapping[str, str] | None, private: bool = False) -> Access:
    """Return the rules when these are the users."""
    access = Access(clock, private)
    access.admit(users)
    return access


class PasswordTests(SynchronousTestCase):
    """A listener with users."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.access = makeAccess(self.clock, USERS)

    def status(self, authorization: str | None, host: str = "192.0.2.1") -> int:
        """Return how somebody is answered, 200 for being let in."""
        headers = {} if authorization is None else {"authorization": authorization}
        answer = self.access.refusal(Question(headers=headers, host=host))
        return 200 if answer is None else answer.status

    def test_right(self) -> None:
        for user, password in USERS.items():
            self.assertEqual(self.status(basic(user, password)), 200)
        self.assertEqual(self.status(basic("anna", "s3cret").replace("Basic", "bAsIC")), 200)

    def test_guessingIsLogged(self) -> None:
        """Once for each time that an address has to wait, without what was tried."""
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for _ in range(2 * access.MOST_FAILURES):
            self.status(basic("anna", "guess"))
        (event,) = events
        self.assertEqual(event["source"], "192.0.2.1")
        self.assertNotIn("guess", str(event))

    def test_none(self) -> None:
        answer = self.access.refusal(Question())
        assert answer is not None
        self.assertEqual(answer.status, 401)
        self.assertEqual(
            answer.headers, {"WWW-Authenticate": 'Basic realm="nymea-remoteproxy", charset="UTF-8"'}
        )

    def test_wrong(self) -> None:
        for number, wrong in enumerate(
            (
                basic("anna", "S3cret"),
                basic("anna", ""),
                basic("bärbel", "s3cret"),
                basic("nobody", ""),
                basic("", ""),
                basic("nobody", "s3cret"),
                basic("anna", "s3cret").replace("Basic", "Bearer"),
                "Basic " + base64.b64encode(b"anna").decode(),
                "Basic " + base64.b64encode(b"anna:\xff").decode(),
                "Basic !!!!",
                "Basic YW5uY",
                "Basic",
                "",
                "Basic ä",
            )
        ):
            self.assertEqual(self.status(wrong, host=f"192.0.2.{number}"), 401, wrong)

    @given(st.text())
    def test_anything(self, header: str) -> None:
        """No header lets anybody in, or raises."""
        access = makeAccess(self.clock, USERS)
        found = access.refusal(Question(headers={"authorization": header}))
        self.assertIsNotNone(found)

    def guess(self, times: int, host: str = "192.0.2.1") -> None:
        for _time in range(times):
            self.assertEqual(self.status(basic("anna", "x"), host), 401)

    def test_guessing(self) -> None:
        """After ten wrong ones even the right one has to wait; others do not."""
        self.guess(access.MOST_FAILURES)
        right = basic("anna", "s3cret")
        self.assertEqual(self.status(right), 429)
        self.assertEqual(self.status(right, "192.0.2.2"), 200)
        self.clock.advance(access.FORGIVEN_AFTER - 0.1)
        self.assertEqual(self.status(right), 429)
        self.clock.advance(0.2)
        self.assertEqual(self.status(basic("anna", "x")), 401)
        self.assertEqual(self.status(right), 429)
        self.clock.advance(access.FORGIVEN_AFTER)
        self.assertEqual(self.status(right), 200)
        self.guess(access.MOST_FAILURES)

    def test_guessingFromANetwork(self) -> None:
        """An IPv6 host has 2^64 addresses; a Unix socket has none."""
        self.guess(5, "2001:db8::1")
        self.guess(5, "2001:db8::2")
        self.assertEqual(self.status(basic("anna", "s3cret"), "2001:db8::3"), 429)
        self.assertEqual(self.status(basic("anna", "s3cret"), "2001:db8:0:1::3"), 200)
        self.guess(10, "")
        self.assertEqual(self.status(basic("anna", "s3cret"), ""), 429)

    def test_guessingSideBySide(self) -> None:
        """Many addresses do not make many guesses; who is known by his password does not wait."""
        right = basic("anna", "s3cret")
        self.assertEqual(self.status(right, "192.0.2.1"), 200)
        for number in range(access.MOST_GUESSES):
            self.guess(1, f"127.0.{number}.1")
        self.assertEqual(self.status(basic("anna", "x"), "127.1.0.1"), 429)
        self.assertEqual(self.status(right, "127.1.0.2"), 429)
        self.assertEqual(self.status(right, "192.0.2.1"), 200)
        self.clock.advance(1 / access.GUESSES_PER_SECOND)
        self.guess(1, "127.1.0.1")
        self.assertEqual(self.status(basic("anna", "x"), "127.1.0.1"), 429)
        self.clock.advance(1 / access.GUESSES_PER_SECOND)
        self.assertEqual(self.status(right, "127.1.0.2"), 200)

    def test_known(self) -> None:
        """Who gave a right password, by what he is counted as."""
        for host, source in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("", None),
        ):
            self.guess(1, host)
            self.assertFalse(self.access.isKnown(source))
            self.status(basic("anna", "s3cret"), host)
            self.assertTrue(self.access.isKnown(source))

    def test_theKnownAreFew(self) -> None:
        self.patch(access, "MOST_KNOWN", 3)
        for last in range(5):
            self.status(basic("anna", "s3cret"), f"192.0.2.{last}")
        self.assertEqual(list(self.access._known), ["192.0.2.2", "192.0.2.3", "192.0.2.4"])

    def test_askingWithoutAPasswordIsNoGuess(self) -> None:
        """Browsers always begin like that."""
        for _time in range(30):
            self.assertEqual(self.status(None), 401)
        self.assertEqual(self.status(basic("anna", "s3cret")), 200)

    def test_memoryIsBounded(self) -> None:
        self.patch(access, "MOST_ADDRESSES", 3)
        self.guess(10, "192.0.2.1")
        for last in range(2, 6):
            self.guess(1, f"192.0.2.{last}")
        self.assertEqual(len(self.access._failures), 3)
        self.assertEqual(self.status(basic("anna", "s3cret"), "192.0.2.1"), 200)

    def test_replaced(self) -> None:
        self.assertEqual(self.status(basic("anna", "s3cret")), 200)
        self.access.admit(dict(USERS))
        self.assertTrue(self.access.isKnown("192.0.2.1"))
        self.access.admit({"carl": "new"})
        self.assertFalse(self.access.isKnown("192.0.2.1"))
        self.assertEqual(self.status(basic("anna", "s3cret")), 401)
        self.assertEqual(self.status(basic("carl", "new")), 200)

    def test_anyHostName(self) -> None:
        """With a password the name does not matter: no other site knows it."""
        headers = {"authorization": basic("anna", "s3cret"), "host": "evil.example"}
        self.assertIsNone(self.access.refusal(Question(headers=headers)))


class NameTests(SynchronousTestCase):
    """A listener without users: DNS rebinding."""

    def test_loopback(self) -> None:
        for name in (
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8080",
        ):
            self.assertTrue(isLoopbackName(name), name)

    def test_others(self) -> None:
        for name in (
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "0.0.0.0",
            "[::2]",
            "[::1",
            "[::1]x",
            "::1",
            "localhost@evil.example",
            "127.1",
        ):
            self.assertFalse(isLoopbackName(name), name)

    def test_refused(self) -> None:
        """On a Unix socket, too: ssh and reverse proxies lead browsers there."""
        for private in (False, True):
            asked = makeAccess(Clock(), None, private)
            self.assertIsNone(asked.refusal(Question(headers={"host": "localhost"})))
            for headers in ({"host": "evil.example:8080"}, {"host": "x"}, {"host": ""}, {}):
                answer = asked.refusal(Question(headers=headers))
                assert answer is not None
                self.assertEqual(answer.status, 421)
                self.assertIn(b"Host: localhost", answer.body)

    def test_notYet(self) -> None:
        """Nobody is answered before it is said who may be."""
        answer = Access(Clock()).refusal(Question(headers={"host": "localhost"}))
        assert answer is not None
        self.assertEqual(answer.status, 401)


class CrossSiteTests(SynchronousTestCase):
    """What changes something is only for our own page, and for people with a command line."""

    def test_own(self) -> None:
        for more in (
            {},
            {"sec-fetch-site": "same-origin", "origin": "http://h:1"},
            {"sec-fetch-site": "none"},
            {"origin": "https://h:1"},
        ):
            headers = {"host": "h:1", **more}
            self.assertFalse(isCrossSite(Question(headers=headers)), more)

    def test_others(self) -> None:
        for more in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": ""},
            {"origin": "http://evil.example"},
            {"origin": "http://h:2"},
            {"origin": "null"},
            {"origin": ""},
        ):
            headers = {"host": "h:1", **more}
            self.assertTrue(isCrossSite(Question(headers=headers)), more)


class ActingTests(SynchronousTestCase):
    """Who may have something done."""

    def status(
        self,
        users: Mapping[str, str] | None,
        private: bool = False,
        **headers: str,
    ) -> int:
        """Return how somebody is answered who may ask, 200 for having it done."""
        access = makeAccess(Clock(), users, private)
        given = {"host": "localhost", "content_type": "application/json", **headers}
        if users is not None:
            given["authorization"] = basic("anna", users["anna"])
        named = {name.replace("_", "-"): value for name, value in given.items()}
        question = Question("POST", headers=named)
        answer = access.refusal(question) or access.refusalToAct(question)
        return 200 if answer is None else answer.status

    def test_protected(self) -> None:
        """A password protects it, or a Unix socket that is not for everybody."""
        self.assertEqual(self.status(USERS), 200)
        self.assertEqual(self.status(None, private=True), 200)
        self.assertEqual(self.status(None), 403)

    def test_whatToSet(self) -> None:
        """Who is refused is told what the operator has to set."""
        access = makeAccess(Clock(), None)
        answer = access.refusalToAct(Question("POST"))
        assert answer is not None
        self.assertIn(b"[Admin] passwordFile", answer.body)
        self.assertIn(b"unix:/run/nymea-remoteproxy/admin.sock", answer.body)

    def test_otherSites(self) -> None:
        """What a page of another site can send is refused, also with the right password."""
        for headers, status in (
            ({"content_type": "text/plain"}, 415),
            ({"content_type": "application/x-www-form-urlencoded"}, 415),
            ({"content_type": "multipart/form-data; boundary=application/json"}, 415),
            ({"content_type": "text/plain; application/json"}, 415),
            ({"content_type": ""}, 415),
            ({"content_type": "Application/JSON; charset=utf-8"}, 200),
            ({"sec_fetch_site": "cross-site"}, 403),
            ({"sec_fetch_site": "same-site"}, 403),
            ({"sec_fetch_site": "same-origin", "origin": "http://localhost"}, 200),
            ({"origin": "http://evil.example"}, 403),
            ({"origin": "null"}, 403),
        ):
            for arrangement in ({"users": USERS}, {"users": None, "private": True}):
                found = self.status(**arrangement, **headers)  # type: ignore[arg-type]
                self.assertEqual(found, status, headers)

    def test_rebinding(self) -> None:
        """A browser may get to a Unix socket by ssh or a reverse proxy, and by a foreign name."""
        own = {"sec_fetch_site": "same-origin", "origin": "http://evil.example:9109"}
        asked = {"host": "evil.example:9109", **own}
        self.assertEqual(self.status(None, private=True, **asked), 421)
        self.assertEqual(self.status(USERS, **asked), 200)  # the browser has no password for it

    def test_names(self) -> None:
        """What the log is to say of who asks."""
        headers = {"authorization": basic("bärbel", "pässword:with:colons")}
        peer = UnixPeer(4711, 54321)
        for users, question, name in (
            (USERS, Question(headers=headers, host="192.0.2.1"), "bärbel from 192.0.2.1"),
            (
                USERS,
                Question(headers=headers, peer=peer),
                "bärbel from a user without a name (uid 54321, process 4711)",
            ),
            (None, Question(headers=headers, peer=UnixPeer(1, 0)), "root (uid 0, process 1)"),
            (None, Question(headers=headers, host="127.0.0.1"), "127.0.0.1"),
        ):
            self.assertEqual(makeAccess(Clock(), users).nameOf(question), name)
