"""Owns the checks of the tokens known beforehand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.authentication.backend import BackendError, FirstOf, IAuthenticator, Verdict
from nymearemoteproxy.authentication.tokens import AnyToken, TokenList, parseTokens

PROPERTY = settings(max_examples=100, deadline=None, database=None)

# Lone surrogates cannot arrive: they are no UTF-8.
TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)


class ParseTokensTests(SynchronousTestCase):
    """The token file."""

    def test_tokens(self) -> None:
        """One per line; empty lines, comments and blanks around do not count."""
        content = "# comment\n\nfirst\n  second token\t\r\n \n#third\nfo#rth\nfünf"
        self.assertEqual(parseTokens(content.encode()), ["first", "second token", "fo#rth", "fünf"])

    def test_noToken(self) -> None:
        """A file without a token would let nobody in, which nobody wants."""
        for content in (b"", b"\n\n", b"# only\n  # comments\n"):
            self.assertRaises(ValueError, parseTokens, content)

    def test_notUtf8(self) -> None:
        """It is told apart."""
        self.assertRaises(UnicodeDecodeError, parseTokens, b"caf\xe9\n")

    def test_byteOrderMark(self) -> None:
        """A mark that an editor put at the beginning is no part of the first token."""
        self.assertEqual(parseTokens(b"\xef\xbb\xbffirst\nsecond\n"), ["first", "second"])


class TokenListTests(SynchronousTestCase):
    """Tokens are compared."""

    def accepted(self, authenticator: IAuthenticator, token: str) -> bool:
        """Return the verdict, which is there at once and names no subject."""
        verdict = self.successResultOf(authenticator.authenticate(token))
        self.assertIsNone(verdict.subject)
        return bool(verdict.accepted)

    def test_interface(self) -> None:
        """All are backends."""
        for backend in (TokenList([]), AnyToken(), FirstOf(AnyToken(), AnyToken())):
            self.assertTrue(verifyObject(IAuthenticator, backend))

    def test_accepted(self) -> None:
        """Exactly the tokens that are in the list."""
        tokens = TokenList(["first", "zweites €"])
        for token in ("first", "zweites €"):
            self.assertTrue(self.accepted(tokens, token))
        for token in ("", "First", "first ", "firs", "firstt", "\0first", "first\0"):
            self.assertFalse(self.accepted(tokens, token), token)

    @PROPERTY
    @given(st.lists(TEXTS, max_size=5), TEXTS)
    def test_anyTokens(self, tokens: list[str], token: str) -> None:
        """The same as looking it up in the list."""
        self.assertEqual(self.accepted(TokenList(tokens), token), token in tokens)

    def test_noTokensInMemory(self) -> None:
        """What is kept does not show the tokens."""
        self.assertNotIn("sesame", repr(vars(TokenList(["sesame"]))))

    def test_longToken(self) -> None:
        """Length does not matter, nor where tokens differ."""
        long = "t" * 9000
        tokens = TokenList([long])
        self.assertTrue(self.accepted(tokens, long))
        self.assertFalse(self.accepted(tokens, long + "t"))

    def test_anyToken(self) -> None:
        """Everything is accepted."""
        for token in ("", "anything"):
            self.assertTrue(self.accepted(AnyToken(), token))


@implementer(IAuthenticator)
class Backend:
    """A backend that gives the answers it was given, and notes what it was asked."""

    def __init__(self, answer: Deferred[Verdict]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def authenticate(self, token: str) -> Deferred[Verdict]:
        self.asked.append(token)
        return self.answer


class FirstOfTests(SynchronousTestCase):
    """Several backends, one after the other."""

    def test_firstAccepts(self) -> None:
        """The second is not asked."""
        second = Backend(Deferred())
        asked = FirstOf(Backend(succeed(Verdict(True, "anna"))), second).authenticate("t")
        self.assertEqual(self.successResultOf(asked), Verdict(True, "anna"))
        self.assertEqual(second.asked, [])

    def test_firstRefuses(self) -> None:
        """The second one's answer counts, whatever it is."""
        for verdict in (Verdict(True, "bert"), Verdict(False)):
            second = Backend(succeed(verdict))
            asked = FirstOf(Backend(succeed(Verdict(False, "x"))), second).authenticate("t")
            self.assertEqual(self.successResultOf(asked), verdict)
            self.assertEqual(second.asked, ["t"])

    def test_failures(self) -> None:
        """One that cannot tell keeps nobody out whom another one accepts."""
        asked = FirstOf(
            Backend(fail(BackendError("first"))), Backend(succeed(Verdict(True, "anna")))
        ).authenticate("t")
        self.assertEqual(self.successResultOf(asked), Verdict(True, "anna"))

    def test_failuresLetNobodyIn(self) -> None:
        """The first failure is told when nobody accepts."""
        for first, second, told in (
            (fail(BackendError("first")), succeed(Verdict(False)), "first"),
            (succeed(Verdict(False)), fail(BackendError("second")), "second"),
            (fail(BackendError("first")), fail(BackendError("second")), "first"),
        ):
            asked = FirstOf(Backend(first), Backend(second)).authenticate("t")
            self.assertEqual(str(self.failureResultOf(asked, BackendError).value), told)

    def test_faults(self) -> None:
        """A fault of ours is no failure of a backend: nobody else is asked."""
        second = Backend(succeed(Verdict(True)))
        asked = FirstOf(Backend(fail(ZeroDivisionError())), second).authenticate("t")
        self.failureResultOf(asked, ZeroDivisionError)
        self.assertEqual(second.asked, [])

    def test_three(self) -> None:
        """There may be more than two."""
        refusing = [Backend(succeed(Verdict(False))) for _ in range(2)]
        asked = FirstOf(*refusing, Backend(succeed(Verdict(True)))).authenticate("t")
        self.assertEqual(self.successResultOf(asked), Verdict(True))

    def test_cancelled(self) -> None:
        """Whoever is being asked is told to give up."""
        for place in (0, 1):
            given_: list[bool] = []
            pending: Deferred[Verdict] = Deferred(lambda _, given_=given_: given_.append(True))
            never = Backend(pending)
            refusing = Backend(succeed(Verdict(False)))
            asked = FirstOf(*((never, refusing) if place == 0 else (refusing, never)))
            waiting = asked.authenticate("t")
            self.assertNoResult(waiting)
            waiting.cancel()
            self.assertEqual(given_, [True])
            self.failureResultOf(waiting)
            self.assertEqual(refusing.asked, ["t"] * place)
