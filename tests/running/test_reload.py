"""Every setting that takes effect with a reload: what it changes is what a start would give."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from nymearemoteproxy.accounting.linefile import runAtOnce
from nymearemoteproxy.running import assembly, service
from nymearemoteproxy.running.configuration import certificates
from nymearemoteproxy.running.memory import Memory
from nymearemoteproxy.running.service import ProxyService
from nymearemoteproxy.running.settings.declarations import Setting
from nymearemoteproxy.running.settings.sections import SETTINGS
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard
from nymearemoteproxy.watching.admin import routes
from tests.support.memory import Guest
from tests.support.services import ServiceCase

OTHER_NUMBER = 321
"""What every number can be, and none is by default, unless its least value is more than this."""


class AdminEndpoint:
    """Stands for the admin endpoint, and keeps what it is told."""

    def __init__(self, reactor: Any, listener: Any, watched: Any) -> None:
        self.listener = listener
        self.factory = Factory()

    def apply(self, *told: Any) -> None:
        self.told = told

    def start(self, port: Any) -> None:
        """The reactor runs."""

    def stop(self) -> None:
        """The server stops."""


def authenticationServer(client: Any, *how: Any, freshClient: Any, **more: Any) -> Any:
    """Return what stands for an authentication server: how it is asked."""
    return how, more


def keysOf(clock: Any, client: Any, url: str, turns: Any) -> Any:
    """Return what stands for keys that are fetched: from where."""
    return url


def webTokens(demands: Any, keys: Any, turns: Any, unixTime: Any) -> Any:
    """Return what stands for the judge of JSON Web Tokens: what is demanded of them."""
    return demands, keys


class ReloadTests(ServiceCase):
    """One service is started with the new value, another one reads it with a reload."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(service, "RunInThread", lambda reactor: runAtOnce)
        self.patch(Memory, "start", lambda made: None)  # takes long
        # What stands for the parts can be compared.
        self.patch(routes, "AdminEndpoint", AdminEndpoint)
        self.patch(assembly, "HttpAuthenticator", authenticationServer)
        self.patch(assembly, "RemoteKeys", keysOf)
        self.patch(assembly, "JwtAuthenticator", webTokens)
        self.patch(assembly, "TokenList", tuple)
        self.patch(assembly, "FirstOf", lambda *parts: parts)
        self.patch(certificates, "loadCertificate", lambda files, read: files)
        self.patch(certificates, "beginning", lambda files, read: datetime(2000, 1, 1, tzinfo=UTC))
        self.values = {
            "SSL.certificate": "/certificate",
            "Authentication.server": "http://one.example/",
            "Authentication.clientId": "one",
            "Authentication.clientSecretFile": self.write("one"),
            "Authentication.jwks": "https://one.example/keys",
            "Admin.endpoint": "tcp:3:interface=127.0.0.1",
            "Admin.passwordFile": self.write("one:secret"),
            "TunnelProxy.enabled": "true",
            "TunnelProxy.serverUuidFile": self.write("00000000-0000-4000-8000-000000000001"),
        }
        self.others = {
            "ProxyServer.name": "other",
            "ProxyServer.privacy": "none",
            "WebSocketServer.subprotocols": "other",
            "SSL.certificate": "/other",
            "SSL.certificateKey": "/other",
            "SSL.certificateChain": "/other",
            "Authentication.server": "http://other.example/",
            "Authentication.request": "form",
            "Authentication.clientId": "other",
            "Authentication.clientSecretFile": self.write("other"),
            "Authentication.tokenFile": self.write("other"),
            "Authentication.jwks": "https://other.example/keys",
            "Authentication.issuer": "other",
            "Authentication.audience": "other",
            "Authentication.subjectClaim": "other",
            "Admin.passwordFile": self.write("other:secret"),
            "TunnelProxy.serverUuidFile": self.write("00000000-0000-4000-8000-000000000002"),
            "TunnelProxy.authentication": "everybody",
            "Front.domain": "homes.example",
            "Front.namesFile": self.write("a 00000000-0000-4000-8000-000000000001"),
            "Limits.exemptNetworks": "10.0.0.0/8",
            "Limits.denyFile": self.write("192.0.2.0/24"),
        }

    def write(self, content: str) -> str:
        """Write a file, return its path."""
        path = Path(self.mktemp()).absolute()
        path.write_text(content)
        return str(path)

    def file(self, values: dict[str, str]) -> str:
        """Return the content of a configuration file."""
        lines = []
        for section in dict.fromkeys(setting.section for setting in SETTINGS):
            lines.append(f"[{section}]")
            for name, value in values.items():
                if name.startswith(f"{section}."):
                    lines.append(f"{name.removeprefix(f'{section}.')} = {value}")
        return "\n".join(lines)

    def other(self, setting: Setting) -> str:
        """Return another value for a setting."""
        numbers = setting.notation.range
        if numbers is None:
            return self.others[setting.name]
        return str(max(numbers.lowest, OTHER_NUMBER))

    def running(self, path: str) -> ProxyService:
        """Return a service that runs with this file."""
        self.reactor = MemoryReactorClock()
        made = self.make("--stream", "tls:tcp:2:interface=127.0.0.1", "-C", path)
        self.start(made)
        return made

    def times(self, made: ProxyService) -> list[float | None]:
        """End the service; return how long it would wait, when drained and when stopped."""
        self.reactor.stop = lambda: None
        client = Guest(made.proxy)
        made.drain()
        drain = self.waits(made.stop)
        stopped = made.stopService()
        grace = self.waits(made.proxy.registry.dismissal.abortAll)
        client.leave()
        self.successResultOf(stopped)
        return [drain, grace]

    def waits(self, act: object) -> float | None:
        """Return in how many seconds something will be done."""
        now = self.reactor.seconds()
        for call in self.reactor.getDelayedCalls():
            if call.func == act:
                return float(call.getTime() - now)
        return None

    def picture(self, made: ProxyService) -> dict[str, Any]:
        """Return what has become of the settings, and end the service."""
        proxy = made.proxy
        switchboard, admin = proxy.switchboard, made._watchers._admin
        assert isinstance(switchboard, Switchboard) and isinstance(admin, AdminEndpoint)
        return {
            "timing": proxy.policy.timing,
            "names": vars(proxy.policy.names),
            "bounds": proxy.registry.gate.bounds,
            "denied": proxy.registry.gate.denied,
            "accounts": proxy.registry.accounts.bounds,
            "tunnels": proxy.policy.tunnels,
            "totalRate": proxy.totalRate and proxy.totalRate.rate,
            "messageLimit": proxy.policy.messageLimit,
            "subprotocols": proxy.policy.subprotocols,
            "privacy": proxy.registry.privacy,
            "hello": proxy.policy.hello,
            "proven": proxy.policy.proven,
            "authenticator": proxy.authenticator,
            "helloOfServers": switchboard.hello,
            "terms": switchboard.terms,
            "allowed": switchboard._allowed,
            "admin": admin.told,
            "certificates": [factory.contexts for _, factory in made._makers._tlsFactories],
            "times": self.times(made),
        }

    def test_everySetting(self) -> None:
        """None is forgotten, at the start or by a reload."""
        before = self.write(self.file(self.values))
        was = self.picture(self.running(before))
        changed: set[str] = set()
        for setting in SETTINGS:
            if setting.atStart:
                continue
            new = self.file({**self.values, setting.name: self.other(setting)})
            started = self.picture(self.running(self.write(new)))
            different = {part for part in was if started[part] != was[part]}
            self.assertTrue(different, f"{setting.name} changes nothing")
            changed |= different
            path = self.write(self.file(self.values))
            reloaded = self.running(path)
            Path(path).write_text(new)
            reloaded.reload()
            self.assertEqual(self.picture(reloaded), started, setting.name)
        self.assertEqual(changed, set(was), "some part has no setting")

    def test_settingsOfTheStart(self) -> None:
        """They stay as they were, whatever the file says."""
        path = self.write(self.file(self.values))
        was = self.picture(self.running(path))
        made = self.running(path)
        new = {
            "ProxyServer.pingInterval": "1000",
            "TunnelProxy.enabled": "false",
            "TunnelProxy.clientBacklog": "65536",
            "Admin.endpoint": "tcp:4:interface=127.0.0.1",
        }
        Path(path).write_text(self.file({**self.values, **new}))
        made.reload()
        self.assertEqual(self.picture(made), was)
