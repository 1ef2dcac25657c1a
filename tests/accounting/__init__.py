"""The tests of ``nymearemoteproxy/accounting``."""
