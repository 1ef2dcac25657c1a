"""One fuzzer: ``python -m fuzz.engine TARGET [libFuzzer's options and directories]``.

Owns what atheris is told of a target. It is a process of its own, for it ends with what it finds,
and what it watches is instrumented while it is imported.
"""

from __future__ import annotations

import sys

import atheris

from fuzz.catalogue import load


def main() -> None:
    """Run it; this does not return."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["nymearemoteproxy"]):
        target = load(name)
    # With -merge libFuzzer starts itself again, by the shell.
    program = f"{sys.executable} -m fuzz.engine {name}"
    atheris.Setup([program, *arguments], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
