"""The tests of ``nymearemoteproxy/listening``."""
