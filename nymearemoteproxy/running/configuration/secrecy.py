"""Whether the files that hold secrets are for the server's user only.

Owns which files those are. Knows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nymearemoteproxy.common.secretfiles import warningsOfOpen
from nymearemoteproxy.listening.listeners import Listener
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.settings.values import Settings


def warnOfOpenFiles(
    settings: Settings,
    given: CommandLine,
    listeners: Sequence[Listener],
    warn: Callable[[str], object],
) -> None:
    """Tell of each file with a secret that every user of the machine may read, or write.

    :param listeners: some have certificates of their own.
    :param warn: is called with one line for each.
    """
    for warning in warningsOfOpen(_secretFiles(settings, given, listeners)):
        warn(warning)


def _secretFiles(
    settings: Settings, given: CommandLine, listeners: Sequence[Listener]
) -> Iterator[tuple[str, str]]:
    """Yield what each is, and its path, which may be empty."""
    for path in given.tokenFiles or [settings.authentication.tokenFile]:
        yield "token file", path
    yield "client secret", settings.authentication.clientSecretFile
    yield "password file", settings.admin.passwordFile
    yield "cluster's secret", settings.cluster.secretFile
    yield "directory's password", settings.cluster.directoryPasswordFile
    yield "certificate key", settings.ssl.certificateKey or settings.ssl.certificate
    for listener in listeners:
        if listener.files is not None:
            yield "certificate key", listener.files.key or listener.files.certificate
