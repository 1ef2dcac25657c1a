"""Which values count, and which stay."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.settings.declarations import Setting
from nymearemoteproxy.running.settings.sections import RETIRED, SETTINGS
from nymearemoteproxy.running.settings.values import Settings
from tests.support.settings import SettingsCase

PROPERTY = settings(max_examples=100, deadline=None, database=None)


class RetiredTests(SettingsCase):
    """What the C++ server had and this one has not."""

    def test_warning(self) -> None:
        """It is told what is ignored and why, once per section or key."""
        self.load("[AWS]\nregion=x\nother=y\n[ProxyServer]\nproxyEnabled=true\n")
        self.assertEqual(
            self.settings.warnings,
            [
                f"[AWS] is ignored: {RETIRED['AWS']}",
                f"[ProxyServer] proxyEnabled is ignored: {RETIRED['ProxyServer.proxyEnabled']}",
            ],
        )

    def test_bySet(self) -> None:
        """On the command line no less."""
        self.settings.override("AWS.region=x")
        self.assertEqual(len(self.settings.warnings), 1)
        self.assertIn("[AWS]", self.settings.warnings[0])
        self.assertRaises(KeyError, self.settings.source, "AWS.region")


class OverrideTests(SettingsCase):
    """SECTION.KEY=VALUE."""

    def test_override(self) -> None:
        """White space around the name does not matter; an equals sign may be in the value."""
        self.settings.override("ProxyServer.name=a=b.c")
        self.assertEqual(self.settings["ProxyServer.name"], "a=b.c")
        self.settings.override(" ProxyServer.name = d ")
        self.assertEqual(self.settings["ProxyServer.name"], "d")

    def test_noAssignment(self) -> None:
        """It is told what to write."""
        for assignment in ("", "name", "name=x", "ProxyServer.name", "=x", "=a.b"):
            said = self.assertFails(self.settings.override, assignment)
            self.assertIn("SECTION.KEY=VALUE", said)


def _values(setting: Setting) -> list[str]:
    """Return some texts that this setting can be set to."""
    texts = ("true", "no", "0", "1", "1000", "65536", "json", "form", "subject", "shortened", "600")
    return [text for text in (*texts, "servers", "http://a/", "") if _isValue(setting, text)]


def _isValue(setting: Setting, text: str) -> bool:
    try:
        setting.notation.parse(text)
    except ValueError:
        return False
    return True


assignments = st.lists(
    st.sampled_from(SETTINGS).flatmap(
        lambda setting: st.tuples(st.just(setting.name), st.sampled_from(_values(setting)))
    )
)


class KeepAtStartTests(SynchronousTestCase):
    """Settings that are read anew."""

    def made(self, chosen: list[tuple[str, str]]) -> Settings:
        """Return settings of which these are set."""
        made = Settings()
        for name, text in chosen:
            made.set(name, text)
        return made

    def test_which(self) -> None:
        """What cannot change is where and how it listens, logs and keeps accounts."""
        for name in "WebSocketServer.port", "ProxyServer.logFile", "TunnelProxy.enabled":
            self.assertTrue(next(each for each in SETTINGS if each.name == name).atStart)
        for name in "ProxyServer.name", "SSL.certificate", "Limits.exemptNetworks":
            self.assertFalse(next(each for each in SETTINGS if each.name == name).atStart)

    def test_told(self) -> None:
        """What is different, as it stands in the file; not what says the same in other words."""
        old = self.made([("TcpServer.port", "1"), ("ProxyServer.pingTimeout", "5")])
        new = self.made(
            [
                ("TcpServer.port", "2"),
                ("WebSocketServer.port", "2212"),  # the default
                ("ProxyServer.name", "new"),
                ("SSL.enabled", "yes"),  # the default
            ]
        )
        told = new.keepAtStart(old)
        self.assertEqual(told, ["[ProxyServer] pingTimeout", "[TcpServer] port"])
        self.assertEqual(new["TcpServer.port"], 1)
        self.assertEqual(new["ProxyServer.pingTimeout"], 0.005)
        self.assertEqual(new["ProxyServer.name"], "new")
        self.assertEqual(new.keepAtStart(old), [])

    def test_sections(self) -> None:
        """A section that comes or goes means something at the start only."""
        old, new = Settings(), self.made([("WebSocketServerTunnelProxy.port", "1")])
        new.keepAtStart(old)
        self.assertFalse(new.hasSection("WebSocketServerTunnelProxy"))
        self.assertIsNone(new["WebSocketServerTunnelProxy.port"])
        self.assertRaises(KeyError, new.source, "WebSocketServerTunnelProxy.port")
        new.set("WebSocketServerTunnelProxy.port", "1")
        self.assertFalse(old.hasSection("WebSocketServerTunnelProxy"))  # nothing is shared

    @PROPERTY
    @given(assignments, assignments)
    def test_values(self, before: list[tuple[str, str]], after: list[tuple[str, str]]) -> None:
        """Each is as it was, or as it is now."""
        old, new, kept = self.made(before), self.made(after), self.made(after)
        told = kept.keepAtStart(old)
        for setting in SETTINGS:
            source = old if setting.atStart else new
            self.assertEqual(kept[setting.name], source[setting.name])
        different = [each for each in SETTINGS if kept[each.name] != new[each.name]]
        self.assertEqual(told, [f"[{each.section}] {each.key}" for each in different])
