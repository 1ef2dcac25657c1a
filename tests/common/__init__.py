"""The tests of ``nymearemoteproxy/common``."""
