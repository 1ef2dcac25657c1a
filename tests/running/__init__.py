"""The tests of ``nymearemoteproxy/running``."""
