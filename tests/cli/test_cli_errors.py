# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong is an ``error:`` line, perhaps a ``hint:`` line, and the right exit code; never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import sealway.cli.options
from sealway.cli.main import run
from tests.cli.town import DOMAIN, Town, call

APP = f"sealway://{DOMAIN}/application/app"
DEVICE = f"sealway://{DOMAIN}/device/meter"

WRONG: dict[str, tuple[str, int, str]] = {
    "no such command": ("nonsense", 2, "no such command"),
    "no such option": ("owner list --nonsense", 2, "no such option"),
    "missing option": ("owner list", 2, "missing option"),
    "not a number": ("gateway run --state {tmp} --port x", 2, "valid integer"),
    "port out of range": ("hub run --state {tmp} --port 70000", 2, "--port"),
    "no owner here": ("owner list --state {tmp}", 2, "there is no owner"),
    "bad domain": ("owner init --state {tmp}/o --domain Not_A_Domain", 2, "--domain"),
    "bad name": ("device init --state {tmp}/d --name meter", 2, "--name"),
    "name of another role": ("device init --state {tmp}/d --name " + APP, 2, "is not the name of a device"),
    "neither phase": ("device init --state {tmp}/d", 2, "either --name or --enrolment"),
    "no such suite": ("device init --state {tmp}/d --suite 4 --name " + DEVICE, 2, "there is no suite 4"),
    "a suite too late": ("app init --state {tmp}/d --suite 3 --enrolment {file}", 2, "what keys are made for"),
    "another suite": ("device init --state {device} --suite 3 --name " + DEVICE, 2, "are for suite 1"),
    "a hop's suite": ("gateway init --state {tmp}/d --suite 3", 2, "no such option"),
    "no keys yet": ("device init --state {tmp}/d --enrolment {file}", 2, "there are no keys"),
    "not enrolled": ("device serve --state {tmp}/d --to " + APP, 2, "is not enrolled"),
    "hub not enrolled": ("hub run --state {tmp}/d", 2, "is not enrolled"),
    "application not enrolled": ("app watch --state {tmp}/d --received {tmp}/r", 2, "is not enrolled"),
    "to whom": ("device serve --state {device} --to " + DEVICE, 2, "is not the name of a application"),
    "both paces": ("device serve --state {device} --to " + APP + " --rate 1 --interval 1", 2, "say the same"),
    "bad deal": ("device serve --state {device} --to " + APP + " --deal 3/3", 2, "--deal"),
    "bad format": ("device serve --state {device} --to " + APP + " --input {file} --format xml", 2, "--format"),
    "no input file": ("device serve --state {device} --to " + APP + " --input {tmp}/none.csv", 2, "no such file"),
    "nothing to send": ("device send --state {device} --to " + APP, 2, "one payload"),
    "empty path": ("device send --state {device} --to " + APP + " --data x --path a//b", 2, "empty segment"),
    "bad id": ("app request --state {app} --to " + DEVICE + " --path x --id 12", 2, "--id"),
    "bad scope": (f"owner grant --state {{owner}} --holder {APP} --device all --scope x --out {{tmp}}/g", 2, "--scope"),
    "holder unknown": (
        f"owner grant --state {{owner}} --holder sealway://{DOMAIN}/application/nobody"
        " --device all --scope a:b --out {tmp}/g",
        2, "was not enrolled here",
    ),
    "another domain": (
        "owner grant --state {owner} --holder sealway://o.example/application/a --device all --scope a:b --out {tmp}/g",
        2, "is not in the domain",
    ),
    "no request": (
        f"owner enroll --state {{owner}} --request {{tmp}}/none --name {DEVICE} --hub https://h --out {{tmp}}/e",
        2, "no such file",
    ),
    "bad hub": (
        f"owner enroll --state {{owner}} --request {{file}} --name {DEVICE} --hub http://h --out {{tmp}}/e",
        2, "--hub",
    ),
    "half a gateway": (
        f"owner enroll --state {{owner}} --request {{file}} --name {DEVICE} --hub https://h --gateway coap://h"
        " --out {tmp}/e",
        2, "has a name and an address",
    ),
    "request is nonsense": (
        f"owner enroll --state {{owner}} --request {{file}} --name {DEVICE} --hub https://h --out {{tmp}}/e",
        3, "certificate request",
    ),
    "request for another name": (
        f"owner enroll --state {{owner}} --request {{device}}/request.csr --name {DEVICE} --hub https://h"
        " --out {tmp}/e",
        3, "asks for the name",
    ),
    "enrolment is nonsense": ("device init --state {device} --enrolment {file}", 3, ""),
    "enrolment of another": ("device init --state {device} --enrolment {other}", 3, "certifies another key"),
    "another fingerprint": (
        "device init --state {device} --enrolment {other} --fingerprint " + "00" * 32, 3, "not the one expected"),
    "fingerprint is not hex": ("device init --state {device} --enrolment {other} --fingerprint xy", 2, "--fingerprint"),
    "grant is nonsense": ("app init --state {app} --grant {file}", 3, ""),
    "envelope is nonsense": ("inspect {file}", 3, ""),
    "no envelope": ("inspect {tmp}/none", 2, "no such file"),
    "no directory": ("device status --state {tmp}/none", 2, "there is no directory"),
    "hub out of reach": ("app request --state {app} --to " + DEVICE + " --path x --timeout 0.5", 4, "no session"),
    "gateway out of reach": ("device send --state {device} --to " + APP + " --data x --timeout 0.5", 4, "no session"),
}  # fmt: skip


@pytest.fixture(scope="session")
def cast(town: Town) -> dict[str, Path]:
    """A device, an application and another device's enrolment, for a hub that nobody runs."""
    town.enroll("device", "wrong-other", "--gateway", "coap://127.0.0.1:9")
    return {
        "owner": town.owner,
        "device": town.enroll("device", "wrong-device", "--gateway", "coap://127.0.0.1:9"),
        "app": town.enroll("app", "wrong-app", "--hub", "https://127.0.0.1:9"),
        "other": town.base / "wrong-other.enrolment",
    }


@pytest.mark.parametrize("case", WRONG)
def test_is_told_in_one_voice(case: str, cast: dict[str, Path], tmp_path: Path) -> None:
    command, code, words = WRONG[case]
    file = tmp_path / "nonsense"
    file.write_bytes(b"this is nothing of ours")
    outcome = call(*(word.format(tmp=tmp_path, file=file, **cast) for word in command.split()))
    assert (outcome.code, outcome.out) == (code, "")
    lines = [line for line in outcome.err.splitlines() if not line.startswith(("warning: ", "hint: ", "20"))]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert words in lines[0].lower()
    assert not lines[0].endswith(".")
    assert lines[0][7] == lines[0][7].lower()


def test_a_wrong_passphrase_is_refused(cast: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAY_PASSPHRASE", "something else")
    outcome = call("device", "send", "--state", cast["device"], "--to", APP, "--data", "x").expect(2)
    assert "error: " in outcome.err
    assert "something else" not in outcome.err


def test_a_key_file_serves_instead_of_the_environment(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALWAY_PASSPHRASE")
    key_file = tmp_path / "key"
    key_file.write_text("from a file\n")
    options = ("--name", town.name("device", "filed"), "--key-file", key_file)
    assert "chmod 600" in call("device", "init", "--state", tmp_path / "d", *options).expect(2).err
    key_file.chmod(0o600)
    call("device", "init", "--state", tmp_path / "d", *options).expect(0)


def test_a_directory_in_use_is_a_matter_of_state(cast: dict[str, Path]) -> None:
    from sealway.storage.directory import DirectoryLock

    lock = DirectoryLock(cast["device"], "test")
    try:
        outcome = call("device", "serve", "--state", cast["device"], "--to", APP).expect(5)
    finally:
        lock.release()
    assert "another process uses" in outcome.err


def test_an_error_of_ours_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: Path) -> NoReturn:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(sealway.cli.options, "demand_directory", fail)
    outcome = call("hub", "status", "--state", tmp_path).expect(1)
    assert outcome.err == (
        "error: unexpected ZeroDivisionError\nhint: set SEALWAY_TRACEBACK=1 to see where, and report it\n"
    )
    monkeypatch.setenv("SEALWAY_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(["hub", "status", "--state", str(tmp_path)])


def test_help_is_there_for_everything() -> None:
    for group in ((), ("owner",), ("hub",), ("gateway",), ("device",), ("app",)):
        assert "Usage: sealway" in call(*group, "--help").expect(0).out
        assert "Usage: sealway" in call(*group).expect(2).out
    assert call("--version").expect(0).out.startswith("sealway ")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from sealway.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert not {"cryptography", "aiocoap", "fastapi", "httpx", "psutil", "sqlite3"} & set(done.stderr.split())


def test_a_reader_that_goes_away_is_no_traceback(town: Town) -> None:
    command = f"{sys.executable} -m sealway owner list --state {town.owner} --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ, check=False)
    assert done.stderr == ""
