"""What README.rst, CONTRIBUTING.rst and the pages in docs/ have the reader type into a shell.

Owns the reading of those blocks and of the mark above each: a comment that names the test which
runs it, ``.. run by: tests.….testName``, or says why none does, ``.. not run: reason``. A block is
of the shell when it says so (``sh``; ``console``, with prompts and answers) or says nothing
(``::``). Knows nothing of how commands are run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]

_SHELL = re.compile(r"^( *)\.\. code-block:: (sh|console)$")
_MARK = re.compile(r"^ *\.\. (run by|not run): *(.*)$")
_COMMENT = re.compile(r"(^|\s)#(\s.*)?$")


@dataclass(frozen=True)
class Block:
    """One block of commands.

    :ivar place: page and line, for messages.
    :ivar commands: each in one line, without comments and prompts.
    :ivar test: the full name of the test that runs them; empty = none.
    :ivar reason: why none does; empty = none is given.
    """

    place: str
    commands: tuple[str, ...]
    test: str
    reason: str


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _mark(lines: Sequence[str], above: int) -> tuple[str, str]:
    """Return the kind and the text of the comment that ends above a line."""
    end = above - 1
    while end >= 0 and not lines[end].strip():
        end -= 1
    start = end
    while start > 0 and lines[start].strip() and not _MARK.match(lines[start]):
        start -= 1
    match = _MARK.match(lines[start]) if end >= 0 else None
    if match is None:
        return "", ""
    text = " ".join([match[2], *(line.strip() for line in lines[start + 1 : end + 1])])
    return match[1], text.strip()


def _content(lines: Sequence[str], start: int, indent: int) -> list[str]:
    """Return the lines of a block that begins below a line with this indentation."""
    content = []
    for line in lines[start:]:
        if line.strip() and _indent(line) <= indent:
            break
        content.append(line.strip())
    return content


def _commands(content: Sequence[str], console: bool) -> Iterator[str]:
    command = ""
    for line in content:
        if console:
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        command += _COMMENT.sub("", line).strip()
        if command.endswith("\\"):
            command = command[:-1].rstrip() + " "
        elif command.endswith("|"):
            command += " "
        elif command:
            yield command
            command = ""


def _blocksOf(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        directive = _SHELL.match(line)
        if directive:
            above = number
        elif line.endswith("::") and not line.lstrip().startswith(".. "):
            above = number
            while above > 0 and lines[above - 1].strip():
                above -= 1
        else:
            continue
        console = directive is not None and directive[2] == "console"
        content = _content(lines, number + 1, _indent(line))
        kind, text = _mark(lines, above)
        yield Block(
            f"{page.relative_to(ROOT)}:{number + 1}",
            tuple(_commands(content, console)),
            text if kind == "run by" else "",
            text if kind == "not run" else "",
        )


@cache
def blocks() -> Sequence[Block]:
    """Return those of all pages that are written by hand."""
    pages = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").glob("*.rst"))]
    return [block for page in pages for block in _blocksOf(page)]


def marks() -> int:
    """Return how many marks there are, wherever they stand."""
    pages = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *(ROOT / "docs").glob("*.rst")]
    return sum(
        bool(_MARK.match(line)) for page in pages for line in page.read_text("utf-8").splitlines()
    )


def commandsOf(test: SynchronousTestCase) -> list[str]:
    """Return the commands of all blocks whose marks name the test that runs, in their order.

    :raises AssertionError: there are none.
    """
    found = [each for block in blocks() if block.test == test.id() for each in block.commands]
    if not found:
        raise AssertionError(f"no page has anything for {test.id()}")
    return found
