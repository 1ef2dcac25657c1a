"""Writes the manual pages, and the completion for bash.

``python docs/manpages.py --output DIRECTORY`` writes them there. The options come from the classes
that parse them, the settings from their declarations; so ``--help``, these pages and the reference
say the same. Needs the package's own dependencies.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent

WIDTH = 78
"""Characters of a line, because style checkers of roff want fewer than 80."""

sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from completions import completion  # noqa: E402
from described import describeDefault, describeOptions, describeRange  # noqa: E402
from twisted.python import usage  # noqa: E402

from nymearemoteproxy import __version__  # noqa: E402
from nymearemoteproxy.client.cli import Options as ClientOptions  # noqa: E402
from nymearemoteproxy.monitor.cli import Options as MonitorOptions  # noqa: E402
from nymearemoteproxy.running.options import Options  # noqa: E402
from nymearemoteproxy.running.settings import (  # noqa: E402
    RETIRED,
    SETTINGS,
)


@dataclass(frozen=True)
class Section:
    """A section of a manual page.

    :ivar paragraphs: plain text; ``code`` is set in bold. One that begins with spaces is an
        example, shown as it is.
    :ivar terms: what stands in bold, and what it means.
    """

    title: str
    paragraphs: Sequence[str] = ()
    terms: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Command:
    """A command, and what its page says besides its options.

    :ivar synopsis: what stands behind the command's name.
    :ivar seeAlso: other pages, as ``name(section)``.
    """

    program: str
    options: type[usage.Options]
    summary: str
    synopsis: str
    sections: Sequence[Section]
    seeAlso: Sequence[str]


SERVER = Command(
    "nymea-remoteproxy",
    Options,
    "rendezvous proxy that joins two clients behind NAT",
    "[options]",
    (
        Section(
            "ENDPOINTS",
            (
                "``--websocket``, ``--stream`` and ``--admin`` take an endpoint description of "
                "Twisted: a kind, then arguments, separated by colons. A colon inside an argument "
                "gets a backslash.",
            ),
            (
                ("tcp:PORT:interface=ADDRESS", "TCP, by default on every IPv4 address."),
                (
                    "ssl:PORT:privateKey=FILE:certKey=FILE",
                    "TLS with a certificate of its own; without the files with the server's.",
                ),
                ("unix:PATH:mode=660", "A Unix socket; without a mode everybody can connect."),
                ("systemd:index=0", "A socket that systemd opened."),
                ("tls:...", "TLS with the server's certificate on any of these."),
                ("haproxy:...", "Any of these, behind a reverse proxy with the PROXY protocol."),
            ),
        ),
        Section(
            "SIGNALS",
            (),
            (
                (
                    "SIGTERM, SIGINT",
                    "Stop: say goodbye to every client, give it ``ProxyServer.shutdownTimeout`` to "
                    "leave, and exit with status 0.",
                ),
                (
                    "SIGHUP",
                    "Reload: read the settings and all files they name anew, and open the log "
                    "files anew. What is broken stays as it was, and the log says so. No "
                    "connection is touched.",
                ),
                (
                    "SIGUSR2",
                    "Drain: stop listening, let tunnels live for ``ProxyServer.drainTimeout`` at "
                    "most, then exit with status 0.",
                ),
            ),
        ),
        Section(
            "EXIT STATUS",
            (),
            (
                ("0", "It was stopped."),
                (
                    "1",
                    "A file that cannot be read or used, or a place that cannot be listened on. "
                    "One line on standard error says which.",
                ),
                ("2", "A mistake in the options or in the configuration. One line says which."),
            ),
        ),
        Section(
            "FILES",
            ("The Debian package has its service use these:",),
            (
                (
                    "/etc/nymea/nymea-remoteproxy.conf",
                    "The configuration, see nymea-remoteproxy.conf(5).",
                ),
                ("/etc/nymea/nymea-remoteproxy.tokens", "The accepted tokens, one per line."),
                (
                    "/var/lib/nymea-remoteproxy",
                    "The self-signed certificate, if there is no other, and the lifetime totals.",
                ),
                ("/var/log/nymea-remoteproxy", "Files of the accounting. The log is the journal."),
                ("/run/nymea-remoteproxy/monitor.sock", "For nymea-remoteproxy-monitor(1)."),
            ),
        ),
        Section(
            "EXAMPLES",
            (
                "On every interface, with a certificate:",
                "    nymea-remoteproxy --token-file tokens --certificate proxy.pem "
                "--certificate-key proxy.key",
                "Have systemd listen (port 2212 on every interface), once:",
                "    systemctl disable --now nymea-remoteproxy.service\n"
                "    systemctl enable --now nymea-remoteproxy.socket\n"
                "    systemctl start nymea-remoteproxy@blue",
                "Then, for an upgrade, have one instance take over from the other without losing "
                "a tunnel:",
                "    systemctl kill --kill-whom=main -s USR2 nymea-remoteproxy@blue\n"
                "    systemctl start nymea-remoteproxy@green",
            ),
        ),
    ),
    ("nymea-remoteproxy.conf(5)", "nymea-remoteproxy-client(1)", "nymea-remoteproxy-monitor(1)"),
)

CLIENT = Command(
    "nymea-remoteproxy-client",
    ClientOptions,
    "client for tunnels of a nymea-remoteproxy",
    "--url URL [options]",
    (
        Section(
            "ENVIRONMENT",
            (),
            (
                (
                    "NYMEA_REMOTEPROXY_TOKEN",
                    "The token, when neither ``--token`` nor ``--token-file`` is given.",
                ),
            ),
        ),
        Section(
            "EXIT STATUS",
            (),
            (
                ("0", "There was a tunnel, and it ended in order."),
                ("1", "There was none, or it broke. One line on standard error says why."),
                ("128 + N", "Signal N ended it."),
            ),
        ),
        Section(
            "EXAMPLES",
            (
                "Copy a file from one machine to another; the first command on the one, the second "
                "on the other:",
                "    nymea-remoteproxy-client --url wss://proxy.example.org:2212 "
                "--token-file tokens < file\n"
                "    nymea-remoteproxy-client --url wss://proxy.example.org:2212 "
                "--token-file tokens > copy",
                "Make SSH of a machine behind a router reachable, and reach it:",
                "    nymea-remoteproxy-client --url wss://proxy.example.org:2212 "
                "--serve UUID --forward 127.0.0.1:22\n"
                "    ssh -o ProxyCommand='nymea-remoteproxy-client "
                "--url wss://proxy.example.org:2212 --server-uuid UUID' home",
            ),
        ),
    ),
    ("nymea-remoteproxy(1)",),
)

MONITOR = Command(
    "nymea-remoteproxy-monitor",
    MonitorOptions,
    "terminal view of a running nymea-remoteproxy",
    "[options]",
    (
        Section(
            "EXIT STATUS",
            (),
            (
                ("0", "Somebody asked it to quit, or everything is printed."),
                ("1", "The server could not be asked. One line on standard error says why."),
                ("2", "A mistake in the options. One line says which."),
                ("128 + N", "Signal N ended it."),
            ),
        ),
        Section(
            "EXAMPLES",
            (
                "The number of tunnels:",
                "    nymea-remoteproxy-monitor --json | jq .proxyStatistic.tunnelCount",
                "An instance of the Debian package's service:",
                "    nymea-remoteproxy-monitor --socket /run/nymea-remoteproxy/monitor-blue.sock",
            ),
        ),
    ),
    ("nymea-remoteproxy(1)",),
)

COMMANDS = (SERVER, CLIENT, MONITOR)


def escape(text: str) -> str:
    """Return a piece of text so that roff shows it as it is; hyphens can be copied as minus."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")


def prose(text: str) -> str:
    """Return a paragraph; what is in double backquotes is bold."""
    parts = text.split("``")
    bold = [f"\\fB{escape(part)}\\fR" if n % 2 else escape(part) for n, part in enumerate(parts)]
    lines = textwrap.wrap("".join(bold), WIDTH, break_long_words=False, break_on_hyphens=False)
    # A dot at the beginning would make a request of it.
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in lines)


def term(head: str, meaning: str) -> Iterator[str]:
    """Yield one entry of a list: `head` is roff."""
    yield ".TP"
    yield head
    yield prose(meaning)


def _sections(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield f".SH {escape(section.title)}"
        for number, paragraph in enumerate(section.paragraphs):
            if paragraph.startswith(" "):
                yield ".PP"
                yield ".in +4n"
                yield ".EX"
                yield from (escape(line[4:]) for line in paragraph.splitlines())
                yield ".EE"
                yield ".in"
            else:
                if number:
                    yield ".PP"
                yield prose(paragraph)
        for head, meaning in section.terms:
            yield from term(f"\\fB{escape(head)}\\fR", meaning)


def _title(name: str, section: int) -> str:
    # So that a package can be built again and be the same.
    made = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    day = datetime.datetime.fromtimestamp(made, datetime.UTC).date()
    return f'.TH {name.upper()} {section} {day} "nymea\\-remoteproxy {__version__}"'


def _seeAlso(pages: Sequence[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    for number, page in enumerate(pages, 1):
        name, section = page.rstrip(")").split("(")
        comma = "," if number < len(pages) else ""
        yield f".BR {escape(name)} ({section}){comma}"


def commandPage(command: Command) -> str:
    """Return the manual page of a command."""
    options = command.options()

    def lines() -> Iterator[str]:
        yield _title(command.program, 1)
        yield ".SH NAME"
        yield f"{escape(command.program)} \\- {escape(command.summary)}"
        yield ".SH SYNOPSIS"
        yield f".B {escape(command.program)}"
        yield escape(command.synopsis)
        yield ".SH DESCRIPTION"
        yield prose(" ".join(str(options.longdesc).split()))
        yield ".SH OPTIONS"
        for option in describeOptions(options):
            argument = f" \\fI{escape(option.argument)}\\fR" if option.argument else ""
            spellings = (f"\\fB{escape(each)}\\fR{argument}" for each in option.spellings)
            yield from term(", ".join(spellings), option.text)
        yield from _sections(command.sections)
        yield from _seeAlso(command.seeAlso)

    return "\n".join(lines()) + "\n"


def configurationPage() -> str:
    """Return the manual page of the configuration file."""

    def lines() -> Iterator[str]:
        yield _title("nymea-remoteproxy.conf", 5)
        yield ".SH NAME"
        yield "nymea\\-remoteproxy.conf \\- configuration of nymea\\-remoteproxy"
        yield ".SH DESCRIPTION"
        yield prose(
            "The file is in INI format: sections in brackets, then lines of the form "
            "``key = value``. Lines that begin with ``#`` or ``;`` are comments. The server reads "
            "the file that ``--configuration`` names. An unknown section or key is an error. "
            "An option on the command line, and then ``--set``, count more than the file. "
            "On SIGHUP the file is read anew; settings marked with an asterisk take effect with "
            "the next start."
        )
        for section in dict.fromkeys(setting.section for setting in SETTINGS):
            yield f".SH [{escape(section)}]"
            for setting in SETTINGS:
                if setting.section == section:
                    mark = "*" if setting.atStart else ""
                    head = f"\\fB{setting.key}\\fR{mark} = \\fI{escape(setting.kind)}\\fR"
                    default = describeDefault(setting)
                    meaning = setting.meaning
                    if ends := describeRange(setting):
                        meaning = f"From {ends}. {meaning}"
                    if "Default:" not in meaning:
                        meaning += f" Default: {default}."
                    yield from term(head, meaning)
        yield from _sections(
            (
                Section(
                    "FILES OF THE C++ SERVER",
                    ("They load unchanged. These have no effect, and give a warning:",),
                    [
                        (_label(name), f"{why[0].upper()}{why[1:]}.")
                        for name, why in RETIRED.items()
                    ],
                ),
            )
        )
        yield from _seeAlso(("nymea-remoteproxy(1)",))

    return "\n".join(lines()) + "\n"


def _label(name: str) -> str:
    section, _, key = name.partition(".")
    return f"[{section}] {key}".rstrip()


def files() -> dict[str, str]:
    """All files: name and content."""
    made = {"nymea-remoteproxy.conf.5": configurationPage()}
    for command in COMMANDS:
        made[f"{command.program}.1"] = commandPage(command)
        made[f"completions/{command.program}"] = completion(command.program, command.options())
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Write manual pages and completion for bash.")
    parser.add_argument("--output", type=Path, required=True, metavar="DIRECTORY")
    output: Path = parser.parse_args(arguments).output
    for name, content in files().items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
