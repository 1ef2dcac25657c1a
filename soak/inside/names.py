"""What the soak and the processes of the server agree on."""

from __future__ import annotations

import signal

DIRECTORY = "SOAK_DIRECTORY"
"""The variable of the environment that says where to write."""
PLANTED = "SOAK_PLANTED"
"""The one that names a fault to be found."""
CENSUS = signal.SIGRTMIN
"""Has a process count its objects. Nobody else uses it."""
PACKAGE = "nymearemoteproxy."
