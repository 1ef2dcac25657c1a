"""What is told of those who serve together, and that nothing is when a process is alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parseOpenMetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.accepting import REASONS
from nymearemoteproxy.cluster.figures import Figures
from nymearemoteproxy.cluster.latencies import Latencies
from nymearemoteproxy.cluster.links import RELAYING, STATES
from nymearemoteproxy.watching.admin.companymetrics import (
    MEMBER_DECLARATIONS,
    WORKER_DECLARATIONS,
)
from nymearemoteproxy.watching.admin.declarations import PREFIX
from nymearemoteproxy.watching.admin.delay import DELAY_BUCKETS
from nymearemoteproxy.watching.company import Company, Usage, WorkerState
from nymearemoteproxy.watching.condition import Condition
from tests.support.admin import AdminInMemory, add, addTunnel
from tests.support.endtoend import environmentOfPrograms

WORKERS = (WorkerState(1, True, 3, os.getpid()), WorkerState(2, False, 0))

STARTED = """
import sys
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.service import makeService
options = ServerOptions()
options.parseOptions(["--port", "0", "--token", "t", "--admin", "tcp:0:interface=127.0.0.1"])
service = makeService(options)
service._watchers._admin._metrics.render("", service.pulse.latest.load)
print(" ".join(sorted(sys.modules)))
"""


class CompanyCase(SynchronousTestCase):
    """An admin endpoint of several processes; they may be set."""

    def setUp(self) -> None:
        self.company = Company(Figures(members=2), WORKERS)
        self.made = AdminInMemory(company=lambda: self.company)

    def change(self, **figures: Any) -> None:
        """Have other figures."""
        self.company = replace(self.company, figures=replace(self.company.figures, **figures))

    def families(self) -> dict[str, Any]:
        """Return the metrics by their names, without the prefix."""
        body = self.made.ask("/metrics").body.decode()
        return {family.name.removeprefix(PREFIX): family for family in parse(body)}

    def value(self, name: str, **labels: str) -> float:
        """Return the value of a sample."""
        found = [
            sample.value
            for family in self.families().values()
            for sample in family.samples
            if (sample.name, sample.labels) == (PREFIX + name, labels)
        ]
        (value,) = found
        return float(value)


class CompanyMetricsTests(CompanyCase):
    """What a scrape shows of them."""

    def test_declarations(self) -> None:
        """All that is declared is there, as it is declared."""
        families = self.families()
        for each in (*WORKER_DECLARATIONS, *MEMBER_DECLARATIONS):
            family = families[each.name.removesuffix("_total")]
            self.assertEqual((family.documentation, family.type), (each.help, each.kind))
            for sample in family.samples:
                self.assertEqual(set(sample.labels) - {"le"}, set(each.labels), each.name)

    def test_openMetrics(self) -> None:
        accept = "application/openmetrics-text; version=1.0.0"
        body = self.made.ask("/metrics", accept=accept).body.decode()
        names = {family.name for family in parseOpenMetrics(body)}
        self.assertLessEqual({PREFIX + "claim_seconds", PREFIX + "links_cut"}, names)

    def test_everySeriesFromTheStart(self) -> None:
        """Series that come and go break sums and alerts."""

        def series() -> set[Any]:
            return {
                (sample.name, tuple(sorted(sample.labels.items())))
                for family in self.families().values()
                for sample in family.samples
            }

        before = series()
        self.change(
            incoming=Counter(dict.fromkeys(STATES, 1)),
            outgoing=Counter(dict.fromkeys(STATES, 1)),
            strangers=Counter(dict.fromkeys(REASONS, 1)),
            claims=Counter({0: 1, 99: 1}),
            delays=Counter({0: 1, 99: 1}),
            held=5,
        )
        self.assertEqual(series(), before)

    def test_workers(self) -> None:
        self.company = replace(self.company, restarts=7)
        self.assertEqual(self.value("workers"), 2)
        self.assertEqual(self.value("workers_serving"), 1)
        self.assertEqual(self.value("worker_connections", worker="1"), 3)
        self.assertEqual(self.value("worker_connections", worker="2"), 0)
        self.assertEqual(self.value("worker_restarts_total"), 7)

    def test_usage(self) -> None:
        """What a worker takes, by its process; one that has none takes nothing."""
        cpu = self.value("worker_cpu_seconds_total", worker="1")
        self.assertLess(abs(cpu - time.process_time()), 1)
        memory = self.value("worker_resident_memory_bytes", worker="1")
        self.assertGreater(memory, 10 << 20)
        self.assertEqual(WORKERS[1].usage(), Usage())
        self.assertEqual(self.value("worker_resident_memory_bytes", worker="2"), 0)

    def test_delays(self) -> None:
        latencies = Latencies(DELAY_BUCKETS)
        for seconds in (0.0, 0.2, 9.0):
            latencies.add(seconds)
        self.change(delays=latencies.buckets, delaySeconds=latencies.seconds)
        name = "worker_event_loop_delay_seconds"
        for bound, count in (("0.001", 1), ("0.1", 1), ("0.25", 2), ("5.0", 2), ("+Inf", 3)):
            self.assertEqual(self.value(f"{name}_bucket", le=bound), count)

    def test_oneProcess(self) -> None:
        """A member of a cluster without workers has none to show."""
        self.company = Company(Figures(members=1), isClustered=True)
        names = set(self.families())
        self.assertFalse({name for name in names if name.startswith("worker")})
        self.assertIn("directory_answering", names)

    def test_figures(self) -> None:
        self.change(
            incoming=Counter({RELAYING: 4}),
            outgoing=Counter({RELAYING: 3}),
            strangers=Counter({"too-slow": 2}),
            held=8,
            unlisted=5,
            contested=1,
            losses=6,
            deaths=9,
            cuts=11,
            commands=12,
            failures=13,
            outages=14,
        )
        self.assertEqual(self.value("links", direction="in", state=RELAYING), 4)
        self.assertEqual(self.value("links", direction="out", state=RELAYING), 3)
        self.assertEqual(self.value("link_strangers_total", reason="too-slow"), 2)
        for state, count in (("held", 8), ("unlisted", 5), ("contested", 1)):
            self.assertEqual(self.value("places", state=state), count)
        for name, count in (
            ("places_lost_total", 6),
            ("members_lost_total", 9),
            ("links_cut_total", 11),
            ("directory_commands_total", 12),
            ("directory_failures_total", 13),
            ("directory_outages_total", 14),
        ):
            self.assertEqual(self.value(name), count)

    def test_claims(self) -> None:
        """Each bucket has all that did not take longer."""
        latencies = Latencies()
        for seconds in (0.0002, 0.001, 0.0012, 99.0):
            latencies.add(seconds)
        self.change(claims=latencies.buckets, claimSeconds=latencies.seconds)
        for bound, count in (("0.0005", 1), ("0.001", 2), ("0.0025", 3), ("2.5", 3), ("+Inf", 4)):
            self.assertEqual(self.value("claim_seconds_bucket", le=bound), count)
        self.assertEqual(self.value("claim_seconds_count"), 4)
        self.assertAlmostEqual(self.value("claim_seconds_sum"), 99.0024)


class DegradedTests(CompanyCase):
    """When the directory does not answer."""

    def test_ready(self) -> None:
        """Newcomers are served all the same, and whoever looks is told."""
        self.assertEqual(self.made.ask("/readyz").body, b"ready\n")
        self.assertEqual(self.value("directory_answering"), 1)
        self.change(unanswered=1)
        ready = self.made.ask("/readyz")
        self.assertEqual(ready.status, 200)
        self.assertEqual(ready.body, b"degraded: the directory does not answer\n")
        self.assertEqual(self.made.ask("/healthz").body, b"ok\n")
        self.assertEqual((self.value("directory_answering"), self.value("ready")), (0, 1))

    def test_otherSecrets(self) -> None:
        """When members have different secrets."""
        self.assertEqual(self.value("directory_secrets_differ"), 0)
        self.change(mismatched=1)
        ready = self.made.ask("/readyz")
        self.assertEqual(ready.status, 200)
        self.assertEqual(ready.body, b"degraded: other members have another secret\n")
        self.assertEqual((self.value("directory_secrets_differ"), self.value("ready")), (1, 1))

    def test_notReady(self) -> None:
        self.change(unanswered=1)
        self.made.server.condition = Condition.DRAINING
        ready = self.made.ask("/readyz")
        self.assertEqual((ready.status, ready.body), (503, b"draining\n"))

    def test_summary(self) -> None:
        """What systemd is told."""
        self.assertEqual(self.company.summary, "1 of 2 workers")
        self.change(unanswered=1)
        self.assertEqual(
            self.company.summary, "1 of 2 workers, degraded: the directory does not answer"
        )
        self.company = Company(Figures(members=1), isClustered=True)
        self.assertEqual(self.company.summary, "")


class CompanyPageTests(CompanyCase):
    """What the status page is told."""

    def get(self, path: str) -> Any:
        return json.loads(self.made.ask(path).body)

    def test_status(self) -> None:
        self.change(unanswered=1, incoming=Counter({"relaying": 2, "control": 1}), held=4)
        self.company = replace(self.company, restarts=1, isClustered=True)
        seen = self.get("/api/status")
        self.assertEqual(seen["condition"], "ready")
        company = seen["company"]
        self.assertEqual(company["trouble"], "the directory does not answer")
        self.assertEqual((company["linksIn"], company["placesHeld"]), (2, 4))
        self.assertEqual((company["restarts"], company["isClustered"]), (1, True))
        alone = json.loads(AdminInMemory().ask("/api/status").body)["process"]
        self.assertGreater(seen["process"]["memory"], 1.5 * alone["memory"])
        self.assertGreater(seen["process"]["cpu"], 1.5 * alone["cpu"])
        self.assertEqual(
            company["workers"],
            [
                {"number": 1, "serves": True, "connections": 3},
                {"number": 2, "serves": False, "connections": 0},
            ],
        )

    def test_rows(self) -> None:
        """Each connection has its worker, and a tunnel between two of them is one."""
        first = addTunnel(self.made.proxy)
        assert first.partner is not None
        first.worker, first.partner.worker = 1, 2
        seen = self.get("/api/tunnels")
        self.assertEqual(seen["all"], 1)
        self.assertEqual({end["worker"] for end in seen["rows"][0]["ends"]}, {1, 2})


class AloneTests(SynchronousTestCase):
    """A process that serves alone."""

    def test_nothingIsShown(self) -> None:
        made = AdminInMemory()
        add(made.proxy)
        addTunnel(made.proxy)
        self.assertNotIn("company", json.loads(made.ask("/api/status").body))
        (row,) = json.loads(made.ask("/api/tunnels").body)["rows"]
        self.assertNotIn("worker", row["ends"][0])
        names = {family.name for family in parse(made.ask("/metrics").body.decode())}
        for each in (*WORKER_DECLARATIONS, *MEMBER_DECLARATIONS):
            self.assertNotIn(PREFIX + each.name.removesuffix("_total"), names)
        self.assertEqual(made.ask("/readyz").body, b"ready\n")

    def test_nothingIsImported(self) -> None:
        """Neither how it works nor what would be shown of it."""
        done = subprocess.run(
            [sys.executable, "-c", STARTED],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=environmentOfPrograms(),
        )
        modules = done.stdout.split()
        self.assertIn("nymearemoteproxy.watching.admin.metrics", modules)
        for module in modules:
            for part in ("cluster", "workers"):
                self.assertFalse(module.startswith(f"nymearemoteproxy.{part}"), module)
        self.assertNotIn("nymearemoteproxy.watching.company", modules)
        self.assertNotIn("nymearemoteproxy.watching.admin.companymetrics", modules)
