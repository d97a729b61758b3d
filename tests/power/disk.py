# SPDX-License-Identifier: Apache-2.0
"""What a process wrote, and what of it a disk may have at any moment, if the power fails then.

A trace of its system calls says what was written where and when it was forced to the disk. Until then the system may
have written any of it, in any order, or a part of it: here nothing, everything, or some with a torn end (in sectors
of 512 bytes). Names appear and disappear in their order, as file systems with a journal do it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,unlink,unlinkat,rename,renameat2,mkdir,mkdirat"
NAMING = {"openat": "create", "mkdir": "mkdir", "unlink": "unlink", "rename": "rename"}
TRACE = ("strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset; without data a truncation to that length."""

    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Op:
    """One call: ``kind`` is write, append, sync, create, unlink, rename or mkdir."""

    kind: str
    path: str
    write: Write | None = None
    target: str = ""


@dataclass(slots=True)
class File:
    """What is on the disk for sure, and what was written since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)


# reading the trace ---------------------------------------------------------------------------------------------------
_LINE = re.compile(r"^(?:\[pid +)?(\d+)\]? +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += +(-?\d+)(.*)$")
_FILE = re.compile(r"^\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def read_trace(lines: list[str], root: Path) -> list[Op]:
    """Return what was done below ``root``, in order. Calls that were interrupted count where they began."""
    begun: dict[str, int] = {}
    whole: list[tuple[str, str]] = []
    for line in lines:
        match = _LINE.match(line)
        pid, text = (match[1], match[2]) if match is not None else ("0", line)
        resumed = _RESUMED.match(text)
        if resumed is not None and pid in begun:
            at = begun.pop(pid)
            # What forces to the disk counts when it has returned; what writes, when it began.
            joined = whole[at][1] + resumed[1]
            whole[at] = (pid, "" if "sync(" in joined else joined)
            if "sync(" in joined:
                whole.append((pid, joined))
        elif text.endswith("<unfinished ...>"):
            begun[pid] = len(whole)
            whole.append((pid, text.removesuffix("<unfinished ...>").rstrip()))
        else:
            whole.append((pid, text))
    ops = [_op(text, root) for _, text in whole]
    return [op for op in ops if op is not None]


def _op(text: str, root: Path) -> Op | None:
    call = _CALL.match(text)
    if call is None or int(call[3]) < 0:
        return None
    name, arguments, returned = call[1], call[2], int(call[3])
    if name in ("pwrite64", "write", "fsync", "fdatasync", "ftruncate"):
        found = _FILE.match(arguments)
        path = _below(found[1], root) if found is not None else None
        return None if path is None else _file_op(name, path, arguments, returned)
    named = [_below(_unescape(part), root) for part in _TEXT.findall(arguments)]
    if not named or named[0] is None:
        return None
    if name == "openat" and "O_CREAT" not in arguments:
        return None
    kind = next(kind for prefix, kind in NAMING.items() if name.startswith(prefix))
    return Op(kind, named[0], target=(named[1] or "") if kind == "rename" else "")


def _file_op(name: str, path: str, arguments: str, returned: int) -> Op:
    if name in ("fsync", "fdatasync"):
        return Op("sync", path)
    if name == "ftruncate":
        return Op("write", path, Write(int(arguments.rsplit(", ", 1)[1]), None))
    data = bytes.fromhex(_TEXT.search(arguments)[1].replace("\\x", ""))[:returned]  # type: ignore[index]
    if name == "write":
        return Op("append", path, Write(0, data))
    return Op("write", path, Write(int(arguments.rsplit(", ", 1)[1]), data))


def _unescape(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode()


def _below(path: str, root: Path) -> str | None:
    """The path below root; None of what is not there, or is no part of a durable state."""
    if "\\x" in path:
        path = _unescape(path)
    if not path.startswith(f"{root}/") or path.endswith("-shm"):
        return None
    return path.removeprefix(f"{root}/")


# what is on the disk -------------------------------------------------------------------------------------------------
class Disk:
    """A directory as it may be after a power cut."""

    def __init__(self, witnesses: Collection[str]) -> None:
        self._witnesses = witnesses
        self._files: dict[str, File] = {}
        self._directories: list[str] = []

    def apply(self, op: Op) -> None:
        """Take in the next call."""
        if op.kind == "mkdir":
            self._directories.append(op.path)
        elif op.kind == "unlink":
            self._files.pop(op.path, None)
        elif op.kind == "rename":
            self._files[op.target] = self._files.pop(op.path, File())
        elif op.path not in self._directories:  # they are forced to the disk too: names are in order anyway
            self._apply_to(self._files.setdefault(op.path, File()), op)

    def _apply_to(self, file: File, op: Op) -> None:
        if op.kind == "sync":
            for write in file.pending:
                _put(file.durable, write)
            file.pending.clear()
        elif op.write is not None:
            at = len(_content(file, file.pending)) if op.kind == "append" else op.write.offset
            file.pending.append(Write(at, op.write.data))
            if op.path in self._witnesses:
                self._apply_to(file, Op("sync", op.path))

    def write_to(self, directory: Path, how: str, chance: random.Random) -> None:
        """Write the image: what was not forced to the disk is there as ``how`` says: nothing, all, or torn."""
        directory.mkdir(mode=0o700)
        for name in self._directories:
            (directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, file in self._files.items():
            kept = {"nothing": [], "all": file.pending}.get(how)
            (directory / name).write_bytes(_content(file, _torn(file.pending, chance) if kept is None else kept))
            (directory / name).chmod(0o600)


def _torn(pending: list[Write], chance: random.Random) -> list[Write]:
    """Some of the writes, in another order, and of the last one only the first sectors."""
    kept = [write for write in pending if chance.random() < 0.5]
    chance.shuffle(kept)
    if kept and kept[-1].data is not None:
        sectors = chance.randrange(len(kept[-1].data) // SECTOR + 1)
        kept[-1] = Write(kept[-1].offset, kept[-1].data[: sectors * SECTOR])
    return kept


def _content(file: File, writes: list[Write]) -> bytearray:
    content = bytearray(file.durable)
    for write in writes:
        _put(content, write)
    return content


def _put(content: bytearray, write: Write) -> None:
    if write.data is None:
        del content[write.offset :]
        content.extend(bytes(write.offset - len(content)))
        return
    content.extend(bytes(max(0, write.offset - len(content))))
    content[write.offset : write.offset + len(write.data)] = write.data
