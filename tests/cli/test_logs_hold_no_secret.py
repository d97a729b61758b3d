# SPDX-License-Identifier: Apache-2.0
"""Hub, gateway, device and application over a whole exchange, at the level debug: no secret is in any log."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sealway.cli.demo.ports import HOST
from tests.cli.town import PASSPHRASE, Role, Town, call, readings
from tests.e2e.memory import forms

pytestmark = pytest.mark.processes

RECORDING = Path(__file__).with_name("recording.py")
ROWS = 12


class Recorded(Role):
    """A command that logs all it can, and that writes down its secrets."""

    def __init__(self, base: Path, *arguments: object) -> None:
        self.log, self.secrets = base.with_suffix(".log"), base.with_suffix(".secrets")
        super().__init__(base, *arguments, "--log-file", self.log, "--log-level", "debug", "--log-format", "json")

    def start(self) -> None:
        """Start it with its witness."""
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(RECORDING), str(self.secrets), *self.arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=os.environ | {"SEALWAY_PASSPHRASE": PASSPHRASE},
            )  # fmt: skip


@pytest.fixture
def small_town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.close()


def found_in(logs: list[bytes], secret: bytes) -> list[str]:
    """The forms in which a secret shows in what logs say; ``forms``, url-safe base64, and Python's escapes."""
    needles = forms(secret)
    safe = {f"{form}-url": needle.replace(b"+", b"-").replace(b"/", b"_") for form, needle in needles.items()}
    escaped = {"escaped": repr(secret)[2:-1].encode(), "latin-1": secret.decode("latin-1").encode()}
    return [form for form, needle in (needles | safe | escaped).items() if any(needle in log for log in logs)]


def said(log: bytes) -> bytes:
    """A log as it stands, and what its lines say once JSON is taken off."""
    values = [str(value) for line in log.splitlines() if line.startswith(b"{") for value in json.loads(line).values()]
    return log + "\n".join(values).encode("utf-8", "surrogatepass")


def test_no_secret_is_in_any_log(small_town: Town, tmp_path: Path) -> None:
    town, marker = small_town, secrets.token_hex(8)
    for command, label in (("hub", "hub"), ("gateway", "gateway"), ("device", "meter")):
        town.enroll(command, label)
    state = town.application("dashboard")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"m": marker, "n": n}) + "\n" for n in range(ROWS)))
    requests, received = tmp_path / "requests", tmp_path / "received.jsonl"
    requests.touch()
    commands = {
        "hub": ("hub", "run", "--state", tmp_path / "hub"),
        "gateway": ("gateway", "run", "--state", tmp_path / "gateway", "--port", town.gateway_port),
        "app": ("app", "watch", "--state", state, "--received", received, "--requests", requests),
        "device": (
            "device", "serve", "--state", tmp_path / "meter", "--to", town.name("application", "dashboard"),
            "--input", tmp_path / "rows.jsonl", "--rate", 10,
        ),
    }  # fmt: skip
    roles = {}
    for name, words in commands.items():
        roles[name] = role = Recorded(tmp_path / f"recorded-{name}", *words)
        town.roles.append(role)
        role.wait_ready()
    app = roles["app"]
    with requests.open("a") as file:
        for number, (path, payload) in enumerate((("interval", "0.05"), ("interval", marker), (marker, "x"))):
            line = {"id": f"{number:016x}", "to": town.name("device", "meter"), "path": path, "payload": payload}
            file.write(json.dumps(line) + "\n")
    app.wait_for(lambda: len(readings(received)) >= ROWS, "all readings")
    app.wait_event("answered")
    app.wait_event("refused", 2)
    guessed = be_a_nuisance(town)
    for role in reversed(roles.values()):
        assert role.stop() == 0

    logs = [said(path.read_bytes()) for role in roles.values() for path in (role.log, role.err)]
    assert all(json.loads(line)["time"] for role in roles.values() for line in role.log.read_bytes().splitlines())
    assert all(b'"event": "ready"' in role.log.read_bytes() for role in roles.values())
    assert b"was refused: " in roles["device"].log.read_bytes()
    kept = {bytes.fromhex(line) for role in roles.values() for line in role.secrets.read_text().splitlines()}
    witnesses(kept, roles)
    kept |= {marker.encode(), PASSPHRASE.encode(), guessed.encode()}
    assert {secret.hex(): found for secret in kept if (found := found_in(logs, secret))} == {}


def witnesses(kept: set[bytes], roles: dict[str, Recorded]) -> None:
    """The control: there were secrets of every kind, and one of each would be found in a log, however written."""
    assert all(role.secrets.stat().st_size for role in roles.values())
    assert any(secret.startswith(b"-----BEGIN PRIVATE KEY-----") for secret in kept)
    assert any(secret.count(b".") == 2 and secret.startswith(b"eyJ") for secret in kept)
    assert any(len(secret) == 43 and secret.isascii() for secret in kept), "an access token"
    assert PASSPHRASE.encode() in kept
    assert len([secret for secret in kept if len(secret) in (16, 32)]) > ROWS
    for secret in list(kept)[:20]:
        for text in (secret.hex(), repr(secret), base64.b64encode(secret), base64.urlsafe_b64encode(b"x" + secret)):
            assert found_in([said(json.dumps({"message": f"a {text!s}"}).encode())], secret)


def be_a_nuisance(town: Town) -> str:
    """Send what may end in a log: a wrong token, a body, a path, a datagram. Return what must not be there."""
    secret = secrets.token_urlsafe(24)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(verify=context, base_url=town.hub_url) as stranger:
        headers = {"Authorization": f"Bearer {secret}"}
        stranger.post("/v1/deposits", content=secret.encode(), headers=headers)
        stranger.post("/v1/token", data={"client_assertion": secret, "client_secret": secret})
        assert stranger.get("/v1/root%0a%1b[2J", headers=headers).status_code == 404
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for datagram in (b"\x40\x01" + secret.encode(), secret.encode(), b"\x40\x02\x00\x01\xff" + secret.encode()):
            datagrams.sendto(datagram, (HOST, town.gateway_port))
    call("gateway", "status", "--state", town.base / "gateway").expect(0)
    return secret
