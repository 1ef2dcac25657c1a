"""The tests of ``nymearemoteproxy/authentication``."""
