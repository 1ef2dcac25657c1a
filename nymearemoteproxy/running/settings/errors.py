"""What is raised when something that the operator wrote cannot be used.

Owns these errors. Knows nothing of when they are raised.
"""

from __future__ import annotations


class SettingsError(Exception):
    """A setting cannot be used; the text is one line for the operator."""


class FileError(SettingsError):
    """A file that a setting or an option names cannot be used, whatever they say."""
