# SPDX-License-Identifier: Apache-2.0
"""The factory's commands, and the owner's that check what comes out of one."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zxingcpp
from PIL import Image

from tests.cli.town import PASSPHRASE, call
from tests.factory.small_factory import SmallFactory

MODEL = "Water meter WM-20"


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory that made two devices, into ``out``."""
    path = tmp_path_factory.mktemp("works")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
        call("factory", "init", "--state", path / "factory", "--manufacturer", "Acme Meters").expect(0)
        made = call(
            "factory", "make", "--state", path / "factory", "--model", MODEL, "--count", 2, "--out", path / "out",
            "--mud-url", "https://acme.example/mud/wm-20.json",
        ).expect(0)  # fmt: skip
    assert re.findall(r"\d of 2: SW-00000\d", made.err) == ["1 of 2: SW-000001", "2 of 2: SW-000002"]
    assert f"manifest 1: 2 devices, {path}/out/manifest-000001.cose" in made.out
    return path


def test_init_says_what_comes_next(tmp_path: Path) -> None:
    outcome = call("factory", "init", "--state", tmp_path / "f", "--manufacturer", "Acme").expect(0)
    fingerprint = next(line.split()[1] for line in outcome.out.splitlines() if line.startswith("fingerprint"))
    assert f"sealway factory make --state {tmp_path}/f" in outcome.out
    assert f"--root {tmp_path}/f/root.der --fingerprint {fingerprint}" in outcome.out
    assert "keep it offline" in outcome.err
    assert "factory already" in call("factory", "init", "--state", tmp_path / "f", "--manufacturer", "A").expect(2).err
    assert "manufacturer" in call("factory", "init", "--state", tmp_path / "g", "--manufacturer", "").expect(2).err


def test_list_shows_what_was_made(works: Path) -> None:
    listed = call("factory", "list", "--state", works / "factory", "--json").expect(0).json()
    assert listed["manufacturer"] == "Acme Meters"
    assert [(device["serial"], device["model"]) for device in listed["devices"]] == [
        ("SW-000001", MODEL),
        ("SW-000002", MODEL),
    ]
    assert "SW-000002  Water meter WM-20" in call("factory", "list", "--state", works / "factory").expect(0).out


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--model", MODEL), "which devices"),
        (("--model", MODEL, "--serial", "sw"), "serial number"),
        (("--model", MODEL, "--serial", "SW-000001"), "already"),
        (("--model", "", "--count", 1), "model"),
        (("--model", MODEL, "--count", 1, "--mud-url", "ftp://x"), "MUD URL"),
    ],
)
def test_what_cannot_be_made(works: Path, tmp_path: Path, options: tuple[object, ...], match: str) -> None:
    refused = call("factory", "make", "--state", works / "factory", "--out", tmp_path / "out", *options).expect(2)
    assert match in refused.err


def test_devices_get_the_passphrase_that_is_given(works: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of the device\n")
    (tmp_path / "key").chmod(0o600)
    call(
        "factory", "make", "--state", works / "factory", "--out", tmp_path / "out", "--model", MODEL, "--serial", "K-1",
        "--device-key-file", tmp_path / "key",
    ).expect(0)  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out" / "K-1").iterdir()) == ["birth", "keystore", "verifier"]


def test_labels_as_pictures(works: Path, tmp_path: Path) -> None:
    first, second = (works / "out" / "labels" / f"SW-00000{n}.json" for n in (1, 2))
    call("factory", "label", first, "--out", tmp_path / "one.png").expect(0)
    (found,) = zxingcpp.read_barcodes(Image.open(tmp_path / "one.png"))
    assert re.fullmatch(r"SEALWAY:1:\d{11}:SW-000001", found.text)
    assert stat.S_IMODE((tmp_path / "one.png").stat().st_mode) == 0o600
    call("factory", "label", first, second, "--out", tmp_path / "all").expect(0)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["SW-000001.svg", "SW-000002.svg"]
    assert "several" in call("factory", "label", first, second, "--out", tmp_path / "x.svg").expect(2).err
    assert "neither" in call("factory", "label", first, "--out", tmp_path / "y", "--format", "pdf").expect(2).err


def test_a_label_in_the_terminal(works: Path) -> None:
    shown = call("factory", "label", works / "out" / "labels" / "SW-000001.json").expect(0).out
    assert "█▄▄" in shown and "SW-000001" in shown and re.search(r"setup code +\d{3}-\d{4}-\d{4}$", shown, re.M)


def test_an_owner_checks_what_was_made(works: Path, owner_state: Path, tmp_path: Path) -> None:
    root, manifest = works / "factory" / "root.der", works / "out" / "manifest-000001.cose"
    refused = call("owner", "add-manifest", manifest, "--state", owner_state).expect(3)
    assert "does not trust" in refused.err
    wrong = call(
        "owner", "trust-manufacturer", "--state", owner_state, "--root", root, "--fingerprint", "00" * 32
    ).expect(3)
    assert "not the one expected" in wrong.err
    unsure = call("owner", "trust-manufacturer", "--state", owner_state, "--root", root).expect(0)
    assert "because this file says so" in unsure.err
    fingerprint = call("owner", "manufacturers", "--state", owner_state, "--json").json()[0]["fingerprint"]
    sure = call("owner", "trust-manufacturer", "--state", owner_state, "--root", root, "--fingerprint", fingerprint)
    assert sure.expect(0).err == ""
    added = call("owner", "add-manifest", manifest, "--state", owner_state).expect(0)
    assert f"manifest 1 of Acme Meters: 2 devices, {MODEL}" in added.out
    assert re.search(
        rf"Acme Meters +{fingerprint} +1 +2$", call("owner", "manufacturers", "--state", owner_state).out, re.M
    )
    (held,) = (owner_state / "manifests").glob("*/*.cose")
    stray = held.with_name("00.cose")
    stray.write_bytes(SmallFactory().manifest())  # what its own manufacturer's root does not vouch for
    stray.chmod(0o600)
    shown = call("owner", "manufacturers", "--state", owner_state).expect(0)
    assert "1 of the manifests of Acme Meters are not valid now, and list nothing" in shown.err
    forged = tmp_path / "forged.cose"
    forged.write_bytes(manifest.read_bytes().replace(b"SW-000001", b"SW-000000"))
    assert "signature does not verify" in call("owner", "add-manifest", forged, "--state", owner_state).expect(3).err


@pytest.mark.processes
def test_a_batch_that_was_killed_is_completed(tmp_path: Path) -> None:
    environment = {**os.environ, "SEALWAY_PASSPHRASE": PASSPHRASE}
    sealway = [sys.executable, "-m", "sealway", "factory"]
    subprocess.run([*sealway, "init", "--state", "f", "--manufacturer", "A"], cwd=tmp_path, env=environment, check=True)
    making = [*sealway, "make", "--state", "f", "--model", "m", "--count", "10", "--out", "out"]
    process = subprocess.Popen(making, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if line.startswith("2 of 10"))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, line
    before = {path.name: (path / "birth").read_bytes() for path in (tmp_path / "out").glob("SW-*")}
    assert 2 <= len(before) < 10
    again = subprocess.run(
        making, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert "2 of 10: SW-000002 (made before)" in again.stderr and "manifest 1: 10 devices" in again.stdout
    after = {path.name: (path / "birth").read_bytes() for path in (tmp_path / "out").glob("SW-*")}
    assert len(after) == len(set(after.values())) == 10 and before.items() <= after.items()
    assert not list((tmp_path / "out").glob(".*"))
