"""The tests of ``nymearemoteproxy/tunnelproxy``."""
