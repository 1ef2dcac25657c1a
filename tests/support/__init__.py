"""Clients, servers, fakes and processes that several tests use; no tests."""
