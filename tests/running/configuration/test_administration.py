"""Where the admin pages are, and for whom."""

from __future__ import annotations

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from tests.support.configured import ConfigurationCase, RereadCase


class PlaceTests(ConfigurationCase):
    """Where they are."""

    def mode(self, description: str) -> int:
        """Return the mode of the socket that is listened on."""
        listener = self.configured("--admin", description).admin
        assert listener is not None
        self.assertEqual(listener.description, description)
        reactor = MemoryReactorClock()
        listener.endpoint(reactor).listen(Factory())
        mode: int = reactor.unixServers[0][3]
        return mode

    def test_modeOfTheSocket(self) -> None:
        """Whoever comes in may drain the server; so not everybody does."""
        for description in "unix:/run/x", "tls:unix:/run/x", "unix:/run/x\\:y":
            self.assertEqual(self.mode(description), 0o660)
        self.assertEqual(self.mode("unix:/run/x:mode=600"), 0o600)


class MistakeTests(ConfigurationCase):
    """Whatever the operator does wrong is told in one line."""

    def test_whereItWasSet(self) -> None:
        """A place for the admin pages is told as it was given: in the file, or by an option."""
        for description, said in (
            ("8080", '"8080" is no endpoint description'),
            ("tcp:8080", '"tcp:8080" is neither a loopback address'),
        ):
            text = self.assertMistake(file=f"[Admin]\nendpoint={description}\n")
            self.assertRegex(text, f"^nymea-remoteproxy: /.+: \\[Admin\\] endpoint: {said}")
            text = self.assertMistake(
                "--admin", description, file="[Admin]\nendpoint=tcp:1:interface=127.0.0.1\n"
            )
            self.assertIn(f"nymea-remoteproxy: --admin: {said}", text)


class RereadTests(RereadCase):
    """When it is read anew."""

    def test_passwordsForEverybody(self) -> None:
        """They cannot be taken away where strangers can connect."""
        users = self.write("me:secret")
        arguments = ("--token", "t", "--admin", "tls:tcp:1")
        self.file.write_text(f"[Admin]\npasswordFile={users}\n")
        options = self.options(*arguments)
        self.file.write_text("")
        after, problems = options.reread()
        self.assertEqual(len(problems), 1)
        self.assertIn("needs [Admin] passwordFile", problems[0])
        self.assertEqual(after.adminUsers, {"me": "secret"})

    def test_passwordsInTheClear(self) -> None:
        """That is told, then and now."""
        self.file.write_text(f"[Admin]\npasswordFile={self.write('me:secret')}\n")
        options = self.options("--token", "t", "--admin", "tcp:1")
        after, problems = options.reread()
        for each in options.configuration, after:
            (warning,) = each.warnings
            self.assertIn("sent in the clear", warning)
        self.assertEqual(problems, [])
