"""Fuzzers: whatever a stranger sends, the server and its parsers keep their promises."""
