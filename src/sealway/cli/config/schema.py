# SPDX-License-Identifier: Apache-2.0
"""The settings as a JSON Schema, for editors and for who writes files by program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sealway.cli.config.settings import MOST_INTEGER, Setting

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Final[Mapping[type, str]] = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}
_NO_NUL: Final = "^[^\\u0000]*$"


def json_schema(settings: tuple[Setting, ...]) -> dict[str, Any]:
    """Return the schema of a file of settings."""
    groups: dict[str, dict[str, list[Setting]]] = {}
    for setting in settings:
        groups.setdefault(setting.group, {}).setdefault(setting.command, []).append(setting)
    return {
        "$schema": _DIALECT,
        "title": "Sealway settings",
        "description": "A table for each group of commands; a table within it for one command, which wins.",
        **_table({name: _group(commands) for name, commands in groups.items()}),
    }


def _group(commands: Mapping[str, list[Setting]]) -> dict[str, Any]:
    shared: dict[str, list[Setting]] = {}
    for settings in commands.values():
        for setting in settings:
            shared.setdefault(setting.key, []).append(setting)
    for_all = {key: _of_all(settings) for key, settings in shared.items()}
    alone = {name: _table({one.key: _described(one) for one in settings}) for name, settings in commands.items()}
    return _table(for_all | alone)


def _table(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _of_all(settings: list[Setting]) -> dict[str, Any]:
    """One key for several commands: it has to suit each of them."""
    bounds = [_bounds(setting) for setting in settings]
    different = [bound for number, bound in enumerate(bounds) if bound not in bounds[:number]]
    text = {"description": settings[0].text}
    return different[0] | text if len(different) == 1 else {"allOf": different} | text


def _described(setting: Setting) -> dict[str, Any]:
    default = {} if setting.default is None else {"default": setting.default}
    return _bounds(setting) | {"description": f"{setting.text} ({setting.variable})"} | default


def _bounds(setting: Setting) -> dict[str, Any]:
    one: dict[str, Any] = {"type": _TYPES[setting.kind]}
    if setting.choices:
        one["enum"] = list(setting.choices)
    elif setting.kind in (str, Path):
        one |= {"pattern": _NO_NUL} | ({"minLength": 1} if setting.kind is Path else {})
    elif setting.kind is not bool:
        one["minimum"] = -MOST_INTEGER if setting.least is None else setting.least
        one["maximum"] = MOST_INTEGER if setting.most is None else setting.most
    return {"type": "array", "items": one} if setting.many else one
