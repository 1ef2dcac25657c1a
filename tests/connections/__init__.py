"""The tests of ``nymearemoteproxy/connections``."""
