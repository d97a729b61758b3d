# SPDX-License-Identifier: Apache-2.0
"""The compact form: the same envelope in fewer bytes, there and back without a key, strict in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealway.errors import Malformed, TooLarge
from sealway.wire.compact import from_compact, is_compactable, to_compact
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, Envelope
from sealway.wire.header import Claims, Opener
from tests.wire.wire_samples import FULL
from tests.wire.wire_strategies import envelopes

compactable = envelopes().filter(is_compactable)


@pytest.mark.parametrize("length", [1, 24, 247, 60_000])
@pytest.mark.parametrize(("number", "overhead"), [(0, 11), (255, 11), (256, 12), (65_535, 12), (65_536, 13)])
def test_sealing_adds_exactly_12_bytes_and_11_below_number_256(length: int, number: int, overhead: int) -> None:
    assert len(to_compact(Envelope(b"k", number, bytes(length + 8)))) - length == overhead


def test_the_bytes() -> None:
    envelope = Envelope(b"\x2a", 0x0102, b"m" + b"t" * 8)
    assert to_compact(envelope).hex() == "42" + "2a" + "0102" + "6d" + "74" * 8


@given(compactable)
@settings(max_examples=300)
def test_it_is_the_same_envelope(envelope: Envelope) -> None:
    compact = to_compact(envelope)
    again = from_compact(compact)
    assert again == envelope
    assert again.encode() == envelope.encode()
    assert again.aad == envelope.aad
    assert len(compact) < len(envelope.encode())


@given(st.binary(max_size=120))
@settings(max_examples=500)
def test_what_is_read_is_written_alike(data: bytes) -> None:
    try:
        envelope = from_compact(data)
    except Malformed:
        return
    assert to_compact(envelope) == data
    assert Envelope.decode(envelope.encode()) == envelope


@given(compactable, st.data())
@settings(max_examples=500)
def test_mutated_bytes_are_another_envelope_or_none(envelope: Envelope, data: st.DataObject) -> None:
    encoded = bytearray(to_compact(envelope))
    at = data.draw(st.integers(0, min(len(encoded) - 1, 70)))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = from_compact(bytes(encoded))
    except Malformed:
        return
    assert other != envelope
    assert to_compact(other) == encoded


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "too short"),
        ("42", "too short"),
        ("422a01", "too short"),
        ("022a01026d7474747474747474", "unknown suite"),
        ("422a00026d7474747474747474", "leading zero"),
        ("402a017474747474747474", "ciphertext"),
        ("412a01006d7474747474747474", "an opener expected"),
        ("412a018201417861627474747474747474", "an opener expected"),
        ("412a0183180101" + "50" + "00" * 16 + "6d7474747474747474", "shortest"),
        ("412a0183020150" + "00" * 16 + "6d7474747474747474", "begins after this message"),
    ],
)
def test_what_is_refused(encoded: str, why: str) -> None:
    with pytest.raises(Malformed, match=None if why == "shortest" else why):
        from_compact(bytes.fromhex(encoded))


def test_an_envelope_with_claims_or_a_start_has_no_compact_form() -> None:
    with pytest.raises(Malformed, match="there is none"):
        to_compact(FULL)
    with pytest.raises(Malformed, match="there is none"):
        to_compact(Envelope(b"k", 1, bytes(9), claims=Claims(topic="t")))


def test_the_largest() -> None:
    assert len(from_compact(b"\x42k\x01\x02" + bytes(MAX_ENVELOPE_BYTES - 4)).ciphertext) == MAX_ENVELOPE_BYTES - 4
    with pytest.raises(TooLarge):
        from_compact(bytes(MAX_ENVELOPE_BYTES + 1))


@pytest.mark.parametrize(
    "opener",
    [Opener(7, bytes(32), 7), Opener(300, reseed=(2, bytes(16))), Opener(300, bytes(32), 24, (65_536, bytes(16)))],
)
def test_each_form_of_an_opener(opener: Opener) -> None:
    envelope = Envelope(b"kid", 70_000, bytes(30), 24, opener=opener)
    assert from_compact(to_compact(envelope)) == envelope
