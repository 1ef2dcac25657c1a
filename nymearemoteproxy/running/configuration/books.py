"""What is to be written down.

Owns how the settings name the files. Knows nothing of what is written there.
"""

from __future__ import annotations

from nymearemoteproxy.accounting.bookkeeping import Books
from nymearemoteproxy.running.settings.values import Settings


def makeBooks(settings: Settings) -> Books:
    """Return what the settings ask for."""
    accounting = settings.accounting
    return Books(
        tunnelLog=accounting.tunnelLog,
        statisticsLog=accounting.statisticsLog,
        interval=accounting.statisticsInterval,
        isText=settings.proxyServer.logEngineEnabled,
        textDirectory=accounting.textDirectory,
        totalsFile=accounting.totalsFile,
    )
