"""The tests of ``nymearemoteproxy/watching``."""
