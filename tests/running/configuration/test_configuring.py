"""What it amounts to as a whole."""

from __future__ import annotations

import os

from nymearemoteproxy.common.certificates import CertificateError
from nymearemoteproxy.listening.listeners import (
    ListenerError,
)
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.configuring import configure
from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.values import Settings
from tests.support.configured import ConfigurationCase


class ConfiguringTests(ConfigurationCase):
    """What is no other module's."""

    def test_rest(self) -> None:
        """Nothing else is on."""
        configured = self.configured()
        self.assertFalse(configured.acceptAnyToken)
        self.assertIsNone(configured.logFile)
        self.assertEqual(configured.verbosity, 0)
        self.assertIsNone(configured.credentials)
        self.assertIsNone(configured.terms)
        self.assertIsNone(configured.allowedServers)
        self.assertEqual(list(configured.warnings), [])

    def test_logFile(self) -> None:
        """Where systemd says, if the file says nothing."""
        for environment, directory in (({}, "/var/log"), ({"LOGS_DIRECTORY": "/a:/b"}, "/a")):
            self.patch(os, "environ", environment)
            configured = self.configured("--token=t", "--set=ProxyServer.writeLogs=yes", "-p0")
            self.assertEqual(configured.logFile, f"{directory}/nymea-remoteproxy.log")

    def test_raisedByTheParts(self) -> None:
        """Who calls `configure` gets errors of its own kinds."""
        given_ = Settings()
        self.assertRaises(SettingsError, configure, given_, CommandLine(tokens=[""]))
        strangers = CommandLine(webSockets=["tcp:1"], acceptAnyToken=True)
        self.assertRaises(ListenerError, configure, given_, strangers)
        given_.set("SSL.certificate", "/")
        self.assertRaises(CertificateError, configure, given_)
