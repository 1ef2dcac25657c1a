"""Tests with the real processes, from outside."""
