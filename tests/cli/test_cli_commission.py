# SPDX-License-Identifier: Apache-2.0
"""Putting a made device into service, with real processes: pair, commission, and what the device then does."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import zxingcpp
from PIL import Image

from sealway.cli.commission_batch import agreed_by_person
from sealway.cli.demo.ports import HOST
from sealway.errors import NotTrusted
from sealway.factory.setupcode import check_digit
from sealway.sdk.owner.joinings import Joined, Joinings
from tests.cli.factory_made import MadeDevice, make_device
from tests.cli.town import Outcome, Role, Town, call, readings

pytestmark = pytest.mark.processes

_NUMBERS = count()


def commission(town: Town, waiting: str, *code: object) -> Outcome:
    """Run the owner's command as a person would."""
    gateway = ("--gateway-name", town.name("gateway", "gateway"), "--gateway", f"coap://{HOST}:{town.gateway_port}")
    return call(
        "commission", *code, "--state", town.owner, "--address", waiting, "--hub", town.hub_url,
        *gateway, "--peer", town.name("application", "office"),
    )  # fmt: skip


def trusted_device(town: Town, base: Path, serial: str) -> MadeDevice:
    """A device of a manufacturer that the owner trusts."""
    root, made = make_device(base, serial)
    call("owner", "trust-manufacturer", "--state", town.owner, "--root", root).expect(0)
    return made


def wrong(made: MadeDevice) -> str:
    """A code whose check digit is right, and that is another device's."""
    digits = made.code.password.reveal().decode()
    other = digits[:-1] + str((int(digits[-1]) + 1) % 10)
    return other + check_digit(other)


def waiting_at(town: Town, made: MadeDevice, *options: object) -> tuple[Role, str]:
    """Start the device's side; return it and where it waits."""
    role = town.role(f"{made.serial}-pair-{next(_NUMBERS)}", "device", "pair", "--state", made.state, *options)
    return role, role.wait_event("waiting")[0]["address"]


def ownership(state: Path) -> str:
    """What the device says of itself."""
    return str(call("device", "status", "--state", state, "--json").expect(0).json()["ownership"])


def test_a_made_device_is_commissioned_and_its_sealed_readings_arrive(carried: Town, tmp_path: Path) -> None:
    made = trusted_device(carried, tmp_path, "TH-000001")
    office = carried.application("office")
    role, waiting = waiting_at(carried, made, "--listen", f"{HOST}:0")
    assert ownership(made.state) == "RFOTM"

    refused = commission(carried, waiting, wrong(made)).expect(3)
    assert "19 attempts are left" in refused.err
    assert ownership(made.state) == "RFOTM"

    (tmp_path / "qr").write_text(made.qr.reveal())
    taken = commission(carried, waiting, "--qr", tmp_path / "qr").expect(0)
    assert "commissioned sealway://building.example/device/th-000001" in taken.out
    assert role.process.wait(60) == 0, role.err.read_text()
    assert [event["state"] for event in role.events("state")][-1] == "RFNOP"
    assert ownership(made.state) == "RFNOP"

    received = tmp_path / "received.jsonl"
    watch = carried.role("office-watch", "app", "watch", "--state", office, "--received", received)
    sent = call(
        "device", "send", "--state", made.state, "--to", carried.name("application", "office"), "--data", "42.7 L",
        "--wait-ack", "--timeout", "60",
    )  # fmt: skip
    sent.expect(0)
    watch.wait_for(lambda: readings(received), "the reading")
    assert [(line["payload"], line["device"]) for line in readings(received)] == [
        (b"42.7 L", carried.name("device", "th-000001"))
    ]
    watch.stop()


def test_with_the_serial_number_no_other_device_is_taken(town: Town, tmp_path: Path) -> None:
    """Another genuine device knows the code of the label: its attacker has photographed that."""
    made = trusted_device(town, tmp_path, "TH-000005")
    _, waiting = waiting_at(town, made, "--stream", tmp_path / "serial")
    refused = commission(town, waiting, made.code.reveal(), "--serial", "TH-000006").expect(3)
    assert "another device answered than TH-000006" in refused.err
    taken = commission(town, waiting, made.code.reveal(), "--serial", "TH-000005").expect(0)
    assert "compare" not in taken.err


def test_at_a_terminal_a_typed_code_is_compared_by_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter((True, False))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers))
    agreed_by_person("TH-000001")
    with pytest.raises(NotTrusted, match="TH-000001 is not the device"):
        agreed_by_person("TH-000001")


def test_an_owned_device_does_not_wait_and_a_reset_makes_it_new(town: Town, tmp_path: Path) -> None:
    made = trusted_device(town, tmp_path, "TH-000002")
    socket = tmp_path / "serial"
    role, waiting = waiting_at(town, made, "--stream", socket)
    code = made.code.reveal()
    taken = commission(town, waiting, code).expect(0)
    assert "the device with this code proves the serial number TH-000002" in taken.err
    assert role.process.wait(60) == 0
    assert (made.state / "pairing" / "networks").read_bytes() == b"\xa0"

    call("device", "reset", "--soft", "--state", made.state).expect(0)
    assert ownership(made.state) == "SRESET"
    refused = call("device", "send", "--state", made.state, "--to", town.name("application", "office"), "--data", "x")
    assert "state SRESET" in refused.expect(3).err

    call("device", "reset", "--state", made.state).expect(0)
    assert ownership(made.state) == "RFOTM"
    assert not (made.state / "enrolled").exists()
    role, waiting = waiting_at(town, made, "--stream", socket)
    commission(town, waiting, code).expect(0)
    assert role.process.wait(60) == 0
    issued = list(call("owner", "list", "--state", town.owner, "--json").json()["issued"])
    assert len([entry for entry in issued if entry.get("name", "").endswith("th-000002")]) == 2


def test_a_device_of_another_manufacturer_is_refused(town: Town, tmp_path: Path) -> None:
    trusted_device(town, tmp_path, "TH-000003")
    (tmp_path / "other").mkdir()
    _, made = make_device(tmp_path / "other", "TH-000003", manufacturer="Someone Else")
    _, waiting = waiting_at(town, made, "--stream", tmp_path / "serial")
    refused = commission(town, waiting, made.code.reveal()).expect(3)
    assert "does not trust" in refused.err


def test_a_last_word_that_was_lost_is_asked_for_again(town: Town, tmp_path: Path) -> None:
    """The device dies after it took the owner, before it could say so: the owner asks again, and nothing is new."""
    made = trusted_device(town, tmp_path, "TH-000004")
    role, waiting = waiting_at(town, made, "--listen", f"{HOST}:0")
    commission(town, waiting, made.code.reveal()).expect(0)
    enrolled = (made.state / "enrolled").read_bytes()
    role.kill()
    (joined,) = (town.owner / "joining").glob("TH-000004.*.joined")
    known = Joined.decode(joined.read_bytes())
    Joinings(town.owner / "joining").keep(replace(known, confirmed=False))  # as if its last word had been lost
    _, waiting = waiting_at(town, made, "--listen", f"{HOST}:0")
    commission(town, waiting, made.code.reveal()).expect(0)
    assert (made.state / "enrolled").read_bytes() == enrolled
    assert Joined.decode(joined.read_bytes()).confirmed
    assert ownership(made.state) == "RFNOP"


def test_a_batch_goes_on_from_its_report(town: Town, tmp_path: Path) -> None:
    made = [trusted_device(town, tmp_path, f"TH-00001{number}") for number in range(3)]
    sockets = [tmp_path / f"serial-{number}" for number in range(3)]
    for device, socket in zip(made[:2], sockets, strict=False):
        waiting_at(town, device, "--stream", socket)
    rows = ["code,qr,serial,address,label", f"{made[0].code.reveal()},,TH-000010,unix:{sockets[0]},cellar"]
    rows += [f",{device.qr.reveal()},,unix:{socket}," for device, socket in zip(made[1:], sockets[1:], strict=True)]
    batch, report = tmp_path / "batch.csv", tmp_path / "report.jsonl"
    batch.write_text("\n".join(rows))

    options = ("--batch", batch, "--report", report, "--state", town.owner, "--hub", town.hub_url)
    first = call("commission", *options).expect(3)
    assert "1 could not be taken in" in first.err and "commissioned 2 of 3" in first.out
    waiting_at(town, made[2], "--stream", sockets[2])
    second = call("commission", *options).expect(0)
    assert second.err == f"3 of 3, row 4: {town.name('device', 'th-000012')}\n"
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["row"], line["outcome"]) for line in lines] == [
        (2, "commissioned"), (3, "commissioned"), (4, "failed"), (4, "commissioned"),
    ]  # fmt: skip
    assert lines[0]["name"] == town.name("device", "cellar")
    assert not any(device.code.password.reveal().decode() in report.read_text() for device in made)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "the columns are"),
        ("code\n471-9382-5560\n", "row 2"),
        ("code,qr\n,\n", "either a code or a qr"),
        ("qr\nhttps://example\n", "row 2"),
        ("qr,serial\nSEALWAY:1:47193825564:TH-1,TH-1\n", "the qr has the serial number"),
        ("code,serial\n471-9382-5564,th 1\n", "serial number"),
    ],
)
def test_a_batch_is_read_as_a_whole_before_anything_begins(town: Town, tmp_path: Path, content: str, said: str) -> None:
    batch = tmp_path / "batch.csv"
    batch.write_text(content)
    options = ("--report", tmp_path / "r", "--state", town.owner, "--hub", town.hub_url)
    assert said in call("commission", "--batch", batch, *options).expect(2).err


def test_what_is_said_twice_or_not_at_all_is_refused(town: Town, tmp_path: Path) -> None:
    options = ("--state", town.owner, "--hub", town.hub_url)
    call("commission", *options).expect(2)
    call("commission", "--batch", tmp_path / "b", *options).expect(2)
    (tmp_path / "qr").write_text("SEALWAY:1:47193825564:TH-1")
    assert "has the serial number" in call("commission", "--qr", tmp_path / "qr", "--serial", "TH-1", *options).err
    refused = call("commission", "471-9382-5560", *options)
    assert "code" in refused.err and refused.code in (2, 3)


def test_from_the_factory_to_the_first_owner(town: Town, tmp_path: Path) -> None:
    """What a manufacturer, a shop and a buyer do: make, list, scan the label, commission. No file is made by hand."""
    factory, out = tmp_path / "factory", tmp_path / "out"
    call("factory", "init", "--state", factory, "--manufacturer", "Acme Meters").expect(0)
    call("factory", "make", "--state", factory, "--model", "WM-20", "--count", 1, "--out", out).expect(0)
    call("factory", "label", out / "labels" / "SW-000001.json", "--out", tmp_path / "label.png").expect(0)
    call("owner", "trust-manufacturer", "--state", town.owner, "--root", factory / "root.der").expect(0)
    call("owner", "add-manifest", out / "manifest-000001.cose", "--state", town.owner).expect(0)

    (scanned,) = zxingcpp.read_barcodes(Image.open(tmp_path / "label.png"))
    (tmp_path / "qr").write_text(scanned.text)
    device = out / "SW-000001"
    options = ("--state", device, "--key-file", device / "passphrase", "--stream", tmp_path / "serial")
    role = town.role("from-the-factory", "device", "pair", *options)
    waiting = role.wait_event("waiting")[0]["address"]
    taking = ("commission", "--qr", tmp_path / "qr", "--state", town.owner, "--address", waiting, "--hub", town.hub_url)
    taken = call(*taking).expect(0)
    assert "commissioned sealway://building.example/device/sw-000001, serial number SW-000001" in taken.out
    assert role.process.wait(60) == 0, role.err.read_text()
    assert ownership(device) == "RFNOP"
