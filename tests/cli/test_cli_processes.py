# SPDX-License-Identifier: Apache-2.0
"""The commands as people run them: hub, gateway, devices and applications as processes on loopback."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.town import Outcome, Role, Town, call, call_process, readings

pytestmark = pytest.mark.processes


def ask(requests: Path, number: int, to: str, path: str, payload: str = "", **more: object) -> str:
    """Append a request; return its id."""
    request_id = f"{number:016x}"
    line = {"id": request_id, "to": to, "path": path, "payload": payload, **more}
    with requests.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return request_id


def watching(town: Town, label: str, state: Path) -> tuple[Role, Path, Path]:
    """Start ``app watch``; return it, received.jsonl and the requests file."""
    received, requests = town.base / f"{label}.jsonl", town.base / f"{label}.requests"
    requests.touch()
    answers = town.base / f"{label}.answers"
    arguments = ("--received", received, "--requests", requests, "--answers", answers)
    role = town.role(f"{label}-watch", "app", "watch", "--state", state, *arguments)
    return role, received, requests


def serving(town: Town, label: str, app: str, *options: object) -> Role:
    """Start ``device serve``."""
    to = town.name("application", app)
    return town.role(f"{label}-serve", "device", "serve", "--state", town.base / label, "--to", to, *options)


def test_a_device_and_an_application_of_suite_3(carried: Town) -> None:
    """Over both hops, whose own keys are on P-256: certificates, admission, a grant, the compact form, a command."""
    town = carried
    town.enroll("device", "third", suite=3)
    state = town.application("third-app", suite=3)
    watch, received, requests = watching(town, "third-app", state)
    device = serving(town, "third", "third-app", "--rate", 20, "--count", 8, "--compact")
    watch.wait_for(lambda: len(readings(received)) == 8, "all readings")
    asked = ask(requests, 1, town.name("device", "third"), "status")
    assert watch.wait_event("answered")[0]["id"] == asked
    assert (device.stop(), watch.stop()) == (0, 0)
    for command, directory in (("device", town.base / "third"), ("app", state)):
        assert call(command, "status", "--state", directory, "--json").json()["suites"] == [3]
        call("state", "check", "--state", directory).expect(0)


def test_readings_arrive_and_a_command_changes_the_interval(carried: Town) -> None:
    town = carried
    town.enroll("device", "live")
    watch, received, requests = watching(town, "live-app", town.application("live-app"))
    device = serving(town, "live", "live-app", "--rate", 20, "--count", 60)
    watch.wait_for(lambda: len(readings(received)) >= 5, "five readings")
    name = town.name("device", "live")
    first = ask(requests, 1, name, "interval", "0.02")
    second = ask(requests, 2, name, "status")
    third = ask(requests, 3, name, "interval", "soon")
    watch.wait_event("answered", 2)
    assert {event["id"] for event in watch.events("asked")} >= {first, second}
    refused = watch.wait_event("refused")
    assert (refused[0]["id"], refused[0]["error"]) == (third, "LocalMisuse")
    answers = {event["id"]: event for event in watch.events("answered")}
    assert (answers[first]["code"], answers[first]["payload"]) == ("2.04", "the interval is 0.02 s")
    assert json.loads(answers[second]["payload"])["interval_s"] == 0.02
    watch.wait_for(lambda: len(readings(received)) >= 60, "all readings")
    assert device.wait_event("finished")[0]["sent"] == 60
    intervals = [json.loads(reading["payload"])["interval_s"] for reading in readings(received)]
    assert sorted(intervals, reverse=True) == intervals
    assert (intervals[0], intervals[-1], len(intervals)) == (0.05, 0.02, 60)
    assert [event["path"] for event in device.events("command")] == ["interval", "status"]
    in_use = call("app", "request", "--state", watch.arguments[3], "--to", name, "--path", "status").expect(5)
    assert "another process uses" in in_use.err
    status = call("device", "status", "--state", town.base / "live", "--json").json()
    assert (status["sent"], status["executed"], status["sessions"]) == (60, 2, 1)
    status = call("app", "status", "--state", town.base / "live-app", "--json").json()
    assert (status["received"], status["asked"], status["answered"], status["refused"]) == (60, 3, 2, 1)
    assert status["overhead_bytes"]["min"] in (23, 24)
    for role in (device, watch):
        assert role.stop() == 0, role.err.read_text()


def test_one_command_at_a_time(carried: Town) -> None:
    town = carried
    town.enroll("device", "lock")
    mine, other = town.application("lock-app"), town.enroll("app", "lock-stranger")
    device = serving(town, "lock", "lock-app", "--no-sensor")
    device.wait_event("published")
    to = ("--to", town.name("device", "lock"))

    def request(state: Path, *options: object) -> Outcome:
        return call_process("app", "request", "--state", state, *to, *options)

    done = request(mine, "--path", "interval", "--payload", "5", "--id", "00" * 8).expect(0)
    assert done.out == "the interval is 5 s\n"
    again = request(mine, "--path", "interval", "--payload", "5", "--id", "00" * 8).expect(0)
    assert again.out == done.out
    assert len(device.events("command")) == 1  # the same id is executed once
    no = request(mine, "--path", "interval", "--payload", "-1").expect(3)
    assert no.err.startswith("error: the device refused: an interval is")
    assert "nothing answers" in request(mine, "--path", "nothing").expect(3).err
    assert "identify:write" in request(mine, "--path", "identify").expect(3).err
    assert "error: " in request(other, "--path", "status").expect(3).err
    grant = town.base / "lock.grant"
    call(
        "owner", "grant", "--state", town.owner, "--holder", town.name("application", "lock-stranger"),
        "--device", town.name("device", "lock"), "--scope", "identify:write", "--out", grant,
    ).expect(0)  # fmt: skip
    assert request(other, "--path", "identify", "--grant", grant).expect(0).out == "ok\n"
    assert device.stop() == 0
    unknown = request(mine, "--path", "status", "--timeout", "1").expect(4)
    assert "unknown" in unknown.err


def test_a_single_message_waits_for_the_hop_and_for_the_other_end(carried: Town, tmp_path: Path) -> None:
    town = carried
    device = town.enroll("device", "single")
    state = town.application("single-app")
    to = ("--to", town.name("application", "single-app"))
    nobody = call("device", "send", "--state", device, *to, "--data", "x", "--timeout", 1).expect(4)
    assert "no session" in nobody.err  # the application has not been online yet
    watch, received, _ = watching(town, "single-app", state)
    watch.wait_event("published")
    sent = call("device", "send", "--state", device, *to, "--data", "one", "--wait-ack", "--compact").expect(0)
    assert sent.out == "acknowledged by the other end\n"
    file = tmp_path / "payload"
    file.write_bytes(b"\x00\xff")
    sent = call("device", "send", "--state", device, *to, "--file", file, "--path", "a/b", "--compact").expect(0)
    assert sent.out == "sealed, and taken by the next hop\n"
    watch.wait_for(lambda: len(readings(received)) == 2, "two messages")
    assert [reading["payload"] for reading in readings(received)] == [b"one", b"\x00\xff"]
    assert call("device", "status", "--state", device, "--json").json()["sent"] == 2

    def compact() -> bool:  # the start itself has no compact form
        status = call("gateway", "status", "--state", town.base / "gateway", "--json").json()
        return bool(status["counters"]["deposits_compact"])

    watch.wait_for(compact, "an envelope in compact form")
    assert watch.stop() == 0


def nasty_csv(path: Path, rows: int) -> list[bytes]:
    """Write a CSV with empty, quoted, multi-line and non-ASCII cells; return what each row has to arrive as."""
    chance = random.Random(7)
    cells = [
        "",
        "plain",
        'with "quotes"',
        "two\nlines",
        "carriage\r\nreturn",
        "größe, 温度 🌡",
        " spaced ",
        ",",
        '"',
        "0",
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "größe", "note, quoted"])
        writer.writerows([index, chance.choice(cells), chance.choice(cells)] for index in range(rows))
    with path.open(newline="", encoding="utf-8") as file:
        return [json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() for row in csv.DictReader(file)]


def test_every_row_of_a_csv_arrives_byte_for_byte(carried: Town) -> None:
    town, rows = carried, 300
    expected = nasty_csv(town.base / "nasty.csv", rows)
    watch, received, _ = watching(town, "csv-app", town.application("csv-app"))
    devices = []
    for k in range(2):
        town.enroll("device", f"csv-{k}")
        devices.append(serving(town, f"csv-{k}", "csv-app", "--input", town.base / "nasty.csv", "--deal", f"{k}/2"))
    watch.wait_for(lambda: len(readings(received)) >= rows, "all rows")
    arrived = sorted(readings(received), key=lambda reading: reading["row"])
    assert [reading["row"] for reading in arrived] == list(range(rows))
    assert [reading["payload"] for reading in arrived] == expected
    for k, device in enumerate(devices):
        assert {r["row"] % 2 for r in arrived if r["device"] == town.name("device", f"csv-{k}")} == {k}
        assert device.wait_event("finished")[0]["sent"] == rows // 2
        assert device.stop() == 0
    assert watch.stop() == 0


def test_rows_of_standard_input(carried: Town) -> None:
    town = carried
    town.enroll("device", "piped")
    watch, received, _ = watching(town, "pipe-app", town.application("pipe-app"))
    to = town.name("application", "pipe-app")
    command = [sys.executable, "-m", "sealway", "device", "serve", "--state", str(town.base / "piped"), "--to", to]
    with subprocess.Popen(
        [*command, "--input", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as device:
        assert device.stdin is not None
        device.stdin.write(b'{"a": 1}\n')
        device.stdin.flush()
        watch.wait_for(lambda: len(readings(received)) == 1, "the first row, while the input goes on")
        device.stdin.write(b'{"a": "\xc3\xa9"}\n')
        device.stdin.flush()
        watch.wait_for(lambda: len(readings(received)) == 2, "the second row")
        device.terminate()  # while the input is still open
        assert device.wait(20) == 0
    assert [reading["payload"] for reading in readings(received)] == [b'{"a": 1}', '{"a": "é"}'.encode()]
    assert watch.stop() == 0


def test_bad_input_ends_the_command_before_anything_is_sent(carried: Town, tmp_path: Path) -> None:
    town = carried
    state = town.enroll("device", "badly")
    path = tmp_path / "in.csv"
    path.write_bytes(b"a\n1\n\xff\n")
    outcome = call(
        "device", "serve", "--state", state, "--to", town.name("application", "nobody"), "--input", path
    ).expect(2)
    assert outcome.err == "error: row 1 (line 3) is not UTF-8\nhint: convert the input to UTF-8\n"
    assert call("device", "status", "--state", state, "--json").json()["sent"] == 0


def test_hop_status_shows_what_is_held(carried: Town) -> None:
    town = carried
    hub = call("hub", "status", "--state", town.base / "hub", "--json").expect(0).json()
    gateway = call("gateway", "status", "--state", town.base / "gateway", "--json").expect(0).json()
    assert hub["in_flight"] >= 0
    assert gateway["in_flight"] == gateway["outbound"] + gateway["inbound"]
    assert (town.base / "hub" / "log").exists()
    assert (town.base / "gateway" / "log").exists()
