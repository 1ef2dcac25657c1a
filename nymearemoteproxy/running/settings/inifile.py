"""The configuration file's syntax: INI, as the C++ server's files have it.

Owns what is said of a file that is broken. Knows nothing of which settings there are.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator

from nymearemoteproxy.common.files import Read
from nymearemoteproxy.running.settings.declarations import label
from nymearemoteproxy.running.settings.errors import FileError, SettingsError


def readIni(path: str, read: Read) -> Iterator[tuple[str, dict[str, str]]]:
    """Return each section with its keys and values.

    The parser's own section for defaults is one like the others, if there is anything in it.

    :raises FileError: the file cannot be read.
    :raises SettingsError: it is no INI file.
    """
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(read(path).decode("utf-8-sig"))
    except OSError as error:
        raise FileError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"the configuration file {path} is not UTF-8") from None
    except configparser.Error as error:
        raise SettingsError(
            f"the configuration file {path} is broken: {_whyBroken(error)}"
        ) from None
    if parser.defaults():
        yield parser.default_section, dict(parser.defaults())
    for section in parser.sections():
        yield section, {key: _unquoted(value) for key, value in parser.items(section)}


def _unquoted(value: str) -> str:
    """Return a value as Qt reads it, which writes quotes around a comma or a semicolon."""
    isQuoted = len(value) > 1 and value[0] == value[-1] == '"'
    return value[1:-1] if isQuoted else value


def _whyBroken(error: configparser.Error) -> str:
    """Say what is wrong with an INI file, but not what stands there.

    By mistake it may be a file of tokens.
    """
    match error:
        case configparser.MissingSectionHeaderError():
            return f"there is no section header, such as [ProxyServer], before line {error.lineno}"
        case configparser.DuplicateSectionError():
            return f"section [{error.section}] in line {error.lineno} already exists"
        case configparser.DuplicateOptionError():
            return f"{label(error.section, error.option)} in line {error.lineno} already exists"
    assert isinstance(error, configparser.ParsingError), error
    return f"line {error.errors[0][0]} is no section header, no KEY = VALUE and no comment"
