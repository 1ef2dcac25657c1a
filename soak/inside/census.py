"""Counts the objects of a process when it is asked by a signal.

Owns which are counted. Knows nothing of who asks.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from collections import Counter
from pathlib import Path

from soak.inside.names import CENSUS, DIRECTORY, PACKAGE


def install() -> None:
    """Count when the signal comes."""
    signal.signal(CENSUS, _count)


def _count(_number: int, _frame: object) -> None:
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    counts = Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in kinds
        if str(kind.__module__).startswith(PACKAGE)
    )
    path = Path(os.environ[DIRECTORY], f"census-{os.getpid()}")
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(counts))
    whole.rename(path)
