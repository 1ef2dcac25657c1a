"""The tests of nymearemoteproxy.workers."""
