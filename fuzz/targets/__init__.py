"""Targets, one for each kind of input. Owns what is promised of it; knows no fuzzer."""
