"""Where the console scripts begin.

Owns that Ctrl-C and SIGTERM end a program silently that is still being loaded, which takes half a
second. So nothing may be imported here that takes time.
"""

from __future__ import annotations

import signal


def _endSilently() -> None:
    """Have Ctrl-C end the process as other programs; whoever wants more of it says so later."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def server() -> None:
    """Run ``nymea-remoteproxy``."""
    _endSilently()
    from nymearemoteproxy.cli import main

    main()


def client() -> int:
    """Run ``nymea-remoteproxy-client``; return its exit status."""
    _endSilently()
    from nymearemoteproxy.client.cli import main

    return main()


def monitor() -> int:
    """Run ``nymea-remoteproxy-monitor``; return its exit status."""
    _endSilently()
    from nymearemoteproxy.monitor.cli import main

    return main()
