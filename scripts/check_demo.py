# SPDX-License-Identifier: Apache-2.0
"""Fail unless a demo's out.json shows that every promise held.

Usage: check_demo.py OUT.json DEVICES MESSAGES
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROLES = {"hub", "gateway", "device", "application"}
KINDS = 25
EXPECTED = {"refused", "healed", "reported"}


def broken_promises(out: dict[str, Any], expected: int) -> Iterator[str]:
    """Yield a line for each thing in the demo's result that is not as promised; ``expected`` counts the readings."""
    if out["ok"] is not True:
        yield "the demo itself says that it is not ok"
    for count, value in (("sent", expected), ("delivered", expected), ("lost", 0), ("duplicates", 0)):
        if out[count] != value:
            yield f"{count} is {out[count]}, and must be {value}"
    commands = out["commands"]
    if not 0 < commands["sent"] == commands["executed"] == commands["answered"]:
        yield f"not every command was executed once and answered: {commands}"
    if {restart["role"] for restart in out["restarts"]} != ROLES:
        yield f"not every role was killed: {out['restarts']}"
    for restart in out["restarts"]:
        if restart["signal"] != 9 or restart["in_flight"] < 1 or restart["pid_before"] == restart["pid_after"]:
            yield f"not a kill with something in flight: {restart}"
    yield from _successful_attacks(out.get("attacks", []))


def _successful_attacks(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each attack that was not really made, or that the ends did not make of what they should."""
    kinds = {row["name"] for row in rows}
    if len(kinds) < KINDS or len(kinds) != len(rows):
        yield f"{len(kinds)} kinds of attack in {len(rows)} rows, and there must be {KINDS}, a row each"
    for row in rows:
        if not 0 < row["tried"] == row["reached_network"]:
            yield f"{row['name']}: tried {row['tried']}, and {row['reached_network']} reached the network"
        if row["wrong_at_handler"] or row["undetected"]:
            yield f"{row['name']}: {row['wrong_at_handler']} wrong at a handler, {row['undetected']} undetected"
        if row["expected"] not in EXPECTED:
            yield f"{row['name']}: {row['expected']} is nothing to be expected"


def main(path: str, devices: str, messages: str) -> int:
    """Print what is broken; return 1 if anything is, else 0."""
    out = json.loads(Path(path).read_text(encoding="utf-8"))
    broken = list(broken_promises(out, int(devices) * int(messages)))
    for line in broken:
        print(f"error: {line}")
    if not broken:
        print(
            f"the demo holds: {out['delivered']} readings delivered, {len(out['restarts'])} kills, no loss, no repeat;"
            f" {len(out['attacks'])} kinds of attack, all of them on the network, none undetected"
        )
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
