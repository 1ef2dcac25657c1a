"""The metrics: names, values, and what they cost."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parseOpenMetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from nymearemoteproxy import __version__
from nymearemoteproxy.common.certificates import CertificateFiles, validity
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.common.spool import Spool
from nymearemoteproxy.connections.limits import Bounds
from nymearemoteproxy.connections.records import CLOSING, FRONT, TCP, TRANSPORTS, WEBSOCKET
from nymearemoteproxy.listening.tls import loadCertificate
from nymearemoteproxy.protocol.frontnames import FrontNames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role, State
from nymearemoteproxy.watching.admin import expiry
from nymearemoteproxy.watching.admin.delay import PERIOD, DelaySampler
from nymearemoteproxy.watching.admin.expiry import FRESH, Expiry, servedCertificate
from nymearemoteproxy.watching.admin.metrics import DECLARATIONS, PREFIX, STATES, Metrics
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload
from tests.support.admin import NOW, add, addTunnel
from tests.support.certificates import issue, pem
from tests.support.parts import makeProxy

PROMTOOL = shutil.which("promtool")

EPOCH = 500.0
"""Unix time at the clock's 0."""

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class MetricsTests(SynchronousTestCase):
    """What a scrape shows."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.proxy = makeProxy(self.clock, Bounds(100, 100))
        self.calendar = Calendar(self.clock, lambda: EPOCH + self.clock.seconds())
        self.condition = Condition.READY
        self.lastReload: LastReload | None = None
        self.expiry: dict[str, float] = {}
        self.metrics = self.make()

    def make(self) -> Metrics:
        return Metrics(
            self.proxy,
            self.calendar,
            lambda: self.condition,
            lambda: self.expiry,
            lastReload=lambda: self.lastReload,
        )

    def scrape(self) -> str:
        return self.metrics.render("", self.proxy.registry.counters.load())[0].decode()

    def values(self) -> Values:
        """Return every sample, without the prefix."""
        return {
            (
                sample.name.removeprefix(PREFIX),
                tuple(sorted(sample.labels.items())),
            ): sample.value
            for family in parse(self.scrape())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.values()[name, tuple(sorted(labels.items()))]

    def test_declarations(self) -> None:
        """All that is declared is there, and nothing else but what the process is."""
        families = {family.name: family for family in parse(self.scrape())}
        declared = set()
        for each in DECLARATIONS:
            name = PREFIX + each.name
            if each.kind == "counter":
                name = name.removesuffix("_total")
            family = families[name]
            self.assertEqual(family.documentation, each.help)
            self.assertEqual(family.type, {"info": "gauge"}.get(each.kind, each.kind))
            declared.add(name)
            for sample in family.samples:
                self.assertEqual(set(sample.labels) - {"le"}, set(each.labels), each.name)
        for name in set(families) - declared:
            self.assertTrue(name.startswith("process_") or name.endswith("_created"), name)

    def test_contentTypes(self) -> None:
        """Prometheus asks for OpenMetrics, people for neither."""
        body, contentType = self.metrics.render("", self.proxy.registry.counters.load())
        self.assertTrue(contentType.startswith("text/plain; version="))
        body, contentType = self.metrics.render(
            "application/openmetrics-text; version=1.0.0", self.proxy.registry.counters.load()
        )
        self.assertTrue(contentType.startswith("application/openmetrics-text; version="))
        for nonsense in ("application/openmetrics-text; version=abc", "\xff;;version="):
            self.assertTrue(self.metrics.render(nonsense, self.proxy.registry.counters.load())[0])
        names = {family.name for family in parseOpenMetrics(body.decode())}
        self.assertIn(PREFIX + "outcomes", names)

    def test_everySeriesFromTheStart(self) -> None:
        """Series that come and go break sums and alerts."""
        values = self.values()
        for outcome in Outcome:
            self.assertEqual(values["outcomes_total", (("outcome", outcome.label),)], 0)
        for transport in TRANSPORTS:
            for state in STATES:
                labels = (("state", state), ("transport", transport))
                self.assertEqual(values["connections", labels], 0)
        before = set(values)
        for state in STATES:
            for transport in TRANSPORTS:
                add(self.proxy, state, transport)
        self.proxy.registry.counters.outcomes[Outcome.PING_TIMEOUT] += 1
        self.assertEqual(set(self.values()), before)

    def test_everyStateIsCounted(self) -> None:
        """A state that is added some day has to be listed."""
        for state in State:
            add(self.proxy, CLOSING if state is State.CLOSED else state.value)
        counts = [
            value for (name, _labels), value in self.values().items() if name == "connections"
        ]
        self.assertEqual(sum(counts), len(State))
        self.assertEqual(self.value("connections", transport=WEBSOCKET, state="closing"), 1)

    def test_load(self) -> None:
        addTunnel(self.proxy, received=100)
        add(self.proxy, role=Role.SERVER, transport=TCP, received=7)
        add(self.proxy, role=Role.CLIENT)
        add(self.proxy, "waiting")
        self.assertEqual(self.value("tunnels"), 1)
        self.assertEqual(self.value("tunnel_proxy_servers"), 1)
        self.assertEqual(self.value("tunnel_proxy_clients"), 1)
        self.assertEqual(self.value("front_visitors"), 0)
        add(self.proxy, role=Role.CLIENT, transport=FRONT)
        self.assertEqual((self.value("tunnel_proxy_clients"), self.value("front_visitors")), (2, 1))
        self.assertEqual(self.value("received_bytes_total", transport=WEBSOCKET), 100)
        self.assertEqual(self.value("sent_bytes_total", transport=TCP), 14)
        self.assertEqual(self.value("connections", transport=WEBSOCKET, state="waiting"), 1)

    def test_names(self) -> None:
        """Those of the list, as it is now."""
        self.assertEqual(self.value("front_names"), 0)
        names = FrontNames({"a.test": UUID(int=1), "*.test": UUID(int=1)}, "homes.test")
        self.proxy.setPolicy(replace(self.proxy.policy, names=names))
        self.assertEqual(self.value("front_names"), 2)

    def test_lastReload(self) -> None:
        """One that never was has not failed."""
        for self.lastReload, expected in (
            (None, (1, 0)),
            (LastReload(1000, 0), (1, 1000 + EPOCH)),
            (LastReload(2000, 2), (0, 2000 + EPOCH)),
        ):
            successful = self.value("last_reload_successful")
            when = self.value("last_reload_timestamp_seconds")
            self.assertEqual((successful, when), expected)

    def test_lostLines(self) -> None:
        """Of the log, whatever it is written to."""
        self.patch(Spool, "lostEver", 7)
        self.assertEqual(self.value("log_lines_lost_total"), 7)

    def test_lifetime(self) -> None:
        """Counters begin at 0 with the process, whatever was before; gauges tell of all."""
        totals = self.proxy.registry.counters.totals
        totals.connections, totals.tunnels, totals.traffic = 1000, 400, 10**12
        totals.servers, totals.clients, totals.tunnelProxyTraffic = 5, 50, 10**9
        self.metrics = self.make()
        add(self.proxy)
        totals.tunnels += 2
        totals.servers += 3
        totals.clients += 4
        for name, value in (
            ("connections_accepted_total", 1),
            ("tunnels_established_total", 2),
            ("tunnel_proxy_servers_registered_total", 3),
            ("tunnel_proxy_clients_connected_total", 4),
            ("lifetime_connections", 1001),
            ("lifetime_tunnels", 402),
            ("lifetime_traffic_bytes", 10**12),
            ("lifetime_tunnel_proxy_servers", 8),
            ("lifetime_tunnel_proxy_clients", 54),
            ("lifetime_tunnel_proxy_traffic_bytes", 10**9),
        ):
            self.assertEqual(self.value(name), value, name)

    def test_outcomes(self) -> None:
        self.proxy.registry.counters.outcomes[Outcome.TOKEN_REFUSED] += 3
        self.assertEqual(self.value("outcomes_total", outcome="token-refused"), 3)

    def test_histograms(self) -> None:
        self.metrics.authenticated(0.02)
        self.metrics.authenticated(0)
        self.metrics.delayed(0.2)
        self.metrics.tunnelEnded(add(self.proxy), None)
        self.assertEqual(self.value("authentication_seconds_bucket", le="0.01"), 1)
        self.assertEqual(self.value("authentication_seconds_bucket", le="0.025"), 2)
        self.assertEqual(self.value("authentication_seconds_count"), 2)
        self.assertEqual(self.value("event_loop_delay_seconds_bucket", le="0.1"), 0)
        self.assertEqual(self.value("event_loop_delay_seconds_bucket", le="0.25"), 1)

    def test_condition(self) -> None:
        seen = {}
        for condition in Condition:
            self.condition = condition
            seen[condition] = (self.value("ready"), self.value("draining"))
        self.assertEqual(
            seen,
            {
                Condition.STARTING: (0, 0),
                Condition.READY: (1, 0),
                Condition.DRAINING: (0, 1),
                Condition.STOPPING: (0, 0),
            },
        )

    def test_process(self) -> None:
        values = self.values()
        for name in ("resident_memory_bytes", "open_fds", "cpu_seconds_total"):
            self.assertGreater(values[f"process_{name}", ()], 0)
        (build,) = (labels for name, labels in values if name == "build_info")
        self.assertEqual(dict(build)["version"], __version__)

    def test_certificates(self) -> None:
        self.expiry = {"/etc/a.pem": 1.8e9}
        self.assertEqual(
            self.value("certificate_expiry_timestamp_seconds", certificate="/etc/a.pem"), 1.8e9
        )

    def test_labelsFromOutside(self) -> None:
        """A path may hold what has a meaning in the format."""
        name = 'a"b\\c\nd'
        self.expiry = {name: 1}
        self.assertEqual(self.value("certificate_expiry_timestamp_seconds", certificate=name), 1)

    def test_nobodyElsesMetrics(self) -> None:
        """Several servers in one process, and the library's global registry, stay apart."""
        proxy = makeProxy(self.clock, Bounds(100, 100))
        other = Metrics(proxy, self.calendar, lambda: self.condition, dict)
        other.delayed(1)
        self.assertEqual(self.value("event_loop_delay_seconds_count"), 0)

    def test_promtool(self) -> None:
        """Prometheus' own tool has nothing to say against names, types and units."""
        if PROMTOOL is None:
            raise SkipTest("promtool is missing (Debian: apt install prometheus)")
        self.expiry = {"/etc/a.pem": 1.8e9}
        checked = subprocess.run(
            [PROMTOOL, "check", "metrics"],
            input=self.scrape(),
            text=True,
            capture_output=True,
            check=False,
        )
        complaints = re.findall(r"nymea_remoteproxy_.*", checked.stdout + checked.stderr)
        self.assertEqual(complaints, [])
        self.assertEqual(checked.returncode, 0, checked.stderr)

    def test_isCheap(self) -> None:
        """A thousand connections: far less than the tenth of a second that people notice."""
        for _tunnel in range(500):
            addTunnel(self.proxy, received=10)
        self.scrape()
        begin = time.process_time()
        for _time in range(10):
            self.scrape()
        self.assertLess((time.process_time() - begin) / 10, 0.05)


class DelayTests(SynchronousTestCase):
    """How late the event loop is."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.reported: list[float] = []
        self.sampler = DelaySampler(self.clock, self.reported.append)

    def test_inTime(self) -> None:
        self.sampler.start()
        self.clock.pump([PERIOD] * 5)
        self.assertEqual([round(each, 6) for each in self.reported], [0] * 5)

    def test_late(self) -> None:
        """A stall of 100 ms is noticed whenever it begins."""
        for begin in (0, PERIOD / 2, PERIOD * 0.99):
            self.sampler.start()
            self.clock.advance(begin)
            self.reported.clear()
            self.clock.advance(0.1)
            self.assertGreaterEqual(max(self.reported), 0.0499, begin)
            self.sampler.stop()
        self.assertAlmostEqual(self.sampler.takeWorst(), 0.0995, places=4)
        self.assertEqual(self.sampler.takeWorst(), 0)

    def test_stops(self) -> None:
        self.sampler.stop()
        self.sampler.start()
        self.sampler.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


def makeExpiry(clock: Clock, certificates: dict[Any, Any], own: str) -> Expiry:
    """Return what tells of these certificates."""
    made = Expiry(clock)
    made.replace(certificates, own)
    return made


class ExpiryTests(SynchronousTestCase):
    """When the certificates in use expire."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.issue()

    def issue(self) -> None:
        """Write a new certificate and load it."""
        self.certificate, key = issue("localhost", None)
        self.path.write_bytes(pem(self.certificate, key))
        self.context = loadCertificate(CertificateFiles(str(self.path)))

    def test_served(self) -> None:
        """It is the one that clients get, in both versions of TLS."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.context.default.maximum_version = version
            self.assertEqual(servedCertificate(self.context), self.certificate)

    def test_cannotBeHad(self) -> None:
        """A context without a certificate fails the handshake."""
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.assertIsNone(servedCertificate(ServerContexts(bare)))
        self.assertEqual(makeExpiry(self.clock, {None: ServerContexts(bare)}, "own")(), {})

    def test_gaveUp(self) -> None:
        """It does not wait for ever for a side that has nothing to say."""
        self.patch(expiry, "_FLIGHTS", 0)
        self.assertIsNone(servedCertificate(self.context))

    def test_names(self) -> None:
        expiry = makeExpiry(
            self.clock, {None: self.context, CertificateFiles("/x.pem"): self.context}, "own"
        )
        when = validity(self.certificate)[1].timestamp()
        self.assertEqual(expiry(), {"own": when, "/x.pem": when})

    def test_oneInAPiece(self) -> None:
        """A handshake takes its time, and there may be many certificates."""
        used = {None: self.context, CertificateFiles("/x.pem"): self.context}
        expiry = makeExpiry(self.clock, used, "own")
        self.assertEqual(len(list(expiry.refresh())), 2)
        self.assertEqual(len(list(expiry.refresh())), 0)
        self.assertEqual(len(expiry()), 2)

    def test_replacedMeanwhile(self) -> None:
        """What was found out of the old ones is not taken for an answer about the new."""
        expiry = makeExpiry(self.clock, {None: self.context}, "own")
        pieces = expiry.refresh()
        next(pieces)
        expiry.replace({CertificateFiles("/x.pem"): self.context}, "own")
        self.assertEqual(list(pieces), [])
        self.assertEqual(list(expiry()), ["/x.pem"])

    def test_cached(self) -> None:
        asked: dict[Any, Any] = {None: self.context}
        expiry = makeExpiry(self.clock, asked, "own")
        first = expiry()
        asked.clear()
        self.clock.advance(FRESH - 1)
        self.assertIs(expiry(), first)
        self.clock.advance(1)
        self.assertEqual(expiry(), {})

    def test_replaced(self) -> None:
        """After a reload the new one counts at once."""
        expiry = makeExpiry(self.clock, {}, "own")
        self.assertEqual(expiry(), {})
        expiry.replace({None: self.context}, "another")
        self.assertEqual(set(expiry()), {"another"})
