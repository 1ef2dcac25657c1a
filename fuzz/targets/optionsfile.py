"""A file with options of the client.

The promises: what it sets are options that there are; a mistake is a `ValueError` in one line,
which says where and repeats no value.
"""

from __future__ import annotations

import re

from fuzz.target import Planted, Target, isLine
from nymearemoteproxy.client.rules.optionsfile import parseOptions

NAMES = ("url", "token", "service")
FLAGS = ("retry",)

_VALUE = re.compile(rb"=[ \t]*([!-~]{12,})")
"""A value that is long enough to be told from the words of a mistake."""


def check(data: bytes) -> None:
    try:
        options = parseOptions(data, NAMES, FLAGS)
    except ValueError as mistake:
        said = str(mistake)
        assert isLine(said), "no text to be shown"
        for value in _VALUE.findall(data):
            assert data.count(value) > 1 or value.decode() not in said, "a value is repeated"
        return
    for name, value in options.items():
        assert type(value) is bool if name in FLAGS else name in NAMES and value, "no option"
    lines = [f"{name} = {_written(value)}" for name, value in options.items()]
    assert parseOptions("\n".join(lines).encode(), NAMES, FLAGS) == options


def _written(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


TARGET = Target(
    check,
    covers=("client.rules.optionsfile",),
    planted=(
        Planted(
            "client/rules/optionsfile.py",
            'raise ValueError(f"{name} is true or false")',
            'raise ValueError(f"{name} is not {value!r}")',
        ),
        Planted("client/rules/optionsfile.py", "oneLine(ascii(name))", "name"),
        Planted("client/rules/optionsfile.py", "if len(value) > 1 and value[0]", "if value[0]"),
    ),
    words=(b"url = wss://h\n", b"token=", b'"x"', b"retry = yes", b"[Section]", b"\xef\xbb\xbf"),
)
