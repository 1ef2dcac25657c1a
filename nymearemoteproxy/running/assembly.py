"""Makes the parts of the server from a configuration, and changes them when it has changed.

Owns which part gets which setting. Knows nothing of listening, signals or logs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nymearemoteproxy.authentication.backend import FirstOf, IAuthenticator
from nymearemoteproxy.authentication.http import HttpAuthenticator, makeHttpClient
from nymearemoteproxy.authentication.tokens import AnyToken, TokenList
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.policy import Policy
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.session import PairingKeys
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.settings.sections import Asking, Pairing
from nymearemoteproxy.tunnelproxy.counts import ICounts
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard

NO_TOKENS = TokenList(())
"""Lets nobody in."""


def _makeRegistry(clock: Any, turns: Turns) -> Registry:
    """Return that of a process of its own."""
    return Registry(clock, turns, Gate(clock, Bounds()))


class Authenticators:
    """Makes the backend, and makes it anew when the configuration has changed.

    What asks the authentication server stays as long as nothing about it changes: its connections
    are reused, and its bound counts the questions from before and after.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._how: tuple[Any, ...] = ()
        self._server: HttpAuthenticator | None = None

    def make(self, configuration: Configuration) -> IAuthenticator:
        """Return what judges tokens from now on."""
        if configuration.acceptAnyToken:
            return AnyToken()
        tokens = None
        if configuration.acceptedTokens is not None:
            tokens = TokenList(configuration.acceptedTokens)
        server = self._askServer(configuration)
        if server is None:
            assert tokens is not None
            return tokens
        return server if tokens is None else FirstOf(tokens, server)

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


def makeProxy(
    reactor: Any,
    configuration: Configuration,
    authenticators: Authenticators,
    makeRegistry: Callable[[Any, Turns], Registry] = _makeRegistry,
    counts: ICounts | None = None,
) -> Proxy:
    """Return what all connections share.

    Only what stays as it is at the start is said here; `apply` says the rest, as with every reload.

    :param counts: of those who register from one address; by default this process counts.
    """
    turns = Turns(reactor)
    switchboard = None
    if configuration.terms is not None:
        switchboard = Switchboard(reactor, {}, configuration.terms, turns, counts)
    proxy = Proxy(
        clock=reactor,
        turns=turns,
        registry=makeRegistry(reactor, turns),
        policy=_policy(configuration, switchboard is not None),
        keys=PairingKeys(configuration.settings.authentication.pairing is Pairing.SUBJECT),
        authenticator=NO_TOKENS,
        rendezvous=Rendezvous(),
        switchboard=switchboard,
    )
    apply(proxy, configuration, authenticators)
    return proxy


def apply(proxy: Proxy, configuration: Configuration, authenticators: Authenticators) -> None:
    """Have a proxy do what the configuration says from now on.

    Whoever is connected stays, with the limits and times that applied when they began to.
    """
    proxy.policy = _policy(configuration, proxy.switchboard is not None)
    proxy.registry.gate.bounds = configuration.bounds
    proxy.registry.setPrivacy(configuration.settings.proxyServer.privacy)
    proxy.authenticator = authenticators.make(configuration)
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
    )
