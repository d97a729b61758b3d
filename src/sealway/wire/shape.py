# SPDX-License-Identifier: Apache-2.0
"""Checks of the shape of single values, shared by constructors and decoders. All raise Malformed.

The constructors of every type in ``wire`` check themselves with these, so a value that exists can be encoded, and a
decoder needs no second set of rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from sealway.errors import Malformed

UINT32 = 0xFFFFFFFF
LATEST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that every calendar library can hold
LATEST_MILLISECOND = LATEST_SECOND * 1000 + 999


def uint(value: object, what: str, lowest: int = 0, highest: int = UINT32) -> int:
    """Return ``value`` if it is an int (not a bool) within [lowest, highest]."""
    if type(value) is not int or not lowest <= value <= highest:
        raise Malformed(f"{what}: an integer of {lowest} to {highest} expected")
    return value


def instant(value: object, what: str) -> int:
    """Return ``value`` if it is a time in whole seconds since the Unix epoch, up to the year 9999."""
    return uint(value, what, 0, LATEST_SECOND)


def period(begin: int, end: int, what: str) -> None:
    """Check two instants (seconds) of which the second must be the later one."""
    if instant(begin, f"{what}: begin") >= instant(end, f"{what}: end"):
        raise Malformed(f"{what}: it ends before it begins")


def bstr(value: object, what: str, shortest: int, longest: int | None = None) -> bytes:
    """Return ``value`` if it is bytes of ``shortest`` to ``longest`` bytes (``longest`` None: exactly ``shortest``)."""
    most = shortest if longest is None else longest
    if not isinstance(value, bytes) or not shortest <= len(value) <= most:
        expected = str(shortest) if most == shortest else f"{shortest} to {most}"
        raise Malformed(f"{what}: {expected} bytes expected")
    return value


def tstr(value: object, what: str, shortest: int, longest: int) -> str:
    """Return ``value`` if it is text whose UTF-8 form has ``shortest`` to ``longest`` bytes."""
    if not isinstance(value, str) or not shortest <= len(utf8(value, what)) <= longest:
        raise Malformed(f"{what}: text of {shortest} to {longest} bytes expected")
    return value


def matching(value: object, pattern: re.Pattern[str], expected: str) -> str:
    """Return ``value`` if it is text that the pattern matches from its first to its last character."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Malformed(f"{expected} expected")
    return value


def utf8(value: str, what: str) -> bytes:
    """Return the UTF-8 bytes of ``value``; lone surrogates are refused."""
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{what}: not valid Unicode") from error


def array(value: object, what: str, least: int, most: int) -> list[Any]:
    """Return ``value`` if it is a list of ``least`` to ``most`` items."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise Malformed(f"{what}: an array of {expected} items expected")
    return value


def sequence(value: object, what: str, least: int, most: int) -> tuple[Any, ...]:
    """Return ``value`` if it is a tuple of ``least`` to ``most`` items (what constructors take for an array)."""
    if not isinstance(value, tuple) or not least <= len(value) <= most:
        raise Malformed(f"{what}: {least} to {most} items expected")
    return value


def fields(value: object, what: str, required: Collection[int], optional: Collection[int] = ()) -> dict[int, Any]:
    """Return ``value`` if it is a map with all required keys, and no key beyond required and optional."""
    if not isinstance(value, dict):
        raise Malformed(f"{what}: a map expected")
    missing = [key for key in required if key not in value]
    unknown = [key for key in value if key not in required and key not in optional]
    # A bool can not be a key: it would equal 0 or 1 here, and the deterministic encoder refuses it.
    if missing or unknown:
        raise Malformed(f"{what}: missing fields {missing}, unknown fields {len(unknown)}")
    return value


def constant(value: object, what: str, expected: int) -> None:
    """Check a value that this version of the format fixes."""
    if type(value) is not int or value != expected:
        raise Malformed(f"{what}: {expected} expected")


def distinct(values: Collection[Any], what: str) -> None:
    """Check that no value occurs twice."""
    if len(set(values)) != len(values):
        raise Malformed(f"{what}: the same item twice")


def ranges(value: object, what: str, most: int, below: int = UINT32 + 1) -> tuple[tuple[int, int], ...]:
    """Return ``value`` if it is (first, last) pairs: increasing, disjoint, non-adjacent, last < ``below``."""
    pairs = sequence(value, what, 0, most)
    floor = 0
    for pair in pairs:
        first, last = sequence(pair, what, 2, 2)
        uint(first, what, floor, below - 1)
        uint(last, what, first, below - 1)
        floor = last + 2  # a range beginning at last + 1 would be the same range, written twice
    return pairs


def flat(pairs: tuple[tuple[int, int], ...]) -> list[int]:
    """Return (first, last) pairs as one flat list, as they travel."""
    return [number for pair in pairs for number in pair]


def paired(value: object, what: str, most: int) -> tuple[tuple[int, int], ...]:
    """Return a flat list of numbers as (first, last) pairs; at most ``most`` pairs."""
    numbers = array(value, what, 0, 2 * most)
    if len(numbers) % 2:
        raise Malformed(f"{what}: an even count of numbers expected")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
