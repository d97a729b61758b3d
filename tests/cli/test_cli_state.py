# SPDX-License-Identifier: Apache-2.0
"""``sealway state check`` and ``sealway state repair`` on the directories of real members."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sealway.cli.main import run
from sealway.sdk.schema import DATABASE
from tests.sdk.small_town import METER, OPS, SmallTown, found
from tests.system.world import until


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("town")
    found(base)
    return base


@pytest.fixture
async def town(original: Path, tmp_path: Path) -> SmallTown:
    """A device and an application that have talked."""
    town = SmallTown.copied(original, tmp_path)
    await talk(town, b"before")
    return town


async def talk(town: SmallTown, payload: bytes) -> None:
    async with town.meter() as meter, town.ops() as ops:
        await meter.send(OPS, "readings", payload)
        async for reading in ops.messages(sender=METER):
            if reading.payload == payload:
                break
        await until(lambda: not len(meter.endpoint.outbox))


def change(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        connection.execute(statement)


async def test_check_of_a_state_that_is_in_order(town: SmallTown, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["state", "check", "--state", str(town.base / "meter"), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert not seen["needs_repair"] and seen["sessions"]["in order"] == 1 and seen["bundles"] == 1
    assert seen["unacknowledged"] == seen["unhandled"] == seen["set_aside"] == 0 and not seen["not_in_order"]
    assert run(["state", "check", "--state", str(town.base / "ops")]) == 0
    assert "next" not in capsys.readouterr().out
    assert run(["state", "repair", "--state", str(town.base / "meter")]) == 0
    assert capsys.readouterr().out == "nothing to repair\n"


async def test_repair_of_a_damaged_session(
    town: SmallTown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = str(town.base / "meter")
    change(town.base / "meter", "UPDATE sessions SET state = x'00'")
    assert run(["state", "check", "--state", meter]) == 5
    shown = capsys.readouterr().out
    assert (
        f"with {OPS}, damaged: a stored secret is damaged" in shown and f"sealway state repair --state {meter}" in shown
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # not a terminal
    assert run(["state", "repair", "--state", meter]) == 2
    told = capsys.readouterr()
    assert "1 sessions are left" in told.out and "nothing was changed" in told.err and "--yes" in told.err
    assert run(["state", "check", "--state", meter]) == 5
    assert run(["state", "repair", "--state", meter, "--yes"]) == 0
    said = capsys.readouterr().out
    for part in ("set aside", "move to the other sessions", "come twice only if", "peers may report", "repaired;"):
        assert part in said
    assert run(["state", "check", "--state", meter]) == 0
    await talk(town, b"after")


async def test_a_restored_state_asks_at_a_terminal(
    town: SmallTown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = str(town.base / "meter")
    for answer, code in (("n\n", 130), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", _Terminal(answer))
        assert run(["state", "repair", "--state", meter, "--restored"]) == code
    said = capsys.readouterr().out
    for part in ("all prekeys are deleted", "reach their peers twice", "a second time", "is gone", "PeerForked"):
        assert part in said
    await talk(town, b"after")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_what_cannot_be_checked_or_repaired(town: SmallTown, capsys: pytest.CaptureFixture[str]) -> None:
    meter = str(town.base / "meter")
    async with town.meter():
        assert run(["state", "check", "--state", meter]) == 5
        assert run(["state", "repair", "--state", meter, "--yes"]) == 5
    assert "another" in capsys.readouterr().err
    for where in (town.base / "owner", town.base / "nowhere"):
        assert run(["state", "check", "--state", str(where)]) == 2
        assert run(["state", "repair", "--state", str(where), "--yes"]) == 2
    (town.base / "meter" / DATABASE).write_bytes(b"not a database" * 1_000)
    assert run(["state", "check", "--state", meter]) == 5
    assert run(["state", "repair", "--state", meter, "--yes"]) == 5
    assert "backup" in capsys.readouterr().err


async def test_a_bundle_that_was_altered_is_found(town: SmallTown, capsys: pytest.CaptureFixture[str]) -> None:
    """The certificate in the directory proves the own bundles, without a key."""
    change(town.base / "ops", "UPDATE prekeys SET issued = issued - 1000000")
    assert run(["state", "check", "--state", str(town.base / "ops"), "--json"]) == 5
    (row,) = json.loads(capsys.readouterr().out)["damaged_rows"]
    assert row["what"] == "bundle"
    assert run(["state", "repair", "--state", str(town.base / "ops"), "--yes"]) == 0
    assert "the newest bundle is damaged" in capsys.readouterr().out
    await talk(town, b"after")
