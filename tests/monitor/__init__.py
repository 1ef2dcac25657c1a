"""The tests of ``nymearemoteproxy/monitor``."""
