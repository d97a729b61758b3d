# SPDX-License-Identifier: Apache-2.0
"""Which inputs are worth keeping for good: those that take a way through Sealway's code that nothing kept takes.

The fuzzer counts finer than that, and would keep ten times as many.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import sealway
from fuzz.target import Check, Target
from fuzz.targets import CORPUS, name_of

KEPT_BYTES: Final = 20_000
"""Of one target's corpus: all of them stay below 1 MB."""

_SOURCE: Final = str(Path(sealway.__file__).parent)
Arc = tuple[object, int, int]
"""From one line to the next, in one function."""


def keep(target: Target, found: Iterable[bytes]) -> int:
    """Take those of ``found``, the shortest first, that take a new way into the corpus; return how many."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    kept = [path.read_bytes() for path in sorted(folder.iterdir())]
    room = KEPT_BYTES - sum(map(len, kept))
    known: set[Arc] = set().union(*(arcs(target.check, data) for data in kept))
    count = 0
    for data in sorted((*target.seeds(), *found), key=lambda data: (len(data), data)):
        new = arcs(target.check, data) - known if len(data) <= room else set()
        if new:
            (folder / name_of(data)).write_bytes(data)
            known |= new
            room -= len(data)
            count += 1
    return count


def arcs(check: Check, data: bytes) -> set[Arc]:
    """Return the ways that an input takes through Sealway's code."""
    taken: set[Arc] = set()
    before: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCE):
            return None
        line = frame.f_lineno or 0
        taken.add((frame.f_code, before.get(frame, 0), line))
        before[frame] = line
        return trace

    traced_by = sys.gettrace()  # the tracer of a coverage run, which has to go on counting
    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(traced_by)
    return taken
