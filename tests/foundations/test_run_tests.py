# SPDX-License-Identifier: Apache-2.0
"""scripts/run_tests.sh: every part runs, and one that fails is not forgotten."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

COUNTED, TOGETHER, PROCESSES, GATE = "--cov-branch", "not processes", "-m processes", "check_coverage.py"
"""A word of each call."""
FAKE = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
*"{word}"*) exit {code} ;;
esac
"""


def _run(directory: Path, word: str, code: int, *options: str) -> tuple[int, list[str]]:
    """Run it with a Python that does nothing, and fails where it is called with this word."""
    python, log = directory / "python", directory / "log"
    python.write_text(FAKE.format(log=log, word=word, code=code))
    python.chmod(0o700)
    done = subprocess.run(
        [ROOT / "scripts" / "run_tests.sh", *options], env={**os.environ, "PYTHON_OF_TESTS": str(python)},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, log.read_text().splitlines()


def test_all_parts_run_and_the_gate_after_them(tmp_path: Path) -> None:
    status, calls = _run(tmp_path, "nothing", 0)
    assert status == 0
    assert [word in call for word, call in zip((COUNTED, TOGETHER, PROCESSES, GATE), calls, strict=True)] == [True] * 4


@pytest.mark.parametrize("part", [COUNTED, TOGETHER, PROCESSES, GATE])
def test_one_that_fails_fails_all_and_keeps_none_from_running(part: str, tmp_path: Path) -> None:
    status, calls = _run(tmp_path, part, 1)
    assert status == 1
    assert len(calls) == 4


def test_a_part_without_tests_is_a_failure_unless_tests_were_chosen(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    assert _run(tmp_path / "all", PROCESSES, 5)[0] == 1
    (tmp_path / "some").mkdir()
    status, calls = _run(tmp_path / "some", PROCESSES, 5, "-k", "kid")
    assert status == 0
    assert all(call.endswith("-k kid") for call in calls) and len(calls) == 3  # and nothing to count
