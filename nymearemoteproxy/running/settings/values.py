"""The values of the settings: from the file, from ``--set`` and from options.

Owns which value counts, where it was set, and what is said of one that cannot be set. Knows nothing
of what a value is for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from nymearemoteproxy.common.files import Read, readFile
from nymearemoteproxy.common.texts import isText
from nymearemoteproxy.running.settings.declarations import label, shown
from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.guesses import unknown
from nymearemoteproxy.running.settings.inifile import readIni
from nymearemoteproxy.running.settings.sections import RETIRED, SECTIONS, SETTINGS, Sections

MAX_SHOWN = 80
"""Characters of a wrong value that are repeated to whoever wrote it."""


def _raise(mistake: SettingsError) -> NoReturn:
    raise mistake


_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings(Sections):
    """The values of all settings, each in its section, such as `limits.maxConnections`.

    :ivar warnings: what the operator should know of the file, one line each.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sources: dict[str, str] = {}
        self._sections: set[str] = set()
        self.warnings: list[str] = []

    def __getitem__(self, name: str) -> Any:
        """Return the value of ``Section.key``, for whoever goes through names."""
        setting = _BY_NAME[name]
        return getattr(getattr(self, SECTIONS[setting.section]), setting.key)

    def _put(self, section: str, key: str, value: object, source: str | None) -> None:
        attribute = SECTIONS[section]
        setattr(self, attribute, replace(getattr(self, attribute), **{key: value}))
        self._sources.pop(f"{section}.{key}", None)
        if source is not None:
            self._sources[f"{section}.{key}"] = source

    def hasSection(self, section: str) -> bool:
        """True when a section was in the file, be it empty, or something in it has been set."""
        return section in self._sections

    def isSet(self, name: str) -> bool:
        """True when ``Section.key`` was set, be it to its default."""
        return name in self._sources

    def source(self, name: str) -> str:
        """Return where ``Section.key`` was set: an option, or section and key."""
        return self._sources[name]

    def doubts(self) -> list[str]:
        """Return what was hardly meant so, one line each: seconds instead of milliseconds."""
        doubts = []
        for setting in SETTINGS:
            range = setting.notation.range
            if range is not None and range.doubtful:
                written = int(setting.notation.write(self[setting.name]))
                if 0 < written < range.doubtful:
                    doubts.append(
                        f"{label(setting.section, setting.key)} is {written} milliseconds; is "
                        f"{written * 1000} meant?"
                    )
        return doubts

    def set(self, name: str, text: str, source: str = "") -> None:
        """Set ``Section.key`` from text.

        :param source: where it was set; by default only section and key are told.
        :raises SettingsError: there is no such setting, or the text is no value for it.
        """
        section, _, key = name.partition(".")
        why = RETIRED.get(section) or RETIRED.get(name)
        if why is not None:
            warning = f"{label(section, '' if section in RETIRED else key)} is ignored: {why}"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return
        setting = _BY_NAME.get(name)
        if setting is None:
            raise SettingsError(unknown(section, key))
        text = text.strip()
        if "\n" in text:
            raise SettingsError(
                f"{label(section, key)} goes on in an indented line; begin every setting at the "
                "beginning of its line"
            )
        if not isText(text) or any(unicodedata.category(each) == "Cc" for each in text):
            raise SettingsError(f"{label(section, key)} has characters that no setting has")
        self._sections.add(section)
        try:
            value = setting.notation.parse(text)
        except ValueError as error:
            shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
            said = "used" if setting.hidden else repr(shown)
            raise SettingsError(f"{label(section, key)} cannot be {said}: {error}") from None
        self._put(section, key, value, source or label(section, key))

    def put(self, name: str, value: object, source: str) -> None:
        """Set ``Section.key`` to a value that was not written as one text, which commas would part.

        :param source: where it was set.
        """
        section, _, key = name.partition(".")
        self._sections.add(section)
        self._put(section, key, value, source)

    def keepAtStart(self, previous: Settings) -> list[str]:
        """Keep what takes effect at the start only as it was.

        :returns: what is different now and was not taken, as it stands in the file.
        """
        different = [
            setting
            for setting in SETTINGS
            if setting.atStart and self[setting.name] != previous[setting.name]
        ]
        for setting in different:
            source = previous._sources.get(setting.name)
            self._put(setting.section, setting.key, previous[setting.name], source)
        self._sections = set(previous._sections)
        return [label(setting.section, setting.key) for setting in different]

    def override(self, assignment: str) -> None:
        """Set one setting from ``SECTION.KEY=VALUE``.

        :raises SettingsError: it is no such assignment, or cannot be set.
        """
        name, equals, value = assignment.partition("=")
        if not equals or "." not in name:
            raise SettingsError(
                f"--set {shown(assignment)}: write SECTION.KEY=VALUE, such as "
                "ProxyServer.aloneTimeout=8000"
            )
        self.set(name.strip(), value)

    def load(
        self,
        path: str,
        read: Read = readFile,
        mistaken: Callable[[SettingsError], object] = _raise,
    ) -> None:
        """Set what the INI file says.

        :param mistaken: is told of what cannot be set; all the rest is set then.
        :raises FileError: it cannot be read.
        :raises SettingsError: it is no INI file, or it says something that cannot be set.
        """
        for section, values in readIni(path, read, mistaken):
            if section not in SECTIONS and section not in RETIRED:
                mistaken(SettingsError(f"{path}: {unknown(section, '')}"))
                continue
            self._sections.add(section)
            for key, value in values.items():
                try:
                    self.set(f"{section}.{key}", value, f"{path}: {label(section, key)}")
                except SettingsError as error:
                    mistaken(SettingsError(f"{path}: {error}"))
