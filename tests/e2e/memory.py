# SPDX-License-Identifier: Apache-2.0
"""Searching everything a process has: its files, and its memory through /proc/PID/mem."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 22


def forms(secret: bytes) -> dict[str, bytes]:
    """The ways in which ``secret`` would show: raw, hex, and base64 at each of the three alignments.

    Of each base64 alignment only the characters that depend on no neighbouring byte are looked for.
    """
    found = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        first = -(-8 * shift // 6)
        last = 8 * (shift + len(secret)) // 6
        found[f"base64+{shift}"] = encoded[first:last]
    return found


def in_files(directory: Path, needles: dict[str, bytes]) -> list[str]:
    """Which needle is in which file below ``directory``."""
    hits = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        hits += [f"{path.name}: {form}" for form, needle in needles.items() if needle in content]
    return hits


def in_memory(pid: int, needles: dict[str, bytes]) -> list[str]:
    """Which needles are in the process's readable memory."""
    overlap = max(map(len, needles.values())) - 1
    hits: set[str] = set()
    for start, end in _regions(pid):
        for part in _read(pid, start, end, overlap):
            hits |= {form for form, needle in needles.items() if needle in part}
    return sorted(hits)


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *rest = line.split()
        if rights.startswith("r") and not any(r.startswith("[v") for r in rest):
            start, end = span.split("-")
            yield int(start, 16), int(end, 16)


def _read(pid: int, start: int, end: int, overlap: int) -> Iterator[bytes]:
    tail = b""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for at in range(start, end, CHUNK):
            try:
                memory.seek(at)
                part = memory.read(min(CHUNK, end - at))
            except (OSError, ValueError):
                return  # a region that the kernel does not show
            yield tail + part
            tail = part[-overlap:]
