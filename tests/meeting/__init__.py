"""The tests of ``nymearemoteproxy/meeting``."""
