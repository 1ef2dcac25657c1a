"""Owns the checks of the contexts that a server has, and for whom each of them is."""

from __future__ import annotations

import ssl
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common import openssl
from nymearemoteproxy.common.openssl import P256, X25519, ServerContexts, serverContexts

DEBIANS = (3, 11, 2)
"""Debian 12's Python, whose `ssl` knows no X25519."""


class Context:
    """A context of which only the groups can be set.

    :ivar groups: those that were set.
    """

    def __init__(self) -> None:
        self.groups = ""

    def set_ecdh_curve(self, name: str) -> None:
        """Take this group only."""
        self.groups = name


class NewerContext(Context):
    """One of Python 3.15."""

    def set_groups(self, names: str) -> None:
        """Take these groups only."""
        self.groups = names


class ServerContextsTests(SynchronousTestCase):
    """Which there are, and which is chosen."""

    def made(self, kind: Any, isUsable: bool = True) -> ServerContexts:
        self.patch(openssl, "_isUsable", lambda name: isUsable)
        return serverContexts(kind)

    def groups(self, contexts: ServerContexts) -> list[str]:
        """Return what each takes."""
        return [each.groups for each in contexts]  # type: ignore[attr-defined]

    def test_two(self) -> None:
        """Where a context takes one group, there is one for each."""
        contexts = self.made(Context)
        self.assertEqual(sorted(self.groups(contexts)), ["X25519", "prime256v1"])
        x25519, p256 = contexts.byGroup[X25519], contexts.byGroup[P256]
        self.assertIs(contexts.default, p256)
        for offers, chosen in (
            (([X25519], [X25519, P256]), x25519),
            (([P256, X25519], []), x25519),
            (([4588], [4588, P256, X25519]), x25519),
            (([P256], [X25519, P256]), p256),
            (([], [P256, 24]), p256),
            (([], [X25519]), x25519),
            (([24], [24, 25]), p256),
            (([], []), p256),
        ):
            self.assertIs(contexts.choose(*offers), chosen, offers)

    def test_one(self) -> None:
        """Where a context takes several, one is for everybody."""
        contexts = self.made(NewerContext)
        self.assertEqual(self.groups(contexts), ["X25519:prime256v1"])
        self.assertEqual(contexts.byGroup, {})
        self.assertIs(contexts.choose([X25519], [X25519]), contexts.default)

    def test_refused(self) -> None:
        """An OpenSSL that has no X25519, or may not use it, has P-256 for all."""
        for kind in (Context, NewerContext):
            contexts = self.made(kind, isUsable=False)
            self.assertEqual(self.groups(contexts), ["prime256v1"])
            self.assertIs(contexts.choose([X25519], [X25519]), contexts.default)

    def test_real(self) -> None:
        """This Python's own."""
        contexts = serverContexts(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        isOne = hasattr(ssl.SSLContext, "set_groups") or sys.version_info[:3] == DEBIANS
        self.assertEqual(len(list(contexts)), 1 if isOne else 2)

    def test_forbidden(self) -> None:
        """OpenSSL knows the name of a group, and that is all: no client is told to use it."""
        self.patch(openssl, "X25519_NAME", "sect163k1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts = serverContexts(lambda: context)
        self.assertEqual(list(contexts), [context])
