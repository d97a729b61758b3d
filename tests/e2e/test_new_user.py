# SPDX-License-Identifier: Apache-2.0
"""Somebody who has never been here clones the repository, and follows README, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.documents import ROOT
from tests.guides.walkthrough import blocks_of, walk

ELSEWHERE = ("make demo", "make test")
"""What the tests cannot do within a test; .ci/run does both."""

CANNOT_CLONE = shutil.which("git") is None or not (ROOT / ".git").exists()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clean clone of what was committed last."""
    if CANNOT_CLONE:
        pytest.skip("not a clone itself, so it cannot be cloned")
    directory = tmp_path / "sealway"
    subprocess.run(["git", "clone", "--quiet", ROOT, directory], check=True, timeout=120)
    return directory


@pytest.mark.processes
def test_a_new_user_sees_the_first_own_sealed_message(clone: Path) -> None:
    readme = (clone / "README.md").read_text(encoding="utf-8")
    done = walk([readme], clone, skip=ELSEWHERE, stranger=True)
    assert done.complaints() == [], done.trace()
    messages = (clone / "town" / "received.jsonl").read_text(encoding="utf-8")
    assert "NDIuNyBM" in messages  # 42.7 L
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout.split() == ["??", "meter.py"], "what README makes besides is ignored by git"


def test_readme_says_what_is_looked_for() -> None:
    printed = [line for block in blocks_of((ROOT / "README.md").read_text()) for line in block.expected or ()]
    assert {"acknowledged by the other end", "42.7 L", "closed"} <= set(printed)
