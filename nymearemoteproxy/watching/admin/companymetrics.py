"""The metrics of those who serve together: workers, and members of a cluster.

Owns their names, and what each is taken from. Knows nothing of HTTP. Imported only where a process
does not serve alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from nymearemoteproxy.cluster.accepting import REASONS
from nymearemoteproxy.cluster.figures import Figures
from nymearemoteproxy.cluster.latencies import CLAIM_BOUNDS
from nymearemoteproxy.cluster.links import STATES
from nymearemoteproxy.watching.admin.declarations import PREFIX, Declaration
from nymearemoteproxy.watching.admin.delay import DELAY_BUCKETS
from nymearemoteproxy.watching.company import Company

WORKER_DECLARATIONS = (
    Declaration("workers", "gauge", "Workers that there are to be."),
    Declaration("workers_serving", "gauge", "Workers that take connections."),
    Declaration(
        "worker_connections", "gauge", "Open connections that a worker serves.", ("worker",)
    ),
    Declaration(
        "worker_cpu_seconds_total",
        "counter",
        "Time of processors that a worker has taken since it was started.",
        ("worker",),
    ),
    Declaration(
        "worker_resident_memory_bytes", "gauge", "Memory that a worker takes.", ("worker",)
    ),
    Declaration(
        "worker_event_loop_delay_seconds",
        "histogram",
        "How late the event loops of workers came to what was due, sampled 20 times a second.",
    ),
    Declaration(
        "worker_restarts_total", "counter", "Workers that have ended and had to be replaced."
    ),
)
"""With several workers."""

MEMBER_DECLARATIONS = (
    Declaration(
        "links",
        "gauge",
        "Connections to other members, which are in when they have asked for it.",
        ("direction", "state"),
    ),
    Declaration(
        "links_cut_total", "counter", "Links that were closed since the other member was gone."
    ),
    Declaration(
        "link_faults_total",
        "counter",
        "Links that were closed since the other member did not keep to the rules, or had too many.",
    ),
    Declaration(
        "link_strangers_total",
        "counter",
        "Connections that were no links of this cluster's, by the reason.",
        ("reason",),
    ),
    Declaration(
        "members_lost_total",
        "counter",
        "Members that were found to be gone while there were links to them.",
    ),
    Declaration(
        "places",
        "gauge",
        "Keys and uuids that are at home here: held; unlisted, which the directory does not know; "
        "contested, which another member has, too.",
        ("state",),
    ),
    Declaration("places_lost_total", "counter", "How often a place became contested."),
    Declaration(
        "claim_seconds", "histogram", "How long the directory took to answer a claim of a place."
    ),
    Declaration("directory_answering", "gauge", "1 when the directory answers all members here."),
    Declaration(
        "directory_secrets_differ",
        "gauge",
        "1 when members with another secret use it, too.",
    ),
    Declaration("directory_outages_total", "counter", "How often it began not to answer."),
    Declaration("directory_commands_total", "counter", "Commands that it was sent."),
    Declaration(
        "directory_failures_total", "counter", "Commands that it did not answer, or not well."
    ),
)
"""With several workers, or in a cluster."""

_DECLARED = {each.name: each for each in (*WORKER_DECLARATIONS, *MEMBER_DECLARATIONS)}


def aboutCompany(company: Company) -> Iterator[Metric]:
    """Yield all of them."""
    if company.workers:
        yield from _aboutWorkers(company)
    yield from _aboutLinks(company.figures)
    yield from _aboutPlaces(company.figures)
    yield from _aboutDirectory(company.figures)


def _aboutWorkers(company: Company) -> Iterator[Metric]:
    yield _DECLARED["workers"].gauge(len(company.workers))
    yield _DECLARED["workers_serving"].gauge(company.serving)
    yield _labelled(
        "worker_connections",
        {(str(worker.number),): worker.connections for worker in company.workers},
    )
    usages = {(str(worker.number),): worker.usage() for worker in company.workers}
    yield _labelled(
        "worker_cpu_seconds_total", {labels: usage.cpu for labels, usage in usages.items()}
    )
    yield _labelled(
        "worker_resident_memory_bytes", {labels: usage.memory for labels, usage in usages.items()}
    )
    figures = company.figures
    yield _histogram(
        "worker_event_loop_delay_seconds", DELAY_BUCKETS, figures.delays, figures.delaySeconds
    )
    yield _DECLARED["worker_restarts_total"].counter(company.restarts)


def _aboutLinks(figures: Figures) -> Iterator[Metric]:
    directions = (("in", figures.incoming), ("out", figures.outgoing))
    yield _labelled(
        "links", {(name, state): counts[state] for name, counts in directions for state in STATES}
    )
    yield _DECLARED["links_cut_total"].counter(figures.cuts)
    yield _DECLARED["link_faults_total"].counter(figures.faults)
    yield _labelled(
        "link_strangers_total", {(reason,): figures.strangers[reason] for reason in REASONS}
    )
    yield _DECLARED["members_lost_total"].counter(figures.deaths)


def _aboutPlaces(figures: Figures) -> Iterator[Metric]:
    places: dict[tuple[str, ...], float] = {
        ("held",): figures.held,
        ("unlisted",): figures.unlisted,
        ("contested",): figures.contested,
    }
    yield _labelled("places", places)
    yield _DECLARED["places_lost_total"].counter(figures.losses)
    yield _histogram("claim_seconds", CLAIM_BOUNDS, figures.claims, figures.claimSeconds)


def _aboutDirectory(figures: Figures) -> Iterator[Metric]:
    yield _DECLARED["directory_answering"].gauge(not figures.unanswered)
    yield _DECLARED["directory_secrets_differ"].gauge(bool(figures.mismatched))
    yield _DECLARED["directory_outages_total"].counter(figures.outages)
    yield _DECLARED["directory_commands_total"].counter(figures.commands)
    yield _DECLARED["directory_failures_total"].counter(figures.failures)


def _histogram(
    name: str, bounds: Sequence[float], counts: Counter[int], seconds: float
) -> HistogramMetricFamily:
    count, buckets = 0, []
    for position, bound in enumerate((*bounds, float("inf"))):
        count += counts[position]
        buckets.append((floatToGoString(bound), count))
    return HistogramMetricFamily(
        PREFIX + name, _DECLARED[name].help, buckets=buckets, sum_value=seconds
    )


def _labelled(name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
    declared = _DECLARED[name]
    family = declared.gauge() if declared.kind == "gauge" else declared.counter()
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family
