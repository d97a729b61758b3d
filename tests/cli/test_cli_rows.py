# SPDX-License-Identifier: Apache-2.0
"""A user's rows become messages byte for byte, and what cannot is refused with its row and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.cli.rows import Deal, Source
from sealway.errors import LocalMisuse

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=12)
LINE = st.dictionaries(CELL, CELL | st.integers() | st.none(), max_size=4).map(
    lambda d: json.dumps(d, ensure_ascii=False)
)


def payloads(path: Path) -> list[bytes]:
    rows = list(Source(path).rows())
    assert [row.index for row in rows] == list(range(len(rows)))
    return [row.payload for row in rows]


@given(header=st.lists(CELL.filter(bool), min_size=1, max_size=4, unique=True), data=st.data())
def test_csv_is_what_the_standard_reader_makes_of_it(
    header: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    width = len(header)
    records = data.draw(st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=6))
    path = tmp_path_factory.mktemp("rows") / "in.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *records])
    with path.open(newline="", encoding="utf-8") as file:
        expected = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in csv.DictReader(file)]
    if not path.read_bytes().startswith(b"\xef\xbb\xbf"):
        assert payloads(path) == [text.encode() for text in expected]


@given(lines=st.lists(LINE, max_size=6), end=st.sampled_from(["\n", ""]))
def test_jsonl_is_taken_verbatim(lines: list[str], end: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "in.jsonl"
    path.write_bytes(("\n".join(lines) + end).encode())
    assert payloads(path) == [line.encode() for line in lines]


GOOD = {
    "empty, quoted, multi-line, non-ASCII": (
        "in.csv", 'a,ü\n,"x ""y"" z"\n"1\n2",é\n', ['{"a":"","ü":"x \\"y\\" z"}', '{"a":"1\\n2","ü":"é"}'],
    ),
    "line ends of other systems": ("in.csv", "a,b\r\n1,2\r\n3,4", ['{"a":"1","b":"2"}', '{"a":"3","b":"4"}']),
    "a cell with such a line end": ("in.csv", 'a\n"1\r\n2"\n', ['{"a":"1\\r\\n2"}']),
    "byte order mark": ("in.csv", "\ufeffa,b\n1,2\n", ['{"a":"1","b":"2"}']),
    "missing cells are empty": ("in.csv", "a,b,c\n1\n", ['{"a":"1","b":"","c":""}']),
    "blank lines are no rows": ("in.csv", "\na,b\n\n1,2\n\n", ['{"a":"1","b":"2"}']),
    "only a header": ("in.csv", "a,b\n", []),
    "nothing": ("in.csv", "", []),
    "nothing in JSONL": ("in.jsonl", "", []),
    "JSONL with spaces and blank lines": ("in.jsonl", ' {"a": 1} \n\n[2]\r\n', [' {"a": 1} ', "[2]"]),
    "told by the first byte: JSON": ("in.data", '{"a":1}\n', ['{"a":1}']),
    "told by the first byte: CSV": ("in", "a\n1\n", ['{"a":"1"}']),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD)
def test_rows(case: str, tmp_path: Path) -> None:
    name, content, expected = GOOD[case]
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert payloads(path) == [text.encode() for text in expected]


BAD = {
    "not UTF-8": ("in.csv", b"a\n1\n\xff\n", r"row 1 \(line 3\) is not UTF-8"),
    "header not UTF-8": ("in.csv", b"\xe4\n1\n", r"row 0 \(line 1\) is not UTF-8"),
    "too many cells": ("in.csv", b"a,b\n1,2\n1,2,3\n", r"row 1 \(line 3\) has 3 cells, and there are 2 columns"),
    "two columns of a name": ("in.csv", b"a,a\n1,2\n", "same name"),
    "JSONL not UTF-8": ("in.jsonl", b'{"a":1}\n"\xff"\n', r"row 1 \(line 2\) is not UTF-8"),
    "JSONL not JSON": ("in.jsonl", b'{"a":1}\n\n{"a":\n', r"row 1 \(line 3\) is not JSON"),
    "JSONL nested too deep": ("in.jsonl", b"[" * 100_000 + b"\n", r"row 0 \(line 1\) is not JSON"),
    "a row too large": ("in.jsonl", b'"' + b"x" * 63_500 + b'"\n', "row 0 is larger"),
    "a line without end": ("in.jsonl", b"x" * 900_000, "a line is longer"),
    "a cell too large": ("in.csv", b"a\n" + b"x" * 63_500 + b"\n", r"row 0 \(line 2\) is not CSV"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named(case: str, tmp_path: Path) -> None:
    name, content, words = BAD[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LocalMisuse, match=words):
        Source(path).check()


@given(of=st.integers(1, 9), index=st.integers(0, 100))
def test_every_row_is_dealt_to_exactly_one(of: int, index: int) -> None:
    places = {first: Deal(first, of).place(index) for first in range(of)}
    assert [first for first, place in places.items() if place is not None] == [index % of]
    assert places[index % of] == index // of


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "2/2", "-1/2", "0/0", "a/b"])
def test_a_bad_deal_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the command line says which option it is
        Deal.parse(text)


def test_rows_of_a_pipe_come_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = iter([b'{"a":', b"1}\n{", b'"b":2}'])
    monkeypatch.setattr("sealway.cli.rows.chunks_of", lambda _: chunks)
    source = Source(Path("-"), "jsonl")
    assert not source.is_file
    monkeypatch.setattr("sealway.cli.rows.os.dup", lambda _: -1)
    monkeypatch.setattr("sealway.cli.rows.os.close", lambda _: None)
    assert [row.payload for row in source.rows()] == [b'{"a":1}', b'{"b":2}']


def test_a_text_wrapper_splits_lines_the_same_way() -> None:
    text = 'a\r"b\r\nc"\nd'
    assert list(io.StringIO(text, newline="")) == ["a\r", '"b\r\n', 'c"\n', "d"]
