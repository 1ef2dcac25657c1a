"""The tests of ``nymearemoteproxy/protocol``."""
