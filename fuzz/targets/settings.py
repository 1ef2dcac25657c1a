"""The server's configuration: the file, single values, and assignments from the command line.

The promises: whatever is no setting is a `SettingsError` in one line, and everything else is set
all the same; what was set is written and read again as the same.
"""

from __future__ import annotations

from fuzz.target import Planted, Target, isLine, taken
from nymearemoteproxy.running.settings.errors import SettingsError
from nymearemoteproxy.running.settings.sections import SETTINGS
from nymearemoteproxy.running.settings.values import Settings


def check(data: bytes) -> None:
    how, data = taken(data)
    _load(data)
    setting = SETTINGS[how % len(SETTINGS)]
    text = data.decode("utf-8", "surrogateescape")
    settings = Settings()
    try:
        settings.override(f"{setting.name}={text}")
    except SettingsError as mistake:
        assert isLine(str(mistake)), "no text to be shown"
        assert not setting.hidden or len(text) < 12 or text not in str(mistake), "it is shown"
        return
    written = setting.notation.write(settings[setting.name])
    written.encode()
    again = Settings()
    again.set(setting.name, written)
    assert again[setting.name] == settings[setting.name], "what is written is not read"
    assert all(map(isLine, settings.doubts())), "no text to be shown"


def _load(content: bytes) -> None:
    mistakes: list[SettingsError] = []
    settings = Settings()
    try:
        settings.load("file", lambda _path: content, mistakes.append)
    except SettingsError as mistake:
        mistakes.append(mistake)
    assert all(isLine(str(each)) for each in mistakes), "no text to be shown"
    there = [setting for setting in SETTINGS if settings.isSet(setting.name)]
    lines: list[str] = []
    for setting in there:
        if (head := f"[{setting.section}]") not in lines:
            lines.append(head)
        lines.append(f'{setting.key} = "{setting.notation.write(settings[setting.name])}"')
    again = Settings()
    again.load("file", lambda _path: "\n".join(lines).encode())
    for setting in there:
        assert again[setting.name] == settings[setting.name], "it is not read as written"


TARGET = Target(
    check,
    covers=(
        "running.settings.declarations",
        "running.settings.guesses",
        "running.settings.inifile",
        "running.settings.notations",
        "running.settings.sections",
        "running.settings.values",
    ),
    planted=(
        Planted("running/settings/notations.py", "round(seconds * ", "round(1 + seconds * "),
        Planted("running/settings/values.py", "if not isText(text) or any(", "if any("),
        Planted("running/settings/notations.py", 'lambda value: f"{value:04o}"', "str"),
        Planted(
            "running/settings/inifile.py",
            "except UnicodeDecodeError:",
            "except LookupError:",
        ),
    ),
    words=(
        b"[ProxyServer]\n",
        b"[Limits]\n",
        b"[SSL]\n",
        b"[DEFAULT]\n",
        b"maxConnections = 5\n",
        b"name = x\n",
        b"10.0.0.0/8, ::1",
        b"0660",
        b"http://127.0.0.1:80/x",
        b"logLevel",
        b"\n  ",
    ),
)
