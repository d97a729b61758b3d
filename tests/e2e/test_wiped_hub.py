# SPDX-License-Identifier: Apache-2.0
"""A hub that loses its disk in mid-run loses nothing that the ends had not acknowledged to each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealway.cli.demo.report import make_report
from tests.e2e.fleet import running_fleet

ROWS = 400


@pytest.mark.processes
async def test_wiped_hub_loses_nothing(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(ROWS)))
    async with running_fleet(tmp_path / "town", source, ROWS, devices=2, messages=None, rate=25) as fleet:
        await fleet.until(lambda: fleet.delivered >= 100)
        await fleet["application"].stop()  # so that the hub certainly holds envelopes when it dies
        hub = fleet["hub"]
        held = 0
        while held < 20:
            held = (await hub.status())["in_flight"]
        await hub.kill()
        for file in hub.directory.glob("hub.sqlite*"):
            file.unlink()
        assert (await hub.status())["in_flight"] == 0
        await hub.start()
        await hub.ready()
        await fleet["application"].start()
        await fleet.until(lambda: fleet.delivered >= ROWS, seconds=150)
        fleet.commander.ask_status(0)
        fleet.commander.ask_status(1)
        await fleet.until(fleet.all_answered)
        town = fleet.story.town
    report = await make_report(town, seed=0, restarts=[], seconds=0)
    assert (report["sent"], report["delivered"], report["duplicates"], report["lost"]) == (ROWS, ROWS, 0, 0)
    assert report["commands"] == {"sent": 2, "executed": 2, "answered": 2}
