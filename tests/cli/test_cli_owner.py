# SPDX-License-Identifier: Apache-2.0
"""The owner's commands, and becoming a member."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from sealway.cli.home import home_of
from sealway.crypto.secret import Secret
from sealway.errors import StateLost
from sealway.home.home import Home
from sealway.identity.grants import verify_grant
from sealway.sdk.owner.authority import OwnerHome
from sealway.sdk.owner.ledger import Ledger
from sealway.wire.address import Name
from tests.cli.town import DOMAIN, PASSPHRASE, Town, call

SMALL = "small.example"
SECRET = Secret(PASSPHRASE.encode())


def test_owner_init_shows_the_fingerprint_and_the_next_command(tmp_path: Path) -> None:
    outcome = call("owner", "init", "--state", tmp_path / "o", "--domain", SMALL).expect(0)
    fingerprint = next(line.split()[1] for line in outcome.out.splitlines() if line.startswith("fingerprint"))
    assert len(bytes.fromhex(fingerprint)) == 32
    assert f"sealway owner enroll --state {tmp_path}/o" in outcome.out
    assert call("owner", "list", "--state", tmp_path / "o", "--json").json()["fingerprint"] == fingerprint


def test_owner_init_refuses_a_second_owner(owner_state: Path) -> None:
    outcome = call("owner", "init", "--state", owner_state, "--domain", SMALL).expect(2)
    assert "has an owner already" in outcome.err


def test_owner_init_that_was_killed_goes_on(owner_state: Path) -> None:
    (owner_state / "root").unlink()  # as if killed between the keys and the root document
    call("owner", "init", "--state", owner_state, "--domain", SMALL).expect(0)


def test_nothing_in_a_state_directory_is_open_to_others(town: Town) -> None:
    device = town.enroll("device", "private")
    for path in (town.owner, device, *town.owner.iterdir(), *device.iterdir()):
        if path.is_dir() or path.name in ("keystore", "root", "ledger.jsonl", "enrolled", "request.csr"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_every_line_says_the_next_command(town: Town, tmp_path: Path) -> None:
    state, out = tmp_path / "a b", tmp_path / "x.enrolment"
    first = call("device", "init", "--state", state, "--name", town.name("device", "walk")).expect(0)
    assert f"--request '{state}/request.csr' --name {town.name('device', 'walk')}" in first.out
    second = call(
        "owner", "enroll", "--state", town.owner, "--request", state / "request.csr",
        "--name", town.name("device", "walk"), "--hub", town.hub_url, "--out", out,
    ).expect(0)  # fmt: skip
    assert f"sealway device init --state DIR --enrolment {out} --fingerprint {town.fingerprint}" in second.out
    third = call("device", "init", "--state", state, "--enrolment", out, "--fingerprint", town.fingerprint).expect(0)
    assert f"sealway device serve --to NAME --state '{state}'" in third.out
    assert third.err == ""


def test_list_shows_what_was_issued(town: Town) -> None:
    town.application("listed")
    listed = call("owner", "list", "--state", town.owner, "--json").json()
    mine = [entry for entry in listed["issued"] if town.name("application", "listed") in entry.values()]
    assert [entry["kind"] for entry in mine] == ["certificate", "grant"]
    assert mine[1]["scopes"] == ["interval:write", "status:read"]
    table = call("owner", "list", "--state", town.owner).expect(0).out
    assert f"interval:write status:read at sealway://{DOMAIN}/device/*" in table


def test_grant_binds_the_holder_to_devices_and_scopes(town: Town, tmp_path: Path) -> None:
    state, out = town.enroll("app", "granted"), tmp_path / "grant"
    meter = town.name("device", "meter")
    call(
        "owner", "grant", "--state", town.owner, "--holder", town.name("application", "granted"), "--device", meter,
        "--scope", "valve:write", "--hours", 2, "--out", out,
    ).expect(0)  # fmt: skip
    enrolled = Home(state, "app").open(SECRET)
    grant = verify_grant(out.read_bytes(), enrolled.root, enrolled.claims.issued + 1)
    grant.permits(enrolled.credential, Name.parse(meter), "valve:write", enrolled.claims.issued + 7_100)
    assert enrolled.grants == ()
    assert "took the grant" in call("app", "init", "--state", state, "--grant", out).expect(0).out
    assert Home(state, "app").open(SECRET).grants == (out.read_bytes(),)
    other = town.enroll("app", "not-granted")
    assert "belongs to" in call("app", "init", "--state", other, "--grant", out).expect(3).err


def test_an_expired_grant_is_left_out_with_a_warning(
    town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_of(town.application("expiring"), "app")
    enrolled = home.open(SECRET)
    assert len(enrolled.grants) == 1
    later = enrolled.claims.issued + 3 * 86_400
    monkeypatch.setattr("sealway.home.home.time.time", lambda: later)
    assert home.open(SECRET).grants == ()
    assert "warning: a grant is left out" in capsys.readouterr().err


def test_first_use_is_trusted_with_a_warning_and_pinned(town: Town, owner_state: Path, tmp_path: Path) -> None:
    name = town.name("device", "trusting")
    state, enrolment = tmp_path / "trusting", tmp_path / "e"
    call("device", "init", "--state", state, "--name", name).expect(0)
    enroll = ("--request", state / "request.csr", "--hub", "https://h", "--out", enrolment)
    call("owner", "enroll", "--state", town.owner, "--name", name, *enroll).expect(0)
    outcome = call("device", "init", "--state", state, "--enrolment", enrolment).expect(0)
    assert f"warning: trusting the root document {town.fingerprint}" in outcome.err
    again = call("device", "init", "--state", state, "--enrolment", enrolment).expect(0)
    assert again.err == ""
    stranger = tmp_path / "stranger"
    call("owner", "init", "--state", stranger, "--domain", DOMAIN).expect(0)
    call("owner", "enroll", "--state", stranger, "--name", name, *enroll).expect(0)
    refused = call("device", "init", "--state", state, "--enrolment", enrolment).expect(3)
    assert "error: " in refused.err  # another owner's document cannot follow the pinned one
    Home(state, "device").open(SECRET)


def test_init_that_was_killed_goes_on_and_keeps_its_name(town: Town, tmp_path: Path) -> None:
    state = tmp_path / "d"
    call("device", "init", "--state", state, "--name", town.name("device", "d")).expect(0)
    (state / "request.csr").unlink()  # as if killed between the keys and the request
    call("device", "init", "--state", state, "--name", town.name("device", "d")).expect(0)
    request = (state / "request.csr").read_bytes()
    call("device", "init", "--state", state, "--name", town.name("device", "d")).expect(0)
    assert (state / "request.csr").read_bytes() == request
    assert "already" in call("device", "init", "--state", state, "--name", town.name("device", "e")).expect(2).err


def test_a_damaged_enrolment_is_a_matter_of_state(town: Town) -> None:
    state = town.enroll("device", "damaged")
    content = bytearray((state / "enrolled").read_bytes())
    content[0] ^= 1
    (state / "enrolled").write_bytes(content)
    outcome = call("device", "send", "--state", state, "--to", town.name("application", "a"), "--data", "x").expect(5)
    assert "is damaged" in outcome.err


def test_a_torn_line_of_the_ledger_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append("grant", holder="a")
    path.write_bytes(path.read_bytes() + b'{"kind": "gra')
    assert [entry["holder"] for entry in ledger.entries()] == ["a"]
    ledger.append("grant", holder="b")
    assert [json.loads(line)["holder"] for line in path.read_text().splitlines()] == ["a", "b"]
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(StateLost, match="line 1"):
        list(ledger.entries())


def test_the_owners_root_names_the_keys_of_its_keystore(owner_state: Path) -> None:
    root = OwnerHome(owner_state).read_root()
    assert (root.number, root.claims.threshold, root.domain) == (1, 1, SMALL)
