# SPDX-License-Identifier: Apache-2.0
"""Scenarios: what an adversary does, in which order, to what part of the traffic. One TOML file each.

Reading is strict: a key that is not known, missing, or of the wrong type is an error that names it.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, get_type_hints

from sealway.adversary.attack import Act, Selection
from sealway.adversary.catalogue import attack_named
from sealway.adversary.passing import Leg
from sealway.errors import LocalMisuse

MOST_ACTS: Final = 1_000
MOST_BYTES: Final = 1 << 20
_MOST_WORDS: Final = 200
_TOP: Final = frozenset({"name", "says", "seed", "act"})
_ACT: Final = frozenset({"attack", "leg", "subjects", "every", "count", "seconds", "parameters"})
_NAMES_OF_TYPES: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What an adversary does.

    Args:
        name: of the scenario.
        says: in one sentence, what it does.
        seed: of the adversary's chance: with the same traffic it does the same.
        acts: one after the other.
    """

    name: str
    says: str
    seed: int
    acts: tuple[Act, ...]


def shipped() -> dict[str, Path]:
    """Return the scenarios that come with Sealway, by name."""
    folder = files("sealway.adversary") / "scenarios"
    paths = (Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {path.stem: path for path in sorted(paths)}


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file. Raises LocalMisuse, which names the file and the key."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise LocalMisuse(f"{path}: more than {MOST_BYTES} bytes")
        return parse_scenario(content.decode(), path.stem)
    except OSError as error:
        raise LocalMisuse(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LocalMisuse(f"{path} is not UTF-8") from error
    except LocalMisuse as error:
        raise LocalMisuse(f"{path}: {error.message}", hint=error.hint) from error


def parse_scenario(text: str, name: str = "scenario") -> Scenario:
    """Read a scenario.

    Args:
        text: TOML.
        name: what it is called if it does not say.

    Raises:
        LocalMisuse: not TOML, or a key is unknown, missing or wrong; the message names it.
    """
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits, and for deep nesting
        raise LocalMisuse(f"not TOML: {_shown(error)}") from error
    _refuse_unknown(content, _TOP, "")
    acts = content.get("act")
    if not isinstance(acts, list) or not 1 <= len(acts) <= MOST_ACTS:
        raise LocalMisuse(f"act: 1 to {MOST_ACTS} tables [[act]] expected")
    return Scenario(
        _value(content, "name", str, name),
        _value(content, "says", str, ""),
        _value(content, "seed", int, 0),
        tuple(_act(row, f"act {at}: ") for at, row in enumerate(acts, 1)),
    )


def act_of(row: Any) -> Act:
    """Return one act from what stands in one table of a scenario. Raises LocalMisuse, which names the key."""
    return _act(row, "")


def _act(row: Any, where: str) -> Act:
    if not isinstance(row, dict):
        raise LocalMisuse(f"{where}a table expected")
    _refuse_unknown(row, _ACT, where)
    wanted = _value(row, "attack", str, None, where)
    attack = attack_named(wanted)
    if attack is None:
        raise LocalMisuse(
            f"{where}attack: there is no {_shown(wanted)!r}", hint="`sealway adversary list` shows what there is"
        )
    parameters = row.get("parameters", {})
    if not isinstance(parameters, dict):
        raise LocalMisuse(f"{where}parameters: a table expected")
    return Act(attack, _parameters(attack.parameters, parameters, where), _selection(row, where))


def _selection(row: Mapping[str, Any], where: str) -> Selection:
    subjects = row.get("subjects", [])
    if not isinstance(subjects, list) or not all(isinstance(subject, str) for subject in subjects):
        raise LocalMisuse(f"{where}subjects: a list of texts expected")
    count = _value(row, "count", int, 0, where) if "count" in row else None
    selection = Selection(
        leg=_member(Leg, row["leg"], f"{where}leg") if "leg" in row else None,
        subjects=frozenset(subjects),
        every=_value(row, "every", int, 1, where),
        count=count,
        seconds=_value(row, "seconds", float, Selection().seconds, where),
    )
    for key, value in (("every", selection.every), ("count", 1 if count is None else count)):
        if value < 1:
            raise LocalMisuse(f"{where}{key}: at least 1 expected")
    if not 0 < selection.seconds <= 86_400:
        raise LocalMisuse(f"{where}seconds: more than 0 and at most 86400 expected")
    return selection


def _parameters(kind: type, row: Mapping[str, Any], where: str) -> Any:
    where = f"{where}parameters."
    types = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    _refuse_unknown(row, frozenset(names), where)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in row:
            values[field.name] = _typed(row[field.name], types[field.name], where + field.name)
        elif field.default is dataclasses.MISSING:
            raise LocalMisuse(f"{where}{field.name}: is missing")
    return kind(**values)


def _refuse_unknown(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key in table:
        if key not in known:
            expected = ", ".join(sorted(known)) or "nothing"
            raise LocalMisuse(f"{where}{_shown(key)}: not known here", hint=f"expected: {expected}")


def _shown(words: object) -> str:
    """Return what stands in a file, as it may stand in an error: on one line, and shortened."""
    return "".join(character if character.isprintable() else " " for character in str(words)[:_MOST_WORDS])


def _value(table: Mapping[str, Any], key: str, kind: type, default: Any, where: str = "") -> Any:
    if key not in table:
        if default is None:
            raise LocalMisuse(f"{where}{key}: is missing")
        return default
    return _typed(table[key], kind, where + key)


def _typed(value: Any, kind: type[Any], where: str) -> Any:
    if issubclass(kind, StrEnum):
        return _member(kind, value, where)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise LocalMisuse(f"{where}: {_NAMES_OF_TYPES.get(kind, kind.__name__)} expected")
    if kind in (int, float) and abs(value) > 1 << 53:
        raise LocalMisuse(f"{where}: too large")
    return value


def _member(kind: type[StrEnum], value: Any, where: str) -> Any:
    if value not in list(kind):
        raise LocalMisuse(f"{where}: one of {', '.join(kind)} expected")
    return kind(value)
