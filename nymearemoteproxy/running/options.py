"""The command line of the server, the same under twistd and alone.

Owns the options and how they go together with the settings. What comes out is a `Configuration`.
Knows nothing of how it is worked out.
"""

from __future__ import annotations

import contextlib
import difflib
import getopt
import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import LogLevel
from twisted.python import usage

from nymearemoteproxy import __version__
from nymearemoteproxy.common.certificates import CertificateError
from nymearemoteproxy.common.files import Files, Outcomes, Read
from nymearemoteproxy.common.journal import isJournal, withPriority
from nymearemoteproxy.common.onlyoptions import OnlyOptions
from nymearemoteproxy.running.configuration.commandline import CommandLine
from nymearemoteproxy.running.configuration.configuring import configure, findFingerprints
from nymearemoteproxy.running.configuration.mistakes import MISTAKES, eachOf
from nymearemoteproxy.running.configuration.parts import Inherited, Parts
from nymearemoteproxy.running.configuration.result import Configuration
from nymearemoteproxy.running.settings.errors import FileError, SettingsError
from nymearemoteproxy.running.settings.values import Settings

STDERR = 2

FAILED = 1
WRONG_USAGE = 2
"""Exit statuses: something around the server is not as it has to be, such as a file that it cannot
read; and what it was told, on the command line or in its file, can never be right."""

_RETIRED = {
    "m": "the C++ server let everybody in with it; here --accept-any-token does, for tests",
    "mock-authenticator": "here it is --accept-any-token, for tests",
    "d": "the C++ server took AWS credentials of a developer with it; AWS is gone, see --server",
    "development": "AWS is gone, see --server",
}
"""Options of the C++ server that are not here."""


class Refused(SystemExit):
    """Ends the program for a mistake of the operator's.

    (Python itself tells the text of a SystemExit, but with exit status 1 only.)

    :param reasons: one line each.
    """

    def __init__(self, reasons: Sequence[str], status: int) -> None:
        super().__init__("\n".join(reasons))
        self.code = status

    def tell(self) -> None:
        """Say on standard error why."""
        _say(str(self), LogLevel.error)


def refused(reason: str) -> Refused:
    """Tell why the server does not start, although its options are right; return what to raise."""
    problem = Refused([f"{ServerOptions.program}: {reason}"], FAILED)
    problem.tell()
    return problem


def _say(text: str, level: Any) -> None:
    """Write lines to standard error, before there is a log."""
    if sys.stderr is not None:
        shown = f"{text}\n"
        with contextlib.suppress(OSError):
            sys.stderr.write(withPriority(shown, level) if _toJournal() else shown)
            sys.stderr.flush()


def _toJournal() -> bool:
    return isJournal(os.environ, STDERR)


class ServerOptions(OnlyOptions):
    """The options of ``nymea-remoteproxy`` and ``twistd nymea-remoteproxy``.

    :param read: reads files, in a worker: from what its parent has read.
    :param inherited: from the parent of this process; None if it has none.
    :ivar configuration: what they amount to.
    :ivar arguments: as they were given.
    :ivar isOfService: nobody is there to be shown a token.
    :ivar startMistakes: that the last `reread` found, and with which there would be no start.
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
        ["fingerprint", None, "print the SHA-256 fingerprint of the certificate, and exit"],
        ["check", None, "read everything as a start would, name every mistake, exit with 0 or 1"],
    ]

    def __init__(self, read: Read | None = None, inherited: Inherited | None = None) -> None:
        super().__init__()
        self._read = read
        self._inherited = inherited
        self._files: Files | None = None
        self.isOfService = False
        self.startMistakes: list[str] = []
        self.arguments: list[str] = []
        self._assignments: list[tuple[str, str, str]] = []
        self._overrides: list[str] = []
        self._file: str | None = None
        self._fingerprints: Sequence[tuple[str, str]] = ()
        self._clusters: list[str] = []
        self._fronts: list[str] = []
        self._httpFronts: list[str] = []
        self.webSockets: list[str] = []
        self.streams: list[str] = []
        self.tokens: list[str] = []
        self.tokenFiles: list[str] = []
        self.logFile: str | None = None
        self.verbosity = 0

    def getSynopsis(self) -> str:
        """Return the line of the help text that shows how the command is used."""
        twistd = "" if self.parent is None else "twistd [twistd options] "
        return f"Usage: {twistd}{self.program} [options]"

    def opt_logging(self, file: str) -> None:
        """write the log to this file"""
        self.logFile = _given("--logging", file)

    def opt_server(self, url: str) -> None:
        """URL of the authentication server, http or https"""
        self._assign("--server", "Authentication.server", url)

    def opt_port(self, number: str) -> None:
        """port of the main WebSocket listener, 0 picks a free one [default: 2212]"""
        self._assign("--port", "WebSocketServer.port", number)

    def opt_host(self, address: str) -> None:
        """address of the main listener [default: all with a certificate, else 127.0.0.1]"""
        self._assign("--host", "WebSocketServer.host", address)

    def opt_certificate(self, file: str) -> None:
        """PEM file with the certificate, may hold the chain"""
        self._assign("--certificate", "SSL.certificate", file)

    def opt_certificate_key(self, file: str) -> None:
        """PEM file with the certificate's private key"""
        self._assign("--certificate-key", "SSL.certificateKey", file)

    def opt_workers(self, count: str) -> None:
        """how many processes serve clients; 0 is one for each core [default: 1]"""
        self._assign("--workers", "ProxyServer.workers", count)

    def opt_verbose(self) -> None:
        """log more; given twice, also the sizes of what is relayed"""
        self.verbosity += 1

    def opt_configuration(self, file: str) -> None:
        """INI file with settings"""
        self._file = _given("--configuration", file)

    def opt_websocket(self, endpoint: str) -> None:
        """listen here (a Twisted endpoint, tls: before it for TLS) instead of on the main one"""
        self.webSockets.append(endpoint)

    def opt_stream(self, endpoint: str) -> None:
        """listen here for clients without WebSocket: TCP, TLS or a Unix socket; may be repeated"""
        self.streams.append(endpoint)

    def opt_cluster(self, url: str) -> None:
        """meet across machines, through a Redis such as redis://HOST:6379/0; may be repeated"""
        self._clusters.append(_given("--cluster", url))

    def opt_front(self, endpoint: str) -> None:
        """let visitors in here, who reach a home by the name in their TLS; may be repeated"""
        self._fronts.append(_given("--front", endpoint))

    def opt_front_http(self, endpoint: str) -> None:
        """let visitors in without TLS here, to be told that there is https; may be repeated"""
        self._httpFronts.append(_given("--front-http", endpoint))

    def opt_admin(self, endpoint: str) -> None:
        """serve a status page, metrics and health checks over HTTP here (a Twisted endpoint)"""
        self._assign("--admin", "Admin.endpoint", endpoint)

    def opt_token(self, token: str) -> None:
        """accept this token; may be repeated; visible to other users of this machine"""
        self.tokens.append(token)

    def opt_token_file(self, file: str) -> None:
        """accept the tokens in this file, one per line; may be repeated"""
        self._assign("--token-file", "Authentication.tokenFile", file)
        self.tokenFiles.append(file)

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

        :raises Refused: for mistakes of the operator's, which standard error tells.
        :raises SystemExit: there are none, and no more than that was asked for.
            (twistd itself answers a UsageError with its whole help text and exit status 0.)
        """
        self.arguments = [*(sys.argv[1:] if options is None else options)]
        try:
            super().parseOptions(self.arguments)
        except (usage.UsageError, *MISTAKES) as error:
            problem = self._refusal(error)
            if self._inherited is None:
                problem.tell()
            raise problem from None
        if self["fingerprint"]:
            self._showFingerprints()
        if self["check"]:
            self._passed()

    def _refusal(self, error: Exception) -> Refused:
        """Return what ends the program for these mistakes."""
        cause = error.__context__
        if isinstance(cause, getopt.GetoptError):
            texts = [self._explain(cause)]
        else:
            texts = [str(each) for each in eachOf(error)]
        isUsage = not all(isinstance(each, FileError | CertificateError) for each in eachOf(error))
        isCheck = "--check" in self.arguments  # the option itself is perhaps not reached
        status = WRONG_USAGE if isUsage and not isCheck else FAILED
        return Refused([f"{self.program}: {' '.join(text.split())}" for text in texts], status)

    def _passed(self) -> None:
        """Nothing is wrong, so tell what is doubtful, and end the program."""
        warnings = [*self.configuration.warnings]
        if self.configuration.generatedToken is not None:
            warnings.append(
                "no authentication is given: at a terminal a token is made and shown, but as a "
                "service it does not start"
            )
        for warning in warnings:
            _say(f"{self.program}: {warning}", LogLevel.warn)
        _say(f"{self.program}: no mistakes", LogLevel.info)
        raise SystemExit(0)

    def _showFingerprints(self) -> None:
        """Show what clients know the server by, and end the program.

        Standard output has nothing else, so that a shell can give it to a client.
        """
        if not self._fingerprints:
            raise refused("no listener has TLS, so that there is no certificate")
        for fingerprint, path in self._fingerprints:
            if len(self._fingerprints) > 1:
                _say(f"{self.program}: the certificate {path}:", LogLevel.info)
            print(fingerprint, flush=True)
        raise SystemExit(0)

    def postOptions(self) -> None:
        read = self._read or self._readFiles(mayWait=True)
        parts = Parts(None, read, self._inherited, isCheck=bool(self["check"]))
        settings = self._readSettings(parts)
        if self["fingerprint"]:
            self._fingerprints = findFingerprints(settings, self._given(), parts)
        else:
            self.configuration = self._configure(settings, parts)

    def _readFiles(self, mayWait: bool) -> Read:
        """Return what reads files from now on, each of them once."""
        self._files = Files(mayWait)
        return self._files.read

    @property
    def outcomes(self) -> Outcomes:
        """What came of the files that were read the last time, for workers."""
        assert self._files is not None
        return self._files.outcomes

    def reread(self, read: Read | None = None) -> tuple[Configuration, list[str]]:
        """Read everything that the command line refers to anew.

        :param read: reads files, in a worker.
        :returns: what the server is to do from now on, and one line for each part that stays as it
            was because its file is broken; `startMistakes` has what else is wrong.
        """
        previous = self.configuration
        parts = Parts(previous, read or self._readFiles(mayWait=False), self._inherited)
        later: list[str] = []
        try:
            settings = self._readSettings(parts)
            if read is None:
                later = self._mistakesOfStart(settings, parts.read)
            settings.warnings += [
                f"{name} takes effect with the next start"
                for name in settings.keepAtStart(previous.settings)
            ]
            self.configuration = self._configure(settings, parts)
        except MISTAKES as error:
            parts = Parts(previous, parts.read, self._inherited)
            parts.problems += [f"the settings stay as they were: {each}" for each in eachOf(error)]
            self.configuration = self._configure(previous.settings, parts)
        told = "\n".join(parts.problems)
        self.startMistakes = [each for each in later if each not in told]
        return self.configuration, parts.problems

    def _mistakesOfStart(self, settings: Settings, read: Read) -> list[str]:
        """Return what a start would tell, which has more rights if they were given up."""
        hasRights = self.parent is None or self.parent.get("uid") is None
        try:
            self._configure(settings, Parts(None, read, self._inherited, isCheck=True))
        except MISTAKES as error:
            return [
                str(each)
                for each in eachOf(error)
                if hasRights or not isinstance(each, FileError | CertificateError)
            ]
        return []

    def _readSettings(self, parts: Parts) -> Settings:
        settings, mistakes = Settings(), parts.mistakes
        if self._file is not None:
            with mistakes.collecting():
                settings.load(self._file, parts.read, mistakes.add)
        for assignment in self._overrides:
            with mistakes.collecting():
                settings.override(assignment)
        for option, name, value in self._assignments:
            try:
                settings.set(name, value, option)
            except SettingsError as error:
                mistakes.add(SettingsError(f"{option}: {error}"))
        if self._clusters:
            with mistakes.collecting():
                settings.set("Cluster.directory", " ".join(self._clusters), "--cluster")
        if self._fronts:
            settings.put("Front.listeners", tuple(self._fronts), "--front")
        if self._httpFronts:
            settings.put("Front.httpListeners", tuple(self._httpFronts), "--front-http")
        if self["tunnelproxy"]:
            settings.set("TunnelProxy.enabled", "true")
        return settings

    def _configure(self, settings: Settings, parts: Parts) -> Configuration:
        given = self._given()
        self.isOfService = given.isOfService
        return configure(settings, given, parts)

    def _given(self) -> CommandLine:
        """Return what the command line says besides settings."""
        inherited = self._inherited
        inBackground = self.parent is not None and not self.parent["nodaemon"]
        return CommandLine(
            webSockets=self.webSockets,
            streams=self.streams,
            tokens=self.tokens,
            tokenFiles=self.tokenFiles,
            acceptAnyToken=bool(self["accept-any-token"]),
            logFile=self.logFile,
            verbosity=self.verbosity,
            inBackground=inBackground if inherited is None else inherited.isOfService,
            toJournal=_toJournal(),
        )

    def _assign(self, option: str, name: str, value: str) -> None:
        # An empty one, perhaps of a variable that is not set, would be the default, whatever that
        # opens.
        self._assignments.append((option, name, _given(option, value)))

    def _explain(self, error: getopt.GetoptError) -> str:
        """Say what is wrong with an option."""
        name, dashes = error.opt, "--" if len(error.opt) > 1 else "-"
        names = [each.removesuffix("=") for each in self.longOpt]
        if "requires argument" in error.msg:
            return f"{dashes}{name} needs a value; --help says which"
        if "must not have" in error.msg:
            return f"{dashes}{name} takes no value"
        if "unique prefix" in error.msg:
            similar = [each for each in names if each.startswith(name)]
            return f"--{name} may mean {' or '.join(f'--{each}' for each in similar)}"
        if name in _RETIRED:
            return f"there is no option {dashes}{name}: {_RETIRED[name]}"
        near = difflib.get_close_matches(name, names, 1)
        return f"there is no option {dashes}{name}; " + (
            f"the nearest one is --{near[0]}" if near else "--help shows all"
        )


def _given(option: str, value: str) -> str:
    if not value:
        raise usage.UsageError(f"{option} needs a value; --help says which")
    return value
