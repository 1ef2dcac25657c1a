"""Makes the parts of the server from a configuration, and changes them when it has changed.

Owns which part gets which setting. Knows nothing of listening, signals or logs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nymearemoteproxy.admin.condition import Condition
from nymearemoteproxy.authentication import FirstOf, IAuthenticator
from nymearemoteproxy.authentication.http import HttpAuthenticator, makeHttpClient
from nymearemoteproxy.authentication.tokens import AnyToken, TokenList
from nymearemoteproxy.configuration import Configuration
from nymearemoteproxy.limits import Gate
from nymearemoteproxy.proxy import Proxy
from nymearemoteproxy.pulse import Pulse
from nymearemoteproxy.rendezvous import Rendezvous
from nymearemoteproxy.session import PairingKeys, makeHello
from nymearemoteproxy.switchboard import Switchboard

if TYPE_CHECKING:
    from nymearemoteproxy.admin.server import Admin


def makeAuthenticator(reactor: Any, configuration: Configuration) -> IAuthenticator:
    """Return the backend."""
    if configuration.acceptAnyToken:
        return AnyToken()
    tokens = None
    if configuration.acceptedTokens is not None:
        tokens = TokenList(configuration.acceptedTokens)
    settings = configuration.settings
    url = settings["Authentication.server"]
    if not url:
        assert tokens is not None
        return tokens
    connections = settings["Authentication.connections"]
    server = HttpAuthenticator(
        makeHttpClient(reactor, connections),
        url,
        connections,
        form=settings["Authentication.request"] == "form",
        credentials=configuration.credentials,
        freshClient=makeHttpClient(reactor, 0),
    )
    return server if tokens is None else FirstOf(tokens, server)


def makeProxy(reactor: Any, configuration: Configuration) -> Proxy:
    """Return what all connections share."""
    settings = configuration.settings
    name = settings["ProxyServer.name"]
    switchboard = None
    if configuration.terms is not None:
        switchboard = Switchboard(reactor, makeHello(name, True), configuration.terms)
        switchboard.allow(configuration.allowedServers)
    return Proxy(
        clock=reactor,
        gate=Gate(reactor, configuration.bounds),
        authenticator=makeAuthenticator(reactor, configuration),
        rendezvous=Rendezvous(),
        timing=configuration.timing,
        keys=PairingKeys(settings["Authentication.pairing"] == "subject"),
        name=name,
        messageLimit=settings["Limits.maxControlMessageSize"],
        traceTraffic=configuration.verbosity > 1,
        switchboard=switchboard,
        privacy=settings["ProxyServer.privacy"],
    )


def makeAdmin(
    reactor: Any,
    configuration: Configuration,
    proxy: Proxy,
    pulse: Pulse,
    condition: Callable[[], Condition],
    drain: Callable[[], object],
) -> Admin | None:
    """Return the admin endpoint, unless it is switched off."""
    if configuration.admin is None:
        return None
    # Imported only where it is wanted: it takes 20 ms and 2 MiB.
    from nymearemoteproxy.admin.server import Admin

    settings = configuration.settings
    return Admin(
        reactor,
        configuration.admin,
        configuration.adminUsers,
        configuration.certificates,
        ownCertificate=settings["SSL.certificate"] or "self-signed",
        name=settings["ProxyServer.name"],
        proxy=proxy,
        pulse=pulse,
        condition=condition,
        drain=drain,
    )


def change(proxy: Proxy, reactor: Any, configuration: Configuration) -> None:
    """Have a proxy do what the configuration says from now on.

    Whoever is connected stays, with the limits and times that applied when they began to.
    """
    settings = configuration.settings
    proxy.gate.bounds = configuration.bounds
    proxy.timing = configuration.timing
    proxy.messageLimit = settings["Limits.maxControlMessageSize"]
    proxy.privacy = settings["ProxyServer.privacy"]
    proxy.authenticator = makeAuthenticator(reactor, configuration)
    hello = makeHello(settings["ProxyServer.name"], proxy.switchboard is not None)
    proxy.hello = hello
    if isinstance(proxy.switchboard, Switchboard) and configuration.terms is not None:
        proxy.switchboard.hello = hello
        proxy.switchboard.terms = configuration.terms
        proxy.switchboard.allow(configuration.allowedServers)
