"""Which part of the server gets which setting, and gets it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.authentication.backend import FirstOf
from nymearemoteproxy.authentication.http import HttpAuthenticator
from nymearemoteproxy.authentication.jwtbackend import JwtAuthenticator
from nymearemoteproxy.authentication.tokens import AnyToken, TokenList
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.protocol.session import Join
from nymearemoteproxy.running.assembly import Authenticators, apply, makeProxy
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.configuring import configure
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.settings.values import Settings
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard
from tests.support.issuers import IssuerKey, keySet

LISTENER = "tcp:1:interface=127.0.0.1"


def configured(acceptAnyToken: bool = False, token: str = "", **values: str) -> Configuration:
    """Return what these settings amount to; of their names the dot is an underscore."""
    settings = Settings()
    for name, text in values.items():
        settings.set(name.replace("_", ".", 1), text)
    tokens = [token] if token else []
    return configure(settings, CommandLine([LISTENER], (), tokens, acceptAnyToken=acceptAnyToken))


class AssemblyTests(SynchronousTestCase):
    """Made and changed, a proxy is the same."""

    def both(self, configuration: Configuration) -> list[Proxy]:
        """Return a proxy that is made so, and one that is changed so."""
        reactor: Any = MemoryReactorClock()
        switched = {} if configuration.terms is None else {"TunnelProxy_enabled": "yes"}
        authenticators = Authenticators(reactor)
        changed = makeProxy(reactor, configured(token="other", **switched), authenticators)
        apply(changed, configuration, authenticators)
        return [makeProxy(reactor, configuration, Authenticators(reactor)), changed]

    def test_authenticationServerStays(self) -> None:
        """As long as nothing about it changes, whatever becomes of the tokens."""
        reactor: Any = MemoryReactorClock()
        authenticators, turns = Authenticators(reactor), Turns(reactor)
        server = {"Authentication_server": "http://127.0.0.1/"}
        first = authenticators.make(configured(**server), turns)
        self.assertIs(authenticators.make(configured(**server), turns), first)
        both = authenticators.make(configured(token="t", **server), turns)
        assert isinstance(both, FirstOf)
        self.assertIs(both._backends[1], first)
        other = configured(Authentication_server="http://127.0.0.1/other")
        self.assertIsNot(authenticators.make(other, turns), first)

    def test_fetchedKeysStay(self) -> None:
        """As long as they come from the same place, whatever else is demanded of a token."""
        reactor: Any = MemoryReactorClock()
        authenticators, turns = Authenticators(reactor), Turns(reactor)

        def keys(url: str, **more: str) -> Any:
            made = authenticators.make(configured(Authentication_jwks=url, **more), turns)
            assert isinstance(made, JwtAuthenticator)
            return made._keys

        first = keys("https://one.example/")
        self.assertIs(keys("https://one.example/", Authentication_issuer="x"), first)
        self.assertIsNot(keys("https://other.example/"), first)

    def test_pairingAcrossAReload(self) -> None:
        """Who waits since before a reload is found by who comes after it."""
        reactor: Any = MemoryReactorClock()
        authenticators = Authenticators(reactor)
        proxy = makeProxy(reactor, configured(token="t"), authenticators)
        keys = []
        for _time in range(2):
            session = proxy.newSession()
            session.messageReceived(
                b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"t"}}'
            )
            keys += [each.key for each in session.accepted("t", None) if isinstance(each, Join)]
            apply(proxy, configured(token="t"), authenticators)
        self.assertEqual(len(keys), 2)
        self.assertEqual(*keys)

    def test_authenticators(self) -> None:
        """By whom tokens are judged."""
        server = {"Authentication_server": "http://127.0.0.1/"}
        keys = {"Authentication_jwks": "https://127.0.0.1/keys"}
        file = self.mktemp()
        Path(file).write_bytes(keySet([IssuerKey("ES256")]))
        for configuration, kind in (
            (configured(acceptAnyToken=True), AnyToken),
            (configured(token="t"), TokenList),
            (configured(**server), HttpAuthenticator),
            (configured(token="t", **server), FirstOf),
            (configured(**keys), JwtAuthenticator),
            (configured(Authentication_jwks=file), JwtAuthenticator),
            (configured(token="t", **keys, **server), FirstOf),
        ):
            for proxy in self.both(configuration):
                self.assertIsInstance(proxy.authenticator, kind)
        assert isinstance(proxy.authenticator, FirstOf)
        self.assertEqual(
            [type(each) for each in proxy.authenticator._backends],
            [TokenList, JwtAuthenticator, HttpAuthenticator],
        )

    def test_settings(self) -> None:
        """Each gets where it belongs."""
        configuration = configured(
            token="t",
            ProxyServer_name="changed",
            ProxyServer_aloneTimeout="1234",
            ProxyServer_privacy="none",
            Limits_maxControlMessageSize="77",
            Limits_maxConnections="88",
        )
        for proxy in self.both(configuration):
            self.assertEqual(proxy.policy.hello["name"], "changed")
            self.assertEqual(proxy.policy.hello["apiVersion"], "0.3")
            self.assertEqual(proxy.policy.timing.alone, 1.234)
            self.assertEqual(proxy.policy.messageLimit, 77)
            self.assertEqual(proxy.registry.gate.bounds.connections, 88)
            self.assertIs(proxy.registry.privacy, Privacy.NONE)
            self.assertIsNone(proxy.switchboard)

    def test_anySwitchboard(self) -> None:
        """A change reaches whatever provides the tunnel proxy."""
        told: list[tuple[object, ...]] = []

        class Other:
            def change(self, *what: object) -> None:
                told.append(what)

        reactor: Any = MemoryReactorClock()
        authenticators = Authenticators(reactor)
        switched = {"token": "t", "TunnelProxy_enabled": "yes"}
        proxy = makeProxy(reactor, configured(**switched), authenticators)
        proxy.switchboard = Other()  # type: ignore[assignment]
        uuids = self.mktemp()
        Path(uuids).write_text("5e4a1ec3-7d34-4a0e-8b61-0c2f5a1d9e77\n")
        changed = configured(**switched, TunnelProxy_serverUuidFile=uuids)
        apply(proxy, changed, authenticators)
        self.assertEqual(len(changed.allowedServers or ()), 1)
        self.assertEqual(told, [(proxy.policy.hello, changed.terms, changed.allowedServers)])

    def test_tunnelProxy(self) -> None:
        """It says the same, and has the terms."""
        configuration = configured(
            token="t",
            ProxyServer_name="changed",
            TunnelProxy_enabled="yes",
            TunnelProxy_serverTimeout="5000",
        )
        for proxy in self.both(configuration):
            self.assertEqual(proxy.policy.hello["apiVersion"], "5")
            assert isinstance(proxy.switchboard, Switchboard)
            self.assertEqual(proxy.switchboard.hello, proxy.policy.hello)
            self.assertEqual(proxy.switchboard.terms.serverTimeout, 5.0)
