"""The metrics in Prometheus' text form.

Owns the names of the metrics and what each is taken from. Knows nothing of HTTP.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from zope.interface import implementer

import twisted
from nymearemoteproxy import __version__
from nymearemoteproxy.common.clocks import Calendar
from nymearemoteproxy.common.spool import Spool
from nymearemoteproxy.connections.observers import IObserver
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import CLOSING, CONNECTING, TRANSPORTS, Load, Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import State
from nymearemoteproxy.watching.actions import Action, Result
from nymearemoteproxy.watching.admin.declarations import PREFIX, Declaration
from nymearemoteproxy.watching.admin.delay import DELAY_BUCKETS
from nymearemoteproxy.watching.condition import Condition
from nymearemoteproxy.watching.lastreload import LastReload

if TYPE_CHECKING:
    from nymearemoteproxy.watching.company import Company

STATES = (
    CONNECTING,
    State.UNAUTHENTICATED.value,
    State.AUTHENTICATING.value,
    State.WAITING.value,
    State.VERIFYING.value,
    State.REGISTERING.value,
    State.TUNNELED.value,
    CLOSING,
)
"""Of a connection. A closed session's connection is being closed, so that counts as one."""

AUTHENTICATION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 10)
"""Seconds, from a token list in memory to the default of authenticationTimeout and beyond."""

DECLARATIONS = (
    Declaration(
        "build_info",
        "info",
        "Always 1; the labels say what runs.",
        ("version", "python", "twisted"),
    ),
    Declaration("ready", "gauge", "1 when newcomers are served, as /readyz says."),
    Declaration("draining", "gauge", "1 while the server waits for its last tunnels to end."),
    Declaration(
        "last_reload_successful",
        "gauge",
        "0 when the last reload found a mistake, so that something stayed as it was.",
    ),
    Declaration(
        "last_reload_timestamp_seconds", "gauge", "When that was, in Unix time; 0 = never yet."
    ),
    Declaration(
        "connections", "gauge", "Open connections of clients and servers.", ("transport", "state")
    ),
    Declaration(
        "connections_limit", "gauge", "How many there may be; 0 when there is no such limit."
    ),
    Declaration("tunnels", "gauge", "Pairs of clients that are joined by a token."),
    Declaration("tunnel_proxy_servers", "gauge", "Servers registered with the tunnel proxy."),
    Declaration("tunnel_proxy_clients", "gauge", "Clients connected to registered servers."),
    Declaration(
        "front_visitors", "gauge", "Those of tunnel_proxy_clients that came by the front door."
    ),
    Declaration("front_names", "gauge", "Names that [Front] namesFile gives to servers."),
    Declaration(
        "received_bytes_total", "counter", "Bytes that clients sent, without TLS.", ("transport",)
    ),
    Declaration(
        "sent_bytes_total", "counter", "Bytes that clients were sent, without TLS.", ("transport",)
    ),
    Declaration("connections_accepted_total", "counter", "Connections that were let in."),
    Declaration("tunnels_established_total", "counter", "Pairs of clients that were joined."),
    Declaration(
        "tunnel_proxy_servers_registered_total", "counter", "Registrations with the tunnel proxy."
    ),
    Declaration(
        "tunnel_proxy_clients_connected_total",
        "counter",
        "Connections of clients to registered servers.",
    ),
    Declaration(
        "outcomes_total",
        "counter",
        "Connections that ended or were refused, by the name of the outcome.",
        ("outcome",),
    ),
    Declaration(
        "authentication_seconds",
        "histogram",
        "How long the authentication took to judge a token, or to fail.",
    ),
    Declaration(
        "event_loop_delay_seconds",
        "histogram",
        "How late the event loop came to what was due, sampled 20 times a second.",
    ),
    Declaration(
        "log_lines_lost_total",
        "counter",
        "Lines that the log did not take in time, or could not be written.",
    ),
    Declaration(
        "certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate in use expires, in Unix time.",
        ("certificate",),
    ),
    Declaration(
        "operator_actions_total",
        "counter",
        "What operators asked for: done, impossible at that moment, or refused to who asked.",
        ("action", "result"),
    ),
    Declaration(
        "lifetime_connections", "gauge", "Connections that were let in since the first start."
    ),
    Declaration("lifetime_tunnels", "gauge", "Pairs of clients joined since the first start."),
    Declaration(
        "lifetime_traffic_bytes",
        "gauge",
        "Bytes sent by clients of token tunnels since the first start.",
    ),
    Declaration(
        "lifetime_tunnel_proxy_servers", "gauge", "Registrations of servers since the first start."
    ),
    Declaration(
        "lifetime_tunnel_proxy_clients",
        "gauge",
        "Connections of clients to registered servers since the first start.",
    ),
    Declaration(
        "lifetime_tunnel_proxy_traffic_bytes",
        "gauge",
        "Bytes sent by servers and clients of the tunnel proxy since the first start.",
    ),
)
"""What is exported, besides the process's own metrics. The lifetime values are gauges, for a crash
can take the last seconds from them: Prometheus would take a counter that falls for a restart from
0, and show all that ever was as the traffic of one moment."""

_DECLARED = {declaration.name: declaration for declaration in DECLARATIONS}


def _gauge(name: str, value: float | None = None) -> GaugeMetricFamily:
    return _DECLARED[name].gauge(value)


def _counter(name: str, value: float | None = None) -> CounterMetricFamily:
    return _DECLARED[name].counter(value)


@implementer(IObserver)
class Metrics(Collector):
    """All metrics of one server.

    :param calendar: see `Watched`.
    :param certificates: tells when each certificate in use expires, in Unix time.
    :param company: see `Watched`.
    :param lastReload: see `Watched`.
    :param actions: how often what came of which action.
    """

    def __init__(
        self,
        proxy: Proxy,
        calendar: Calendar,
        condition: Callable[[], Condition],
        certificates: Callable[[], Mapping[str, float]],
        company: Callable[[], Company] | None = None,
        lastReload: Callable[[], LastReload | None] = lambda: None,
        actions: Mapping[tuple[Action, Result], int] = MappingProxyType({}),
    ) -> None:
        self._proxy = proxy
        self._calendar = calendar
        self._condition = condition
        self._certificates = certificates
        self._company = company
        self._lastReload = lastReload
        self._actions = actions
        self._before = replace(proxy.registry.counters.totals)
        self._load = Load(self._before)  # of the scrape that goes on
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._authentication = self._histogram("authentication_seconds", AUTHENTICATION_BUCKETS)
        self._delay = self._histogram("event_loop_delay_seconds", DELAY_BUCKETS)
        ProcessCollector(registry=self._registry)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            PREFIX + name, _DECLARED[name].help, buckets=buckets, registry=self._registry
        )

    def render(self, accept: str, load: Load) -> tuple[bytes, str]:
        """Return the metrics, and their content type.

        :param accept: the HTTP header of that name: OpenMetrics is another possibility.
        """
        try:
            encode, contentType = choose_encoder(accept)
        except Exception:  # newer releases stumble over versions that are no numbers
            encode, contentType = choose_encoder("")
        self._load = load
        return encode(self._registry), contentType

    # What happens

    def authenticated(self, seconds: float) -> None:
        self._authentication.observe(seconds)

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        """Of no interest here."""

    def delayed(self, seconds: float) -> None:
        """The event loop came so late."""
        self._delay.observe(seconds)

    # What is

    def describe(self) -> list[Metric]:
        """Spare the registry a collection only to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._aboutServer()
        yield from self._aboutLoad()
        outcomes = _counter("outcomes_total")
        for outcome in Outcome:
            outcomes.add_metric([outcome.label], self._proxy.registry.counters.outcomes[outcome])
        yield outcomes
        actions = _counter("operator_actions_total")
        for action in Action:
            for result in Result:
                count = self._actions.get((action, result), 0)
                actions.add_metric([action.value, result.value], count)
        yield actions
        if self._company is not None:
            # Imported only where it is wanted.
            from nymearemoteproxy.watching.admin.companymetrics import aboutCompany

            yield from aboutCompany(self._company())

    def _aboutServer(self) -> Iterator[Metric]:
        condition = self._condition()
        build = _DECLARED["build_info"]
        version = {
            "version": __version__,
            "python": platform.python_version(),
            "twisted": twisted.__version__,
        }
        yield InfoMetricFamily(PREFIX + build.name.removesuffix("_info"), build.help, version)
        yield _gauge("ready", condition is Condition.READY)
        yield _gauge("draining", condition is Condition.DRAINING)
        reload = self._lastReload()
        yield _gauge("last_reload_successful", reload is None or not reload.mistakes)
        reloaded = 0 if reload is None else reload.when + self._calendar.epoch
        yield _gauge("last_reload_timestamp_seconds", reloaded)
        yield _counter("log_lines_lost_total", Spool.lostEver)
        expiry = _gauge("certificate_expiry_timestamp_seconds")
        for name, when in self._certificates().items():
            expiry.add_metric([name], when)
        yield expiry

    def _aboutLoad(self) -> Iterator[Metric]:
        load = self._load
        connections = _gauge("connections")
        for transport in TRANSPORTS:
            for state in STATES:
                connections.add_metric([transport, state], load.connections[transport, state])
        yield connections
        yield _gauge("connections_limit", self._proxy.registry.gate.bounds.connections)
        yield _gauge("tunnels", load.tunnels)
        yield _gauge("tunnel_proxy_servers", load.servers)
        yield _gauge("tunnel_proxy_clients", load.clients)
        yield _gauge("front_visitors", load.visitors)
        yield _gauge("front_names", len(self._proxy.policy.names))
        for name, counts in (
            ("received_bytes_total", load.received),
            ("sent_bytes_total", load.sent),
        ):
            family = _counter(name)
            for transport in TRANSPORTS:
                family.add_metric([transport], counts[transport])
            yield family
        totals, before = load.totals, self._before
        for name, now, then in (
            ("connections_accepted_total", totals.connections, before.connections),
            ("tunnels_established_total", totals.tunnels, before.tunnels),
            ("tunnel_proxy_servers_registered_total", totals.servers, before.servers),
            ("tunnel_proxy_clients_connected_total", totals.clients, before.clients),
        ):
            yield _counter(name, now - then)
        yield _gauge("lifetime_connections", totals.connections)
        yield _gauge("lifetime_tunnels", totals.tunnels)
        yield _gauge("lifetime_traffic_bytes", totals.traffic)
        yield _gauge("lifetime_tunnel_proxy_servers", totals.servers)
        yield _gauge("lifetime_tunnel_proxy_clients", totals.clients)
        yield _gauge("lifetime_tunnel_proxy_traffic_bytes", totals.tunnelProxyTraffic)
