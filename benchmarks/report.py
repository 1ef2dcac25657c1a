"""Tables and plots: ``python -m benchmarks.report results.json`` makes them without a run.

Owns which files there are. Knows nothing of how they look.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.plot import draw
from benchmarks.results import Results, load
from benchmarks.tables import render


def write(results: Results, directory: Path) -> None:
    """Write the tables and the plots."""
    (directory / "results.rst").write_text(render(results))
    draw(results, directory)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.report RESULTS.json")
    path = Path(sys.argv[1])
    try:
        results = load(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        sys.exit(f"{path} cannot be read: {error}")
    write(results, path.parent)
    print(render(results))


if __name__ == "__main__":
    main()
