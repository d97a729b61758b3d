# SPDX-License-Identifier: Apache-2.0
"""What can be set, and within which bounds: read off the options of the commands, so that there is one schema.

Invariant: no setting is a secret. A passphrase is in a file of its own, and only the name of that file is a setting.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

import typer

PREFIX: Final = "SEALWAY"
MOST_INTEGER: Final = (1 << 63) - 1  # TOML 1.0: a 64-bit signed integer
STANDARD_STREAM: Final = "-"

Value: TypeAlias = str | int | float | bool | list[str] | list[int] | list[float]
Groups: TypeAlias = Mapping[str, typer.Typer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One option of one command, as it can be set from outside.

    Fields: ``group`` and ``command`` whose option it is; ``key`` its name in a file, which is the option's without the
    dashes; ``parameter`` what the command calls it; ``variable`` its name in the environment; ``kind`` the type of a
    value, or of each if there may be ``many``; ``least`` and ``most`` included; ``choices`` all there are, or none for
    any; ``default`` None if there is none; ``text`` what it is for.
    """

    group: str
    command: str
    key: str
    parameter: str
    variable: str
    kind: type[str | int | float | bool | Path]
    many: bool
    least: float | None
    most: float | None
    choices: tuple[str, ...]
    default: Any
    required: bool
    text: str

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        one = f"one of {', '.join(self.choices)}" if self.choices else f"{_WORDS[self.kind]}{self._range}"
        return f"a list, each {one}" if self.many else one

    @property
    def _range(self) -> str:
        match self.least, self.most:
            case None, None:
                return ""
            case least, None:
                return f" of at least {least}"
            case None, most:
                return f" of at most {most}"
            case least, most:
                return f" from {least} to {most}"

    def admits(self, value: object) -> bool:
        """Say whether a value out of a file may be set."""
        if self.many:
            return isinstance(value, list) and all(map(self._admits_one, value))
        return self._admits_one(value)

    def _admits_one(self, value: object) -> bool:
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if isinstance(value, str):
            return self.kind in (str, Path) and self._admits_text(value)
        if isinstance(value, int):
            return self.kind in (int, float) and self._within(value)
        return isinstance(value, float) and self.kind is float and math.isfinite(value) and self._within(value)

    def _admits_text(self, value: str) -> bool:
        return "\0" not in value and (not self.choices or value in self.choices) and (self.kind is str or value != "")

    def _within(self, value: float) -> bool:
        least = -MOST_INTEGER if self.least is None else self.least
        return least <= value <= (MOST_INTEGER if self.most is None else self.most)


_WORDS: Final[Mapping[type, str]] = {
    str: "a text", Path: "a path", int: "an integer", float: "a number", bool: "true or false",
}  # fmt: skip


def settings_of(groups: Groups) -> tuple[Setting, ...]:
    """Return all settings of these groups of commands, in the order of their help."""
    return tuple(setting for name, group in groups.items() for setting in _of_group(name, group))


def _of_group(name: str, group: typer.Typer) -> Iterator[Setting]:
    callbacks = {command.name: command.callback for command in group.registered_commands}
    for label, command in commands_of(name, group).items():
        hints = get_type_hints(callbacks[label], include_extras=True)
        for option in command.params:
            if _can_be_set(option):
                yield _setting(name, label, option, hints[option.name])


def commands_of(name: str, group: typer.Typer) -> Mapping[str, Any]:
    """Return the commands of a group, as Typer runs them."""
    made: Any = typer.main.get_command(group)
    made.name = name
    commands: Mapping[str, Any] = made.commands
    return commands


def _can_be_set(option: Any) -> bool:
    """What says something of one call only is given in that call: such options are not ``allow_from_autoenv``."""
    if option.param_type_name == "argument":  # what a command works on
        return False
    return option.name != "help" and (option.allow_from_autoenv or option.envvar is not None)


def _setting(group: str, command: str, option: Any, hint: Any) -> Setting:
    kind, many, choices = _kind(hint)
    key = option.opts[0].removeprefix("--")
    words = (PREFIX, group, command, option.name)
    return Setting(
        group=group, command=command, key=key, parameter=option.name,
        variable=option.envvar or "_".join(words).replace("-", "_").upper(),
        kind=kind, many=many, least=getattr(option, "min", None), most=getattr(option, "max", None),
        choices=choices, default=plain(option.default), required=option.required, text=option.help or "",
    )  # fmt: skip


def _kind(hint: Any) -> tuple[type[Any], bool, tuple[str, ...]]:
    """Return the type of one value, whether there may be many, and what it is one of."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _kind(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        (inner,) = [part for part in get_args(hint) if part is not type(None)]
        return _kind(inner)
    if origin is list:
        kind, _, choices = _kind(get_args(hint)[0])
        return kind, True, choices
    if issubclass(hint, Enum):
        return str, False, tuple(str(member.value) for member in hint)
    return hint, False, ()


def plain(value: Any) -> Any:
    """Return a value as a file would say it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
