"""The configuration file's syntax: INI, as the C++ server's files have it.

Owns what is said of a file that is broken. Knows nothing of which settings there are.
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Iterator

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.running.settings.declarations import label
from nymearemoteproxy.running.settings.errors import FileError, SettingsError

MOST_DUPLICATES = 20
"""Settings that are told to be there twice: for each the file is read once more."""


def readIni(
    path: str, read: Read, mistaken: Callable[[SettingsError], object]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Return each section with its keys and values.

    The parser's own section for defaults is one like the others, if there is anything in it.

    :param mistaken: is told of settings that are there twice; the first one of each is returned.
    :raises FileError: the file cannot be read.
    :raises SettingsError: it is no INI file.
    """
    try:
        text = read(path).decode("utf-8-sig")
    except OSError as error:
        raise FileError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"the configuration file {path} is not UTF-8") from None
    parser = _parse(path, text, mistaken)
    if parser.defaults():
        yield parser.default_section, dict(parser.defaults())
    for section in parser.sections():
        yield section, {key: _unquoted(value) for key, value in parser.items(section)}


def _parse(
    path: str, text: str, mistaken: Callable[[SettingsError], object]
) -> configparser.ConfigParser:
    lines = text.split("\n")
    duplicates = 0
    while True:
        parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        try:
            parser.read_string("\n".join(lines))
            return parser
        except configparser.DuplicateOptionError as error:
            duplicates += 1
            if duplicates > MOST_DUPLICATES:
                raise _broken(path, error) from None
            assert error.lineno is not None
            lines[error.lineno - 1] = ""
            mistaken(_broken(path, error))
        except configparser.Error as error:
            raise _broken(path, error) from None


def _unquoted(value: str) -> str:
    """Return a value as Qt reads it, which writes quotes around a comma or a semicolon."""
    isQuoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if isQuoted else value


def _broken(path: str, error: configparser.Error) -> SettingsError:
    return SettingsError(f"the configuration file {path} is broken: {_whyBroken(error)}")


def _whyBroken(error: configparser.Error) -> str:
    """Say what is wrong with an INI file, but not what stands there.

    By mistake it may be a file of tokens.
    """
    match error:
        case configparser.MissingSectionHeaderError():
            return f"there is no section header, such as [ProxyServer], before line {error.lineno}"
        case configparser.DuplicateSectionError():
            return f"section {label(error.section, '')} in line {error.lineno} already exists"
        case configparser.DuplicateOptionError():
            return f"{label(error.section, error.option)} in line {error.lineno} already exists"
    assert isinstance(error, configparser.ParsingError), error
    first, *others = [number for number, _line in error.errors]
    more = f"; so are {len(others)} more, the next one is line {others[0]}" if others else ""
    return f"line {first} is no section header, no KEY = VALUE and no comment{more}"
