# SPDX-License-Identifier: Apache-2.0
"""The coverage gate of ``make test`` counts branches, a package at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.check_coverage import main


def _report(path: Path, files: dict[str, tuple[int, int]]) -> str:
    summaries = {
        name: {"summary": {"num_branches": total, "covered_branches": taken}} for name, (taken, total) in files.items()
    }
    path.write_text(json.dumps({"files": summaries}))
    return str(path)


def test_each_package_must_reach_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = _report(
        tmp_path / "report.json", {"src/sealway/wire/a.py": (1000, 1000), "src/sealway/identity/b.py": (94, 100)}
    )

    assert main(report, "95", "wire") == 0
    assert main(report, "95", "wire", "identity") == 1
    assert "error: branch coverage of identity is 94.0 %, and must be 95 %" in capsys.readouterr().out


def test_a_package_nobody_measured_is_not_covered(tmp_path: Path) -> None:
    assert main(_report(tmp_path / "report.json", {"src/sealway/wire/a.py": (1, 1)}), "95", "protocol") == 1
