# SPDX-License-Identifier: Apache-2.0
"""The table in README.md shows the figures that were measured, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import table
from bench.measure import Result

ROW = Result(
    name="seal", value=6.6, unit="µs", baseline=4.4, ratio=1.5, spread=[1.4, 1.61], target=1.6, holds=True
)  # fmt: skip


def test_the_readme_shows_what_was_measured() -> None:
    text = table.README.read_text(encoding="utf-8")
    measured = json.loads(table.MEASURED.read_text(encoding="utf-8"))
    assert measured
    assert table.with_table(text, measured) == text


def test_a_changed_figure_is_seen() -> None:
    text = table.README.read_text(encoding="utf-8")
    measured = json.loads(table.MEASURED.read_text(encoding="utf-8"))
    measured[0]["value"] *= 2
    assert table.with_table(text, measured) != text


def test_a_row_says_whether_the_target_was_met() -> None:
    assert table.table([ROW]).splitlines()[2] == "| seal | 6.6 µs | 4.4 µs | 1.50 | 1.40 to 1.61 | ≤ 1.6 | yes |"
    missed = Result(
        name="open", value=64_112, unit="1/s", baseline=14_954, ratio=4.3, spread=[4, 5], target=8, holds=False
    )  # fmt: skip
    assert "| 64,112 1/s | 14,954 1/s |" in table.table([missed])
    assert table.table([missed]).endswith("| ≥ 8 | **no** |")


def test_a_text_without_marks_has_no_place_for_it() -> None:
    with pytest.raises(ValueError, match="no place"):
        table.with_table("nothing here", [ROW])


def test_results_go_into_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("README", "MEASURED", "RESULTS"):
        monkeypatch.setattr(table, name, tmp_path / name)
    table.README.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    assert table.main() == 2
    table.RESULTS.write_text(json.dumps([ROW]), encoding="utf-8")
    assert table.main() == 0
    assert json.loads(table.MEASURED.read_text(encoding="utf-8")) == [ROW]
    text = table.README.read_text(encoding="utf-8")
    assert text == f"before\n{table.BEGIN}\n{table.table([ROW])}\n{table.END}\nafter\n"
