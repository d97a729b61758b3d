# SPDX-License-Identifier: Apache-2.0
"""Every input that was ever worth keeping, once more: without the fuzzer, so wherever the tests run."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fuzz import keeping
from fuzz.target import PromiseBrokenError, Target, strict
from fuzz.targets import CORPUS, TARGETS, corpus_of

MOST_BYTES = 1_000_000
MUTATIONS = 40

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)


@each_target
def test_the_kept_corpus_breaks_no_promise(target: Target) -> None:
    kept = corpus_of(target.name)
    assert kept
    for path in kept:
        target.check(path.read_bytes())


@each_target
def test_the_seeds_and_their_neighbours_break_no_promise(target: Target) -> None:
    seeds, random = list(target.seeds()), Random(7)
    for seed in seeds:
        target.check(seed)
    for _ in range(MUTATIONS):
        target.check(target.mutate(random.choice(seeds), random))


@each_target
def test_seeds_and_mutations_are_the_same_in_every_run(target: Target) -> None:
    first, second = list(target.seeds()), list(target.seeds())
    assert first == second
    assert [target.mutate(seed, Random(1)) for seed in first] == [target.mutate(seed, Random(1)) for seed in second]


def test_the_corpus_is_small_and_holds_nothing_twice() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert {path.parent.name for path in files} == set(TARGETS)
    for target in TARGETS:
        contents = [path.read_bytes() for path in corpus_of(target)]
        assert len(set(contents)) == len(contents)


def test_only_what_takes_a_new_way_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CORPUS", tmp_path)
    target = TARGETS["names"]
    first = keeping.keep(target, [b"sealway://a/device/b"])
    assert 1 < first < len(list(target.seeds())) + 1
    assert keeping.keep(target, [b"sealway://c/device/d"]) == 0
    assert keeping.keep(target, [b"https://[::1"]) == 0
    assert keeping.keep(target, [b"https://[1:2::]/v1/mailboxes/", b"x" * keeping.KEPT_BYTES]) <= 1


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (lambda data: _Value(data.lower()), b"A"),
        (lambda data: _Value(data + b"more"), b"a"),
        (lambda data: data[5], b"a"),
    ],
    ids=["encodes to other bytes", "grows", "another error"],
)
def test_the_check_of_a_bad_decoder_fails(decode: object, data: bytes) -> None:
    with pytest.raises((PromiseBrokenError, IndexError)):
        strict(decode)(data)  # type: ignore[arg-type]


class _Value:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def encode(self) -> bytes:
        return self._data
