"""The service: puts the parts together, listens, reloads and stops.

Owns the life of the server process. Everything in it is made elsewhere.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from nymearemoteproxy import __version__
from nymearemoteproxy.admin.condition import Condition
from nymearemoteproxy.authentication import FirstOf, IAuthenticator
from nymearemoteproxy.authentication.http import HttpAuthenticator, makeHttpClient
from nymearemoteproxy.authentication.tokens import AnyToken, TokenList
from nymearemoteproxy.configuration import Configuration, readServerUuids
from nymearemoteproxy.control import ProxyFactory
from nymearemoteproxy.direct import DirectFactory
from nymearemoteproxy.limits import Gate
from nymearemoteproxy.listeners import BACKLOG, Listener, ListenerError
from nymearemoteproxy.logs import ProxyLogger, observer, setVerbose
from nymearemoteproxy.options import Options
from nymearemoteproxy.proxy import Proxy, describeAddress
from nymearemoteproxy.pulse import Pulse
from nymearemoteproxy.records import TCP, WEBSOCKET, Record
from nymearemoteproxy.rendezvous import Rendezvous
from nymearemoteproxy.session import PairingKeys, makeHello
from nymearemoteproxy.settings import SettingsError
from nymearemoteproxy.stream import StreamControl
from nymearemoteproxy.switchboard import Switchboard
from nymearemoteproxy.tlstransport import TlsFactory
from nymearemoteproxy.websocket import Upgrade, makeUpgradeFactory

if TYPE_CHECKING:
    from nymearemoteproxy.admin.server import Admin

log = ProxyLogger()

CLIENT = "nymea-remoteproxy-client"

GC_THRESHOLD = 10_000
"""Objects made, less those freed, between two runs of the garbage collector. With Python's 700 it
is busy for a seventh of the time in which connections are set up, and it finds next to nothing."""


class StartError(Exception):
    """The service cannot start; the text is one line for the operator."""


def makeAuthenticator(
    reactor: Any, configuration: Configuration
) -> tuple[IAuthenticator, TokenList | None]:
    """Return the backend, and the list of tokens in it that can be replaced."""
    if configuration.acceptAnyToken:
        return AnyToken(), None
    tokens = None
    if configuration.acceptedTokens is not None:
        tokens = TokenList(configuration.acceptedTokens)
    settings = configuration.settings
    url = settings["Authentication.server"]
    if not url:
        assert tokens is not None
        return tokens, tokens
    connections = settings["Authentication.connections"]
    server = HttpAuthenticator(
        makeHttpClient(reactor, connections),
        url,
        connections,
        form=settings["Authentication.request"] == "form",
        credentials=configuration.credentials,
        freshClient=makeHttpClient(reactor, 0),
    )
    return (server if tokens is None else FirstOf(tokens, server)), tokens


def makeSwitchboard(reactor: Any, configuration: Configuration) -> Switchboard | None:
    """Return the tunnel proxy, unless it is switched off."""
    if configuration.terms is None:
        return None
    hello = makeHello(configuration.settings["ProxyServer.name"], True)
    switchboard = Switchboard(reactor, hello, configuration.terms)
    switchboard.allow(configuration.allowedServers)
    return switchboard


class ProxyService(Service):
    """The server.

    :param reactor: listens, and tells the time.
    """

    def __init__(self, reactor: Any, configuration: Configuration) -> None:
        settings = configuration.settings
        self._reactor = reactor
        self._configuration = configuration
        authenticator, self._tokens = makeAuthenticator(reactor, configuration)
        self._switchboard = makeSwitchboard(reactor, configuration)
        self.proxy = Proxy(
            clock=reactor,
            gate=Gate(reactor, configuration.bounds),
            authenticator=authenticator,
            rendezvous=Rendezvous(),
            timing=configuration.timing,
            keys=PairingKeys(settings["Authentication.pairing"] == "subject"),
            name=settings["ProxyServer.name"],
            messageLimit=settings["Limits.maxControlMessageSize"],
            traceTraffic=configuration.verbosity > 1,
            switchboard=self._switchboard,
            privacy=settings["ProxyServer.privacy"],
        )
        self.pulse = Pulse(reactor, self.proxy)
        self._admin = None if configuration.admin is None else self._makeAdmin()
        self._adminPort: IListeningPort | None = None
        self._upgradeFactory = makeUpgradeFactory(reactor)
        self._stopping = False
        self._gcThresholds = gc.get_threshold()
        self.ports: list[IListeningPort] = []

    def privilegedStartService(self) -> None:
        """Listen on every listener.

        :raises SystemExit: one of them cannot be listened on; the text is one line that says why.
        :raises StartError: the same in the background, where twistd passes on exceptions only.
        """
        super().privilegedStartService()
        listener: Listener | None = None
        try:
            endpoints = [item.endpoint(self._reactor) for item in self._configuration.listeners]
            for listener, endpoint in zip(self._configuration.listeners, endpoints, strict=True):
                self.ports.append(self._listen(listener, endpoint))
            if self._admin is not None:
                listener = self._configuration.admin
                assert listener is not None
                endpoint = listener.endpoint(self._reactor)
                self._adminPort = self._serve(listener, endpoint, self._admin.factory)
        except (CannotListenError, ListenerError, OSError, OverflowError) as error:
            for port in self.ports:
                port.stopListening()
            reason = _describe(listener, error)
            if self._configuration.inBackground:
                raise StartError(reason) from None
            raise SystemExit(f"{Options.program}: {reason}") from None

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        """The reactor runs: signals are ours from now on, and clients may come."""
        self._handleSignals()
        self._collectGarbageSeldom()
        if self._admin is not None:
            assert self._adminPort is not None
            self._admin.start(self._adminPort)
        self.pulse.start()
        log.info("nymea-remoteproxy {version} runs", version=__version__)
        for warning in self._configuration.warnings:
            log.warn("{reason}", reason=warning)
        for listener, port in zip(self._configuration.listeners, self.ports, strict=True):
            log.info("listening on {url}", url=_url(listener, port))
        if self._configuration.fingerprint is not None:
            log.info(
                "the certificate is self-signed, its SHA-256 fingerprint is {fingerprint}",
                fingerprint=self._configuration.fingerprint,
            )
        if self._configuration.generatedToken is not None:
            self._showToken(self._configuration.generatedToken)

    def _collectGarbageSeldom(self) -> None:
        """Spare the garbage collector what lives for ever, and most of its runs."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *self._gcThresholds[1:])

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop listening, say goodbye to every client, and wait until they are gone."""
        log.info("stopping")
        gc.set_threshold(*self._gcThresholds)
        gc.unfreeze()
        self.pulse.stop()
        yield super().stopService()
        for port in self.ports:
            yield port.stopListening()
        self.ports = []
        gone = self.proxy.shutDown()
        grace = self._configuration.settings.seconds("ProxyServer.shutdownTimeout")
        cutOff = self._reactor.callLater(grace, self.proxy.abortAll)
        yield gone
        if cutOff.active():
            cutOff.cancel()
        if self._admin is not None and self._adminPort is not None:
            yield self._adminPort.stopListening()
            self._admin.stop()
        log.info("stopped")

    def _makeAdmin(self) -> Admin:
        # Imported only where it is wanted, for the time and memory it takes.
        from nymearemoteproxy.admin.server import Admin

        return Admin(
            self._reactor,
            self._configuration,
            self.proxy,
            self.pulse,
            condition=self._condition,
            drain=self._stop,
        )

    def _condition(self) -> Condition:
        if self._stopping:
            return Condition.STOPPING
        return Condition.READY if self.running and self.ports else Condition.STARTING

    def reload(self) -> None:
        """Read the token file and the list of server uuids anew, as far as there are any.

        What cannot be read stays as it is.
        """
        found = [self._reloadTokens(), self._reloadServerUuids()]
        if not any(found):
            log.info("there is no token file or list of server uuids to read anew")

    def _reloadTokens(self) -> bool:
        """Tell whether there is such a file."""
        source = self._configuration.tokens
        if self._tokens is None or source is None or not source.file:
            return False
        try:
            tokens = source.read()
        except SettingsError as error:
            log.error("the tokens stay as they were: {reason}", reason=str(error))
        else:
            self._tokens.replace(tokens)
            log.info("read {count} tokens", count=len(tokens))
        return True

    def _reloadServerUuids(self) -> bool:
        """Tell whether there is such a file."""
        path = self._configuration.settings["TunnelProxy.serverUuidFile"]
        if self._switchboard is None or not path:
            return False
        try:
            allowed = readServerUuids(path)
        except SettingsError as error:
            log.error("the server uuids stay as they were: {reason}", reason=str(error))
        else:
            self._switchboard.allow(allowed)
            log.info("read {count} server uuids", count=len(allowed))
        return True

    def _listen(self, listener: Listener, endpoint: IStreamServerEndpoint) -> IListeningPort:
        if listener.webSocket:
            factory = ProxyFactory(
                self.proxy, WEBSOCKET, listener.secure, listener.behindProxy, self._buildUpgrade
            )
        else:
            factory = ProxyFactory(
                self.proxy, TCP, listener.secure, listener.behindProxy, StreamControl
            )
        return self._serve(listener, endpoint, factory)

    def _serve(
        self, listener: Listener, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> IListeningPort:
        serve = factory
        if listener.secure:
            serve = TlsFactory(self._configuration.certificates[listener.files], factory)
        results: list[Any] = []
        endpoint.listen(DirectFactory(serve)).addBoth(results.append)
        if not results:
            raise ListenerError("it does not listen at once")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        port: IListeningPort = results[0]
        return port

    def _buildUpgrade(self, proxy: Proxy, record: Record) -> Upgrade:
        return Upgrade(proxy, record, self._upgradeFactory)

    def _handleSignals(self) -> None:
        """Have SIGTERM and Ctrl-C end the process with status 0, also under twistd.

        SIGHUP reloads.
        """
        self._onSignal(signal.SIGTERM, self._stop)
        self._onSignal(signal.SIGINT, self._stop)
        self._onSignal(signal.SIGHUP, self.reload)

    def _stop(self) -> None:
        """Stop the process; asking twice does not hurry it."""
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _onSignal(self, number: int, act: Callable[[], object]) -> None:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_details: self._reactor.callFromThread(act))

    def _showToken(self, token: str) -> None:
        """Show it on the terminal, and not through the log."""
        url = _url(self._configuration.listeners[0], self.ports[0])
        pin = self._configuration.fingerprint
        command = f"{_clientCommand()} --url {url} --token {token}" + (
            f" --fingerprint {pin}" if pin else ""
        )
        terminal = sys.__stderr__
        if terminal is not None:
            terminal.write(
                f"\nThe token of this run is {token}\n"
                "Join two clients by giving this command in two other terminals within "
                f"{self._configuration.timing.alone:.0f} seconds, then type in either:\n\n"
                f"    {command}\n    {command}\n\n"
            )
            terminal.flush()


def _clientCommand() -> str:
    """Return the client that belongs to this server, so that it works in any terminal."""
    beside = Path(sys.executable).with_name(CLIENT)
    return str(beside) if beside.exists() else CLIENT


def _url(listener: Listener, port: IListeningPort) -> str:
    address: Any = port.getHost()
    host, text = describeAddress(address)
    if host is None:
        name = address.name
        return f"unix:{name.decode() if isinstance(name, bytes) else name}"
    if listener.webSocket:
        scheme = "wss" if listener.secure else "ws"
    else:
        scheme = "tls" if listener.secure else "tcp"
    return f"{scheme}://{text}"


def _describe(listener: Listener | None, error: Exception) -> str:
    """Say in one line why a listener does not listen."""
    if listener is None or isinstance(error, ListenerError):
        return str(error)
    cause = getattr(error, "socketError", error)
    reason = getattr(cause, "strerror", None) or str(cause)
    place = listener.description.removesuffix(f":backlog={BACKLOG}")
    return f"cannot listen on {place}: {reason}"


def startLogging(configuration: Configuration) -> None:
    """Log to the configured file, besides wherever the log goes already.

    :raises SystemExit: the file cannot be opened.
    """
    setVerbose(configuration.verbosity > 0)
    Factory.noisy = False  # one line for every question to an authentication server
    if configuration.logFile is None:
        return
    try:
        file = open(configuration.logFile, "a", encoding="utf-8")  # noqa: SIM115 - kept open
    except OSError as error:
        raise SystemExit(
            f"{Options.program}: cannot write the log file {configuration.logFile}: "
            f"{error.strerror}"
        ) from None
    format = configuration.settings["ProxyServer.logFormat"]
    globalLogPublisher.addObserver(observer(file, format))


def makeService(options: Options, reactor: Any = None) -> IService:
    """Return the service that `options` describe; what twistd calls."""
    if reactor is None:
        from twisted.internet import reactor
    startLogging(options.configuration)
    return ProxyService(reactor, options.configuration)
