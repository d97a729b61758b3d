# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures, judges and writes what it promises. Its figures are nobody's business here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bench.measure import Pair, Subject, measure, spread
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
