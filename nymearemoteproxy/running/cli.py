"""The command ``nymea-remoteproxy``: runs the service in the foreground, without twistd.

Owns the process: its reactor, and the log on standard error. Knows nothing of what is served.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from twisted.logger import globalLogBeginner

from nymearemoteproxy.common.clocks import useMonotonicClock
from nymearemoteproxy.common.journal import isJournal
from nymearemoteproxy.common.logs import FORMATS, LogStream, forJournal
from nymearemoteproxy.running.epoll import takeReactor
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.service import makeService


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server until SIGTERM or Ctrl-C; logs to stderr unless a log file is given.

    :raises SystemExit: for a mistake of the operator's.
    """
    reactor = takeReactor()
    useMonotonicClock(reactor)
    options = ServerOptions()
    options.parseOptions(sys.argv[1:] if arguments is None else arguments)
    configuration = options.configuration
    observers = []
    if configuration.logFile is None and sys.stderr is not None:
        name, descriptor = configuration.settings.proxyServer.logFormat, sys.stderr.fileno()
        format = forJournal(name) if isJournal(os.environ, descriptor) else FORMATS[name]
        observers.append(LogStream(descriptor, format))
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    service = makeService(options, reactor)
    service.privilegedStartService()
    service.startService()
    for each in observers:
        reactor.callWhenRunning(each.start)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
