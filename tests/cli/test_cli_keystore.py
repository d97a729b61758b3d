# SPDX-License-Identifier: Apache-2.0
"""Devices whose keys are in a token or a TPM, from their making to sealed readings that arrive; commands about keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealway.factory.labelfile import Label
from tests.cli.town import PASSPHRASE, Role, Town, call, call_process, readings
from tests.keystore.softhsm import PIN, SoftHsm, uri
from tests.keystore.swtpm import SwTpm

pytestmark = pytest.mark.processes


@pytest.fixture
def softhsm(tmp_path: Path) -> Iterator[SoftHsm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", "")  # is given back as it was
        yield SoftHsm(tmp_path / "softhsm")


@pytest.fixture
def place(softhsm: SoftHsm) -> str:
    """A token's URI."""
    return softhsm.add_token("meter")


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_text(PIN + "\n")
    return path


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SwTpm]:
    made = SwTpm(tmp_path)
    yield made
    made.close()


def test_devices_with_their_keys_in_a_token_and_in_a_tpm(
    tmp_path: Path, place: str, pin_file: Path, softhsm: SoftHsm, tpm: SwTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
    town = Town(tmp_path / "town")
    try:
        watch = _watch(town)
        _reading_arrives(town, watch, "meter", place, pin_file)
        softhsm.remove_tokens()
        away = call_process("device", "send", *_device(town, "meter", pin_file), "--data", "22")
        assert (away.code, "there is no such token" in away.err) == (5, True), away.err
        softhsm.bring_back()
        call_process("device", "send", *_device(town, "meter", pin_file), "--data", "23", "--wait-ack").expect(0)
        _reading_arrives(town, watch, "pump", tpm.place, pin_file)
        received = readings(town.base / "received.jsonl")
        assert [line["payload"] for line in received] == [b"21", b"23", b"21"]
    finally:
        town.close()


def _watch(town: Town) -> Role:
    office = town.application("office")
    town.run_hops()
    return town.role("watch", "app", "watch", "--state", office, "--received", town.base / "received.jsonl")


def _reading_arrives(town: Town, watch: Role, label: str, place: str, pin_file: Path) -> None:
    state, enrolment, name = town.base / label, town.base / f"{label}.enrolment", town.name("device", label)
    with_pin, before = ("--state", state, "--key-file", pin_file), len(readings(town.base / "received.jsonl"))
    said = call_process("device", "init", *with_pin, "--name", name, "--keystore", place, "--suite", 2).expect(0)
    assert f"made the keys of {name} in {place}" in said.out
    call(
        "owner", "enroll", "--state", town.owner, "--request", state / "request.csr", "--out", enrolment,
        "--role", "device", "--label", label, "--hub", town.hub_url,
        "--gateway-name", town.name("gateway", "gateway"), "--gateway", f"coap://127.0.0.1:{town.gateway_port}",
    ).expect(0)  # fmt: skip
    answer = ("--enrolment", enrolment, "--fingerprint", town.fingerprint)
    call_process("device", "init", *with_pin, *answer).expect(0)
    options = ("--data", "21", "--wait-ack", "--timeout", 120)
    call_process("device", "send", *_device(town, label, pin_file), *options).expect(0)
    watch.wait_for(lambda: len(readings(town.base / "received.jsonl")) > before, "the reading")


def _device(town: Town, label: str, pin_file: Path) -> tuple[object, ...]:
    state, office = town.base / label, town.name("application", "office")
    return ("--state", state, "--key-file", pin_file, "--to", office)


def test_keys_are_listed_made_and_tried(tmp_path: Path, place: str, pin_file: Path) -> None:
    state, with_pin = tmp_path / "state", ("--key-file", pin_file)
    call("keystore", "generate", "--state", state, "--label", "a", "--keystore", place, *with_pin).expect(0)
    call("keystore", "generate", "--state", state, "--label", "b", "--kind", "agree", *with_pin).expect(0)
    listed = call("keystore", "list", "--state", state, "--json", *with_pin).expect(0).json()
    keys = [{"label": "a", "kind": "sign", "suite": 1}, {"label": "b", "kind": "agree", "suite": 1}]
    assert listed == {"place": place, "keys": keys}
    assert "agree" in call("keystore", "list", "--state", state, *with_pin).expect(0).out
    tried = call("keystore", "test", "--state", state, "--json", *with_pin).expect(0).json()
    assert [trial["label"] for trial in tried] == ["a", "b"]
    assert "every key does what it is for" in call("keystore", "test", "--state", state, *with_pin).expect(0).out


@pytest.mark.usefixtures("pin_file")
def test_a_place_is_tried_and_left_as_it_was(tmp_path: Path, place: str, softhsm: SoftHsm) -> None:
    tried = call("keystore", "test", "--keystore", place, "--key-file", tmp_path / "pin").expect(0)
    assert "trial-agree" in tried.out
    assert not [path for path in softhsm.tokens.glob("*/*.object") if path.name != "token.object"]


def test_what_is_refused(tmp_path: Path, place: str, pin_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, with_pin = tmp_path / "state", ("--key-file", pin_file)
    assert "either" in call("keystore", "test").expect(2).err
    wrong = call("keystore", "generate", "--state", state, "--label", "a", "--kind", "wrap", *with_pin).expect(2)
    assert "no kind of key named wrap" in wrong.err
    hop = ("keystore", "generate", "--state", state, "--label", "a", "--kind", "hop", "--keystore", place, *with_pin)
    assert "TLS" in call(*hop).expect(2).err
    other = ("keystore", "generate", "--state", state, "--label", "a", "--keystore", "file", *with_pin)
    assert "the keys are in pkcs11:" in call(*other).expect(2).err
    assert (
        "a PIN has no place in a URI"
        in call("keystore", "test", "--keystore", f"{uri('meter')}&pin-value={PIN}", *with_pin).expect(2).err
    )
    monkeypatch.setenv("SEALWAY_PASSPHRASE", "000000")
    told = call("keystore", "list", "--state", state).expect(2)
    assert "wrong PIN" in told.err
    assert "000000" not in told.err


def test_an_owner_with_its_keys_in_a_token(
    tmp_path: Path, place: str, pin_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, meter, with_pin = tmp_path / "owner", tmp_path / "meter", ("--key-file", pin_file)
    call("owner", "init", "--state", owner, "--domain", "a.example", "--keystore", place, *with_pin).expect(0)
    kept = json.loads((owner / "keystore").read_text())
    assert (kept["place"], len(kept["keys"])) == (place, 3)
    fingerprint = call("owner", "list", "--state", owner, "--json").expect(0).json()["fingerprint"]
    monkeypatch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
    name = "sealway://a.example/device/meter"
    call("device", "init", "--state", meter, "--name", name).expect(0)
    call(
        "owner", "enroll", "--state", owner, "--request", meter / "request.csr", "--name", name, *with_pin,
        "--hub", "https://127.0.0.1:9", "--out", tmp_path / "answer",
    ).expect(0)  # fmt: skip
    answer = ("--enrolment", tmp_path / "answer", "--fingerprint", fingerprint)
    assert f"enrolled {name}" in call("device", "init", "--state", meter, *answer).expect(0).out


def test_a_file_is_a_keystore_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
    state = tmp_path / "state"
    call("keystore", "generate", "--state", state, "--label", "tls", "--kind", "hop").expect(0)
    call("keystore", "generate", "--state", state, "--label", "x", "--kind", "agree", "--suite", 3).expect(0)
    tried = call("keystore", "test", "--state", state, "--json").expect(0).json()
    assert [(trial["label"], trial["suite"]) for trial in tried] == [("tls", 1), ("x", 3)]


def test_a_device_is_born_in_its_token_and_joins_with_that(
    tmp_path: Path, place: str, pin_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
    town, factory, out = Town(tmp_path / "town"), tmp_path / "factory", tmp_path / "out"
    try:
        call("factory", "init", "--state", factory, "--manufacturer", "Acme").expect(0)
        making = ("factory", "make", "--state", factory, "--model", "m", "--serial", "T-1", "--out", out)
        assert "a token has a PIN" in call(*making, "--device-keystore", place).expect(2).err
        call_process(*making, "--device-keystore", place, "--device-key-file", pin_file).expect(0)
        assert sorted(path.name for path in (out / "T-1").iterdir()) == ["birth", "keystore", "verifier"]
        call("owner", "trust-manufacturer", "--state", town.owner, "--root", factory / "root.der").expect(0)
        device = ("--state", out / "T-1", "--key-file", pin_file)
        role = town.role("born-in-a-token", "device", "pair", *device, "--stream", tmp_path / "serial")
        waiting = role.wait_event("waiting")[0]["address"]
        code = Label.read(out / "labels" / "T-1.json").code.reveal()
        taken = call("commission", code, "--state", town.owner, "--address", waiting, "--hub", town.hub_url).expect(0)
        assert "commissioned sealway://building.example/device/t-1" in taken.out
        assert role.process.wait(60) == 0, role.err.read_text()
        listed = call_process("keystore", "list", *device).expect(0).out
        assert place in listed and "idevid" in listed and "identity" in listed
    finally:
        town.close()
