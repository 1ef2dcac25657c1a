"""Every mistake is told, and no mere consequence of one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.certificates import CertificateError
from nymearemoteproxy.listening.listeners import ListenerError
from nymearemoteproxy.running.configuration.mistakes import Mistakes, SeveralMistakes, eachOf
from nymearemoteproxy.running.settings.errors import FileError, MissingError, SettingsError


class MistakesTests(SynchronousTestCase):
    """What was found, and what is made of it."""

    def setUp(self) -> None:
        self.mistakes = Mistakes()

    def fail(self, mistake: Exception) -> str:  # type: ignore[override]
        """Stand for a part that cannot be made."""
        raise mistake

    def attempt(self, mistake: Exception) -> str:
        """Attempt what fails."""
        return self.mistakes.attempt(lambda: self.fail(mistake), "otherwise")

    def test_none(self) -> None:
        """Nothing happens, and what is made counts."""
        self.assertEqual(self.mistakes.attempt(lambda: "made", "otherwise"), "made")
        self.assertFalse(self.mistakes)
        self.mistakes.refuse()

    def test_one(self) -> None:
        """It is raised as it is."""
        for mistake in SettingsError("x"), ListenerError("x"), CertificateError("x"):
            self.mistakes = Mistakes()
            self.assertEqual(self.attempt(mistake), "otherwise")
            self.assertTrue(self.mistakes)
            raised = self.assertRaises(type(mistake), self.mistakes.refuse)
            self.assertEqual((raised, list(eachOf(raised))), (mistake, [mistake]))

    def test_several(self) -> None:
        """All of them are raised, in their order."""
        found = [SettingsError("a"), FileError("b"), CertificateError("c")]
        for mistake in found:
            self.attempt(mistake)
        raised = self.assertRaises(SeveralMistakes, self.mistakes.refuse)
        self.assertEqual(list(eachOf(raised)), found)
        self.assertEqual(str(raised), "a; b; c")

    def test_missing(self) -> None:
        """What is missing beside another mistake may be what that one is about."""
        missing, mistyped = MissingError("none is given"), SettingsError("there is no tokenFil")
        self.mistakes.add(missing)
        self.assertIs(self.assertRaises(MissingError, self.mistakes.refuse), missing)
        self.mistakes.add(mistyped)
        self.assertIs(self.assertRaises(SettingsError, self.mistakes.refuse), mistyped)

    def test_faults(self) -> None:
        """One of ours is no mistake of the operator's."""
        self.assertRaises(KeyError, self.attempt, KeyError())
