# SPDX-License-Identifier: Apache-2.0
"""The container file and the compose file. No image is built: what they say is read, and their commands are tried."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from sealway.cli.config.groups import GROUPS
from sealway.cli.config.settings import settings_of
from sealway.cli.demo.ports import HOST
from tests.cli.town import Town, call

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "container"
ROOT = FOLDER.parents[1]
HEALTHCHECK = FOLDER / "healthcheck.py"


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of the container file, by stage."""
    text = re.sub(r"\\\n", " ", (FOLDER / "Containerfile").read_text(encoding="utf-8"))
    found: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append((name, rest))
    return found


def said(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def test_every_stage_begins_with_a_pinned_image() -> None:
    images = [said(stage, "FROM")[0].split()[0] for stage in stages()]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-\w+", image)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert wanted == ">=3.11"
    assert all(tuple(map(int, image.split(":")[1].split("-")[0].split(".")))[:2] >= (3, 11) for image in images)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    build, final = stages()
    sources = [part for copy in said(build, "COPY") for part in copy.split()[:-1]]
    sources += [copy.split()[0] for copy in said(final, "COPY") if not copy.startswith("--from")]
    kept = {line[1:] for line in (FOLDER / "Containerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    for source in sources:
        assert (ROOT / source).exists()
        assert source.removeprefix("./") in kept
    assert {"pyproject.toml", "README.md", "LICENSE", "src"} <= set(sources), "what the package is built from"


def test_it_runs_as_nobody_special_and_is_asked_how_it_is() -> None:
    final = stages()[-1]
    assert said(final, "USER") == ["10001:10001"]
    assert [name for name, _ in final].index("USER") < [name for name, _ in final].index("ENTRYPOINT")
    assert json.loads(said(final, "ENTRYPOINT")[0]) == ["sealway"]
    assert json.loads(said(final, "HEALTHCHECK")[0].split("CMD ")[1]) == ["python", "/opt/sealway/healthcheck.py"]
    assert said(final, "VOLUME") == ['["/var/lib/sealway"]']
    assert not [word for name in ("ENV", "ARG") for word in said(final, name) if "PASSPHRASE" in word]


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


@pytest.mark.parametrize("service", services().values(), ids=services())
def test_services_are_confined_and_their_commands_exist(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    known = {setting.variable for setting in settings_of(GROUPS)} | {"SEALWAY_HEALTH"}
    assert set(service["environment"]) <= known
    config, rest = service["command"][1], service["command"][2:]
    assert service["command"][0] == "--config"
    sample = ROOT / "docs" / "samples" / Path(config).name
    outcome = call("--config", sample, *rest, "--help").expect(0)
    for option in [word for word in rest if word.startswith("--")]:
        assert option in outcome.out
    assert "unknown" not in outcome.err


@pytest.mark.processes
def test_the_health_check_asks_hub_and_gateway(carried: Town) -> None:
    hub, gateway = carried.hub_url, f"coap://{HOST}:{carried.gateway_port}"
    assert [checked(hub), checked(gateway), checked()] == [0, 0, 0]
    assert [checked("https://127.0.0.1:9"), checked("coap://127.0.0.1:9"), checked(f"{hub}0000")] == [1, 1, 1]
    assert checked(f"coap://{hub.removeprefix('https://')}") == 1, "nothing answers where the hub listens with TCP"


def checked(*arguments: str) -> int:
    return subprocess.run([sys.executable, HEALTHCHECK, *arguments], timeout=120, check=False).returncode
