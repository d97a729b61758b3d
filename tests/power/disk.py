# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold if the power fails at a moment.

Until a file is forced to the disk, the system may have written any of what was written to it, in any order, or a part
of it, in sectors of 512 bytes. Until a directory is, its names may be the old ones. What the outside world has seen
(witnesses) has happened.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.power.trace import Op, Write

SECTOR = 512
ROUGHLY = 8
"""Random subsets in a random order, with a torn end, that are tried before each sync beside the systematic ones."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What of an end's unforced writes is there.

    ``how``: nothing; all; head or tail, all but that the last is there up to byte ``at`` of it, or from there on;
    missing or alone, all but the at-th or only that; torn, a random subset; unnamed, all, but under the old names.
    """

    how: str
    at: int = 0


NOTHING, ALL, UNNAMED = Variant("nothing"), Variant("all"), Variant("unnamed")
Pending = list[tuple[int, Write]]


class Disk:
    """A directory with a directory for each end in it."""

    def __init__(self, witnesses: Collection[str]) -> None:
        self._witnesses = witnesses
        self._contents: list[bytearray] = []  # what is there for sure, of each file
        self._pending: dict[str, Pending] = {}  # by end: file and write
        self._names: dict[str, int] = {}
        self._old_names: dict[str, int] = {}
        self._directories: list[str] = []
        self.changes: Counter[str] = Counter()
        """How often the files of each end changed."""

    @property
    def ends(self) -> tuple[str, ...]:
        return tuple(self._directories)

    def apply(self, op: Op) -> bool:
        """Take in the next call; return whether it can have changed anything."""
        if op.kind == "create" and op.path in self._names:
            return False
        self.changes[op.path if op.path in self._directories else end_of(op.path)] += 1
        if op.kind == "mkdir":
            self._directories.append(op.path)
        elif op.kind == "unlink":
            self._names.pop(op.path, None)
        elif op.kind == "rename":
            self._names[op.target] = self._names.pop(op.path)
        elif op.path in self._directories:
            self._old_names = {name: file for name, file in self._old_names.items() if end_of(name) != op.path}
            self._old_names |= {name: file for name, file in self._names.items() if end_of(name) == op.path}
        else:
            self._apply_to(op)
        return True

    def _apply_to(self, op: Op) -> None:
        if op.path not in self._names:
            self._names[op.path] = len(self._contents)
            self._contents.append(bytearray())
        file, pending = self._names[op.path], self._pending.setdefault(end_of(op.path), [])
        if op.write is not None:
            offset = op.write.offset if op.kind == "write" else len(_content(self._contents[file], file, pending))
            pending.append((file, Write(offset, op.write.data)))
        if op.kind == "sync" or op.path in self._witnesses:
            self._contents[file] = _content(self._contents[file], file, pending)
            pending[:] = [item for item in pending if item[0] != file]

    def files(self, end: str, variant: Variant) -> dict[str, bytes]:
        """The files of an end, or those beside the ends, by name."""
        kept = _kept(self._pending.get(end, []), variant)
        names = self._old_names if variant.how == "unnamed" else self._names
        return {
            name: bytes(_content(self._contents[file], file, kept))
            for name, file in names.items() if end_of(name) == end
        }  # fmt: skip

    def write_to(self, directory: Path, variants: dict[str, Variant]) -> None:
        """Write the image."""
        directory.mkdir(mode=0o700)
        for end in ("", *self._directories):
            (directory / end).mkdir(mode=0o700, exist_ok=True)
            for name, content in self.files(end, variants.get(end, ALL)).items():
                (directory / name).write_bytes(content)
                (directory / name).chmod(0o600)

    def variants(self, op: Op) -> Iterator[Variant]:
        """What an end's call ``op``, the latest, may have come to."""
        yield ALL
        if op.write is None:
            yield NOTHING
            yield UNNAMED
        elif op.write.data is not None:
            for at in _boundaries(op.write.offset, len(op.write.data)):
                yield Variant("head", at)
                yield Variant("tail", at)

    def reorderings(self, end: str) -> Iterator[Variant]:
        """What may be there of the writes of an end that now waits for them, in whatever order they are made."""
        pending = self._pending.get(end, [])
        for at in range(len(pending)):
            yield Variant("missing", at)
            yield Variant("alone", at)
        for seed in range(ROUGHLY if len(pending) > 1 else 0):
            yield Variant("torn", seed)


def end_of(path: str) -> str:
    """Whose a file or directory is; empty for what stands beside the ends."""
    return path.split("/")[0] if "/" in path else ""


def _boundaries(offset: int, length: int) -> list[int]:
    """Where a write may be torn: at the sectors of the file; one within a sector, in the middle all the same."""
    first = SECTOR - offset % SECTOR
    return list(range(first, length, SECTOR)) or ([length // 2] if length > 1 else [])


def _kept(pending: Pending, variant: Variant) -> Pending:
    match variant.how:
        case "nothing":
            return []
        case "all" | "unnamed":
            return pending
        case "head" | "tail":
            file, last = pending[-1]
            return [*pending[:-1], (file, _part(last, variant.at, tail=variant.how == "tail"))]
        case "missing":
            return pending[: variant.at] + pending[variant.at + 1 :]
        case "alone":
            return [pending[variant.at]]
        case _:
            return _torn(pending, random.Random(variant.at))


def _part(write: Write, at: int, *, tail: bool) -> Write:
    data = write.data or b""
    return Write(write.offset + at, data[at:]) if tail else Write(write.offset, data[:at])


def _torn(pending: Pending, chance: random.Random) -> Pending:
    """Some of the writes, in another order, and of the last one only the first sectors."""
    kept = [item for item in pending if chance.random() < 0.5]
    chance.shuffle(kept)
    if kept and kept[-1][1].data is not None:
        file, last = kept[-1]
        kept[-1] = (file, _part(last, chance.randrange(len(last.data or b"") // SECTOR + 1) * SECTOR, tail=False))
    return kept


def _content(durable: bytearray, file: int, writes: Pending) -> bytearray:
    content = bytearray(durable)
    for of, write in writes:
        if of == file:
            _put(content, write)
    return content


def _put(content: bytearray, write: Write) -> None:
    if write.data is None:
        del content[write.offset :]
        content.extend(bytes(write.offset - len(content)))
        return
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(write.data)] = write.data
