# SPDX-License-Identifier: Apache-2.0
"""The script with which CI judges the demo refuses every kind of failure."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.check_demo import main

GOOD: dict[str, Any] = {
    "format": 1,
    "seed": 7,
    "sent": 300,
    "delivered": 300,
    "duplicates": 0,
    "lost": 0,
    "commands": {"sent": 9, "executed": 9, "answered": 9},
    "restarts": [
        {"role": role, "pid_before": 10 + n, "pid_after": 20 + n, "signal": 9, "in_flight": 1}
        for n, role in enumerate(("hub", "gateway", "device", "application"))
    ],
    "attacks": [
        {
            "name": f"attack-{n}", "tried": 3, "reached_network": 3, "expected": "refused", "wrong_at_handler": 0,
            "undetected": 0, "reported_as": {"Replayed": 3},
        }
        for n in range(25)
    ],
    "ok": True,
}  # fmt: skip


def _verdict(path: Path, out: dict[str, Any]) -> int:
    path.write_text(json.dumps(out))
    return main(str(path), "3", "100")


def test_a_good_demo_passes(tmp_path: Path) -> None:
    assert _verdict(tmp_path / "out.json", GOOD) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda out: out.update(ok=False),
        lambda out: out.update(ok="yes"),
        lambda out: out.update(sent=299, delivered=299),
        lambda out: out.update(lost=1),
        lambda out: out.update(duplicates=1),
        lambda out: out["commands"].update(executed=10),
        lambda out: out["commands"].update(answered=8),
        lambda out: out.update(commands={"sent": 0, "executed": 0, "answered": 0}),
        lambda out: out.update(restarts=[]),
        lambda out: out["restarts"].pop(),
        lambda out: out["restarts"][0].update(in_flight=0),
        lambda out: out["restarts"][0].update(signal=15),
        lambda out: out["restarts"][0].update(pid_after=10),
        lambda out: out.pop("attacks"),
        lambda out: out["attacks"].pop(),
        lambda out: out["attacks"][0].update(name="attack-1"),
        lambda out: out["attacks"][0].update(reached_network=2),
        lambda out: out["attacks"][0].update(tried=0, reached_network=0),
        lambda out: out["attacks"][0].update(wrong_at_handler=1),
        lambda out: out["attacks"][0].update(undetected=1),
        lambda out: out["attacks"][0].update(expected="ignored"),
    ],
)
def test_a_broken_promise_fails(spoil: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    out = copy.deepcopy(GOOD)
    spoil(out)
    assert _verdict(tmp_path / "out.json", out) == 1
