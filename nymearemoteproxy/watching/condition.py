"""Where the server stands as a whole: what health checks and the status page show.

Owns what it is called. Knows nothing of how it gets there. It is apart from the rest so that the
service can name a condition without importing what the admin endpoint needs.
"""

from __future__ import annotations

from enum import Enum


class Condition(Enum):
    """Whether newcomers are served."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
