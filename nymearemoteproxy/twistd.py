"""What twistd's plugin needs: `Options` and `makeService`."""

from nymearemoteproxy.options import Options
from nymearemoteproxy.service import makeService

__all__ = ["Options", "makeService"]
