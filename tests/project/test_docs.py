"""Owns the checks that hold the documentation and the code together."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.options import ClientOptions
from nymearemoteproxy.connections.records import TCP, WEBSOCKET
from nymearemoteproxy.monitor.options import MonitorOptions
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import TRANSITIONS, TUNNEL_PROXY_API, Event
from nymearemoteproxy.running.configuration.configuring import configure
from nymearemoteproxy.running.configuration.mistakes import SeveralMistakes
from nymearemoteproxy.running.options import ServerOptions
from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.sections import RETIRED, SETTINGS, Pairing
from nymearemoteproxy.running.settings.values import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
PACKAGE = CHECKOUT / "nymearemoteproxy"


def loadGenerator() -> ModuleType:
    """Import docs/generate.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> dict[str, str]:
    """Return the pages that were written by hand: name and text."""
    return {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.rst")}


def optionNames(options: usage.Options) -> set[str]:
    """Return the long options of a command, with their dashes."""
    return {"--" + name.rstrip("=") for name in options.longOpt}


class GeneratedTests(SynchronousTestCase):
    """What is in docs/generated."""

    def setUp(self) -> None:
        self.generator = loadGenerator()

    def runScript(self, *arguments: str) -> tuple[int, str]:
        """Run the script; return its exit status and what it said."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = self.generator.main(arguments)
        return status, said.getvalue()

    def written(self, name: str) -> str:
        return str((DOCS / "generated" / name).read_text(encoding="utf-8"))

    def test_isUpToDate(self) -> None:
        self.assertEqual(self.generator.outdated(), [], "run docs/generate.py")

    def test_checkTellsWhatIsOutOfDate(self) -> None:
        directory = Path(self.mktemp())
        self.patch(self.generator, "GENERATED", directory)
        self.assertEqual(self.runScript()[0], 0)
        self.assertEqual(self.runScript("--check"), (0, ""))
        (directory / "settings.rst").write_text("old", encoding="utf-8")
        (directory / "gone.rst").write_text("of no use", encoding="utf-8")
        status, said = self.runScript("--check")
        self.assertEqual(status, 1)
        self.assertEqual(
            said.splitlines(),
            [f"docs/generated/{name} is out of date" for name in ("gone.rst", "settings.rst")],
        )
        self.assertEqual((directory / "settings.rst").read_text(encoding="utf-8"), "old")
        self.assertEqual(self.runScript()[0], 0)
        self.assertEqual(self.generator.outdated(), [])

    def test_everyFragmentIsOnAPage(self) -> None:
        text = "".join(pages().values())
        for name in self.generator.fragments():
            self.assertIn(f":: generated/{name}\n", text)

    def test_everySettingIsThere(self) -> None:
        text = self.written("settings.rst")
        for setting in SETTINGS:
            self.assertIn(f".. setting:: {setting.name}\n", text)

    def test_everyIgnoredSettingIsThere(self) -> None:
        text = self.written("ignored.rst")
        for name, why in RETIRED.items():
            section, _, key = name.partition(".")
            self.assertIn(f"``[{section}] {key}".rstrip() + "``", text)
            self.assertIn(why, text)

    def test_everyOutcomeIsThere(self) -> None:
        text = self.written("outcomes.rst")
        for outcome in Outcome:
            self.assertIn(f".. outcome:: {outcome.label}\n", text)
            if outcome.closeCode:
                self.assertIn(f"lose code {outcome.closeCode}", text)

    def test_everyOptionIsThere(self) -> None:
        for name, options in (
            ("options.rst", ServerOptions()),
            ("client-options.rst", ClientOptions()),
            ("monitor-options.rst", MonitorOptions()),
        ):
            text = self.written(name)
            for option in optionNames(options):
                self.assertTrue(re.search(rf"^\.\. option:: .*{option}( |$)", text, re.M), option)

    def test_everyStepOfTheTableIsThere(self) -> None:
        diagram, text = self.written("states.dot"), self.written("transitions.rst")
        for event in Event:
            self.assertIn(f"* - {event.value}\n", text)
        for state, steps in TRANSITIONS.items():
            for event, step in steps.items():
                if step.state is not state:
                    edge = f'"{state.value}" -> "{step.state.value}" [label="'
                    (line,) = [line for line in diagram.splitlines() if edge in line]
                    self.assertIn(event.value, line)

    def test_everyMethodIsExplained(self) -> None:
        text = pages()["protocol.rst"]
        for name in TUNNEL_PROXY_API.introspection["methods"]:
            self.assertIn(f"\n``{name}``\n", text)


class ExampleTests(SynchronousTestCase):
    """docs/example.conf."""

    def setUp(self) -> None:
        self.path = str(DOCS / "example.conf")
        self.settings = Settings()
        self.settings.load(self.path)

    def test_loads(self) -> None:
        self.assertEqual(self.settings.warnings, [])
        self.assertEqual(self.settings.webSocketServer.port, 443)
        self.assertIs(self.settings.authentication.pairing, Pairing.SUBJECT)

    def test_goesTogether(self) -> None:
        """Only the files it names are missing."""
        found = self.assertRaises(SeveralMistakes, configure, self.settings).mistakes
        self.assertEqual(
            [str(each).partition("/")[0] for each in found],
            ["cannot read the certificate ", "cannot read the client secret "],
        )
        for name in ("SSL.certificate", "SSL.certificateKey"):
            self.settings.set(name, "")
        self.settings.set("SSL.enabled", "false")
        error = self.assertRaises(SettingsError, configure, self.settings)
        self.assertIn("cannot read the client secret", str(error))
        self.settings.set("Authentication.clientId", "")
        self.settings.set("Authentication.clientSecretFile", "")
        listeners = configure(self.settings).listeners
        self.assertEqual([listener.transport for listener in listeners], [WEBSOCKET, TCP, TCP])


class TextTests(SynchronousTestCase):
    """The pages that were written by hand."""

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each command line in a literal block, up to a pipe: its page and its words."""
        for page, text in pages().items():
            text = text.replace("\\\n", " ")
            for line in re.findall(
                r"^ +(?:\S+=|\S*/)?((?:nymea-remoteproxy|twistd).*)$", text, re.M
            ):
                words = shlex.split(line, comments=True)
                yield page, words[: words.index("|")] if "|" in words else words

    def test_commandsHaveRealOptions(self) -> None:
        known = {
            "nymea-remoteproxy": optionNames(ServerOptions()),
            "nymea-remoteproxy-client": optionNames(ClientOptions()),
            "nymea-remoteproxy-monitor": optionNames(MonitorOptions()),
        }
        seen = 0
        for page, words in self.commands():
            if words[0] == "twistd":
                words = words[words.index("nymea-remoteproxy") :]
            options = known.get(words[0])
            for word in words if options else ():
                if word.startswith("--"):
                    seen += 1
                    self.assertIn(word, options, page)
        self.assertGreater(seen, 10)

    def test_settingsAreReal(self) -> None:
        names = {setting.name for setting in SETTINGS}
        for page, text in pages().items():
            for name in re.findall(r":setting:`([^`]+)`", text):
                self.assertIn(name, names, page)

    def test_outcomesAreReal(self) -> None:
        labels = {outcome.label for outcome in Outcome}
        for page, text in pages().items():
            for label in re.findall(r":outcome:`([^`]+)`", text):
                self.assertIn(label, labels, page)

    def test_dependenciesAreDefended(self) -> None:
        setup = (CHECKOUT / "setup.cfg").read_text(encoding="utf-8")
        required = setup.partition("install_requires =\n")[2].partition("\n[")[0]
        text = pages()["architecture.rst"].partition("The dependencies\n")[2]
        names = re.findall(r"^ +([a-z-]+) >=", required, re.M)
        self.assertEqual(re.findall(r"^([a-z-]+)\n    \S", text, re.M), names)


class HeadingTests(SynchronousTestCase):
    """They have one style: docs/development.rst."""

    NAMES = frozenset(
        (
            "API",
            "Assistant",
            "Autobahn",
            "Authenticate",
            "C++",
            "Cognito",
            "Debian",
            "Encrypt",
            "HTTP",
            "Home",
            "INI",
            "IPv4",
            "IPv6",
            "JSON",
            "JavaScript",
            "Let's",
            "NAT",
            "PROXY",
            "Prometheus",
            "SYN",
            "TCP",
            "TLS",
            "Tokens",
            "Unix",
            "Web",
            "WebSocket",
        )
    )

    def headings(self) -> Iterator[tuple[str, str]]:
        """Yield the page and the text of each."""
        for page, text in pages().items():
            for heading in re.findall(r"^(\S.*)\n(?:=+|-+|~+)$", text, re.M):
                yield page, heading

    def test_areInSentenceCase(self) -> None:
        for page, heading in self.headings():
            for word in heading.split()[1:]:
                name = word.strip(",()").removesuffix("'s")
                if name[0].isupper():
                    self.assertIn(name, self.NAMES, f"{page}: {heading}")

    def test_areNoQuestions(self) -> None:
        """Nor do they end like a sentence."""
        for page, heading in self.headings():
            self.assertNotRegex(heading, r"[.?:]$|^(How|What|When|Where|Who|Why|Does)\b", page)


class TaskTests(SynchronousTestCase):
    """The pages per task, and their files in docs/examples."""

    def test_everyOutcomeIsExplainedOnce(self) -> None:
        """On the page about troubleshooting."""
        explained = re.findall(r":outcome:`([^`]+)`", pages()["troubleshooting.rst"])
        self.assertEqual(sorted(explained), sorted(outcome.label for outcome in Outcome))

    def test_everyExampleIsOnAPage(self) -> None:
        text = "".join(pages().values())
        for path in (DOCS / "examples").iterdir():
            self.assertIn(f".. literalinclude:: examples/{path.name}\n", text)

    def test_originalsFile(self) -> None:
        """The file of the C++ server loads, and the page about moving tells of all of it."""
        settings = Settings()
        settings.load(str(DOCS / "examples" / "cpp-server.conf"))
        (warning,) = settings.warnings
        self.assertIn("[AWS] is ignored", warning)
        self.assertEqual(settings.webSocketServer.port, 1212)
        page = pages()["migration.rst"]
        for line in (DOCS / "examples" / "cpp-server.conf").read_text("utf-8").splitlines():
            name = line.partition("=")[0].strip("[]")
            self.assertTrue(not name or re.search(rf"``[^`\n]*\b{name}\b", page), name)


class RingTests(SynchronousTestCase):
    """The rings that docs/architecture.rst tells of; ``lint-imports`` sees that they are kept."""

    def test_everyFolderIsInARing(self) -> None:
        text = pages()["architecture.rst"].partition("The rings\n")[2].partition("\nThe life")[0]
        told = re.findall(r"^``([a-z]+)/``", text, re.M)
        self.assertEqual(
            sorted(told), sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
        )


class ModuleTests(SynchronousTestCase):
    """What the first lines of each module and each folder say."""

    def first(self, path: Path) -> str:
        """Return a module's docstring in one line."""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return " ".join((ast.get_docstring(tree) or "").split())

    def test_everyModuleSaysWhatItOwns(self) -> None:
        """And what it knows nothing of."""
        for path in PACKAGE.rglob("*.py"):
            if path.name != "__init__.py":
                self.assertRegex(self.first(path), r"\bOwns .*\bKnows no", str(path))

    def test_everyFolderSaysWhatItMustNotKnow(self) -> None:
        for path in PACKAGE.glob("*/**/__init__.py"):
            self.assertIn("It must not know", self.first(path), str(path))
