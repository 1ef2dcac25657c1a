"""The limit of open files."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.openfiles import MAX_RAISED_FILES, raiseFileLimit


class FileLimitTests(SynchronousTestCase):
    """Raising the limit of open files."""

    def raised(self, soft: int, hard: int) -> tuple[int, list[tuple[int, int]]]:
        """Return what is returned and what is set, when the limits are these."""
        changes: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda which: (soft, hard))
        self.patch(resource, "setrlimit", lambda which, pair: changes.append(pair))
        return raiseFileLimit(), changes

    def test_raised(self) -> None:
        """To the hard limit."""
        self.assertEqual(self.raised(1024, 4096), (4096, [(4096, 4096)]))

    def test_enough(self) -> None:
        """Nothing to do."""
        self.assertEqual(self.raised(4096, 4096), (4096, []))

    def test_unlimited(self) -> None:
        """A billion files would be of no use."""
        infinity = resource.RLIM_INFINITY
        most = MAX_RAISED_FILES
        self.assertEqual(self.raised(1024, infinity), (most, [(most, infinity)]))
        self.assertEqual(self.raised(1024, 1 << 30), (most, [(most, 1 << 30)]))
        self.assertEqual(self.raised(1 << 30, 1 << 30), (most, []))
        self.assertEqual(self.raised(infinity, infinity), (most, []))

    def test_forbidden(self) -> None:
        """Where the limit cannot be raised, the present one counts."""

        def refuse(which: int, pair: tuple[int, int]) -> None:
            raise ValueError("not allowed to raise maximum limit")

        self.patch(resource, "getrlimit", lambda which: (1024, resource.RLIM_INFINITY))
        self.patch(resource, "setrlimit", refuse)
        self.assertEqual(raiseFileLimit(), 1024)
