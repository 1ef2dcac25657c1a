"""What docs/monitoring has for Prometheus and Grafana, tried with Prometheus itself.

Grafana cannot be installed from Debian or from PyPI; so of the dashboard its model is checked, and
every expression in it is evaluated by a Prometheus that scrapes a real server.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.watching.admin import metrics as plain
from nymearemoteproxy.watching.admin.companymetrics import (
    MEMBER_DECLARATIONS,
    WORKER_DECLARATIONS,
)
from nymearemoteproxy.watching.admin.declarations import PREFIX
from tests.support.endtoend import Certificate, EndToEnd, Program, inThread, secret, tunnel, until

MONITORING = Path(__file__).resolve().parents[3] / "docs" / "monitoring"
DASHBOARD = MONITORING / "grafana-dashboard.json"
ALERTS = MONITORING / "alerts.yml"

PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
NO_TOOLS = None if PROMTOOL and PROMETHEUS else "Prometheus is missing (Debian: prometheus)"

DECLARATIONS = (*plain.DECLARATIONS, *WORKER_DECLARATIONS, *MEMBER_DECLARATIONS)

JOB = "nymea-remoteproxy"

LABELS = {outcome.label for outcome in Outcome}

COLUMNS = 24
"""Of Grafana's grid."""


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every expression of the dashboard, with its panel's title."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def metrics() -> set[str]:
    """Return the names that may stand in an expression."""
    names = set()
    for each in DECLARATIONS:
        suffixes = ("_bucket", "_count", "_sum") if each.kind == "histogram" else ("",)
        names |= {PREFIX + each.name + suffix for suffix in suffixes}
    return names


def patterns(text: str) -> set[str]:
    """Return the values and patterns that outcomes are compared with."""
    return {
        pattern
        for match in re.findall(r'outcome=~?"([^"]+)"', text)
        for pattern in match.split("|")
    }


class DashboardTests(SynchronousTestCase):
    """The model of the dashboard."""

    def setUp(self) -> None:
        self.dashboard = json.loads(DASHBOARD.read_text())

    def test_model(self) -> None:
        """What Grafana needs to import it, and nothing of one installation."""
        for key in ("title", "uid", "panels", "templating", "time", "schemaVersion"):
            self.assertIn(key, self.dashboard)
        self.assertGreaterEqual(self.dashboard["schemaVersion"], 36)
        self.assertNotIn("id", self.dashboard)
        self.assertRegex(self.dashboard["uid"], r"^[a-zA-Z0-9_-]{1,40}$")

    def test_ids(self) -> None:
        ids = [panel["id"] for panel in panels()]
        self.assertEqual(len(ids), len(set(ids)))

    def test_places(self) -> None:
        """Panels are in the grid, and none is on another."""
        taken: dict[tuple[int, int], str] = {}
        for panel in panels():
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], COLUMNS)
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken[x, y] = panel["title"]

    def test_panels(self) -> None:
        for panel in panels():
            self.assertIn(panel["type"], ("row", "stat", "timeseries"))
            self.assertTrue(panel["title"])
            if panel["type"] != "row":
                self.assertTrue(panel["targets"], panel["title"])
                names = [target["refId"] for target in panel["targets"]]
                self.assertEqual(len(names), len(set(names)))
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])

    def test_dataSource(self) -> None:
        """It is chosen by whoever looks: each installation has its own."""
        variables = {each["name"]: each for each in self.dashboard["templating"]["list"]}
        self.assertEqual(list(variables), ["datasource", "job", "instance"])
        self.assertEqual(variables["datasource"]["type"], "datasource")
        for panel in panels():
            for holder in (panel, *panel.get("targets", ())):
                if panel["type"] != "row":
                    self.assertEqual(holder["datasource"]["uid"], "${datasource}")

    def test_variables(self) -> None:
        """Every expression is of the jobs and instances that are chosen."""
        for title, expression in expressions():
            for name in re.findall(r"[a-z_]+(?=\{)", expression):
                self.assertIn(f'{name}{{job=~"$job", instance=~"$instance"', expression, title)
            self.assertLessEqual(
                set(re.findall(r"\$(\w+)", expression)), {"job", "instance", "__rate_interval"}
            )

    def test_metrics(self) -> None:
        """They exist."""
        seen = set()
        for title, expression in expressions():
            for name in re.findall(rf"{PREFIX}\w+", expression):
                self.assertIn(name, metrics(), title)
                seen.add(name)
        self.assertGreater(len(seen), 12)

    def test_outcomes(self) -> None:
        for title, expression in expressions():
            for pattern in patterns(expression):
                self.assertTrue([label for label in LABELS if re.fullmatch(pattern, label)], title)


class AlertsTests(SynchronousTestCase):
    """The alert rules, read and tried by promtool."""

    def run_(self, *arguments: str) -> None:
        """Run promtool, which has nothing to say against it."""
        assert PROMTOOL is not None
        done = subprocess.run(
            [PROMTOOL, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_check(self) -> None:
        self.run_("check", "rules", ALERTS.name)

    def test_unitTests(self) -> None:
        self.run_("test", "rules", "alerts-test.yml")

    test_check.skip = test_unitTests.skip = NO_TOOLS  # type: ignore[attr-defined]

    def test_everyAlertIsTested(self) -> None:
        """It fires in one test at least."""
        tests = (MONITORING / "alerts-test.yml").read_text()
        alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            self.assertIn(f'labels: \'ALERTS{{alertname="{alert}", alertstate="firing"', tests)

    def test_metrics(self) -> None:
        for name in re.findall(rf"{PREFIX}\w+", ALERTS.read_text()):
            self.assertIn(name, metrics())

    def test_outcomes(self) -> None:
        """Those that are compared with, and those that runbooks name, exist."""
        text = ALERTS.read_text()
        for pattern in patterns(text):
            self.assertTrue([label for label in LABELS if re.fullmatch(pattern, label)], pattern)
        words = set(re.findall(r"[a-z]+(?:-[a-z]+)+", " ".join(text.split("runbook:")[1:])))
        self.assertGreater(len(words & LABELS), 10)

    def test_everyAlertHelps(self) -> None:
        """It has a severity, a summary and a runbook."""
        for block in ALERTS.read_text().split("- alert: ")[1:]:
            for part in ("severity: ", "summary: ", "runbook: "):
                self.assertIn(part, block)


class PrometheusTests(EndToEnd):
    """A Prometheus that scrapes a real server."""

    skip = NO_TOOLS

    def ask(self, path: str, **query: str) -> Any:
        """Ask Prometheus."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            said = json.load(answer)
        self.assertEqual(said["status"], "success")
        return said["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the samples of an expression."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def observe(self) -> None:
        """Start a server and a Prometheus that scrapes it often."""
        certificate = Certificate(str(self.temporary()))
        self.token = secret()
        loopback = "tcp:0:interface=127.0.0.1"
        self.server = self.start(
            *("--websocket", f"tls:{loopback}", "-c", certificate.both, "--token", self.token),
            *("--admin", loopback, "--workers", "2"),
        )
        self.server.waitFor(r"worker \d serves", count=2)
        target = self.server.waitFor(r"admin endpoint on http://(\S+)/")[1]
        directory = self.temporary()
        configuration = directory / "prometheus.yml"
        configuration.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{ALERTS}']\n"
            f"scrape_configs: [{{job_name: {JOB}, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        assert PROMETHEUS is not None
        self.prometheus = Program(
            [
                PROMETHEUS,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ]
        )
        self.addCleanup(self.prometheus.stop)
        place = self.prometheus.waitFor(r'[Ll]istening on" address=(127\.0\.0\.1:\d+)')[1]
        self.url = f"http://{place}"
        self.prometheus.waitFor("Server is ready")

    @inThread
    def test_everything(self) -> None:
        self.observe()
        one, two = tunnel(self.server.url("wss"), self.token)
        self.keep(one, two)
        until(lambda: bool(self.query("count_over_time(up[1m]) > 3")), "Prometheus does not scrape")
        self.checkScrape()
        self.checkDashboard()
        self.checkAlerts()

    def checkScrape(self) -> None:
        (up,) = self.query("up")
        self.assertEqual(up["value"][1], "1")
        (tunnels,) = self.query(f"{PREFIX}tunnels")
        self.assertEqual((tunnels["metric"]["job"], tunnels["value"][1]), (JOB, "1"))
        described = self.ask("metadata")
        for each in DECLARATIONS:
            name = PREFIX + each.name
            # In OpenMetrics the family of a counter is called without the suffix.
            found = described.get(name) or described.get(name.removesuffix("_total"))
            if each.kind == "info":
                found = found or described.get(name.removesuffix("_info"))
            self.assertTrue(found, name)
            self.assertEqual(found[0]["help"], each.help)

    def checkDashboard(self) -> None:
        """Every expression is understood, and has something to show."""
        for title, expression in expressions():
            for variable, value in (
                ("$job", JOB),
                ("$instance", ".+"),
                ("$__rate_interval", "1m"),
            ):
                expression = expression.replace(variable, value)
            result = self.query(expression)
            if title != "Outcomes":  # nothing has ended yet
                self.assertTrue(result, (title, expression))
        self.assertTrue(self.ask("label/instance/values", **{"match[]": f"{PREFIX}build_info"}))

    def checkAlerts(self) -> None:
        """All are loaded and evaluated; a server that is well raises none."""
        (group,) = self.ask("rules", type="alert")["groups"]
        self.assertEqual(
            {rule["name"] for rule in group["rules"]},
            set(re.findall(r"- alert: (\w+)", ALERTS.read_text())),
        )
        until(
            lambda: all(
                rule["health"] == "ok"
                for rule in self.ask("rules", type="alert")["groups"][0]["rules"]
            ),
            "some alerts cannot be evaluated",
        )
        alerts = [alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"]]
        self.assertEqual(alerts, [])
