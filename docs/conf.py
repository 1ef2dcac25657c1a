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
graphviz_dot_args = ["-Gbgcolor=transparent"]
exclude_patterns = ["_build", "generated", "man"]
# A literal block is what is typed into a shell, unless it says what else it is.
highlight_language = "sh"

html_theme = "furo"
html_title = f"nymea-remoteproxy {release}"
html_static_path = ["static"]
html_css_files = ["pages.css"]
# The pages are made of more than their own source: of options, settings and outcomes.
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
html_show_copyright = False


def setup(app: Any) -> None:
    """Add the roles and directives of the generated references."""
    app.add_object_type("setting", "setting", "pair: %s; setting")
    app.add_object_type("outcome", "outcome", "pair: %s; outcome")
