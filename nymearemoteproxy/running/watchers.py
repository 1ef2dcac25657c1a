"""Those who watch the server: the monitor socket and the admin endpoint, as far as they are wanted.

Owns where they listen, and how long. Knows nothing of what they tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from nymearemoteproxy.connections.limits import MOST_MONITORS
from nymearemoteproxy.listening.handedplace import HandedPlace
from nymearemoteproxy.listening.listeners import Listener, close, listen
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.watching.monitorsocket import MonitorFactory
from nymearemoteproxy.watching.watched import Watched
from nymearemoteproxy.wires.direct import DirectFactory

if TYPE_CHECKING:
    from nymearemoteproxy.watching.admin.routes import AdminEndpoint


def makeAdmin(reactor: Any, configuration: Configuration, watched: Watched) -> AdminEndpoint | None:
    """Return the admin endpoint, unless it is switched off."""
    if configuration.admin is None:
        return None
    # Imported only where it is wanted: it takes 20 ms and 2 MiB.
    from nymearemoteproxy.watching.admin.routes import AdminEndpoint

    admin = AdminEndpoint(reactor, configuration.admin, watched)
    _apply(admin, configuration)
    return admin


def _apply(admin: AdminEndpoint, configuration: Configuration) -> None:
    """Tell the admin endpoint what the configuration says from now on."""
    settings = configuration.settings
    admin.apply(
        settings.proxyServer.name,
        configuration.adminUsers,
        configuration.certificates,
        settings.ssl.certificate or "self-signed",
    )


class Watchers:
    """What the configuration asks for."""

    def __init__(self, reactor: Any, configuration: Configuration, watched: Watched) -> None:
        settings = configuration.settings.proxyServer
        self._reactor = reactor
        self._monitorPlace: HandedPlace | None = None
        self._adminPort: IListeningPort | None = None
        self._path = settings.monitorSocket
        self._mode = settings.monitorSocketMode
        self._monitors: MonitorFactory | None = None
        if self._path:
            self._monitors = MonitorFactory(reactor, watched)
        self._admin = makeAdmin(reactor, configuration, watched)

    def listen(self, secured: Callable[[Listener, IProtocolFactory], IProtocolFactory]) -> None:
        """Let them come.

        :param secured: returns a factory that speaks TLS and reads PROXY headers, where the
            listener does.
        :raises ListenerError: a place cannot be listened on.
        """
        if self._monitors is not None:
            place = HandedPlace(self._reactor, self._path, MOST_MONITORS, self._mode)
            listen(self._path, place, self._monitors)
            self._monitorPlace = place
        if self._admin is not None:
            listener = self._admin.listener
            serve = DirectFactory(secured(listener, self._admin.factory))
            self._adminPort = listen(listener.description, listener.endpoint(self._reactor), serve)

    def start(self) -> None:
        """The reactor runs; to be called before the pulse starts."""
        if self._admin is not None and self._adminPort is not None:
            self._admin.start(self._adminPort)

    def change(self, configuration: Configuration) -> None:
        """Do what the configuration says from now on."""
        if self._admin is not None:
            _apply(self._admin, configuration)

    @inlineCallbacks
    def giveWay(self, hasSuccessor: bool) -> Any:
        """The server drains, and answers on: the monitor socket's path is for whoever wants it.

        :param hasSuccessor: another process takes over, so leave it the place of the admin
            endpoint, too. Otherwise that stays, to tell that the server is not ready any more.
        """
        if self._monitorPlace is not None:
            self._monitorPlace.giveWay()
        if hasSuccessor:
            yield self._stopAdmin()

    @inlineCallbacks
    def stop(self) -> Any:
        """Send them away."""
        place, self._monitorPlace = self._monitorPlace, None
        if place is not None:
            yield place.stop()
        yield self._stopAdmin()
        if self._monitors is not None:
            self._monitors.closeAll()

    @inlineCallbacks
    def _stopAdmin(self) -> Any:
        port, self._adminPort = self._adminPort, None
        if self._admin is not None and port is not None:
            self._admin.stop()
            yield close(port)
