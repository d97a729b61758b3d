# SPDX-License-Identifier: Apache-2.0
"""SEALWAY_NO_SKIP=1 leaves no way to skip a test unseen."""

from __future__ import annotations

from pathlib import Path

from tests.foundations.inner_run import run_pytest

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
FILES = {f"test_{way}.py": content for way, content in WAYS_TO_SKIP.items()} | {
    "test_sound.py": "def test(): pass\n",
}


def test_a_skip_fails_where_nothing_may_be_skipped(tmp_path: Path) -> None:
    code, printed = run_pytest(tmp_path, FILES, "--continue-on-collection-errors", SEALWAY_NO_SKIP="1")

    assert code == 1
    for way in WAYS_TO_SKIP:
        told = [line for line in printed.splitlines() if line.startswith(f"test_{way}.py")]
        assert any("skipped where nothing may be skipped" in line and "why" in line for line in told), (way, printed)
    assert "PASSED test_sound.py::test" in printed
    assert "1 passed" in printed and "skipped," not in printed and "xfailed" not in printed


def test_a_skip_is_a_skip_otherwise(tmp_path: Path) -> None:
    code, printed = run_pytest(tmp_path, FILES, SEALWAY_NO_SKIP="0")

    assert code == 0
    assert "1 passed, 7 skipped, 1 xfailed" in printed
