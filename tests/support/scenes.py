"""Servers that never were, for the status page to show: young and old ones, idle and busy ones."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

from twisted.internet import reactor as globalReactor

from nymearemoteproxy.cluster.figures import Figures
from nymearemoteproxy.connections.records import FRONT
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.watching.admin.history import INTERVAL, Point
from nymearemoteproxy.watching.company import Company, WorkerState
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload
from nymearemoteproxy.watching.watched import Entrance
from tests.support.admin import AdminInMemory, add, addTunnel

reactor: Any = globalReactor

DAY = 86_400.0

NAMES = ("Kitchen", "Anna's phone", "Energy manager", "Büro 2. OG", "nymea:core", "Garage")

LONG_NAME = "Energy manager of the house at the lake, second floor, beside the heat pump"

LONG_ACCOUNT = "anna.mustermann-bergengruen@accounts.energy-management.example.org"

LONG_ADDRESS = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:51966"


class Certificates:
    """Tells when some expire."""

    def __init__(self, **left: float) -> None:
        now = time.time()
        self.expires = {
            f"/etc/letsencrypt/live/{name}/fullchain.pem": now + seconds
            for name, seconds in left.items()
        }

    def __call__(self) -> dict[str, float]:
        return self.expires

    def refresh(self) -> tuple[()]:
        return ()


class Scene:
    """A server with an admin endpoint, some seconds old.

    :param age: seconds since its start.
    :param busy: how much there is of everything.
    :param hasFront: there is a front door.
    """

    def __init__(
        self,
        age: float,
        busy: float = 0.0,
        company: Company | None = None,
        hasFront: bool = False,
    ) -> None:
        self.made = made = AdminInMemory(
            clock=reactor,
            company=None if company is None else lambda: company,
            TunnelProxy_enabled="true",
            ProxyServer_name="Remote access",
            Front_listeners="tcp:0" if hasFront else "",
        )
        # The date, whatever the reactor measures by: a command may have changed that.
        made.epoch = time.time() - reactor.seconds()
        self.proxy = made.proxy
        self.proxy.switchboard = object()  # type: ignore[assignment]
        self.now = reactor.seconds()
        self.chance = random.Random(5)
        made.admin._status._started = self.now - age
        made.admin._status._expiry = Certificates(
            **{"proxy.example.org": 61.5 * DAY, "old.example.org": 3.2 * DAY}
        )  # type: ignore[assignment]
        made.places = [
            Entrance("wss://[::]:2213"),
            Entrance("ws://127.0.0.1:2212", behindProxy=True),
            Entrance("tls://[::]:2214"),
            Entrance("unix:///run/nymea-remoteproxy/nymea-remoteproxy.sock"),
            *([Entrance("https://[::]:443", isFront=True)] if hasFront else []),
        ]
        self._started, self._busy, self._steps = self.now - age, busy, 0
        self.remember()

    def remember(self) -> None:
        """Invent what was since the start, or since the last time."""
        history = self.made.admin._history
        for step in range(self._steps, int((reactor.seconds() - self._started) / INTERVAL)):
            point = self._point(step, self._started + (step + 1) * INTERVAL, self._busy)
            history.whole.add(point)
            history._points.append(point)
            self._steps = step + 1

    def _point(self, step: int, time: float, busy: float) -> Point:
        chance = self.chance
        wave = busy * (1 + 0.3 * math.sin(step / 110) + 0.08 * math.sin(step / 13))
        trouble = 9 if 400 < step % 720 < 425 else 1
        return Point(
            time=round(time, 1),
            connections=int(300 * wave),
            tunnels=int(110 * wave),
            servers=math.ceil(5 * busy),
            clients=int(62 * wave),
            throughput=int(1.1e6 * wave**2 * (1 + chance.random() * 0.3)),
            tunnelProxyThroughput=int(6e5 * wave * (1 + chance.random())),
            delay=0.0124,
            orderly=int(chance.random() < busy),
            lost=int(chance.random() < 0.2 * busy),
            failed=int(chance.random() < 0.02 * busy) * trouble,
            refused=int(chance.random() < 0.12 * busy) * trouble,
        )

    def connect(self, tunnels: int, servers: int, waiting: int, workers: int = 0) -> None:
        """Have connections."""
        proxy, chance = self.proxy, self.chance
        for _number in range(tunnels):
            first = addTunnel(proxy, chance.choice(NAMES), chance.choice(NAMES))
            assert first.partner is not None
            for record in (first, first.partner):
                record.started = self.now - chance.expovariate(1 / 2000)
                record.joined = record.started + 1
                record.received = int(chance.expovariate(1 / 4e6))
                record.secure = True
        for number in range(servers):
            server = add(proxy, role=Role.SERVER, name=f"core {number}", uuid=f"{{{number}}}")
            server.uuid = f"{{4cbe1bb5-5a1c-4d5c-9f61-7f1d9ab0a0{number:02}}}"
            server.received = int(chance.expovariate(1 / 9e6))
            for _client in range(number and chance.randrange(30)):
                add(proxy, role=Role.CLIENT, name=chance.choice(NAMES), serverUuid=server.uuid)
        for _number in range(waiting):
            client = add(proxy, "waiting", name=chance.choice(NAMES))
            client.trusted = self.now - chance.expovariate(1 / 20)
        for record in proxy.registry.records:
            record.worker = workers and record.number % workers + 1

    def haveVisitors(self) -> None:
        """Let every third client of a server be one that came by the front door."""
        names = {f"house{number}.example.org": UUID(int=number) for number in range(1200)}
        self.proxy.setPolicy(replace(self.proxy.policy, names=FrontNames(names)))
        clients = [each for each in self.proxy.registry.records if each.role is Role.CLIENT]
        for record in clients[::3]:
            record.transport, record.name = FRONT, "front"

    def connectLongNames(self) -> None:
        """Have a tunnel, a server and a waiting client of whom much is known."""
        first = addTunnel(self.proxy, LONG_NAME, "Anna's phone")
        waiting = add(self.proxy, "waiting", name=LONG_NAME)
        waiting.trusted = self.now - 31
        server = add(self.proxy, role=Role.SERVER, name=LONG_NAME)
        for record in (first, waiting, server):
            record.address, record.subject, record.secure = LONG_ADDRESS, LONG_ACCOUNT, True
            record.uuid = "{4cbe1bb5-5a1c-4d5c-9f61-7f1d9ab0a0cc}"

    def end(self, *outcomes: Outcome) -> None:
        """Have connections that ended so."""
        counters, history = self.proxy.registry.counters, self.made.admin._history
        for outcome in outcomes:
            counters.outcomes[outcome] = self.chance.randrange(10, 9000)
            history.lastHour[outcome] = counters.outcomes[outcome] // 20

    def haveCarried(self) -> None:
        """Have totals of a long life."""
        totals = self.proxy.registry.counters.totals
        totals.connections, totals.tunnels, totals.traffic = 184_223, 80_211, 4_812_883_112_331
        totals.servers, totals.clients, totals.tunnelProxyTraffic = 42, 9_012, 812_331_000_000

    def relay(self) -> None:
        """Let something move, and time go by: a chart of minutes ends now in a slow test, too."""
        self.remember()
        for record in self.proxy.registry.records:
            record.received += record.number * 700 % 90_001


def idle() -> Scene:
    """Just started."""
    return Scene(age=42)


def few() -> Scene:
    """Some minutes old, with one of everything."""
    scene = Scene(age=7 * 60, busy=0.02)
    scene.connectLongNames()
    scene.connect(tunnels=1, servers=1, waiting=0)
    scene.end(Outcome.CLIENT_LEFT, Outcome.LEFT_EARLY)
    return scene


def hundreds() -> Scene:
    """Three days old, and busy."""
    scene = Scene(age=3 * DAY, busy=1, hasFront=True)
    scene.connect(tunnels=120, servers=5, waiting=31)
    scene.haveVisitors()
    scene.haveCarried()
    scene.end(
        Outcome.CLIENT_LEFT,
        Outcome.PARTNER_LEFT,
        Outcome.CONNECTION_LOST,
        Outcome.TLS_HANDSHAKE_FAILED,
        Outcome.TOKEN_REFUSED,
        Outcome.AUTHENTICATION_ERROR,
    )
    return scene


def drained() -> Scene:
    """Nobody is let in any more."""
    scene = Scene(age=40 * 60, busy=0.1)
    scene.connect(tunnels=2, servers=0, waiting=0)
    scene.made.server.condition, scene.made.places = Condition.DRAINING, []
    scene.end(Outcome.PARTNER_LEFT, Outcome.SHUTDOWN_WAITING)
    return scene


def failedReload() -> Scene:
    """Its configuration has two mistakes since yesterday."""
    scene = few()
    scene.made.server.lastReload = LastReload(scene.now - DAY, mistakes=2)
    return scene


def workers(isClustered: bool = False) -> Scene:
    """Four processes, of which one does not serve."""
    states = [WorkerState(number, number != 3, 12 * number) for number in range(1, 5)]
    figures = Figures()
    scene = Scene(
        age=2 * DAY,
        busy=0.3,
        company=Company(figures, states, restarts=1, isClustered=isClustered),
    )
    scene.connect(tunnels=7, servers=2, waiting=3, workers=4)
    scene.end(Outcome.PARTNER_LEFT, Outcome.WORKER_LOST)
    return scene


def cluster() -> Scene:
    """The same on several machines."""
    return workers(isClustered=True)
