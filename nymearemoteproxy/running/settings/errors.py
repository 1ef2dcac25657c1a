"""What is raised when something that the operator wrote cannot be used.

Owns these errors. Knows nothing of when they are raised.
"""

from __future__ import annotations


class SettingsError(Exception):
    """A setting cannot be used; the text is one line for the operator."""


class MissingError(SettingsError):
    """Something is not given that is needed, or is given and needed by nothing.

    Besides another mistake this is perhaps only what becomes of that one: a name that was mistyped.
    """


class FileError(SettingsError):
    """A file that a setting or an option names cannot be used, whatever they say."""
