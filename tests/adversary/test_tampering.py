# SPDX-License-Identifier: Apache-2.0
"""Every alteration really alters what it says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealway.adversary import tampering
from sealway.adversary.dissecting import taken_apart
from sealway.adversary.passing import Leg
from sealway.adversary.tampering import Original, TamperParameters
from sealway.errors import Malformed, SealwayError
from sealway.wire.envelope import Envelope
from tests.adversary.samples import SAMPLES, Bench, passing

NAMES = [name for name, _, _ in tampering._CHANGES]

# What may differ from the genuine envelope: header labels, positions in the start header or opener, "c" the ciphertext.
FIELDS: dict[str, set[Any]] = {
    "tamper-alg": {1},
    "tamper-kid": {4},
    "tamper-number": {6},
    "tamper-topic": {15},
    "tamper-tag-claim": {15},
    "tamper-expiry": {15},
    "strip-claims": {15},
    "insert-claims": {15},
    "tamper-start-bundle-hash": {-65537},
    "tamper-start-certificate": {-65537},
    "tamper-start-receive-kid": {-65537},
    "tamper-start-ephemeral": {-65537},
    "tamper-start-one-time": {-65537},
    "insert-start-ml-kem": {-65537},
    "strip-one-time": {-65537},
    "strip-post-quantum": {-65537},
    "strip-start": {-65537},
    "tamper-opener-key": {-65538},
    "tamper-opener-reseed": {-65538},
    "tamper-opener-salt": {-65538},
    "strip-opener": {-65538},
    "tamper-ciphertext": {"c"},
    "tamper-tag": {"c"},
    "truncate-ciphertext": {"c"},
    "extend-ciphertext": {"c"},
}
NEVER_SOUND = ("extend", "re-encode", "insert-unprotected", "insert-critical", "truncate", "tamper-structure")


def altered(name: str, sample: str, seed: int = 1) -> bytes | None:
    """What comes of a sample in place of the genuine one."""
    bench = Bench(seed)
    original = passing(sample)
    bench.begin(name, TamperParameters(Original.WITHHELD))
    outcome = bench.send(original)
    return None if outcome == [original] else outcome[0].content


@pytest.mark.parametrize("name", NAMES)
def test_something_of_it_applies(name: str) -> None:
    outcomes = {sample: altered(name, sample) for sample in SAMPLES}
    assert any(content is not None for content in outcomes.values())
    for sample, content in outcomes.items():
        assert content != SAMPLES[sample].encode()


@pytest.mark.parametrize("name", FIELDS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_only_what_is_named_differs(name: str, seed: int) -> None:
    for sample, genuine in SAMPLES.items():
        content = altered(name, sample, seed)
        parts = taken_apart(content) if content is not None else None
        if parts is None:
            continue  # no valid envelope any more
        before = taken_apart(genuine.encode())
        assert before is not None
        header, was = dict(parts[0]) | {"c": parts[1]}, dict(before[0]) | {"c": before[1]}
        differing = {key for key in header.keys() | was.keys() if header.get(key) != was.get(key)}
        assert differing and differing <= FIELDS[name]


@pytest.mark.parametrize("name", NEVER_SOUND)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_what_no_receiver_may_read(name: str, seed: int) -> None:
    for sample in SAMPLES:
        content = altered(name, sample, seed)
        if content is not None:
            with pytest.raises((Malformed, SealwayError)):
                Envelope.decode(content)


@pytest.mark.parametrize("place", list(Original))
def test_where_the_original_goes(place: Original) -> None:
    bench = Bench()
    original = passing()
    bench.begin("tamper-tag", TamperParameters(place))
    outcome = bench.send(original)
    assert [one is original for one in outcome] == {
        Original.FOLLOWS: [False, True], Original.PRECEDES: [True, False], Original.WITHHELD: [False],
    }[place]  # fmt: skip
    tally = bench.box.end()
    assert (tally.tried, tally.reached_network) == (1, 1)
    assert tally.items == ((next(one for one in outcome if one is not original).digest, original.subject),)


def test_towards_the_hub_the_same_bytes_are_made_once() -> None:
    bench = Bench()
    original = passing("plain", leg=Leg.UP)
    bench.begin("insert-claims", TamperParameters(Original.WITHHELD), leg=Leg.UP)
    assert bench.send(original) != [original] and bench.send(original) == [original]
    assert bench.box.end().tried == 1
