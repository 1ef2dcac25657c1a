"""The tests of ``nymearemoteproxy/wires``."""
