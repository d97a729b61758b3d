# SPDX-License-Identifier: Apache-2.0
"""The samples in docs/samples run a whole domain: one file for each role, and one for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.town import DOMAIN, PASSPHRASE, Role, Town, call, readings

pytestmark = pytest.mark.processes

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"
COMMANDS = {"hub": "run", "gateway": "run", "app": "watch", "device": "serve"}
EACH = {"hub": "hub.toml", "gateway": "gateway.toml", "device": "device.toml", "app": "application.toml"}
ONE = dict.fromkeys(EACH, "all.toml")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A domain as the samples have it, with the samples beside the state directories."""
    base = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
        town = Town(base)
        for command, label in (("hub", "hub"), ("gateway", "gateway"), ("device", "device")):
            town.enroll(command, label)
        town.application("dashboard").rename(base / "application")
    for role in ("owner", "hub", "gateway", "device", "application"):
        (base / f"{role}.passphrase").touch(mode=0o600)
        (base / f"{role}.passphrase").write_text(PASSPHRASE)
    for sample in SAMPLES.glob("*.toml"):
        shutil.copy(sample, base)
    (base / "requests.jsonl").touch()
    assert town.hub_url.startswith("https://")
    assert town.name("application", "dashboard") == f"sealway://{DOMAIN}/application/dashboard"
    yield town
    town.close()


@pytest.mark.parametrize("files", [EACH, ONE], ids=["a file for each role", "one file"])
def test_the_samples_run_a_domain(home: Town, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEALWAY_PASSPHRASE", "SEALWAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)  # the key files are what unlocks
    monkeypatch.setenv("SEALWAY_GATEWAY_RUN_PORT", str(home.gateway_port))  # the one thing that a test must choose
    received = home.base / "received.jsonl"
    before = len(readings(received))
    roles: dict[str, Role] = {}
    for command, verb in COMMANDS.items():
        call("config", "check", home.base / files[command]).expect(0)
        role = home.role(f"{files[command]}-{command}", "--config", home.base / files[command], command, verb)
        role.wait_ready()
        roles[command] = role
    roles["app"].wait_for(lambda: len(readings(received)) >= before + 2, "two readings")
    for role in reversed(roles.values()):
        assert role.stop() == 0, role.err.read_text()
    for command in ("hub", "gateway"):
        log = roles[command].err if files is EACH else home.base / command / "log"
        assert all(json.loads(line)["logger"] for line in log.read_text().splitlines())
    status = call("--config", home.base / files["device"], "device", "status", "--json").expect(0).json()
    assert status["sent"] >= before + 2
