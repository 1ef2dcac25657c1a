"""What a metric is called, and what it means.

Owns the form of a declaration. Knows nothing of which there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

PREFIX = "nymea_remoteproxy_"


@dataclass(frozen=True)
class Declaration:
    """One metric; the documentation is made from it.

    :ivar name: without `PREFIX`, as it is exported.
    :ivar kind: gauge, counter, histogram or info.
    :ivar labels: their names.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    def gauge(self, value: float | None = None) -> GaugeMetricFamily:
        """Return it with its value, or without, when there are to be several."""
        return GaugeMetricFamily(PREFIX + self.name, self.help, value, self.labels or None)

    def counter(self, value: float | None = None) -> CounterMetricFamily:
        """The same of a counter."""
        return CounterMetricFamily(PREFIX + self.name, self.help, value, self.labels or None)
