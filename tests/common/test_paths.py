"""Where files of the server are when nobody says where."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.paths import stateDirectory


class StateDirectoryTests(SynchronousTestCase):
    """Where files of our own are kept."""

    def directory(self, **environment: str) -> str:
        """Return it, with only these variables."""
        self.patch(os, "environ", environment)
        return str(stateDirectory())

    def test_systemd(self) -> None:
        """systemd says where; of several the first."""
        self.assertEqual(self.directory(STATE_DIRECTORY="/var/lib/x"), "/var/lib/x")
        several = "/var/lib/x:/var/lib/y"
        self.assertEqual(self.directory(STATE_DIRECTORY=several, XDG_STATE_HOME="/z"), "/var/lib/x")

    def test_xdg(self) -> None:
        """Else XDG's variable, else its default in the home directory."""
        self.assertEqual(self.directory(XDG_STATE_HOME="/x"), "/x/nymea-remoteproxy")
        for empty in ({}, {"XDG_STATE_HOME": "", "STATE_DIRECTORY": ""}):
            self.assertEqual(
                self.directory(HOME="/home/me", **empty),
                "/home/me/.local/state/nymea-remoteproxy",
            )
