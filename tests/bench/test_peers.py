# SPDX-License-Identifier: Apache-2.0
"""Peers run as workers in an environment of their own; here the worker is a stand-in, and no package is fetched."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bench import peers

ECHO = "import sys\nfor line in sys.stdin: print(len(line.split()) * float(line.split()[1]), flush=True)"


def test_a_worker_answers_each_request_with_a_figure() -> None:
    with peers.worker(sys.executable, "-c", ECHO) as worker:
        assert worker.each_us("cwt", 10, 64) == 30.0
        assert worker.each_us("cwt", 20, 64) == 60.0


def test_a_worker_that_ends_is_an_error() -> None:
    with peers.worker(sys.executable, "-c", "input()") as worker, pytest.raises(RuntimeError, match="has ended"):
        worker.each_us("cwt", 1, 64)


def test_every_peer_has_both_bounds() -> None:
    lines = peers.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if not line.startswith("#")]
    assert len(named) > 4
    assert all(re.fullmatch(r"[a-z0-9]+>=[0-9.]+,<[0-9.]+", line) for line in named)


def test_the_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venv.create", lambda place, **_: (place / "bin").mkdir(parents=True, exist_ok=True))
    calls: list[list[str]] = []
    status = 0

    def run(command: list[str], **_: object) -> object:
        calls.append(command)
        return type("Done", (), {"returncode": status, "stderr": "no such package"})

    monkeypatch.setattr("subprocess.run", run)
    requirements = tmp_path / "peers.txt"
    requirements.write_text("cwt>=3,<4\n", encoding="utf-8")
    assert peers.environment(tmp_path, requirements) == peers.environment(tmp_path, requirements)
    assert len(calls) == 1
    requirements.write_text("cwt>=4,<5\n", encoding="utf-8")
    status = 1
    with pytest.raises(RuntimeError, match="no such package"):
        peers.environment(tmp_path, requirements)
    status = 0
    peers.environment(tmp_path, requirements)
    assert len(calls) == 3


def test_our_side_of_each_comparison_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MESSAGES", 4)
    monkeypatch.setattr(peers, "STARTS", 1)
    assert all(work() > 0 for work in (peers._stream_us, peers._turns_us, peers._start_us))
