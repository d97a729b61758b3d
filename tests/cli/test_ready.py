# SPDX-License-Identifier: Apache-2.0
"""Readiness as systemd expects it: one datagram on the socket that the environment names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealway.cli.ready import VARIABLE, tell_ready
from tests.cli.town import Town


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(45)
        yield listening


def test_the_supervisor_is_told(supervisor: socket.socket) -> None:
    tell_ready({VARIABLE: supervisor.getsockname()})
    assert supervisor.recv(100) == b"READY=1"


def test_a_socket_in_the_abstract_namespace(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{tmp_path}")
        listening.settimeout(5)
        tell_ready({VARIABLE: f"@{tmp_path}"})
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify", "/" + "x" * 200])
def test_without_a_supervisor_nothing_happens(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    tell_ready({VARIABLE: address})
    tell_ready({})
    assert capfd.readouterr().out == ""


@pytest.mark.processes
def test_every_long_running_command_tells_it_once_it_serves(
    town: Town, supervisor: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, app = town.enroll("device", "notifying"), town.application("notifying-app")
    hub, gateway = town.enroll("hub", "notifying-hub"), town.enroll("gateway", "notifying-gateway")
    monkeypatch.setenv(VARIABLE, supervisor.getsockname())
    to = town.name("application", "notifying-app")
    commands = (
        ("hub", "run", "--state", hub, "--port", 0),
        ("gateway", "run", "--state", gateway, "--port", 0),
        ("device", "serve", "--state", device, "--to", to, "--no-sensor"),
        ("app", "watch", "--state", app, "--received", tmp_path / "received"),
    )
    for command in commands:
        role = town.role(f"notifying-{command[0]}", *command)
        assert supervisor.recv(100) == b"READY=1"
        assert role.stop() == 0
