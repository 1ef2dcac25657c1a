"""Files with settings, and what is said of them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.values import Settings

CPP_SERVER = """\
[ProxyServer]
name=nymea-remoteproxy
writeLogs=true
logFile=/var/log/nymea-remoteproxy.log
logEngineEnabled=false
monitorSocket=/tmp/nymea-remoteproxy-monitor.sock
jsonRpcTimeout=10000
authenticationTimeout=9000
inactiveTimeout=7000
aloneTimeout=6000

[AWS]
region=eu-west-1
authorizerLambdaFunction=system-services-authorizer-dev-checkToken
awsCredentialsUrl=http://169.254.169.254/latest/meta-data/iam/security-credentials/EC2-Role

[SSL]
enabled=true
certificate=/etc/ssl/certs/ssl-cert-snakeoil.pem
certificateKey=/etc/ssl/private/ssl-cert-snakeoil.key
certificateChain=

[WebSocketServer]
host=127.0.0.1
port=1212

[TcpServer]
host=127.0.0.1
port=1213

[UnixSocketServer]
unixSocketFileName=/run/nymea-remoteproxy.sock

[WebSocketServerTunnelProxy]
host=127.0.0.1
port=2212

[TcpServerTunnelProxy]
host=127.0.0.1
port=2213

[UnixSocketServerTunnelProxy]
unixSocketFileName=/run/nymea-remoteproxy-tunnelproxy.sock
"""


class SettingsCase(SynchronousTestCase):
    """Helpers for the checks of settings."""

    def setUp(self) -> None:
        self.settings = Settings()

    def write(self, content: str | bytes) -> str:
        """Write a file, return its path."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, content: str | bytes) -> Settings:
        """Load a file with this content."""
        self.settings.load(self.write(content))
        return self.settings

    def assertFails(self, act: Any, *arguments: str) -> str:
        """The operator is told in one line; return it."""
        text = str(self.assertRaises(SettingsError, act, *arguments))
        self.assertNotIn("\n", text)
        return text
