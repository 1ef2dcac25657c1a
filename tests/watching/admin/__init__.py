"""The tests of ``nymearemoteproxy/watching/admin``."""
