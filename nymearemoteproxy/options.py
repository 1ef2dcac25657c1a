"""The command line of the server, the same under twistd and alone.

Owns the options and how they go together with the settings. What comes out is a `Configuration`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.python import usage

from nymearemoteproxy import __version__
from nymearemoteproxy.configuration import MISTAKES, Configuration, Reading, configure
from nymearemoteproxy.settings import Settings
from nymearemoteproxy.systemd import isJournal

STDERR = 2


class Options(usage.Options):
    """The options of ``nymea-remoteproxy`` and ``twistd nymea-remoteproxy``.

    :ivar configuration: what they amount to.
    """

    longdesc = (
        "Joins two clients that show the same token, and relays what they send. "
        "Without options it listens on wss://127.0.0.1:2212, with a self-signed certificate "
        "and a token that it shows on the terminal."
    )
    program = "nymea-remoteproxy"

    configuration: Configuration

    optFlags = [
        ["accept-any-token", None, "for tests: let everybody in; only for local listeners"],
        ["tunnelproxy", None, "switch the tunnel proxy on, on every listener"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self._assignments: list[tuple[str, str]] = []
        self._overrides: list[str] = []
        self._file: str | None = None
        self.webSockets: list[str] = []
        self.streams: list[str] = []
        self.tokens: list[str] = []
        self.logFile: str | None = None
        self.verbosity = 0

    def getSynopsis(self) -> str:
        """Return the line of the help text that shows how the command is used."""
        twistd = "" if self.parent is None else "twistd [twistd options] "
        return f"Usage: {twistd}{self.program} [options]"

    def opt_logging(self, file: str) -> None:
        """write the log to this file"""
        self.logFile = file

    def opt_server(self, url: str) -> None:
        """URL of the authentication server, http or https"""
        self._assign("Authentication.server", url)

    def opt_port(self, number: str) -> None:
        """port of the main WebSocket listener, 0 picks a free one [default: 2212]"""
        self._assign("WebSocketServer.port", number)

    def opt_host(self, address: str) -> None:
        """address of the main listener [default: all with a certificate, else 127.0.0.1]"""
        self._assign("WebSocketServer.host", address)

    def opt_certificate(self, file: str) -> None:
        """PEM file with the certificate, may hold the chain"""
        self._assign("SSL.certificate", file)

    def opt_certificate_key(self, file: str) -> None:
        """PEM file with the certificate's private key"""
        self._assign("SSL.certificateKey", file)

    def opt_verbose(self) -> None:
        """log more; given twice, also the sizes of what is relayed"""
        self.verbosity += 1

    def opt_configuration(self, file: str) -> None:
        """INI file with settings"""
        self._file = file

    def opt_websocket(self, endpoint: str) -> None:
        """listen here (a Twisted endpoint, tls: before it for TLS) instead of on the main one"""
        self.webSockets.append(endpoint)

    def opt_stream(self, endpoint: str) -> None:
        """listen here for clients without WebSocket: TCP, TLS or a Unix socket; may be repeated"""
        self.streams.append(endpoint)

    def opt_admin(self, endpoint: str) -> None:
        """serve a status page, metrics and health checks over HTTP here (a Twisted endpoint)"""
        self._assign("Admin.endpoint", endpoint)

    def opt_token(self, token: str) -> None:
        """accept this token; may be repeated; visible to other users of this machine"""
        self.tokens.append(token)

    def opt_token_file(self, file: str) -> None:
        """accept the tokens in this file, one per line"""
        self._assign("Authentication.tokenFile", file)

    def opt_set(self, assignment: str) -> None:
        """override one setting: SECTION.KEY=VALUE; may be repeated"""
        self._overrides.append(assignment)

    def opt_version(self) -> None:
        """show the version"""
        print(f"nymea-remoteproxy {__version__}")
        raise SystemExit(0)

    opt_l = opt_logging
    opt_s = opt_server
    opt_p = opt_port
    opt_c = opt_certificate
    opt_k = opt_certificate_key
    opt_v = opt_verbose
    opt_C = opt_configuration
    opt_V = opt_version
    opt_h = usage.Options.opt_help

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line and all that it refers to.

        :raises SystemExit: for a mistake of the operator's, with one line that says which.
            (twistd itself answers a UsageError with its whole help text and exit status 0.)
        """
        try:
            super().parseOptions(options)
        except (usage.UsageError, *MISTAKES) as error:
            reason = " ".join(str(error).split())
            raise SystemExit(f"{self.program}: {reason}") from None

    def parseArgs(self, *arguments: str) -> None:
        """Refuse what is no option.

        :raises UsageError: there is something.
        """
        if arguments:
            raise usage.UsageError(f"it takes no arguments: {arguments[0]!r}")

    def postOptions(self) -> None:
        self.configuration = self._configure(self._readSettings())

    def reread(self) -> tuple[Configuration, list[str]]:
        """Read everything that the command line refers to anew.

        :returns: what the server is to do from now on, and one line for each part that stays as it
            was because its file is broken.
        """
        previous = self.configuration
        reading = Reading(previous)
        try:
            settings = self._readSettings()
            settings.warnings += [
                f"{name} takes effect with the next start"
                for name in settings.keepAtStart(previous.settings)
            ]
            self.configuration = self._configure(settings, reading)
        except MISTAKES as error:
            reading = Reading(previous)
            reading.problems.append(f"the settings stay as they were: {error}")
            self.configuration = self._configure(previous.settings, reading)
        return self.configuration, reading.problems

    def _readSettings(self) -> Settings:
        settings = Settings()
        if self._file is not None:
            settings.load(self._file)
        for assignment in self._overrides:
            settings.override(assignment)
        for name, value in self._assignments:
            settings.set(name, value)
        if self["tunnelproxy"]:
            settings.set("TunnelProxy.enabled", "true")
        return settings

    def _configure(self, settings: Settings, reading: Reading | None = None) -> Configuration:
        return configure(
            settings,
            webSockets=self.webSockets,
            streams=self.streams,
            tokens=self.tokens,
            acceptAnyToken=bool(self["accept-any-token"]),
            logFile=self.logFile,
            verbosity=self.verbosity,
            inBackground=self.parent is not None and not self.parent["nodaemon"],
            toJournal=isJournal(os.environ, STDERR),
            reading=reading,
        )

    def _assign(self, name: str, value: str) -> None:
        self._assignments.append((name, value))
