"""The mistakes of the operator: all of them are told, and not only the first.

Owns which errors those are, and which of several are told. Knows nothing of how they are found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from nymearemoteproxy.common.certificates import CertificateError
from nymearemoteproxy.listening.listeners import ListenerError
from nymearemoteproxy.running.settings.errors import MissingError, SettingsError

Mistake = SettingsError | ListenerError | CertificateError

Part = TypeVar("Part")


class SeveralMistakes(Exception):
    """There are several; the text is one line.

    :ivar mistakes: each of them.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(map(str, mistakes)))
        self.mistakes = mistakes


_KINDS = (SettingsError, ListenerError, CertificateError)

MISTAKES = (*_KINDS, SeveralMistakes)
"""Errors that are the operator's; the text is one line."""


def eachOf(error: Exception) -> Sequence[Exception]:
    """Return the mistakes that one of `MISTAKES` stands for."""
    return error.mistakes if isinstance(error, SeveralMistakes) else [error]


class Mistakes:
    """Those that were found so far."""

    def __init__(self) -> None:
        self._found: list[Mistake] = []
        self.add = self._found.append

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Go on behind what is done here, though there is a mistake in it."""
        try:
            yield
        except _KINDS as mistake:
            self.add(mistake)

    def attempt(self, make: Callable[[], Part], otherwise: Part) -> Part:
        """Return what is made.

        :param otherwise: what stands for it when there is a mistake, so that others are found, too.
        """
        with self.collecting():
            return make()
        return otherwise

    def refuse(self) -> None:
        """Do nothing if there are no mistakes.

        :raises SeveralMistakes: there are.
        :raises SettingsError: there is only one, of this kind; likewise with the others.
        """
        told = [each for each in self._found if not isinstance(each, MissingError)] or self._found
        if len(told) > 1:
            raise SeveralMistakes(told)
        for mistake in told:
            raise mistake
