# SPDX-License-Identifier: Apache-2.0
"""Runs tests inside a test, under the conftest.py of all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def run_pytest(directory: Path, files: dict[str, str], *options: str, **environment: str) -> tuple[int, str]:
    """Write these files and run the tests in them; return the exit code and what was printed."""
    shutil.copy(TESTS / "conftest.py", directory)
    for name, content in {"pytest.ini": "[pytest]\npythonpath = .\n", **files}.items():
        (directory / name).write_text(content)
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", "-rA", *options, "."],
        cwd=directory, env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return finished.returncode, finished.stdout
