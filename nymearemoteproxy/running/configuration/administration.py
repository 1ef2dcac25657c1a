"""Where the admin pages are served, and to whom.

Owns that strangers need a password. Knows nothing of what is on the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.lists import parseUsers
from nymearemoteproxy.connections.records import TCP
from nymearemoteproxy.listening.listeners import Listener, ListenerError
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.configuration.places import readListener
from nymearemoteproxy.running.settings.values import Settings


def readUsers(settings: Settings, parts: Parts) -> Mapping[str, str] | None:
    """Return who may see the pages, with passwords; None = everybody who can connect.

    :raises FileError: the file cannot be used.
    """
    return parts.part(
        "the users of the admin pages stay as they were",
        lambda: _readUsers(settings.admin.passwordFile, parts.read),
        lambda previous: previous.adminUsers,
    )


def _readUsers(path: str, read: Read) -> Mapping[str, str] | None:
    if not path:
        return None
    with readable("password file", path):
        return parseUsers(read(path))


def adminListener(
    settings: Settings, hasPassword: bool, warn: Callable[[str], object]
) -> Listener | None:
    """Return where the pages are served; None = nowhere.

    :raises ListenerError: the place cannot be used, or strangers could come in.
    """
    description = settings.admin.endpoint
    if not description:
        return None
    source = settings.source("Admin.endpoint")
    listener = readListener(source, description, TCP)
    if not listener.isLocal:
        if not hasPassword:
            raise ListenerError(
                f'{source}: "{description}" is neither a loopback address, such as '
                "tcp:9109:interface=127.0.0.1, nor a Unix socket, so it needs [Admin] passwordFile"
            )
        if not listener.secure:
            warn(
                f"the passwords of the admin pages on {description} are sent in the clear; put "
                "tls: before it"
            )
    return listener
