# SPDX-License-Identifier: Apache-2.0
"""SIGKILL in mid-stream: nothing is lost, nothing is doubled, no command is executed twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.test_cli_processes import ask, nasty_csv, serving, watching
from tests.cli.town import Town, call, readings

pytestmark = pytest.mark.processes


def test_rows_survive_the_death_of_both_ends(carried: Town) -> None:
    town, rows = carried, 400
    expected = nasty_csv(town.base / "killed.csv", rows)
    town.enroll("device", "killed")
    watch, received, _ = watching(town, "killed-app", town.application("killed-app"))
    device = serving(town, "killed", "killed-app", "--input", town.base / "killed.csv", "--rate", 80)
    for number, victim in enumerate((device, watch, device, watch)):
        goal = (number + 1) * rows // 6
        watch.wait_for(lambda: len(readings(received)) >= goal, f"{goal} rows")  # noqa: B023 - used at once
        victim.kill()
        victim.start()
    watch.wait_for(lambda: len(readings(received)) >= rows, "all rows")
    watch.wait_event("ready", 3)
    assert device.wait_event("finished")[0]["sent"] == rows
    time.sleep(0.5)  # what came twice would come now
    arrived = readings(received)
    assert [reading["payload"] for reading in sorted(arrived, key=lambda reading: reading["row"])] == expected
    assert Counter(reading["row"] for reading in arrived) == Counter(range(rows))
    assert [event["sent"] > 0 for event in device.events("resumed")] == [True, True]
    for role in (device, watch):
        assert role.stop() == 0, role.err.read_text()


def test_the_count_of_live_readings_is_honoured_over_restarts(carried: Town) -> None:
    town, count = carried, 80
    town.enroll("device", "counted")
    watch, received, requests = watching(town, "count-app", town.application("count-app"))
    device = serving(town, "counted", "count-app", "--rate", 40, "--count", count)
    watch.wait_for(lambda: len(readings(received)) >= 15, "some readings")
    ask(requests, 1, town.name("device", "counted"), "interval", "0.03")
    watch.wait_event("answered")
    for _ in range(2):
        device.kill()
        before = len(readings(received))
        device.start()
        watch.wait_for(lambda: len(readings(received)) >= min(before + 10, count), "more readings")  # noqa: B023
    watch.wait_for(lambda: len(readings(received)) >= count, "all readings")
    assert device.wait_event("finished")[0]["sent"] == count
    time.sleep(0.3)
    arrived = readings(received)
    assert len(arrived) == len({(reading["session"], reading["number"]) for reading in arrived}) == count
    assert json.loads(arrived[-1]["payload"])["interval_s"] == 0.03  # a command outlives the process that executed it
    assert call("device", "status", "--state", town.base / "counted", "--json").json()["sent"] == count
    for role in (device, watch):
        assert role.stop() == 0, role.err.read_text()


def test_a_command_outlives_the_application_that_asked(carried: Town) -> None:
    town = carried
    device_state = town.enroll("device", "late")
    state = town.application("late-app")
    name = town.name("device", "late")
    device = serving(town, "late", "late-app", "--no-sensor")
    device.wait_event("published")
    watch, _, requests = watching(town, "late-app", state)
    first = ask(requests, 1, name, "interval", "7")
    watch.wait_event("answered")
    assert device.stop() == 0
    second = ask(requests, 2, name, "interval", "8")
    watch.wait_event("asked", 2)
    watch.kill()
    ask(requests, 2, name, "interval", "8")  # the same again
    ask(requests, 2, name, "interval", "9")  # the same id for something else
    unknown = ask(requests, 3, name, "status", timeout_s=1)
    watch.start()
    watch.wait_event("unknown")
    device.start()
    watch.wait_for(lambda: answered(town, "late-app") >= {first, second}, "the answer")
    watch.wait_event("invalid")
    assert [event["interval_s"] for event in device.events("command")[:2]] == [7, 8]
    assert call("device", "status", "--state", device_state, "--json").json()["executed"] >= 2
    lines = [json.loads(line) for line in (town.base / "late-app.answers").read_text().splitlines()]
    assert Counter(line["id"] for line in lines) == Counter([first, second, unknown])
    for role in (device, watch):
        assert role.stop() == 0, role.err.read_text()


def answered(town: Town, label: str) -> set[str]:
    """The ids in the answers file that have an answer."""
    path: Path = town.base / f"{label}.answers"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["id"] for line in lines if line["event"] == "answered"}
