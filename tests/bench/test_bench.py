# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures, judges and writes what it promises. Its figures are nobody's business here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bench import carrying, deposits, path, plots, waiting
from bench.measure import Course, Figure, Group, Pair, Result, Sides, Subject, measure, rows_of, spread
from bench.run import SUBJECTS, main


def test_a_run_prints_a_table_and_writes_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.json"
    assert main(["--only", "seal 64 B", "--rounds", "7", "--output", str(output)]) == 0
    (result,) = json.loads(output.read_text(encoding="utf-8"))
    assert set(result) == {"name", "value", "unit", "baseline", "ratio", "spread", "target", "holds"}
    low, high = result["spread"]
    assert 0 < low <= result["ratio"] <= high
    assert result["value"] > 0 and result["baseline"] > 0
    assert result["holds"] is (low <= result["target"] == 1.6)
    assert "seal 64 B" in capsys.readouterr().out


def test_what_is_not_there_is_an_error_that_names_what_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "teleport", "--output", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert all(subject.name in told for subject in SUBJECTS)
    assert not (tmp_path / "none").exists()


def test_fewer_than_seven_rounds_are_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "6"])


def test_the_spread_is_the_narrowest_with_95_percent() -> None:
    assert spread([float(n) for n in range(7)]) == (0, 6)  # the second and the sixth would hold it with 87.5 %
    assert spread([float(n) for n in range(9)]) == (1, 7)
    assert spread([float(n) for n in range(17)]) == (4, 12)


@pytest.mark.parametrize(
    ("unit", "target", "holds"), [("µs", 2.9, False), ("µs", 3.0, True), ("1/s", 3.1, False), ("1/s", 3.0, True)]
)
def test_a_target_is_missed_only_if_the_whole_spread_is_beyond_it(unit: str, target: float, holds: bool) -> None:
    result = measure(Subject("three times as much", unit, target, _prepared(6.0, 2.0)), 7)
    assert (result["ratio"], result["spread"], result["holds"]) == (3.0, [3.0, 3.0], holds)


def test_subject_and_baseline_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    measure(Subject("turns", "µs", 1.0, _prepared(1.0, 1.0, calls)), 3)
    assert "".join(calls) == "sb" + "bs" + "sb" + "bs"


def _prepared(
    value: float, baseline: float, calls: list[str] | None = None
) -> Callable[[], AbstractContextManager[Pair]]:
    def called(letter: str, figure: float) -> float:
        if calls is not None:
            calls.append(letter)
        return figure

    @contextmanager
    def prepare() -> Iterator[Pair]:
        yield Pair(lambda: called("s", value), lambda: called("b", baseline))

    return prepare


def test_a_group_has_a_row_for_each_figure() -> None:
    @contextmanager
    def prepare() -> Iterator[Sides]:
        yield Sides(lambda: (6.0, 1.0), lambda: (2.0, 4.0))

    group = Group("two", (Figure("a rate", "1/s", 4.0), Figure("a time", "µs", None)), prepare)
    rate, time = rows_of(group, 7)
    assert (rate["name"], rate["ratio"], rate["holds"]) == ("a rate", 3.0, False)
    assert (time["name"], time["ratio"], time["target"], time["holds"]) == ("a time", 0.25, None, True)


@pytest.mark.processes
def test_servers_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SINGLE": 8,
        "BATCH": 10,
        "BATCHES": 2,
        "FEW_BATCHES": 2,
        "HELD": (10, 20, 80, 90, 100),
    }.items():
        monkeypatch.setattr(deposits, name, value)
    monkeypatch.setattr(carrying, "MESSAGES", 40)
    for wanted in (deposits.SUBJECTS[1], deposits.SUBJECTS[3], *deposits.COURSES, *carrying.SUBJECTS):
        assert_sound(rows_of(wanted, 1), wanted)


@pytest.mark.processes
def test_the_memory_of_a_gateway_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (10, 20, 30, 40, 50)
    for name, value in {"POINTS": points, "_MEASURED": points, "_STEP": 10}.items():
        monkeypatch.setattr(waiting, name, value)
    rows = rows_of(waiting.COURSES[0], 1)
    assert [row["name"] for row in rows] == [figure.name for figure in waiting.FIGURES]
    assert all(row["baseline"] == 1024 for row in rows)


@pytest.mark.processes
def test_the_whole_path_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "MESSAGES", 100)
    for group in path.GROUPS:
        assert_sound(rows_of(group, 1), group)


def test_what_grows_is_drawn(tmp_path: Path) -> None:
    figures = (*waiting.FIGURES, *deposits.HELD_FIGURES)
    rows = [
        Result(
            name=f.name,
            value=5.0,
            unit=f.unit,
            baseline=4.0,
            ratio=1.25,
            spread=[1.0, 2.0],
            target=f.target,
            holds=True,
        )
        for f in figures
    ]
    drawn = plots.draw(rows, tmp_path)
    assert [file.read_bytes()[:4] for file in drawn] == [b"\x89PNG"] * 2
    assert plots.draw(rows[1:5], tmp_path) == []


def assert_sound(rows: list[Result], wanted: Subject | Group | Course) -> None:
    figures = wanted.figures if not isinstance(wanted, Subject) else (wanted,)
    assert [row["name"] for row in rows] == [figure.name for figure in figures]
    for row in rows:
        low, high = row["spread"]
        assert row["value"] > 0 and row["baseline"] > 0
        assert 0 < low <= row["ratio"] <= high
