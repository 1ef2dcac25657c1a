"""What is to be written down."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.accounting.bookkeeping import Books
from nymearemoteproxy.running.configuration.books import makeBooks
from nymearemoteproxy.running.settings.values import Settings


class BooksTests(SynchronousTestCase):
    """Each setting has its place there."""

    def test_defaults(self) -> None:
        """They are those of the settings."""
        self.assertEqual(makeBooks(Settings()), Books())

    def test_settings(self) -> None:
        settings = Settings()
        for name, value in {
            "Accounting.tunnelLog": "/tunnels",
            "Accounting.statisticsLog": "/statistics",
            "Accounting.statisticsInterval": "1500",
            "Accounting.textDirectory": "/texts",
            "Accounting.totalsFile": "/totals",
            "ProxyServer.logEngineEnabled": "true",
        }.items():
            settings.set(name, value)
        self.assertEqual(
            makeBooks(settings),
            Books(
                tunnelLog="/tunnels",
                statisticsLog="/statistics",
                interval=1.5,
                isText=True,
                textDirectory="/texts",
                totalsFile="/totals",
            ),
        )
