# SPDX-License-Identifier: Apache-2.0
"""SEALWAY_NO_SKIP=1 leaves no way to skip a test unseen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

WAYS_TO_SKIP = {
    "mark": "import pytest\n@pytest.mark.skip(reason='why')\ndef test(): pass\n",
    "condition": "import pytest\n@pytest.mark.skipif(True, reason='why')\ndef test(): pass\n",
    "call": "import pytest\ndef test(): pytest.skip('why')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef tool(): pytest.skip('why')\ndef test(tool): pass\n",
    "module": "import pytest\npytest.skip('why', allow_module_level=True)\ndef test(): pass\n",
    "import": "import pytest\npytest.importorskip('no_such_module', reason='why')\ndef test(): pass\n",
    "xfail": "import pytest\n@pytest.mark.xfail(reason='why')\ndef test(): assert False\n",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.skipTest('why')\n",
}


def _run_pytest(directory: Path, test: str, *, no_skip: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(TESTS / "conftest.py", directory)
    (directory / "test_one.py").write_text(test)
    (directory / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "."],
        cwd=directory,
        env={**os.environ, "SEALWAY_NO_SKIP": no_skip},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("way", WAYS_TO_SKIP)
def test_a_skip_fails_where_nothing_may_be_skipped(way: str, tmp_path: Path) -> None:
    finished = _run_pytest(tmp_path, WAYS_TO_SKIP[way], no_skip="1")

    assert finished.returncode in (1, 2), finished.stdout  # 2: a module that failed while it was collected
    assert "skipped where nothing may be skipped" in finished.stdout
    assert "why" in finished.stdout


def test_a_skip_is_a_skip_otherwise(tmp_path: Path) -> None:
    finished = _run_pytest(tmp_path, WAYS_TO_SKIP["call"], no_skip="0")

    assert finished.returncode == 0
    assert re.search(r"\b1 skipped", finished.stdout)


def test_a_test_that_passes_still_passes(tmp_path: Path) -> None:
    assert _run_pytest(tmp_path, "def test(): pass\n", no_skip="1").returncode == 0
