# SPDX-License-Identifier: Apache-2.0
"""``sealway demo`` keeps its word: its report fits the schema, and the input arrives byte for byte."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.verdict import faults
from sealway.cli.demo import attacks as acts
from sealway.cli.demo.besieged import Besieged
from sealway.cli.demo.town import Member
from tests.e2e.memory import in_files

READING = {"raw": b'"at":"device-1"'}
"""In every reading of the second act's first device."""
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
TEXTS = (
    "",
    "plain",
    'with "quotes"',
    "two\nlines",
    "comma, semicolon;",
    "Grüße, 水表 №7 🌡",
    "  spaces  ",
    "\ttab",
    "'",
    "null",
)


async def run_demo(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sealway", "demo", "--headless", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate(given)
    return process.returncode or 0, out.decode()


def checked_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    jsonschema.validate(report, json.loads((SCHEMAS / "demo-out.schema.json").read_text()))
    assert report["ok"], report
    assert sorted(r["role"] for r in report["restarts"]) == ["application", "device", "gateway", "hub"]
    return report


def kinds_of_attack() -> set[str]:
    lanes = (acts.against_directory, acts.before_hub, acts.before_gateway, acts.as_gateway)
    town = Besieged(*(Member("sealway://b.example/device/d", "device", Path("d")),) * 3,
                    (Member("sealway://b.example/device/d", "device", Path("d")),) * 3,
                    *(Member("sealway://b.example/device/d", "device", Path("d")),) * 2, 1, 2, 3, 4, 5)  # fmt: skip
    return {turn.attack for lane in lanes for turn in lane(town)} | {acts.against_memory(town).attack}


def test_the_demo_does_more_than_25_kinds_of_attack_and_each_is_in_the_catalogue() -> None:
    assert len(kinds_of_attack()) >= 60
    assert kinds_of_attack() <= set(ATTACKS)


def received_lines(kept: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (kept / "app" / "received.jsonl").read_text().splitlines()]
    schema = json.loads((SCHEMAS / "received.schema.json").read_text())
    for line in lines:
        jsonschema.validate(line, schema)
    return lines


@pytest.mark.processes
async def test_live_readings_survive_four_kills_and_show_the_commanded_interval_and_attacks_come_to_nothing(
    tmp_path: Path,
) -> None:
    out, kept = tmp_path / "out.json", tmp_path / "kept"
    options = ["--devices", "2", "--messages", "200", "--rate", "20", "--seed", "7"]
    code, printed = await run_demo(*options, "--json", str(out), "--keep", str(kept))
    assert code == 0, printed
    report = checked_report(out)
    assert (report["seed"], report["sent"], report["delivered"]) == (7, 400, 400)
    lines = received_lines(kept)
    readings = [json.loads(base64.b64decode(line["payload_b64"])) for line in lines]
    intervals = {reading["interval_s"] for reading in readings}
    assert {0.05, 0.04} <= intervals, intervals
    assert all(line["row"] is None for line in lines)
    assert report["overhead_bytes"]["min"] in (23, 24)
    for role in ("hub", "gateway", "device-1", "device-2"):
        assert (kept / role).is_dir()
    assert {row["name"] for row in report["attacks"]} == kinds_of_attack()
    for row in report["attacks"]:
        assert not faults(row), row
        assert row["reported_as"] or row["expected"] == "healed", row
        assert row["name"] in printed
    assert not any(in_files(kept / "siege" / f"adversary-{place}", READING) for place in ("http", "coap", "gateway"))
    assert in_files(kept / "siege" / "device-1", READING), "the control: files are searched"


@pytest.mark.processes
async def test_csv_rows_arrive_byte_for_byte(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": TEXTS[n % len(TEXTS)], "Größe": str(n * 0.5)} for n in range(1_000)]
    source = tmp_path / "rows.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    out, kept = tmp_path / "out.json", tmp_path / "kept"
    options = ["--input", str(source), "--seed", "3", "--no-attacks"]
    code, printed = await run_demo(*options, "--json", str(out), "--keep", str(kept))
    assert code == 0, printed
    assert checked_report(out)["sent"] == len(rows)
    arrived = {line["row"]: base64.b64decode(line["payload_b64"]) for line in received_lines(kept)}
    expected = {n: json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() for n, row in enumerate(rows)}
    assert arrived == expected


@pytest.mark.processes
async def test_json_lines_from_standard_input_arrive_verbatim(tmp_path: Path) -> None:
    texts = ['{"a":1}', '{ "a" : 1.0e0 ,"b":"\\u00e9é" }', '{"a":1,"a":2}', "[1, 2]", '"水表"', "null", "  7 "]
    lines = [texts[n % len(texts)].encode() for n in range(210)]
    out, kept = tmp_path / "out.json", tmp_path / "kept"
    options = ["--input", "-", "--devices", "2", "--messages", "100", "--rate", "60", "--seed", "5", "--no-attacks"]
    code, printed = await run_demo(*options, "--json", str(out), "--keep", str(kept), given=b"\n".join(lines))
    assert code == 0, printed
    assert checked_report(out)["sent"] == 200, "the limit is a device's"
    arrived = {line["row"]: base64.b64decode(line["payload_b64"]) for line in received_lines(kept)}
    assert arrived == dict(enumerate(lines[:200])), "rows are dealt round-robin"


@pytest.mark.parametrize(
    ("options", "given", "told"),
    [
        (["--input", "-"], b"", "has no rows"),
        (["--input", "-"], b'{"a":1}\n{"a":\n', "row 1 (line 2) is not JSON"),
        (["--input", "-"], b"a,b\n1,2\n\xff,3\n", "is not UTF-8"),
        (["--input", "/nowhere.csv"], b"", "error:"),
        (["--devices", "0"], b"", "error:"),
    ],
)
async def test_what_cannot_be_shown_is_refused_before_anything_starts(
    options: list[str], given: bytes, told: str
) -> None:
    code, printed = await run_demo(*options, given=given)
    assert code == 2, printed
    assert told in printed
    assert "founding" not in printed
