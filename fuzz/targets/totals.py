"""The file with the lifetime totals, whoever has written it.

The promises: what is read are counts; a file that has none is moved aside; what is counted is
added, and what another version has put there stays.
"""

from __future__ import annotations

import atexit
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.target import Planted, Target
from nymearemoteproxy.accounting.lifetime import MAX_COUNT, NAMES, TotalsFile

_directory = TemporaryDirectory()
atexit.register(_directory.cleanup)
_PATH = Path(_directory.name, "totals")
_ASIDE = Path(f"{_PATH}.damaged")

_BEFORE = dict.fromkeys(NAMES, 1)
_NOW = dict.fromkeys(NAMES, 3)


def check(data: bytes) -> None:
    _PATH.write_bytes(data)
    _ASIDE.unlink(missing_ok=True)
    file = TotalsFile(str(_PATH))
    kept = file.read()
    if kept is None:
        assert _ASIDE.read_bytes() == data, "it is not moved aside"
        expected: dict[str, object] = dict(_NOW)
    else:
        counts = [kept.get(name, 0) for name in NAMES]
        assert all(type(count) is int and 0 <= count < MAX_COUNT for count in counts), "no counts"
        expected = {**kept, **{name: kept.get(name, 0) + 2 for name in NAMES}}
    file.add(_BEFORE, _NOW, durably=False)
    assert repr(json.loads(_PATH.read_bytes())) == repr(expected), "something is lost"


TARGET = Target(
    check,
    covers=("accounting.lifetime",),
    planted=(
        Planted("accounting/lifetime.py", "if type(count) is not int or not", "if not"),
        Planted(
            "accounting/lifetime.py", "except (ValueError, RecursionError):", "except OSError:"
        ),
    ),
    words=tuple(f'"{name}":1'.encode() for name in NAMES) + (b'{"other":NaN,', b"true", b"1e5"),
)
