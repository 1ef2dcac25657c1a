"""What is said of names that there are not."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.values import Settings
from tests.support.settings import SettingsCase

PROPERTY = settings(max_examples=100, deadline=None, database=None)


class UnknownTests(SettingsCase):
    """Mistakes are told with the nearest known name."""

    def test_section(self) -> None:
        """A misspelled section."""
        said = self.assertFails(self.load, "[ProxyServr]\nname=x\n")
        self.assertIn("there is no section [ProxyServr]", said)
        self.assertIn("[ProxyServer]", said)
        said = self.assertFails(self.settings.set, "Limit.maxConnections", "1")
        self.assertIn("[Limit]", said)
        self.assertIn("[Limits]", said)

    def test_emptySection(self) -> None:
        """Even when nothing is in it."""
        self.assertIn("[Limtis]", self.assertFails(self.load, "[Limtis]\n"))

    def test_key(self) -> None:
        """A misspelled key."""
        said = self.assertFails(self.load, "[ProxyServer]\naloneTimout=1\n")
        self.assertIn("there is no setting [ProxyServer] aloneTimout", said)
        self.assertTrue(said.endswith(" aloneTimeout"), said)
        said = self.assertFails(self.settings.set, "Limits.maxconnections", "1")
        self.assertTrue(said.endswith(" maxConnections"), said)

    def test_nothingAlike(self) -> None:
        """When nothing is near, all that there is is told instead."""
        for name, known in (
            ("Foo.bar", "; there are ProxyServer, SSL, "),
            ("\0.x", "; there are ProxyServer, SSL, "),
            ("", "; there are ProxyServer, SSL, "),
            ("SSL.bla", "; [SSL] has enabled, certificate, certificateKey, certificateChain"),
        ):
            said = self.assertFails(self.settings.set, name, "1")
            self.assertIn(known, said)
            self.assertNotIn("nearest", said)

    def test_case(self) -> None:
        """What differs in nothing but case is near, however short it is."""
        said = self.assertFails(self.settings.set, "ssl.enabled", "1")
        self.assertTrue(said.endswith("the nearest known one is [SSL]"), said)
        said = self.assertFails(self.settings.set, "WebSocketServer.PORT", "1")
        self.assertTrue(said.endswith("the nearest known one is port"), said)

    def test_otherSection(self) -> None:
        """A key that another section has is said to be there."""
        said = self.assertFails(self.settings.set, "Limits.aloneTimeout", "1")
        self.assertTrue(said.endswith("; aloneTimeout is in [ProxyServer]"), said)

    def test_defaultSection(self) -> None:
        """The parser's own section for defaults is none of ours."""
        self.assertIn("[DEFAULT]", self.assertFails(self.load, "[DEFAULT]\nname=x\n"))

    def test_fileIsNamed(self) -> None:
        """Whatever is wrong in a file, its name is told."""
        for content in ("[X]\n", "[SSL]\nx=1\n", "[SSL]\nenabled=x\n", "[DEFAULT]\nx=1\n", "x"):
            path = self.write(content)
            self.assertIn(path, self.assertFails(Settings().load, path))

    def test_controlCharacters(self) -> None:
        """What is said goes to a terminal: names that could do something there are escaped."""
        for content in ("[\x1b[1m]\n", "[SSL]\n\x1bx=1\n", "[\r]\n[\r]\n", "[X]\n\x1b=1\n\x1b=1\n"):
            said = self.assertFails(self.load, content)
            self.assertTrue(said.isprintable(), said)
        for assignment in ("\x1b", "SSL.\udcff=1"):
            said = self.assertFails(self.settings.override, assignment)
            self.assertTrue(said.isprintable(), said)

    @PROPERTY
    @given(st.text(max_size=12), st.text(max_size=12))
    def test_anyAssignment(self, name: str, value: str) -> None:
        """Whatever is written after --set, it is set or refused in one line."""
        for assignment in (f"{name}={value}", f"ProxyServer.{name}={value}", name):
            with contextlib.suppress(SettingsError):
                Settings().override(assignment)
