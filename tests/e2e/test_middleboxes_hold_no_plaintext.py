# SPDX-License-Identifier: Apache-2.0
"""Hub and gateway never hold a reading or a command: not in files, not in logs, not in memory, in no common form.

Every reading and command carries a random 16-byte marker with a common 8-byte prefix; the prefix is searched for.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet, running_fleet
from tests.e2e.memory import forms, in_files, in_memory

ROWS = 600


def letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters) for _ in range(count))


def unacknowledged(state: Path) -> dict[str, bytes]:
    """Some envelopes that the device has sealed and nobody has acknowledged to it, without their first bytes."""
    with closing(sqlite3.connect(f"file:{state / 'state.sqlite'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT envelope FROM sent WHERE envelope IS NOT NULL ORDER BY number DESC LIMIT 50")
        return {str(n): envelope[-40:] for n, (envelope,) in enumerate(rows)}


@pytest.mark.processes
async def test_middleboxes_hold_no_plaintext(tmp_path: Path) -> None:
    prefix = letters(8)
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"m": prefix + letters(8), "n": n}) + "\n" for n in range(ROWS)))
    needles = forms(prefix.encode())
    async with running_fleet(tmp_path / "town", source, ROWS, devices=2, messages=None, rate=40) as fleet:
        await fleet.until(lambda: fleet.delivered >= 50)
        fleet.commander.command(0, "identify", prefix + letters(8))
        await fleet.until(fleet.all_answered)
        await search_middleboxes(fleet, needles)
        assert "raw" in in_memory(fleet["device-1"].pid, needles), "the control: the device itself has the plaintext"
        await fleet.until(lambda: fleet.delivered >= ROWS)
        await search_middleboxes(fleet, needles)
    for role in ("hub", "gateway"):
        assert in_files(tmp_path / "town" / role, needles) == []
    assert in_files(tmp_path / "town" / "app", {"base64": b"payload_b64"}), "the control: files are searched"


async def search_middleboxes(fleet: Fleet, needles: dict[str, bytes]) -> None:
    ciphertexts = unacknowledged(fleet["device-1"].directory) | unacknowledged(fleet["device-2"].directory)
    for role in ("hub", "gateway"):
        assert in_memory(fleet[role].pid, needles) == [], role
        assert in_files(fleet[role].directory, needles) == [], role
    assert in_memory(fleet["gateway"].pid, ciphertexts), "the control: what the gateway carries is found in its memory"
