"""The front door: who is told what about names that nobody can ask for, and the other way round."""

from __future__ import annotations

from nymearemoteproxy.protocol.frontnames import Home
from nymearemoteproxy.protocol.registration import parseUuid
from nymearemoteproxy.running.announcing import essentials
from tests.support.configured import ConfigurationCase

HOME = "c3b5e6ea-8d04-4f5a-9b3c-0e7d0f6a1b2c"

OPEN = ("--token=t", "--front=tcp:443:interface=127.0.0.1")


class FrontTests(ConfigurationCase):
    """The names of homes, and the listeners for those who ask for them."""

    def named(self, content: str) -> str:
        """Return the option for a list of names."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        return f"--set=Front.namesFile={path}"

    def test_names(self) -> None:
        """By the list and by the domain."""
        configured = self.configured(
            *OPEN, self.named(f"a.test {HOME}\n"), "--set=Front.domain=Homes.Test"
        )
        uuid = parseUuid(HOME)
        assert uuid is not None
        self.assertEqual(configured.names.find("a.test"), Home(uuid, isNamed=True))
        self.assertEqual(configured.names.find(f"{HOME}.homes.test"), Home(uuid, isNamed=False))
        self.assertEqual(configured.warnings, ())
        line = "front door: to 1 name and to any home by its uuid under homes.test"
        self.assertIn(line, list(essentials(configured)))

    def test_nobody(self) -> None:
        """There is nobody whom a visitor could find, or nobody can come."""
        named = self.configured(*OPEN, "--set=Front.domain=homes.test")
        self.assertEqual(named.warnings, ())
        for arguments, warning in (
            (OPEN, "[Front] has neither namesFile nor domain"),
            ((*OPEN, self.named("# none yet\n")), "no home has a name at the front door"),
            (("--token=t", "--set=Front.domain=homes.test"), "no visitor comes in"),
            (("--token=t", self.named(f"a.test {HOME}\n")), "no visitor comes in"),
        ):
            (told,) = self.configured(*arguments).warnings
            self.assertIn(warning, told)

    def test_nowhere(self) -> None:
        self.assertIn("front door: to nobody", list(essentials(self.configured(*OPEN))))
        self.assertNotIn("front door", "".join(essentials(self.configured("--token=t"))))

    def test_mistakes(self) -> None:
        for argument, mistake, status in (
            (self.named("a.test\n"), "line 1 is not a name and a uuid", 1),
            ("--set=Front.namesFile=/nonexistent/names", "cannot read the list of names", 1),
            ("--set=TunnelProxy.enabled=false", "[TunnelProxy] enabled switches off", 2),
            ("--set=Front.domain=a b", "no host has such a name", 2),
        ):
            self.assertIn(mistake, self.assertMistake(*OPEN, argument, status=status))
