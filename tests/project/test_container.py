"""Owns the checks of the container's image and of the compose example that need no engine."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.running.settings.values import Settings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"

IN_IMAGE = "/etc/nymea/nymea-remoteproxy.conf"
"""The configuration that the image's command names."""

Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage of the Containerfile, the name apart from the rest."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    found: list[list[Instruction]] = [[]]
    for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append((name, " ".join(rest.split())))
    return found


def healthCommand() -> list[str]:
    """Return the command of the image's health check."""
    (text,) = [rest for name, rest in stages()[-1] if name == "HEALTHCHECK"]
    _options, _, command = text.partition("CMD ")
    return [str(each) for each in json.loads(command)]


class ImageTests(SynchronousTestCase):
    """The Containerfile."""

    def setUp(self) -> None:
        self.before, self.build, self.last = stages()

    def only(self, name: str) -> str:
        """Return the rest of the one instruction of this name in the last stage."""
        (rest,) = [rest for each, rest in self.last if each == name]
        return rest

    def test_stages(self) -> None:
        """Both are made of the same base; of what compiles nothing is in the second."""
        (base,) = self.before
        self.assertRegex(" ".join(base), r"^ARG BASE=docker\.io/library/debian:\S+-slim$")
        self.assertEqual(self.build[0], ("FROM", "${BASE} AS build"))
        self.assertEqual(self.last[0], ("FROM", "${BASE}"))
        installed = " ".join(rest for name, rest in self.last if name == "RUN")
        self.assertNotRegex(installed, r"gcc|-dev\b|pip")
        for name, rest in (*self.build, *self.last):
            if name == "RUN" and "apt-get install" in rest:
                self.assertIn("--no-install-recommends", rest)

    def test_instructions(self) -> None:
        """It is not root, by number; it can be told to end, and says how it is."""
        user, group = self.only("USER").split(":")
        self.assertTrue(int(user) and int(group))
        self.assertIn(f"--uid {user} ", " ".join(rest for _name, rest in self.last))
        self.assertEqual(self.only("STOPSIGNAL"), "SIGTERM")
        self.assertEqual(self.only("EXPOSE"), str(Settings().webSocketServer.port))
        (state,) = re.findall(r"STATE_DIRECTORY=(\S+)", self.only("ENV"))
        self.assertEqual(self.only("VOLUME"), state)
        self.assertIn("127.0.0.1", " ".join(healthCommand()))

    def test_command(self) -> None:
        """The server is process 1: no shell is before it. The installed package brings it."""
        command = json.loads(self.only("ENTRYPOINT"))
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        scripts = setup["options.entry_points"]["console_scripts"]
        self.assertEqual(len(command), 1)
        self.assertIn(f"\n{command[0]} = ", scripts)
        self.assertEqual(json.loads(self.only("CMD")), ["--configuration", IN_IMAGE])
        targets = [rest.split()[-1] for name, rest in self.last if name == "COPY"]
        self.assertIn(IN_IMAGE, targets)

    def test_sources(self) -> None:
        """What is copied is there, and nothing else gets to the engine."""
        ignore = (ROOT / ".containerignore").read_text(encoding="utf-8").split("\n")
        patterns = [line for line in ignore if line and not line.startswith("#")]
        self.assertEqual(patterns[0], "*")
        allowed = {each[1:] for each in patterns if each.startswith("!")}
        copied: set[str] = set()
        for name, rest in (*self.build, *self.last):
            if name == "COPY" and "--from" not in rest:
                copied.update(rest.split()[:-1])
        self.assertEqual(copied, allowed)
        for path in copied:
            self.assertTrue((ROOT / path).exists(), path)
        self.assertEqual((ROOT / ".dockerignore").read_bytes(), "\n".join(ignore).encode())

    def test_configuration(self) -> None:
        """It loads; the health check asks where the admin endpoint is."""
        settings = Settings()
        settings.load(str(EXAMPLES / "container.conf"))
        self.assertEqual(settings.warnings, [])
        kind, port, interface = settings.admin.endpoint.split(":")
        self.assertEqual((kind, interface), ("tcp", "interface=127.0.0.1"))
        self.assertIn(f"'127.0.0.1', {port},", healthCommand()[-1])


class ComposeTests(SynchronousTestCase):
    """compose.yaml, with compose.conf."""

    if importlib.util.find_spec("yaml") is None:
        skip = "there is no PyYAML"

    def setUp(self) -> None:
        import yaml

        text = (EXAMPLES / "compose.yaml").read_text(encoding="utf-8")
        self.compose: dict[str, Any] = yaml.safe_load(text)
        self.services: dict[str, Any] = self.compose["services"]
        self.nodes = {name: self.services[name] for name in ("one", "two")}
        self.settings = Settings()
        self.settings.load(str(EXAMPLES / "compose.conf"))

    def test_lockedIn(self) -> None:
        """None of them can write, or gain rights."""
        self.assertEqual(set(self.services), {"one", "two", "redis"})
        for name, service in self.services.items():
            self.assertIs(service["read_only"], True, name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)
            self.assertNotIn("environment", service, name)

    def test_secrets(self) -> None:
        """Each is a file, whoever names one gets it, and what the nodes read is given to them."""
        wanted = {each for service in self.services.values() for each in service["secrets"]}
        self.assertEqual(set(self.compose["secrets"]), wanted)
        for name, secret in self.compose["secrets"].items():
            self.assertEqual(secret, {"file": f"./secrets/{name}"})
        text = (EXAMPLES / "compose.conf").read_text(encoding="utf-8")
        for node in self.nodes.values():
            self.assertEqual(set(re.findall(r"/run/secrets/(\S+)", text)), set(node["secrets"]))
        for name in re.findall(r"/run/secrets/(\S+)", " ".join(self.services["redis"]["command"])):
            self.assertIn(name, self.services["redis"]["secrets"])

    def test_page(self) -> None:
        """It makes every secret."""
        page = (ROOT / "docs" / "container.rst").read_text(encoding="utf-8")
        for name in self.compose["secrets"]:
            self.assertRegex(page, rf"[> ] ?secrets/{name}\n")

    def test_nodes(self) -> None:
        """They differ in name, port and state; their files are where the image expects them."""
        self.assertEqual(self.settings.warnings, [])
        self.assertEqual(self.settings.cluster.directory, "redis://nymea@redis:6379/0")
        state = next(rest for name, rest in stages()[-1] if name == "VOLUME")
        ports = set()
        for name, node in self.nodes.items():
            settings = Settings()
            flag, path, option, assignment = node["command"]
            self.assertEqual((flag, path, option), ("--configuration", IN_IMAGE, "--set"))
            settings.override(assignment)
            self.assertEqual(settings.cluster.name, name)
            configuration, volume = node["volumes"]
            self.assertEqual(configuration, f"./compose.conf:{IN_IMAGE}:ro")
            self.assertEqual(volume, f"state-{name}:{state}")
            self.assertIn(f"state-{name}", self.compose["volumes"])
            (published,) = node["ports"]
            outside, inside = published.split(":")
            self.assertEqual(int(inside), self.settings.webSocketServer.port)
            ports.add(outside)
        self.assertEqual(len(ports), len(self.nodes))

    def test_health(self) -> None:
        """The image's check works with this configuration, too."""
        settings = Settings()
        settings.load(str(EXAMPLES / "container.conf"))
        self.assertEqual(self.settings.admin, settings.admin)

    def test_graceOfStop(self) -> None:
        """The engine waits longer than the server does for its clients."""
        for node in self.nodes.values():
            grace = int(node["stop_grace_period"].removesuffix("s"))
            self.assertGreater(grace, self.settings.proxyServer.shutdownTimeout)
