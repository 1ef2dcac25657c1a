"""Sphinx's configuration: ``sphinx-build -W -b html docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nymearemoteproxy import __version__

project = "nymea-remoteproxy"
author = "the authors of nymea-remoteproxy"
copyright = author
release = version = __version__

extensions = ["sphinx.ext.graphviz"]
graphviz_output_format = "svg"
exclude_patterns = ["_build", "generated", "man"]
highlight_language = "none"

html_theme = "alabaster"
html_theme_options = {
    "description": "A rendezvous proxy that joins two clients behind NAT",
    "fixed_sidebar": True,
    "page_width": "1100px",
}
html_show_copyright = False


def setup(app: Any) -> None:
    """Add the roles and directives of the generated references."""
    app.add_object_type("setting", "setting", "pair: %s; setting")
    app.add_object_type("outcome", "outcome", "pair: %s; outcome")
