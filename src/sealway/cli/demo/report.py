# SPDX-License-Identifier: Apache-2.0
"""out.json: what happened, from the two ends' durable state and received.jsonl alone. No middlebox has a say in it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sealway.adversary.verdict import faults
from sealway.cli.demo.kills import Restart
from sealway.cli.demo.process import run_json
from sealway.cli.demo.town import Town

ROLES = ("hub", "gateway", "device", "application")


async def make_report(town: Town, *, seed: int, restarts: list[Restart], seconds: float) -> dict[str, Any]:
    """Return out.json's content; the roles have ended. Its schema is docs/schemas/demo-out.schema.json."""
    application = await run_json("app", "status", "--state", str(town.application.directory), "--json")
    devices = [await run_json("device", "status", "--state", str(d.directory), "--json") for d in town.devices]
    delivered, duplicates = _count_lines(town.application.directory / "received.jsonl")
    sent = sum(int(device["sent"]) for device in devices)
    report: dict[str, Any] = {
        "format": 1,
        "seed": seed,
        "sent": sent,
        "delivered": delivered,
        "duplicates": duplicates,
        "lost": sent - delivered,
        "commands": {
            "sent": int(application["asked"]),
            "executed": sum(int(device["executed"]) for device in devices),
            "answered": int(application["answered"]),
        },
        "restarts": [asdict(restart) for restart in restarts],
        "overhead_bytes": application["overhead_bytes"],
        "latency_ms": application["latency_ms"],
        "seconds": round(seconds, 3),
    }
    report["ok"] = _is_well(report)
    return report


def with_attacks(report: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the report with what came of the attacks; it is ok only if every row is."""
    return report | {"attacks": rows, "ok": bool(report["ok"] and rows and not any(map(faults, rows)))}


def what_is_wrong(report: dict[str, Any]) -> str:
    """Return in one line what keeps a report from being ok."""
    found = [f"{row['name']}: {fault}" for row in report.get("attacks", []) for fault in faults(row)]
    counts = {name: value for name, value in report.items() if name != "attacks"}
    return "; ".join(found) if found else f"the ends disagree: {json.dumps(counts)}"


def _is_well(report: dict[str, Any]) -> bool:
    commands = report["commands"]
    return (
        report["sent"] == report["delivered"] > 0
        and report["lost"] == report["duplicates"] == 0
        and commands["sent"] == commands["executed"] == commands["answered"]
        and sorted(r["role"] for r in report["restarts"]) == sorted(ROLES)
        and all(r["in_flight"] > 0 and r["pid_before"] != r["pid_after"] for r in report["restarts"])
    )


def _count_lines(received: Path) -> tuple[int, int]:
    """Return (distinct readings, lines too many); an input row that arrives under two numbers is one reading twice."""
    seen: Counter[tuple[Any, ...]] = Counter()
    if received.exists():
        with received.open("rb") as file:
            for line in file:
                r = json.loads(line)
                seen[(r["row"],) if r["row"] is not None else (r["device"], r["session"], r["number"])] += 1
    return len(seen), sum(seen.values()) - len(seen)
