"""Fuzzers for everything that a stranger, a file or an operator gives: ``python -m fuzz --help``.

Each module of `targets` has a check, which takes any bytes and raises if a promise is broken:
not only that nothing fails, but that it does not matter how a stream is cut, that what is written
can be read again, that bounds hold, and that another implementation understands the same. atheris
(libFuzzer) makes the bytes, guided by which lines they reach. What reached something new before is
in ``corpora``, so that a few seconds are enough to get everywhere. `network` does the same to a
server that runs: ``python -m fuzz.network --help``.
"""
