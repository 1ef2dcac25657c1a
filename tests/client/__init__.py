"""The tests of ``nymearemoteproxy/client``."""
