# SPDX-License-Identifier: Apache-2.0
"""``sealway config``: what is set, by whom, and what could be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sealway.cli import options
from sealway.cli.config.file import as_defaults, nearest, read_settings
from sealway.cli.config.groups import GROUPS
from sealway.cli.config.schema import json_schema
from sealway.cli.config.settings import PREFIX, Setting, commands_of, plain, settings_of
from sealway.cli.messages import say, show_json, show_table, warn
from sealway.cli.options import AsJson
from sealway.errors import LocalMisuse

config_group = options.group("settings: what is set, by whom, and what could be")

VARIABLE: Final = f"{PREFIX}_CONFIG"
_SOURCES: Final = {"ENVIRONMENT": "environment", "DEFAULT_MAP": "file", "DEFAULT": "default"}


def load(path: Path) -> dict[str, Any]:
    """Return a file's settings as defaults of the whole command line. Raises LocalMisuse."""
    return as_defaults(read_settings(path, settings_of(GROUPS)))


@config_group.command("show")
def show(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]", help="such as hub run, or hub")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is set and where; of one command or group, also what is not.

    The file is the one of "sealway --config FILE config show", or of SEALWAY_CONFIG. No secret is ever a setting.
    """
    wanted = tuple(words or ())
    root: Any = context.find_root()
    effective = [one for one in _effective(root) if _is_of(one.setting, wanted)]
    if not effective:
        raise LocalMisuse(f"there is no command {' '.join(wanted)}", hint=f"one of {', '.join(GROUPS)}")
    _warn_of_unknown_variables()
    shown = effective if wanted else [one for one in effective if one.source != "default"]
    path = root.params.get("config")
    if as_json:
        show_json([one.as_json(path) for one in shown])
        return
    rows = [(f"{one.setting.group} {one.setting.command}", one.setting.key, one.text, one.place(path)) for one in shown]
    show_table(("command", "setting", "value", "from"), rows)


@config_group.command("check")
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="the settings, TOML")]) -> None:
    """Say whether a file is a good one, and if not, what is wrong with it."""
    found = read_settings(file, settings_of(GROUPS))
    for setting, value in found.items():
        if setting.key == "key-file" and not Path(str(value)).is_file():
            warn(f"[{setting.group}] key-file: there is no file {value}", "is it made before the process starts?")
            break
    commands = dict.fromkeys(f"{setting.group} {setting.command}" for setting in found)
    say(f"{file} is good; it sets something for {', '.join(commands) or 'nothing'}")


@config_group.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file."""
    show_json(json_schema(settings_of(GROUPS)))


@dataclass(frozen=True, slots=True)
class _Effective:
    """A setting with the value that a command would run with."""

    setting: Setting
    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value as a file would say it."""
        if self.value is None:
            return "-"
        return str(self.value).lower() if isinstance(self.value, bool) else ascii(self.value).strip("'")

    def place(self, path: Path | None) -> str:
        """Where it comes from."""
        names = {"environment": self.setting.variable, "file": str(path), "default": "default"}
        return names[self.source]

    def as_json(self, path: Path | None) -> dict[str, Any]:
        """The same for machines."""
        command = f"{self.setting.group} {self.setting.command}"
        told = {"command": command, "setting": self.setting.key, "value": self.value, "source": self.source}
        return told | {"variable": self.setting.variable} | ({"file": str(path)} if self.source == "file" else {})


def _effective(root: typer.Context) -> Iterator[_Effective]:
    """Yield all settings as the commands themselves would see them."""
    for name, group in GROUPS.items():
        command: Any = typer.main.get_command(group)
        prefix = f"{PREFIX}_{name}".upper()
        with command.make_context(
            name, [], parent=root, resilient_parsing=True, auto_envvar_prefix=prefix
        ) as group_context:
            for label, one in commands_of(name, group).items():
                with one.make_context(label, [], parent=group_context, resilient_parsing=True) as inner:
                    yield from _of_command(name, label, inner)


def _of_command(group: str, command: str, context: typer.Context) -> Iterator[_Effective]:
    for setting in settings_of({group: GROUPS[group]}):
        if setting.command != command:
            continue
        value, origin = context.params.get(setting.parameter), context.get_parameter_source(setting.parameter)
        source = _SOURCES[origin.name] if origin is not None else "default"
        if source == "environment" and value is None:
            raise LocalMisuse(f"{setting.variable} is not {setting.allowed}", hint=f"{setting.key}: {setting.text}")
        yield _Effective(setting, plain(value), source)


def _is_of(setting: Setting, words: tuple[str, ...]) -> bool:
    return (setting.group, setting.command)[: len(words)] == words


def _warn_of_unknown_variables(environment: Mapping[str, str] = os.environ) -> None:
    known = [setting.variable for setting in settings_of(GROUPS)]
    for name in environment:
        if name.startswith(tuple(f"{PREFIX}_{group.upper()}_" for group in GROUPS)) and name not in known:
            meant = nearest(name, known)
            warn(f"{ascii(name).strip(chr(39))} is no setting", f"did you mean {meant}?" if meant else None)
