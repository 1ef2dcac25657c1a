"""A file with options, one ``NAME = VALUE`` per line.

Owns its syntax, which is that of the server's file but for the sections, and what is said of a
mistake. Knows nothing of what the options mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from nymearemoteproxy.client.rules.errors import oneLine

_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def parseOptions(
    content: bytes, names: Collection[str], flags: Collection[str]
) -> dict[str, str | bool]:
    """Return the options that a file sets.

    No text repeats a value: it may be a secret, and so may any line of a file that was named by
    mistake.

    :param names: of the options that take a value, without dashes.
    :param flags: the names of those that are true or false.
    :raises ValueError: there is a mistake; the text is one line that says where.
    """
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    options: dict[str, str | bool] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith(("#", ";")):
            continue
        try:
            name, value = _option(line, names, flags)
            if name in options:
                raise ValueError(f"{name} stands there a second time")
        except ValueError as problem:
            raise ValueError(f"line {number}: {problem}") from None
        options[name] = value
    return options


def _option(line: str, names: Collection[str], flags: Collection[str]) -> tuple[str, str | bool]:
    name, sign, value = (part.strip() for part in line.partition("="))
    if name.startswith("["):
        raise ValueError("there are no sections in this file, only lines NAME = VALUE")
    if not sign or not name:
        raise ValueError("it is no NAME = VALUE and no comment")
    if name not in names and name not in flags:
        raise ValueError(_unknown(name, [*names, *flags]))
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if not value:
        raise ValueError(f"{name} has no value")
    if name not in flags:
        return name, value
    if value.lower() not in _FLAGS:
        raise ValueError(f"{name} is true or false")
    return name, _FLAGS[value.lower()]


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.lower().lstrip("-"), known, 1)
    if near:
        return f"there is no option {oneLine(ascii(name))}; the nearest one is {near[0]}"
    # What is far from all of them may be part of a secret.
    return f"there is no such option; there are {', '.join(sorted(known))}"
