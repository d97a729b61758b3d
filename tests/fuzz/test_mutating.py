# SPDX-License-Identifier: Apache-2.0
"""Mutations reach what lies behind the first check: most of them are still well formed."""

from __future__ import annotations

from random import Random

from fuzz.identity_targets import domain
from fuzz.mutating import der, mutate_cbor, mutate_der, split_der
from fuzz.reading import Program
from sealway.errors import SealwayError
from sealway.wire import cbor
from sealway.wire.cose import Sign1
from tests.wire.wire_samples import BUNDLE, BUNDLE_CLAIMS


def test_der_is_taken_apart_and_put_together() -> None:
    certificate = domain().ca_der
    ((tag, content),) = split_der(certificate)
    assert der(tag, content) == certificate
    assert b"".join(der(*part) for part in split_der(content)) == content
    assert split_der(certificate + b"\x00") == []
    assert split_der(certificate[:-1]) == []


def test_changed_der_keeps_its_lengths() -> None:
    changed = {mutate_der(domain().ca_der, Random(seed)) for seed in range(200)}
    assert len(changed) > 100
    assert sum(bool(split_der(one)) for one in changed) > 0.9 * len(changed)


def test_changed_cbor_is_mostly_deterministic_cbor() -> None:
    changed = {mutate_cbor(BUNDLE_CLAIMS.encode(), Random(seed)) for seed in range(200)}
    assert len(changed) > 100
    assert sum(map(_is_cbor, changed)) > 0.8 * len(changed)


def test_a_change_reaches_through_the_tag_into_the_payload() -> None:
    payloads = set()
    for seed in range(300):
        try:
            payloads.add(Sign1.decode(mutate_cbor(BUNDLE.encode(), Random(seed))).payload)
        except SealwayError:
            continue
    assert sum(map(_is_cbor, payloads)) > 20


def test_a_program_never_runs_out_of_decisions() -> None:
    program = Program(b"\x03\x01")
    assert program.one_of("abcd") == "d"
    assert program.flag()
    assert program.ended
    assert (program.below(7), program.number(), program.take(3), program.flag()) == (0, 0, b"", False)


def _is_cbor(data: bytes) -> bool:
    try:
        cbor.decode(data, limit=len(data) or 1)
    except SealwayError:
        return False
    return True
