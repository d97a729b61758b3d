# SPDX-License-Identifier: Apache-2.0
"""One TOML file of settings, checked as a whole before anything of it is used.

A table is named as a group of commands. What stands in it is for every command of the group that has such an option; a
table within it is named as one command, and wins.

Invariant: nothing that is not a setting is passed over, and no value of it is shown: it could be a secret that somebody
put into the wrong place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from sealway.cli.config.settings import STANDARD_STREAM, Setting, Value
from sealway.errors import LocalMisuse
from sealway.storage.files import read_file

MOST_BYTES: Final = 1 << 18
_SECRETS: Final = re.compile(r"pass|secret|token|priv|pem|pin\b|credential|assertion|(^|[-_.])keys?$", re.IGNORECASE)


def read_settings(path: Path, settings: tuple[Setting, ...]) -> dict[Setting, Value]:
    """Return what a file sets; relative paths are taken from the directory that the file is in.

    Raises:
        LocalMisuse: it cannot be read, is not TOML, or says anything that is not a setting within its bounds.
    """
    found = check_tables(path, _tables(path), settings)
    return {setting: _from_here(path.parent, setting, value) for setting, value in found.items()}


def check_tables(path: Path, tables: Mapping[str, Any], settings: tuple[Setting, ...]) -> dict[Setting, Value]:
    """Return what the tables of a file set. Raises LocalMisuse, which names the file, if they are not all settings."""
    return _Tables(path, settings).all(tables)


def as_defaults(found: Mapping[Setting, Value]) -> dict[str, dict[str, dict[str, Value]]]:
    """Return settings as Typer takes them: by group, command and parameter."""
    defaults: dict[str, dict[str, dict[str, Value]]] = {}
    for setting, value in found.items():
        defaults.setdefault(setting.group, {}).setdefault(setting.command, {})[setting.parameter] = value
    return defaults


def nearest(name: str, names: Iterator[str] | list[str]) -> str | None:
    """Return the name that was meant, perhaps."""
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.6)), None)


def _tables(path: Path) -> dict[str, Any]:
    content = read_file(path, "the settings", limit=MOST_BYTES)
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LocalMisuse(f"{path} is not UTF-8, at byte {error.start}", hint="TOML is written in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at [^()]*\)$", str(error))  # what stands there is not shown
        raise LocalMisuse(f"{path} is not TOML{f' {where[0]}' if where else ''}", hint="https://toml.io") from None
    except RecursionError:
        raise LocalMisuse(f"{path} is nested too deeply") from None


class _Tables:
    """The tables of one file, looked at against the settings there are."""

    def __init__(self, path: Path, settings: tuple[Setting, ...]) -> None:
        self._path = path
        self._groups: dict[str, dict[str, dict[str, Setting]]] = {}
        for setting in settings:
            commands = self._groups.setdefault(setting.group, {})
            commands.setdefault(setting.command, {})[setting.key] = setting

    def all(self, tables: Mapping[str, Any]) -> dict[Setting, Value]:
        """Return every setting with its value. Raises LocalMisuse."""
        found: dict[Setting, Value] = {}
        for group, table in tables.items():
            if group not in self._groups:
                raise self._unknown("the file", "table", group, list(self._groups))
            found |= self._of_group(group, self._table(group, table))
        return found

    def _of_group(self, group: str, table: Mapping[str, Any]) -> dict[Setting, Value]:
        commands = self._groups[group]
        found: dict[Setting, Value] = {}
        narrower: dict[Setting, Value] = {}
        for key, value in table.items():
            if key in commands:
                narrower |= self._of_command(group, key, self._table(f"{group}.{key}", value))
                continue
            meant = [options[key] for options in commands.values() if key in options]
            if not meant:
                raise self._unknown(f"[{group}]", "key", key, [*commands, *(k for c in commands.values() for k in c)])
            found |= {setting: self._checked(f"[{group}]", setting, value) for setting in meant}
        return found | narrower

    def _of_command(self, group: str, command: str, table: Mapping[str, Any]) -> dict[Setting, Value]:
        options, where = self._groups[group][command], f"[{group}.{command}]"
        for key in table:
            if key not in options:
                raise self._unknown(where, "key", key, list(options))
        return {options[key]: self._checked(where, options[key], value) for key, value in table.items()}

    def _table(self, name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise LocalMisuse(f"{self._path}: {name} is a table", hint=f"begin it with a line [{name}]")
        return value

    def _checked(self, where: str, setting: Setting, value: Any) -> Value:
        if not setting.admits(value):
            shown = f" {value}" if type(value) in (int, float) and setting.kind in (int, float) else ""
            message = f"{self._path}: {where} {setting.key}:{shown} is not {setting.allowed}"
            raise LocalMisuse(message.replace(": is", " is"), hint=f"{setting.key}: {setting.text}")
        checked: Value = value
        return checked

    def _unknown(self, where: str, what: str, name: str, names: list[str]) -> LocalMisuse:
        if _SECRETS.search(name) and not get_close_matches(name, names, cutoff=0.85):
            return LocalMisuse(
                f"{self._path}: {where} {_quoted(name)}: a secret does not belong into a file of settings",
                hint='put it into a file of mode 0600, and set key-file = "PATH of that file"',
            )
        meant = nearest(name, names)
        known = f"did you mean {meant}?" if meant is not None else f"there are {', '.join(dict.fromkeys(names))}"
        return LocalMisuse(f"{self._path}: {where} has no {what} {_quoted(name)}", hint=known)


def _quoted(name: str) -> str:
    """A key as it may be shown: short, and without control characters."""
    return ascii(name if len(name) <= 40 else f"{name[:40]}...")


def _from_here(directory: Path, setting: Setting, value: Value) -> Value:
    if setting.kind is not Path:
        return value
    if isinstance(value, list):
        return [_placed(directory, str(part)) for part in value]
    return _placed(directory, str(value))


def _placed(directory: Path, text: str) -> str:
    return text if text == STANDARD_STREAM else str(directory / text)
