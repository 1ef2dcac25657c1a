"""What became of the last reload.

Owns what is kept of it, and how it is put in words. Knows nothing of how one is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from nymearemoteproxy.common.words import counted


@dataclass(frozen=True)
class LastReload:
    """A reload that is over.

    :ivar when: a moment, see `common.clocks`.
    :ivar mistakes: how many there were; whatever they are about stayed as it was. The log names
        them, which may be for fewer people than those who see this.
    """

    when: float
    mistakes: int

    @property
    def summary(self) -> str:
        """What to say of it in a line about the whole server; nothing if all was well."""
        if not self.mistakes:
            return ""
        return f"the last reload found {counted(self.mistakes, 'mistake')}, see the log"
