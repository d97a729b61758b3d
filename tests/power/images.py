# SPDX-License-Identifier: Apache-2.0
"""Every image of the disks of two ends, over a whole story; and what their software makes of each.

Of two ends one loses what ``Cut.variant`` says; the other one loses all that it did not force to the disk, or nothing
(as if it went on in the meantime). Images from which SQLite, in the library that the product uses, recovers the same
pages, with the same key file beside them, are one *state*: what follows from it has to be tried once.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sealway.sdk.schema import DATABASE
from tests.power.disk import ALL, NOTHING, Disk, Variant, end_of
from tests.power.trace import Op


@dataclass(frozen=True, slots=True)
class Cut:
    """The power fails after the call ``moment``."""

    moment: int
    end: str
    variant: Variant
    other: Variant

    def variants(self, disk: Disk) -> dict[str, Variant]:
        return {end: self.variant if end == self.end else self.other for end in disk.ends}

    def __str__(self) -> str:
        return f"{self.moment}-{self.end}-{self.variant.how}-{self.variant.at}-{self.other.how}"


def cuts(ops: Sequence[Op], witnesses: Sequence[str]) -> Iterator[tuple[Disk, Cut]]:
    """Each image, in order; the disk is that of the moment, until the next is asked for."""
    disk = Disk(witnesses)
    for moment, op in enumerate(ops):
        end = end_of(op.path) or op.path
        if op.kind == "sync" and end in disk.ends:
            yield from _with_both(disk, moment, end, disk.reorderings(end))
        if not disk.apply(op):
            continue
        if end in disk.ends:
            yield from _with_both(disk, moment, end, disk.variants(op))
        else:
            for end in disk.ends:
                yield from _with_both(disk, moment, end, (ALL, NOTHING))


def _with_both(disk: Disk, moment: int, end: str, variants: Iterable[Variant]) -> Iterator[tuple[Disk, Cut]]:
    for variant in variants:
        for other in (ALL, NOTHING):
            yield disk, Cut(moment, end, variant, other)


@dataclass(slots=True)
class Recovery:
    """What SQLite and the key file make of an end's files: each content is looked at once."""

    scratch: Path
    known: dict[bytes, str] = field(default_factory=dict)
    looked_at: dict[tuple[str, int, Variant], str] = field(default_factory=dict)

    def states(self, disk: Disk, cut: Cut) -> tuple[str, ...]:
        """The states of both ends, and of the outside world."""
        ends = [self._state(disk, end, variant) for end, variant in cut.variants(disk).items()]
        return (*ends, str(disk.changes[""]))

    def _state(self, disk: Disk, end: str, variant: Variant) -> str:
        key = (end, disk.changes[end], variant)
        if key not in self.looked_at:
            files = disk.files(end, variant)
            digest = _digest(files)
            if digest not in self.known:
                self.known[digest] = self._recovered(end, files)
            self.looked_at[key] = self.known[digest]
        return self.looked_at[key]

    def _recovered(self, end: str, files: dict[str, bytes]) -> str:
        """A name for the pages that come out, with the key file. Raises AssertionError if they are damaged."""
        database = f"{end}/{DATABASE}"
        others = {name: content for name, content in files.items() if not name.startswith(database)}
        pages = b""
        if database in files:
            self.scratch.mkdir(mode=0o700, exist_ok=True)
            for old in self.scratch.iterdir():
                old.unlink()
            for name in files.keys() - others.keys():
                (self.scratch / name.removeprefix(f"{end}/")).write_bytes(files[name])
            pages = _pages(self.scratch / DATABASE)
        return hashlib.sha256(_digest(others) + pages).hexdigest()


def _pages(path: Path) -> bytes:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "damaged"
        empty = connection.execute("PRAGMA page_count").fetchone() == (0,)
        return b"" if empty else connection.serialize()


def _digest(files: dict[str, bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, content in sorted(files.items()):
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.digest()
