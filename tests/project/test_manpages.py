"""Owns the checks of the manual pages and of the completion for bash."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from nymearemoteproxy import __version__
from nymearemoteproxy.running.settings.sections import RETIRED, SETTINGS

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
DEBIAN = CHECKOUT / "debian"
LOADER = "/usr/share/bash-completion/bash_completion"

DOCUTILS_HABITS = ("skipping paragraph macro: sp after SH", "unknown font, skipping request: ft C")
"""What mandoc says of what docutils writes, the font until 0.19; a terminal shows nothing of it."""


def load(name: str) -> ModuleType:
    """Import a module of docs/, which is no package."""
    if str(DOCS) not in sys.path:
        sys.path.insert(0, str(DOCS))
    return importlib.import_module(name)


COMMANDS = load("described").COMMANDS


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
    # A terminal has bold letters typed twice, with a backspace between. Blanks fill the lines.
    return re.sub(" +", " ", re.sub(".\b", "", shown.stdout.decode()))


class PageTests(SynchronousTestCase):
    """The manual pages."""

    def setUp(self) -> None:
        if importlib.util.find_spec("docutils") is None:
            raise SkipTest("docutils is not installed")
        self.script = load("manpages")
        self.directory = Path(self.mktemp())
        self.script.main(["--output", str(self.directory)])

    def pages(self) -> list[Path]:
        """Return the manual pages."""
        return sorted(self.directory.glob("*.[15]"))

    def test_completionIsThereToo(self) -> None:
        for program, options in COMMANDS.items():
            script = (self.directory / "completions" / program).read_text(encoding="utf-8")
            self.assertEqual(script, load("completions").completion(program, options()))

    def test_names(self) -> None:
        """Those that the Debian package installs."""
        wanted = {line for path in DEBIAN.glob("*.manpages") for line in path.read_text().split()}
        self.assertEqual({page.name for page in self.pages()}, {Path(line).name for line in wanted})

    def test_groffHasNoComplaint(self) -> None:
        for page in self.pages():
            self.assertRegex(rendered(page), "(?mi)^see also$", page.name)

    def test_mandocHasNoComplaint(self) -> None:
        if shutil.which("mandoc") is None:
            raise SkipTest("mandoc is not installed")
        for page in self.pages():
            command = ["mandoc", "-T", "lint", "-W", "warning", str(page)]
            said = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
            self.assertEqual([line for line in said if not line.endswith(DOCUTILS_HABITS)], [])

    def test_manFindsItByItsSummary(self) -> None:
        """As ``man -k`` does."""
        if shutil.which("lexgrog") is None:
            raise SkipTest("lexgrog of man-db is not installed")
        for page in self.pages():
            found = subprocess.run(["lexgrog", str(page)], capture_output=True, text=True).stdout
            self.assertIn(f': "{page.stem} - ', found)

    def test_whatIsTypedCanBeCopied(self) -> None:
        """Dashes and quotes are those of ASCII, and nothing stands around an address."""
        for page in self.pages():
            self.assertNotRegex(rendered(page), r"[\u2010-\u2015\u2018-\u201d\u2212]|<\w+:")
        text = rendered(self.directory / "nymea-remoteproxy-client.1")
        self.assertIn("\n ssh -o ProxyCommand='nymea-remoteproxy-client --url wss://proxy", text)

    def test_noMarkupIsLeft(self) -> None:
        for page in self.pages():
            self.assertNotRegex(rendered(page), r"``|\*\*|\|\w+\||:\w+:`|\n ?\.\. ")

    def test_mistakeIsAnError(self) -> None:
        """And no remark in the page."""
        from docutils.utils import SystemMessage  # where there is docutils

        source = Path(self.mktemp())
        source.write_text(":outcome:`gone`\n", encoding="utf-8")
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemMessage):
            self.script.page(source)
        self.assertIn('Unknown interpreted text role "outcome"', said.getvalue())

    def test_descriptionIsThatOfTheHelp(self) -> None:
        for program, options in COMMANDS.items():
            text = " ".join(rendered(self.directory / f"{program}.1").split())
            self.assertIn(" ".join(options.longdesc.split()), text)
            usage = options().getSynopsis().partition("Usage: ")[2]
            self.assertRegex(text, rf"(?i)synopsis {re.escape(usage)} description")

    def test_everyOptionIsThere(self) -> None:
        """As ``--help`` lists it, with what it says there."""
        for program, options in COMMANDS.items():
            text = " ".join(rendered(self.directory / f"{program}.1").split())
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
                options().opt_help()
            names = re.findall(r"^ +(?:-\w, )? *--([a-z-]+)", said.getvalue(), re.M)
            self.assertGreater(len(names), 5)
            for name in names:
                self.assertRegex(text, rf"--{name}\b")

    def test_shortAndLongSpelling(self) -> None:
        text = rendered(self.directory / "nymea-remoteproxy.1")
        self.assertRegex(text, r"\n -k FILE, --certificate-key FILE\n PEM file with the cert")

    def test_everySettingIsThere(self) -> None:
        """With what may be written, when a change takes effect, and what it means."""
        text = rendered(self.directory / "nymea-remoteproxy.conf.5")
        for setting in SETTINGS:
            section = text.partition(f"\n [{setting.section}]")[2].partition("\n [")[0]
            entry = section.partition(f"\n {setting.key}\n Write: {setting.kind}")[2]
            head, _, rest = entry.partition("\n\n")
            self.assertIn("\n Default: ", head, setting.name)
            self.assertEqual("takes effect with the next start" in head, setting.atStart)
            meaning = setting.meaning.replace("``", "")
            self.assertTrue(" ".join(rest.split()).startswith(meaning), setting.name)

    def test_rangesAndDefaultsAreThere(self) -> None:
        text = " ".join(rendered(self.directory / "nymea-remoteproxy.conf.5").split())
        self.assertIn(
            "pingInterval Write: milliseconds, 0 = never (0 to 32767000) Default: 30000 ", text
        )

    def test_everyIgnoredSettingIsThere(self) -> None:
        text = rendered(self.directory / "nymea-remoteproxy.conf.5")
        for name in RETIRED:
            section, _, key = name.partition(".")
            self.assertIn(f"[{section}] {key}".rstrip(), text)

    def test_dateIsThatOfThePackage(self) -> None:
        """So that a package can be built again, and be the same."""
        self.patch(os, "environ", {**os.environ, "SOURCE_DATE_EPOCH": "86400"})
        self.script.main(["--output", str(self.directory)])
        for page in self.pages():
            self.assertIn(f"\nnymea-remoteproxy {__version__} 1970-01-02 ", rendered(page))


class CompletionTests(SynchronousTestCase):
    """The completion for bash, as its loader uses it."""

    def setUp(self) -> None:
        self.script = load("completions")
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

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
            {self.script.completion(program, COMMANDS[program]())}
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
        for program, options in COMMANDS.items():
            offered = self.complete(f"{program} --")
            self.assertEqual(
                offered, {option.long for option in self.script.describeOptions(options())}
            )

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
        for option in "--front", "--front-http":  # TLS is not theirs
            self.assertEqual(self.complete(f"nymea-remoteproxy {option} t"), {"tcp:"})

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
            for options in COMMANDS.values()
            for option in self.script.describeOptions(options())
            if option.argument
        }
        arguments = set(self.script.ARGUMENTS)
        self.assertEqual(arguments - real, set())
