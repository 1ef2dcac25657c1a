"""The tests of what is in no package: documentation, man pages, names."""
