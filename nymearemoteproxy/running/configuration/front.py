"""The front door: by which names visitors reach homes.

Owns how its settings become names. Knows nothing of where it listens.
"""

from __future__ import annotations

from collections.abc import Callable

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.common.lists import parseEntries
from nymearemoteproxy.protocol.frontnames import FrontNames, parseNames
from nymearemoteproxy.running.configuration.parts import Parts, readable
from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.values import Settings


def hasFront(settings: Settings) -> bool:
    """Tell whether visitors come in anywhere."""
    return bool(settings.front.listeners or settings.front.httpListeners)


def readNames(
    settings: Settings, isOn: bool, parts: Parts, warn: Callable[[str], object]
) -> FrontNames:
    """Return the names of homes.

    :param isOn: the tunnel proxy is.
    :raises FileError: the list cannot be read, or something in it is not a name and a uuid.
    :raises SettingsError: there is nobody to be visited.
    """
    front, isOpen = settings.front, hasFront(settings)
    if isOpen and not isOn:
        raise SettingsError(
            "the front door leads to servers of the tunnel proxy, which [TunnelProxy] enabled "
            "switches off"
        )
    names = parts.part(
        "the names of homes stay as they were",
        lambda: _readNames(front.namesFile, front.domain, parts.read),
        lambda previous: previous.names,
    )
    if front.namesFile and not names:
        warn(f"no home has a name at the front door: {front.namesFile} names none")
    if isOpen and not (front.namesFile or front.domain):
        warn(
            "no visitor finds a home by the front door, as [Front] has neither namesFile nor domain"
        )
    if not isOpen and (front.namesFile or front.domain):
        warn("[Front] names homes, but no visitor comes in: there are no listeners, nor --front")
    return names


def _readNames(path: str, domain: str, read: Read) -> FrontNames:
    if not path:
        return FrontNames({}, domain)
    with readable("list of names", path):
        return FrontNames(parseNames(parseEntries(read(path))), domain)
