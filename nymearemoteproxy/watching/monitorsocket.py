"""The monitor socket: tells programs on this machine what goes on, once a second or when asked.

Owns the content and the framing that the monitors of the C++ server expect, and who of those who
may look may also have something done. Knows nothing of how connections are served. A thousand
connections make a line of 300 KB, so it is made and sent in pieces, and the reactor has its turn
between them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy import __version__
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.common.unixpeers import UnixPeer, peerOf
from nymearemoteproxy.connections.limits import MOST_MONITORS
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import (
    MOST_TEXT,
    TCP,
    UNIX,
    VISITORS,
    WEBSOCKET,
    Record,
    slices,
)
from nymearemoteproxy.protocol.jsonrpc import MessageError, MessageSplitter
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.actions import Action, ActionError
from nymearemoteproxy.watching.monitorrequests import (
    ActionRequest,
    Refresh,
    readRequest,
    writeError,
    writeResult,
)
from nymearemoteproxy.watching.pulse import Reading
from nymearemoteproxy.watching.watched import Watched

log = ProxyLogger()

_TRANSPORTS = (WEBSOCKET, TCP, UNIX)
"""As the clients in the field know them: a visitor's connection is one of TCP."""

REQUEST_LIMIT = 1024
"""Bytes of a request; each has less than a hundred."""

ANSWER_INTERVAL = 0.1
"""Seconds from one answer to the next, to the same monitor: one that asks without end gets ten a
second."""

ROOT = 0
"""The uid of the user who may have everything done."""

ITEMS_A_TURN = 100
"""Connections or tunnels that are described in one turn of the reactor: below a millisecond."""

Item = TypeVar("Item")
Part = tuple[bytes, int]
"""A part of a line, and how many items it describes."""


class Snapshot:
    """What goes on, in the words of the monitor's protocol.

    Who is there is of the moment when it is made; what each has sent is of the turn in which it is
    described.

    :param epoch: what to add to a moment for its Unix time.
    :param condition: where the server stands, in a word.
    """

    def __init__(
        self, proxy: Proxy, latest: Reading, epoch: float, condition: str, printAll: bool
    ) -> None:
        self._proxy = proxy
        self._condition = condition
        self._survey = proxy.registry.counters.survey()
        self._latest = latest
        self._epoch = epoch
        self._printAll = printAll
        self._clients: list[Record] = []
        self._tunnels: dict[tuple[int, int], float] = {}  # the numbers of both ends: since when
        self._servers: list[Record] = []
        self._guests: dict[str, list[Record]] = {}
        self._transports: Counter[str] = Counter()  # of servers and guests

    def work(self) -> Generator[None, None, list[bytes]]:
        """Make the line, in pieces that each describe about `ITEMS_A_TURN` items.

        To be done in turns of the reactor.
        """
        for records in self._survey:
            for record in records:
                self._note(record)
            yield
        shown = []
        for servers in slices(self._servers):
            shown += [each for each in servers if self._printAll or each.uuid in self._guests]
            yield
        pieces: list[bytes] = []
        for piece in self._pieces(shown):
            pieces.append(piece)
            yield
        return pieces

    def _note(self, record: Record) -> None:
        if record.role is Role.SERVER:
            self._servers.append(record)
        elif record.role is Role.CLIENT:
            self._guests.setdefault(record.serverUuid, []).append(record)
        else:
            self._clients.append(record)
            self._noteTunnel(record)
            return
        self._transports[TCP if record.transport in VISITORS else record.transport] += 1

    def _noteTunnel(self, record: Record) -> None:
        """Note a tunnel with both of its ends, or with the one that is left."""
        partner = record.partner
        if partner is not None:
            assert record.joined is not None
            first, second = sorted((record.number, partner.number))
            self._tunnels[first, second] = record.joined

    def _pieces(self, servers: list[Record]) -> Iterator[bytes]:
        parts: list[bytes] = []
        items = 0
        for part, described in self._parts(servers):
            parts.append(part)
            items += described
            if items >= ITEMS_A_TURN:
                yield b"".join(parts)
                parts, items = [], 0
        yield b"".join(parts)

    def _parts(self, servers: list[Record]) -> Iterator[Part]:
        hello, load, latest = self._proxy.policy.hello, self._survey.load, self._latest
        totals = load.totals
        head = {
            "serverName": hello["name"],
            "serverVersion": __version__,
            "apiVersion": hello["apiVersion"],
            "condition": self._condition,
        }
        statistic = {
            "clientCount": len(self._clients),
            "tunnelCount": len(self._tunnels),
            "troughput": round(latest.throughput),
            "total": {
                "totalClientCount": totals.connections,
                "totalTunnelCount": totals.tunnels,
                "totalTraffic": totals.traffic,
            },
        }
        yield _open(head) + b',"proxyStatistic":' + _open(statistic), 0
        yield from _list("clients", self._clients, self._describeClient)
        yield from _list("tunnels", list(self._tunnels.items()), self._describeTunnel)
        statistic = {
            "totalClientCount": self._transports.total(),
            "serverConnectionsCount": load.servers,
            "clientConnectionsCount": load.clients,
            "transports": {name: self._transports[name] for name in _TRANSPORTS},
            "troughput": round(latest.tunnelProxyThroughput),
        }
        yield b'},"tunnelProxyStatistic":' + _open(statistic) + b',"tunnelConnections":[', 0
        for position, server in enumerate(servers):
            yield (b"," if position else b"") + _open(self._describeServer(server)), 1
            guests = self._guests.get(server.uuid, [])
            yield from _list("clientConnections", guests, self._describeGuest)
            yield b"}", 0
        yield b"]}}\n", 0

    def _time(self, seconds: float) -> int:
        return round(seconds + self._epoch)

    def _describe(self, record: Record) -> dict[str, Any]:
        return {
            "id": str(record.number),
            "address": record.address,
            "timestamp": self._time(record.started),
            "name": record.name[:MOST_TEXT],
            "rxDataCount": record.received,
            "txDataCount": record.sent,
            **({"worker": record.worker} if record.worker else {}),
        }

    def _describeClient(self, record: Record) -> dict[str, Any]:
        return {
            **self._describe(record),
            "authenticated": record.ticket.authenticated,
            "tunnelConnected": record.joined is not None,
            "userName": (record.subject or "")[:MOST_TEXT],
            "uuid": record.uuid[:MOST_TEXT],
        }

    def _describeTunnel(self, tunnel: tuple[tuple[int, int], float]) -> dict[str, Any]:
        (first, second), joined = tunnel
        return {
            "clientOne": str(first),
            "clientTwo": str(second),
            "timestamp": self._time(joined),
        }

    def _describeServer(self, record: Record) -> dict[str, Any]:
        return {**self._describe(record), "serverUuid": _braced(record.uuid)}

    def _describeGuest(self, record: Record) -> dict[str, Any]:
        return {**self._describe(record), "clientUuid": _braced(record.uuid)}


def _braced(uuid: str) -> str:
    return f"{{{uuid}}}"


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _open(members: dict[str, Any]) -> bytes:
    """Return an object without its closing brace."""
    return _encode(members)[:-1]


def _list(
    name: str, items: list[Item], describe: Callable[[Item], dict[str, Any]]
) -> Iterator[Part]:
    """Yield a member that is a list, from its comma on."""
    yield f',"{name}":['.encode("ascii"), 0
    for start in range(0, len(items), ITEMS_A_TURN):
        described = [describe(item) for item in items[start : start + ITEMS_A_TURN]]
        yield (b"," if start else b"") + _encode(described)[1:-1], len(described)
    yield b"]", 0


@implementer(IPushProducer, IHalfCloseableProtocol)
class Monitor(Protocol):
    """One program that looks at the server.

    It is sent what it wants as it reads it: what it does not take in time it does not get.

    :ivar listensOnly: it has not asked for anything, and is told once a second.
    """

    transport: Any

    def __init__(self, factory: MonitorFactory) -> None:
        self._factory = factory
        self._splitter = MessageSplitter(REQUEST_LIMIT)
        self._isBlocked = False
        self._untold: Iterator[bytes] | None = None  # the rest of a line
        self._asked: Deferred[list[bytes]] | None = None
        self._isAnswering = False
        self._isLost = False
        self._hasAskedAll = False
        self.listensOnly = True

    @property
    def wantsNews(self) -> bool:
        """True when it is to be told now what goes on."""
        return self.listensOnly and not self._isBlocked and self._untold is None

    def connectionMade(self) -> None:
        self._factory.monitors.add(self)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.listensOnly = False
        self._splitter.feed(data)
        self._answer()

    def _answer(self) -> None:
        """Answer the next request, if the last one is done with."""
        if self._isAnswering or self._isBlocked or self._isLost or self._untold is not None:
            return
        try:
            message = self._splitter.take()
            if message is None:
                if self._hasAskedAll:
                    self.transport.loseConnection()
                else:
                    self.transport.resumeProducing()
                return
            request = readRequest(message)
        except MessageError as error:
            self.tell([writeError(error.text)])
            self.transport.loseConnection()
            return
        self._isAnswering = True
        self.transport.pauseProducing()
        self._asked = self._fulfil(request)
        self._asked.addCallbacks(self._answered, self._failed)

    def _fulfil(self, request: Refresh | ActionRequest) -> Deferred[list[bytes]]:
        """Do what is asked for; return the pieces of the answer."""
        if isinstance(request, Refresh):
            return self._factory.describe(request.printAll)
        peer = peerOf(self.transport.getHandle())
        return succeed([self._factory.obey(request, peer)])

    def _answered(self, line: list[bytes]) -> None:
        self._asked = None
        self.tell(line)
        self._factory.clock.callLater(ANSWER_INTERVAL, self._answerNext)

    def _failed(self, failure: Failure) -> None:
        self._asked = None
        if not self._isLost:  # or it is why this has failed
            log.failure("a monitor cannot be told what goes on", failure)
            self.transport.loseConnection()

    def _answerNext(self) -> None:
        self._isAnswering = False
        self._answer()

    def tell(self, line: Iterable[bytes]) -> None:
        """Send a line, as far as it is taken now, and the rest as soon as it is.

        :param line: in pieces.
        """
        self._untold = iter(line)
        self._tellMore()

    def _tellMore(self) -> None:
        if self._untold is None:
            return
        while not (self._isBlocked or self._isLost):
            piece = next(self._untold, None)
            if piece is None:
                self._untold = None
                return
            self.transport.write(piece)

    def readConnectionLost(self) -> None:
        """It asks no more, but reads what it asked for, or all if it asked for nothing."""
        if not self.listensOnly:
            self._hasAskedAll = True
            self._answer()

    def writeConnectionLost(self) -> None:
        """We never close one direction only."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isLost = True
        if self._asked is not None:
            self._asked.cancel()
        self._factory.monitors.discard(self)

    def pauseProducing(self) -> None:
        self._isBlocked = True
        self.transport.pauseProducing()  # or what it asks meanwhile would pile up

    def resumeProducing(self) -> None:
        self._isBlocked = False
        self._tellMore()
        self._answer()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` deals with it."""


class MonitorFactory(Factory):
    """Serves the monitors, and tells those that only listen once a second.

    :ivar monitors: those that are connected.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, watched: Watched) -> None:
        self.clock = clock
        self.monitors: set[Monitor] = set()
        self._proxy = watched.proxy
        self._pulse = watched.pulse
        self._calendar = watched.calendar
        self._condition = watched.condition
        self._actions = watched.actions
        self._isTelling = False
        self._refusals = Tally(
            clock,
            "a monitor is refused, there are {most} already",
            "monitor",
            "{more} refused in the last {interval:.0f} s",
        )
        self._pulse.listeners.append(self._beat)

    def buildProtocol(self, addr: IAddress | None) -> Monitor | None:
        if len(self.monitors) < MOST_MONITORS:
            return Monitor(self)
        self._refusals.add(most=MOST_MONITORS)
        return None

    def describe(self, printAll: bool) -> Deferred[list[bytes]]:
        """Make a line about this moment; return its pieces."""
        snapshot = Snapshot(
            self._proxy,
            self._pulse.latest,
            self._calendar.epoch,
            self._condition().value,
            printAll,
        )
        return self._proxy.turns.run(snapshot.work())

    def obey(self, request: ActionRequest, peer: UnixPeer | None) -> bytes:
        """Do it, if this one may have it done; return the line that tells what came of it.

        Who may connect may look, which the mode of the socket says, and may be a whole group. To
        have something done is for those who could send this process signals as well.

        :param peer: who asks; None = that is not known.
        """
        who = "somebody unknown" if peer is None else str(peer)
        if peer is None or peer.uid not in (ROOT, os.geteuid()):
            self._actions.refused(request.action, who)
            return writeError("only root and the server's own user may have something done")
        try:
            return writeResult(request, self._do(request, who))
        except ActionError as error:
            return writeError(str(error))

    def _do(self, request: ActionRequest, who: str) -> dict[str, Any]:
        """Do it; return what is to be told of it besides."""
        if request.action is Action.END_CONNECTION:
            self._actions.endConnection(request.number, who)
        elif request.action is Action.END_TUNNEL:
            self._actions.endTunnel(request.number, who)
        elif request.action is Action.RELOAD:
            return {"mistakes": self._actions.reload(who).mistakes}
        else:
            self._actions.drain(who)
        return {}

    def _failed(self, failure: Failure) -> None:
        self._isTelling = False
        log.failure("the monitors cannot be told what goes on", failure)

    def closeAll(self) -> None:
        """The server is being stopped."""
        for monitor in tuple(self.monitors):
            monitor.transport.loseConnection()

    def _beat(self, _reading: Reading) -> None:
        if not self._isTelling and any(monitor.wantsNews for monitor in self.monitors):
            self._isTelling = True
            self.describe(False).addCallback(self._tell).addErrback(self._failed)

    def _tell(self, line: list[bytes]) -> None:
        self._isTelling = False
        for monitor in tuple(self.monitors):
            if monitor.wantsNews:
                monitor.tell(line)
