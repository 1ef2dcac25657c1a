"""Owns the checks of the manual pages and of the completion for bash."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from nymearemoteproxy.running.settings import RETIRED, SETTINGS

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOADER = "/usr/share/bash-completion/bash_completion"


def loadScript() -> ModuleType:
    """Import docs/manpages.py, which is in no package."""
    if str(DOCS) not in sys.path:
        sys.path.insert(0, str(DOCS))
    return importlib.import_module("manpages")


class ManualCase(SynchronousTestCase):
    """Writes everything into a directory of its own."""

    def setUp(self) -> None:
        self.script = loadScript()
        self.directory = Path(self.mktemp())
        self.script.main(["--output", str(self.directory)])

    def pages(self) -> list[Path]:
        """Return the manual pages."""
        return sorted(self.directory.glob("*.[15]"))


def rendered(page: Path) -> str:
    """Return a page as a terminal shows it; skips the test where there is no man."""
    if shutil.which("man") is None:
        raise SkipTest("man is not installed")
    shown = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(page)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "5000", "MANROFFSEQ": ""},
        capture_output=True,
        check=True,
    )
    if shown.stderr:
        raise AssertionError(shown.stderr.decode())
    # A terminal has bold letters typed twice, with a backspace between.
    return re.sub(".\b", "", shown.stdout.decode())


class PageTests(ManualCase):
    """The manual pages."""

    def test_groffHasNoComplaint(self) -> None:
        for page in self.pages():
            self.assertIn("SEE ALSO", rendered(page), page.name)

    def test_mandocHasNoComplaint(self) -> None:
        if shutil.which("mandoc") is None:
            raise SkipTest("mandoc is not installed")
        for page in self.pages():
            checked = subprocess.run(["mandoc", "-T", "lint", str(page)], capture_output=True)
            self.assertEqual(checked.stdout, b"")

    def test_everyOptionIsThere(self) -> None:
        """As ``--help`` lists it, with what it says there."""
        for command in self.script.COMMANDS:
            text = " ".join(rendered(self.directory / f"{command.program}.1").split())
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                command.options().opt_help()
            names = re.findall(r"^ +(?:-\w, )? *--([a-z-]+)", said.getvalue(), re.M)
            self.assertGreater(len(names), 5)
            for name in names:
                self.assertRegex(text, rf"--{name}\b")

    def test_shortAndLongSpelling(self) -> None:
        text = rendered(self.directory / "nymea-remoteproxy.1")
        self.assertRegex(text, r"\n +-k FILE, --certificate-key FILE\n +PEM file with the cert")

    def test_everySettingIsThere(self) -> None:
        text = rendered(self.directory / "nymea-remoteproxy.conf.5")
        for setting in SETTINGS:
            section = text.partition(f"\n[{setting.section}]\n")[2].partition("\n[")[0]
            mark = r"\*" if setting.atStart else ""
            self.assertRegex(section, rf"(?m)^ +{setting.key}{mark} = {re.escape(setting.kind)}$")
            self.assertIn(setting.meaning.replace("``", ""), " ".join(section.split()))

    def test_rangesAreThere(self) -> None:
        """Some meanings tell why a setting takes no more."""
        text = " ".join(rendered(self.directory / "nymea-remoteproxy.conf.5").split())
        self.assertIn("pingInterval* = milliseconds, 0 = never From 0 to 32767000. How", text)

    def test_everyIgnoredSettingIsThere(self) -> None:
        text = rendered(self.directory / "nymea-remoteproxy.conf.5")
        for name in RETIRED:
            section, _, key = name.partition(".")
            self.assertIn(f"[{section}] {key}".rstrip(), text)

    def test_dateIsThatOfThePackage(self) -> None:
        """So that a package can be built again, and be the same."""
        self.patch(self.script.os, "environ", {"SOURCE_DATE_EPOCH": "86400"})
        for name, content in self.script.files().items():
            if "." in name:
                self.assertIn(' 1970-01-02 "', content.partition("\n")[0])


class EscapeTests(SynchronousTestCase):
    """What roff would not show as it is."""

    def setUp(self) -> None:
        self.script = loadScript()

    def test_backslashAndQuote(self) -> None:
        self.assertEqual(self.script.escape("a\\:b 'c' d-e"), "a\\e:b \\(aqc\\(aq d\\-e")

    def test_dotAtTheBeginningOfAnyLine(self) -> None:
        text = self.script.prose(".a " + "b" * 76 + " .c")
        self.assertEqual(text, "\\&.a\n" + "b" * 76 + "\n\\&.c")

    def test_codeIsBold(self) -> None:
        self.assertEqual(self.script.prose("a ``--b`` c"), "a \\fB\\-\\-b\\fR c")


class CompletionTests(ManualCase):
    """The completion for bash, as its loader uses it."""

    def complete(self, line: str, words: list[str] | None = None) -> set[str]:
        """Return what is offered at the end of a command line.

        :param words: how bash splits it; by default at spaces only.
        """
        if not Path(LOADER).exists():
            raise SkipTest("bash-completion is not installed")
        words = line.split(" ") if words is None else words
        program = words[0]
        function = "_" + program.replace("-", "_")
        quoted = " ".join(f"'{word}'" for word in words)
        script = f"""
            . {LOADER}
            . {self.directory.resolve()}/completions/{program}
            COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}
            COMP_LINE='{line}' COMP_POINT={len(line)}
            compopt() {{ :; }} # only within a completion that bash itself has begun
            {function} {program} '{words[-1]}' '{words[-2]}'
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            cwd=self.directory,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.stderr, "")
        return set(done.stdout.split())

    def test_options(self) -> None:
        offered = self.complete("nymea-remoteproxy --cert")
        self.assertEqual(offered, {"--certificate", "--certificate-key"})
        offered = self.complete("nymea-remoteproxy-client --insecure --t")
        self.assertEqual(offered, {"--token", "--token-file"})

    def test_everyOption(self) -> None:
        for command in self.script.COMMANDS:
            options = self.script.describeOptions(command.options())
            offered = self.complete(f"{command.program} --")
            self.assertEqual(offered, {option.long for option in options})

    def test_files(self) -> None:
        (self.directory / "my.conf").touch()
        for line in ("-C m", "--configuration m", "-v --token-file m"):
            self.assertEqual(self.complete(f"nymea-remoteproxy {line}"), {"my.conf"})

    def test_filesBehindAnEqualsSign(self) -> None:
        (self.directory / "my.conf").touch()
        line = "nymea-remoteproxy --configuration=m"
        words = ["nymea-remoteproxy", "--configuration", "=", "m"]
        self.assertEqual(self.complete(line, words), {"my.conf"})

    def test_settings(self) -> None:
        offered = self.complete("nymea-remoteproxy --set ")
        self.assertEqual(offered, {f"{setting.name}=" for setting in SETTINGS})

    def test_endpoints(self) -> None:
        self.assertIn("tls:systemd:", self.complete("nymea-remoteproxy --stream tl"))

    def test_nothingIsRepeatedBeforeAColon(self) -> None:
        """bash splits words at colons, and puts an offer behind the last one."""
        line = "nymea-remoteproxy --stream tls:"
        words = ["nymea-remoteproxy", "--stream", "tls", ":"]
        self.assertEqual(self.complete(line, words), {"tcp:", "unix:", "systemd:"})
        line = "nymea-remoteproxy-client --url wss:"
        words = ["nymea-remoteproxy-client", "--url", "wss", ":"]
        self.assertEqual(self.complete(line, words), {"//"})

    def test_nothingToOffer(self) -> None:
        """A token, a uuid: files would be a wrong suggestion."""
        (self.directory / "file").touch()
        self.assertEqual(self.complete("nymea-remoteproxy --token f"), set())
        self.assertEqual(self.complete("nymea-remoteproxy-client --serve f"), set())

    def test_onlyRealOptionsAreCompleted(self) -> None:
        real = {
            option.long
            for command in self.script.COMMANDS
            for option in self.script.describeOptions(command.options())
            if option.argument
        }
        arguments = set(sys.modules["completions"].ARGUMENTS)
        self.assertEqual(arguments - real, set())
