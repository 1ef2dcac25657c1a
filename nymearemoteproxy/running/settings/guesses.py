"""What is said of names that there are not: which one may have been meant.

Owns these texts. Knows nothing of values.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nymearemoteproxy.running.settings.declarations import label
from nymearemoteproxy.running.settings.sections import SECTIONS, SETTINGS


def unknown(section: str, key: str) -> str:
    """Say that there is no such section or key, and which one may have been meant."""
    if section not in SECTIONS:
        return f"there is no section {label(section, '')}" + _nearest(
            section, SECTIONS, "; the nearest known one is [{}]", "; there are {}"
        )
    name = label(section, key)
    for other in SETTINGS:
        if other.key == key:
            return f"there is no setting {name}; {key} is in [{other.section}]"
    keys = [setting.key for setting in SETTINGS if setting.section == section]
    return f"there is no setting {name}" + _nearest(
        key, keys, "; the nearest known one is {}", f"; [{section}] has {{}}"
    )


def _nearest(name: str, known: Iterable[str], near: str, far: str) -> str:
    """Name the known name that is near, else all of them; case makes no difference."""
    byFolded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), byFolded, 1)
    return near.format(byFolded[found[0]]) if found else far.format(", ".join(known))
