# SPDX-License-Identifier: Apache-2.0
"""What a process wrote, and when it was forced to the disk: read off a trace of its system calls.

A trace has what every part of the process did: SQLite as the product links it, the key file, directories, and the
test's own witnesses, in one order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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
