# SPDX-License-Identifier: Apache-2.0
"""What anyone between the ends sees: plain values that JSON can carry, and nothing of the ciphertext but its length."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from sealway.errors import Malformed
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader
from sealway.wire.inspect import describe
from tests.wire.wire_samples import END, FIRST_OF_EPOCH, FULL, STEADY, STEPPED, filled
from tests.wire.wire_strategies import envelopes


def test_a_steady_envelope() -> None:
    assert describe(STEADY.encode()) == {
        "suite": 1,
        "kid": "07",
        "number": 300,
        "claims": None,
        "start": None,
        "opener": None,
        "message_bytes": 32,
    }


def test_a_start() -> None:
    seen = describe(FULL.encode())
    assert seen["suite"] == 2
    assert seen["message_bytes"] == 44
    assert seen["claims"] == {"topic": "readings", "tag": "urgent", "expires": END}
    assert seen["start"] == {
        "bundle_hash": filled(32, 1).hex(),
        "x5t": filled(32, 2).hex(),
        "receive_kid": "05",
        "ephemeral": filled(32, 3).hex(),
        "one_time": 17,
        "ml_kem": None,
    }
    assert seen["opener"] == {"chain_first": 69_000, "reseed": 2, "salt": filled(16).hex()}


def test_openers_with_a_key() -> None:
    assert describe(STEPPED.encode())["opener"] == {
        "chain_first": 9,
        "x": filled(32).hex(),
        "epoch_first": 7,
        "reseed": 1,
        "salt": filled(16).hex(),
    }
    seen = describe(FIRST_OF_EPOCH.encode())
    assert seen["opener"] == {"chain_first": 8, "x": filled(32).hex(), "epoch_first": 8}
    assert seen["suite"] == 3
    assert seen["claims"] == {"topic": "t"}


def test_ml_kem_in_hex() -> None:
    start = StartHeader(filled(32), filled(32), b"k", filled(32), None, bytes(1088))
    assert describe(Envelope(b"k", 0, bytes(9), start=start).encode())["start"]["ml_kem"] == "00" * 1088


@given(envelopes())
def test_it_is_json(envelope: Envelope) -> None:
    seen = describe(envelope.encode())
    assert json.loads(json.dumps(seen)) == seen


def test_what_is_no_envelope() -> None:
    with pytest.raises(Malformed):
        describe(b"hello")
