"""Writes the manual pages, and the completion for bash.

``python docs/manpages.py --output DIRECTORY`` writes them there. What the pages say is in
``docs/man``, and in the references that ``docs/generate.py`` made from the code; docutils makes
pages of it. Owns what docutils has to be told for that. Needs docutils, not Sphinx, and the
package's own dependencies.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from docutils import nodes
from docutils.core import publish_string
from docutils.parsers.rst import Directive, directives
from docutils.writers.manpage import Writer

DOCS = Path(__file__).resolve().parent

sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from completions import completion  # noqa: E402
from described import COMMANDS  # noqa: E402

from nymearemoteproxy import __version__  # noqa: E402

STRICT: Mapping[str, object] = {
    # A mistake in a page is an error, not a remark in the page.
    "halt_level": 2,
    # Whoever builds may have settings of docutils of his own.
    "_disable_config": True,
    "output_encoding": "unicode",
}
"""Settings of docutils."""


class Program(Directive):
    """``program``, which tells Sphinx whose options follow; a page has those of one program."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return nothing to show."""
        return []


class Entry(Directive):
    """``option`` and ``setting`` of the references: a term, and what it means."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a list with this entry."""
        head = self.arguments[0]
        if self.name == "setting":
            head = head.partition(".")[2]  # The section is the heading above.
        term = nodes.term()
        for number, part in enumerate(re.split("(?<= )([A-Z][A-Z-]*)", head)):
            # Every second one is what an option takes.
            term += nodes.emphasis("", part) if number % 2 else nodes.Text(part)
        meaning = nodes.definition()
        self.state.nested_parse(self.content, self.content_offset, meaning)
        return [nodes.definition_list("", nodes.definition_list_item("", term, meaning))]


directives.register_directive("program", Program)
directives.register_directive("option", Entry)
directives.register_directive("setting", Entry)


def page(source: Path) -> str:
    """Return the manual page that is made of a file.

    :raise docutils.utils.SystemMessage: there is a mistake in it.
    """
    # So that a package can be built again and be the same.
    made = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    told = {
        "date": datetime.datetime.fromtimestamp(made, datetime.UTC).date(),
        "version": __version__,
    }
    command = COMMANDS.get(source.name.removesuffix(".1.rst"))
    if command is not None:
        told["description"] = " ".join(str(command.longdesc).split())
    lines = [f".. |{name}| replace:: {text}" for name, text in told.items()]
    text = "\n".join([source.read_text(encoding="utf-8"), *lines])
    return str(publish_string(text, str(source), writer=Writer(), settings_overrides=dict(STRICT)))


def files() -> dict[str, str]:
    """All files: name and content."""
    made = {source.stem: page(source) for source in sorted((DOCS / "man").glob("*.rst"))}
    for program, options in COMMANDS.items():
        made[f"completions/{program}"] = completion(program, options())
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
