"""Files of text: lists with one entry per line, such as tokens, and files with one secret.

Owns what a line, an entry and a secret are, for the server and for its client. Knows nothing of
what they mean, or of where the bytes come from.
"""

from __future__ import annotations

import re

_PEM_BEGIN = re.compile(r"-----BEGIN [^-]+-----")
_SECTION = re.compile(r"\[[A-Za-z ]+\]")


def _lines(content: bytes) -> list[str]:
    """Return the lines without the blanks around them.

    A line ends at a line feed, which a carriage return may precede, and nowhere else: all other
    characters, those that Unicode has for line ends too, may be part of a token.

    :raises UnicodeDecodeError: it is not UTF-8.
    """
    lines = content.decode("utf-8-sig").split("\n")  # some editors put a mark at the beginning
    return [line.removesuffix("\r").strip(" \t") for line in lines]


def parseEntries(content: bytes) -> list[tuple[int, str]]:
    """Return the entries, each with the number of its line.

    Empty lines and lines that begin with # are no entries. A certificate or a configuration that is
    given by mistake is no list: its lines would be taken for tokens, and are no secret.

    :raises ValueError: it is not UTF-8, or such a file; the text is one line.
    """
    entries = [
        (number, line)
        for number, line in enumerate(_lines(content), 1)
        if line and not line.startswith("#")
    ]
    if any(_PEM_BEGIN.fullmatch(entry) for _number, entry in entries):
        raise ValueError("it is a certificate or a key and no list")
    # There a line that begins with ; is a comment, too.
    first = next((entry for _number, entry in entries if not entry.startswith(";")), "")
    if _SECTION.fullmatch(first):
        raise ValueError("it is an INI file and no list")
    return entries


def parseList(content: bytes) -> list[str]:
    """Return the entries.

    :raises ValueError: it is not UTF-8, or such a file as `parseEntries` refuses.
    """
    return [entry for _number, entry in parseEntries(content)]


def firstToken(content: bytes) -> str:
    """Return the first line that is neither empty nor a comment.

    :raises ValueError: it is not UTF-8, or there is none.
    """
    entries = parseList(content)
    if not entries:
        raise ValueError("there is no token in it")
    return entries[0]


def parseSecret(content: bytes) -> str:
    """Return the first line that is not empty; it may begin with any character.

    :raises ValueError: it is not UTF-8, or all lines are empty.
    """
    for line in _lines(content):
        if line:
            return line
    raise ValueError("it is empty")


def parseUsers(content: bytes) -> dict[str, str]:
    """Return the passwords by user, from lines ``user:password``.

    :raises ValueError: it is not UTF-8, no list, names nobody, names somebody twice, or has a line
        of another kind; the text is one line that does not repeat it.
    """
    users: dict[str, str] = {}
    for number, entry in parseEntries(content):
        user, colon, password = entry.partition(":")
        if not (user and colon and password):
            raise ValueError(f"line {number} is not user:password")
        if user in users:
            raise ValueError(f"line {number} gives somebody a second password")
        users[user] = password
    if not users:
        raise ValueError("it names nobody; write one user:password per line")
    return users
