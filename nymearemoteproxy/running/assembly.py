"""Makes the parts of the server from a configuration, and changes them when it has changed.

Owns which part gets which setting. Knows nothing of listening, signals or logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nymearemoteproxy.authentication.backend import FirstOf, IAuthenticator
from nymearemoteproxy.authentication.http import HttpAuthenticator, makeHttpClient
from nymearemoteproxy.authentication.jwtbackend import GivenKeys, JwtAuthenticator
from nymearemoteproxy.authentication.keysets import IKeys
from nymearemoteproxy.authentication.remotekeys import RemoteKeys
from nymearemoteproxy.authentication.tokens import AnyToken, TokenList
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.policy import Policy
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.session import PairingKeys
from nymearemoteproxy.running.configuration.result import Configuration, WebTokens
from nymearemoteproxy.running.configuration.tunnelproxy import whoIsProven
from nymearemoteproxy.running.settings.sections import Asking, Pairing
from nymearemoteproxy.tunnelproxy.counts import ICounts
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard

NO_TOKENS = TokenList(())
"""Lets nobody in."""


SHOWN_TO_NOBODY = b""
"""The secret of keys that all members of a cluster have to make alike: what they show to others is
made with another one, which they share; see `Places`."""


class Authenticators:
    """Makes the backend, and makes it anew when the configuration has changed.

    What asks the authentication server stays as long as nothing about it changes: its connections
    are reused, and its bound counts the questions from before and after. So do the keys that are
    fetched.

    :param unixTime: returns the Unix time.
    """

    def __init__(self, reactor: Any, unixTime: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._unixTime = unixTime
        self._how: tuple[Any, ...] = ()
        self._server: HttpAuthenticator | None = None
        self._keysUrl = ""
        self._remoteKeys: RemoteKeys | None = None

    def make(self, configuration: Configuration, turns: Turns) -> IAuthenticator:
        """Return what judges tokens from now on.

        :param turns: in which signatures are checked.
        """
        if configuration.acceptAnyToken:
            return AnyToken()
        backends: list[IAuthenticator] = []
        if configuration.acceptedTokens is not None:
            backends.append(TokenList(configuration.acceptedTokens))
        webTokens = configuration.webTokens
        if webTokens is not None:
            keys = self._findKeys(webTokens, turns)
            backends.append(JwtAuthenticator(webTokens.demands, keys, turns, self._unixTime))
        server = self._askServer(configuration)
        if server is not None:
            backends.append(server)
        return backends[0] if len(backends) == 1 else FirstOf(*backends)

    def _findKeys(self, webTokens: WebTokens, turns: Turns) -> IKeys:
        if webTokens.keys is not None:
            return GivenKeys(webTokens.keys)
        if self._remoteKeys is None or webTokens.url != self._keysUrl:
            self._keysUrl = webTokens.url
            client = makeHttpClient(self._reactor, 0)
            self._remoteKeys = RemoteKeys(self._reactor, client, webTokens.url, turns)
        return self._remoteKeys

    def _askServer(self, configuration: Configuration) -> HttpAuthenticator | None:
        settings = configuration.settings.authentication
        url, form = settings.server, settings.request is Asking.FORM
        connections = settings.connections
        how = (url, form, connections, configuration.credentials)
        if how != self._how:
            self._how = how
            self._server = None
            if url:
                self._server = HttpAuthenticator(
                    makeHttpClient(self._reactor, connections),
                    url,
                    connections,
                    form=form,
                    credentials=configuration.credentials,
                    freshClient=makeHttpClient(self._reactor, 0),
                )
        return self._server


@dataclass(frozen=True)
class Shared:
    """What a process has in common with others.

    :ivar registry: of connections.
    :ivar counts: of registrations by address; None = of this process.
    :ivar secret: of the keys; None = of this process.
    """

    registry: Registry
    counts: ICounts | None = None
    secret: bytes | None = None


def makeProxy(
    reactor: Any,
    configuration: Configuration,
    authenticators: Authenticators,
    turns: Turns | None = None,
    shared: Shared | None = None,
) -> Proxy:
    """Return what all connections share.

    Only what stays as it is at the start is said here; `apply` says the rest, as with every reload.

    :param turns: where `shared` has to do long work, too.
    :param shared: what is not of this process alone.
    """
    turns = turns or Turns(reactor)
    shared = shared or Shared(Registry(reactor, turns, Gate(reactor, Bounds())))
    secret = shared.secret if configuration.cluster is None else SHOWN_TO_NOBODY
    proxy = Proxy(
        clock=reactor,
        turns=turns,
        registry=shared.registry,
        policy=_policy(configuration, configuration.terms is not None),
        keys=PairingKeys(configuration.settings.authentication.pairing is Pairing.SUBJECT, secret),
        authenticator=NO_TOKENS,
        rendezvous=Rendezvous(),
    )
    if configuration.terms is not None:
        proxy.switchboard = Switchboard(proxy.waking, {}, configuration.terms, turns, shared.counts)
    apply(proxy, configuration, authenticators)
    return proxy


def apply(proxy: Proxy, configuration: Configuration, authenticators: Authenticators) -> None:
    """Have a proxy do what the configuration says from now on.

    Whoever is connected stays, with the limits and times that applied when they began to.
    """
    proxy.setPolicy(_policy(configuration, proxy.switchboard is not None))
    proxy.registry.limit(configuration.bounds, configuration.accountBounds, configuration.denied)
    proxy.registry.setPrivacy(configuration.settings.proxyServer.privacy)
    proxy.authenticator = authenticators.make(configuration, proxy.turns)
    if proxy.switchboard is not None and configuration.terms is not None:
        proxy.switchboard.change(
            proxy.policy.hello, configuration.terms, configuration.allowedServers
        )


def _policy(configuration: Configuration, hasTunnelProxy: bool) -> Policy:
    """Return what applies to newcomers; what counts from the start only is in it as it was then."""
    settings = configuration.settings
    return Policy(
        name=settings.proxyServer.name,
        timing=configuration.timing,
        messageLimit=settings.limits.maxControlMessageSize,
        traceTraffic=configuration.verbosity > 1,
        hasTunnelProxy=hasTunnelProxy,
        subprotocols=[name.encode("ascii") for name in settings.webSocketServer.subprotocols],
        proven=whoIsProven(settings),
        tunnels=configuration.tunnelLimits,
        names=configuration.names,
    )
