# SPDX-License-Identifier: Apache-2.0
"""The systemd units: good to systemd, confined, and their commands really start and say when they serve."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.town import PASSPHRASE, Town

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PROGRAM = "/opt/sealway/bin/sealway"
MOST_EXPOSED = 15  # tenths: 1.5 of 10

each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)


@pytest.fixture
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    return program


def installed(unit: Path, directory: Path, program: str = sys.executable) -> Path:
    """A unit as it would be installed here: its program exists, and a template has an instance."""
    copy = directory / unit.name.replace("@", "@meter")
    text = unit.read_text(encoding="utf-8").replace(PROGRAM, program)
    if "@" in unit.name:
        (directory / unit.name).write_text(text)
    copy.write_text(text)
    return copy


def judged(analyze: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [analyze, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"SYSTEMD_PAGER": "", "LC_ALL": "C"},
    )  # fmt: skip


def directives(unit: Path) -> dict[str, list[str]]:
    """What a unit says, by name."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_there_is_a_unit_for_every_role() -> None:
    names = ["sealway-application", "sealway-device@", "sealway-gateway", "sealway-hub"]
    assert [unit.stem for unit in UNITS] == names


@each_unit
def test_systemd_finds_nothing_wrong(unit: Path, analyze: str, tmp_path: Path) -> None:
    done = judged(analyze, "verify", "--man=no", installed(unit, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@each_unit
def test_it_is_confined(unit: Path, analyze: str, tmp_path: Path) -> None:
    copy = installed(unit, tmp_path)
    done = judged(analyze, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", copy)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    said = directives(unit)
    for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "MemoryDenyWriteExecute", "RestrictSUIDSGID"):
        assert said[name] == ["yes"]
    assert said["ProtectSystem"] == ["strict"]
    assert said["CapabilityBoundingSet"] == [""]
    assert said["LimitCORE"] == ["0"]
    assert "WatchdogSec" not in said, "nothing answers a watchdog"


def test_what_is_wrong_is_found(analyze: str, tmp_path: Path) -> None:
    hub = next(unit for unit in UNITS if unit.stem == "sealway-hub")
    missing = installed(hub, tmp_path, program="/nowhere/sealway")
    assert "/nowhere/sealway" in judged(analyze, "verify", "--man=no", missing).stderr
    loose = tmp_path / "loose.service"
    loose.write_text(f"[Service]\nExecStart={sys.executable}\n")
    assert judged(analyze, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", loose).returncode != 0


def test_every_user_of_a_unit_is_made() -> None:
    made = {
        line.split()[1] for line in (UNITS[0].parent / "sealway.sysusers").read_text().splitlines() if line[0] == "u"
    }
    assert {directives(unit)["User"][0] for unit in UNITS} == made
    assert len(made) == len(UNITS), "no role can read the keys of another"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A domain whose state directories lie as the units have them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
        town = Town(tmp_path_factory.mktemp("var"))
        (town.base / "lib" / "sealway").mkdir(parents=True)
        for command, label in (("hub", "hub"), ("gateway", "gateway"), ("device", "device-meter")):
            town.enroll(command, label).rename(town.base / "lib" / "sealway" / label)
        town.application("application").rename(town.base / "lib" / "sealway" / "application")
    credential = town.base / "credentials" / "passphrase"
    credential.parent.mkdir()
    credential.touch(mode=0o440)  # as systemd 254 and later hand it over
    credential.write_text(PASSPHRASE)
    yield town
    town.close()


def here(words: str, home: Town) -> list[str]:
    """A command of a unit, with what systemd would put in, and the samples as its settings."""
    text = words.replace("/etc/sealway/device-%i.toml", f"{ROOT}/docs/samples/device.toml")
    text = text.replace("/etc/sealway/", f"{ROOT}/docs/samples/").replace("%S", f"{home.base}/lib")
    text = text.replace("%d", f"{home.base}/credentials").replace("%i", "meter")
    assert "%" not in text
    return shlex.split(text)


@pytest.mark.processes
@each_unit
def test_its_command_starts_with_the_sample_and_says_when_it_serves(unit: Path, home: Town, tmp_path: Path) -> None:
    said = directives(unit)
    assert said["Type"] == ["notify"]
    assert said["LoadCredential"][0].startswith("passphrase:/etc/sealway/")
    program, *words = here(said["ExecStart"][0], home)
    assert program == PROGRAM
    directory = home.base / "lib" / said["StateDirectory"][0].replace("%i", "meter")
    assert words[words.index("--state") + 1] == str(directory)
    for before in said.get("ExecStartPre", []):
        subprocess.run(here(before, home), timeout=120, check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALWAY_")}
    environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "CREDENTIALS_DIRECTORY": f"{home.base}/credentials"}
    environment |= {"SEALWAY_GATEWAY_RUN_PORT": "0", "SEALWAY_HUB_RUN_PORT": "0"}
    outside = set((ROOT / "docs" / "samples").iterdir())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(60)
        command = [sys.executable, "-m", "sealway", *words]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as role:
            try:
                assert supervisor.recv(100) == b"READY=1"
                with pytest.raises(subprocess.TimeoutExpired):
                    role.wait(1)
            finally:
                role.terminate()
            assert role.wait(30) == 0
    assert set((ROOT / "docs" / "samples").iterdir()) == outside, "it writes to its state directory alone"
