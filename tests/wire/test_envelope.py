# SPDX-License-Identifier: Apache-2.0
"""The envelope: its bytes, its size, its two parsers held equal, and an independent COSE that opens it."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.keys.keyparam import KpBaseIV
from pycose.keys.symmetric import SymmetricKey
from pycose.messages.enc0message import Enc0Message

from sealway.crypto.suites import SUITE_1, SUITE_2, Suite
from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor
from sealway.wire.envelope import (
    MAX_ENVELOPE_BYTES,
    TAG_BYTES,
    Envelope,
    _decode_general,
    assemble,
    enc_structure,
    nonce,
    protected_bytes,
)
from sealway.wire.header import Claims, Opener, StartHeader
from tests.wire.wire_samples import FULL, filled
from tests.wire.wire_strategies import envelopes, kids, uint32

TAG = 8


def outcome(decode: Any, data: bytes) -> Any:
    """The decoded value, or the class of the error."""
    try:
        return decode(data)
    except (Malformed, TooLarge) as error:
        return type(error)


def test_the_bytes_of_a_steady_envelope() -> None:
    envelope = Envelope(b"\x2a", 0x0102, b"m" + b"t" * 8)
    assert envelope.protected.hex() == "a3010a04412a06420102"
    assert envelope.encode().hex() == "d0834aa3010a04412a06420102a0496d7474747474747474"
    assert envelope.aad == cbor2.dumps(["Encrypt0", envelope.protected, b""])
    assert envelope.tag_prefix == b"tttt"


@pytest.mark.parametrize("length", [24, 25, 100, 246, 247])
@pytest.mark.parametrize(("number", "overhead"), [(0, 23), (1, 23), (255, 23), (256, 24), (65534, 24), (65535, 24)])
def test_sealing_adds_exactly_24_bytes_and_23_below_number_256(length: int, number: int, overhead: int) -> None:
    encoded = Envelope(b"k", number, bytes(length + TAG)).encode()
    assert len(encoded) - length == overhead
    assert Envelope.decode(encoded).number == number


@pytest.mark.parametrize(
    ("length", "number", "kid", "overhead"),
    [(23 - TAG, 255, b"k", 22), (23, 255, b"k", 23), (248, 256, b"k", 25), (24, 65536, b"k", 25), (24, 256, b"kk", 25)],
)
def test_overhead_outside_of_the_stated_range(length: int, number: int, kid: bytes, overhead: int) -> None:
    assert len(Envelope(kid, number, bytes(length + TAG)).encode()) - length == overhead


@given(envelopes())
def test_both_parsers_read_valid_envelopes_alike(envelope: Envelope) -> None:
    encoded = envelope.encode()
    assert Envelope.decode(encoded) == _decode_general(encoded) == envelope


@given(envelopes(steady=True), st.data())
@settings(max_examples=400)
def test_both_parsers_judge_mutated_envelopes_alike(envelope: Envelope, data: st.DataObject) -> None:
    encoded = envelope.encode()
    at = data.draw(st.integers(0, min(len(encoded), 40)))
    cut = data.draw(st.integers(0, 3))
    changed = encoded[:at] + data.draw(st.binary(max_size=3)) + encoded[at + cut :]
    assert outcome(Envelope.decode, changed) == outcome(_decode_general, changed)


def test_both_parsers_judge_every_change_of_a_head_alike() -> None:
    for encoded in (Envelope(b"k", 300, bytes(20)).encode(), Envelope(b"kk", 0, bytes(40), 30).encode()):
        for at in range(24):
            for byte in range(256):
                changed = encoded[:at] + bytes((byte,)) + encoded[at + 1 :]
                assert outcome(Envelope.decode, changed) == outcome(_decode_general, changed), changed.hex()


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda rest: b"\xd0\x83\x4a\xa3\x01\x0a\x04" + rest))
def test_both_parsers_judge_random_bytes_alike(data: bytes) -> None:
    assert outcome(Envelope.decode, data) == outcome(_decode_general, data)


@given(st.sampled_from(sorted(TAG_BYTES)), kids, uint32)
def test_the_template_is_what_the_general_encoder_writes(alg: int, kid: bytes, number: int) -> None:
    partial_iv = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    assert protected_bytes(alg, kid, number) == cbor.encode({1: alg, 4: kid, 6: partial_iv})


@given(envelopes())
def test_sender_and_receiver_see_the_same_associated_data(envelope: Envelope) -> None:
    received = Envelope.decode(envelope.encode())
    assert received.aad == envelope.aad == enc_structure(envelope.protected)
    assert envelope.encode() == assemble(envelope.protected, envelope.ciphertext)
    assert envelope.size == len(envelope.encode())
    assert received.aad == cbor2.dumps(["Encrypt0", cbor2.loads(envelope.encode()[1:])[0], b""])


def test_the_nonce_is_base_iv_xor_the_left_padded_number() -> None:
    base = filled(13, 0xF0)
    assert nonce(base, 0) == base
    assert nonce(base, 0x01020304) == base[:9] + bytes(a ^ b for a, b in zip(base[9:], (1, 2, 3, 4), strict=True))
    assert len(nonce(bytes(12), 1)) == 12


def test_the_bytes_of_a_full_header() -> None:
    # Labels in bytewise order: 1, 4, 6, 15, -65537, -65538.
    header = cbor2.loads(FULL.protected)
    assert list(header) == [1, 4, 6, 15, -65537, -65538]
    assert header[15] == {4: FULL.claims.expires, -65537: "readings", -65538: "urgent"}  # type: ignore[union-attr]
    assert header[-65537] == [filled(32, 1) + filled(32, 2) + filled(32, 3) + b"\x05", 17]
    assert header[-65538] == [69_000, 2, filled(16)]


@pytest.mark.parametrize(
    "opener",
    [Opener(5, filled(32), 5), Opener(5, reseed=(1, filled(16))), Opener(5, filled(32), 0, (7, filled(16)))],
    ids=["step", "reseed", "both"],
)
def test_the_three_forms_of_an_opener(opener: Opener) -> None:
    envelope = Envelope(b"k", 5, bytes(9), opener=opener)
    assert Envelope.decode(envelope.encode()) == envelope


HEADER = {1: 10, 4: b"k", 6: b"\x05"}
SALT, KEY = bytes(16), bytes(32)
FIXED = KEY * 3 + b"k"
START = [FIXED]
REFUSED_HEADERS: dict[str, dict[Any, Any]] = {
    "no alg": {4: b"k", 6: b"\x05"},
    "no kid": {1: 10, 6: b"\x05"},
    "no number": {1: 10, 4: b"k"},
    "another alg": HEADER | {1: 1},
    "alg as a list": HEADER | {1: [10]},
    "alg as a bool": HEADER | {1: True},
    "alg as text": HEADER | {1: "10"},
    "empty kid": HEADER | {4: b""},
    "long kid": HEADER | {4: bytes(9)},
    "text kid": HEADER | {4: "k"},
    "empty number": HEADER | {6: b""},
    "long number": HEADER | {6: b"\x01" + bytes(4)},
    "leading zero in the number": HEADER | {6: b"\x00\x05"},
    "number as an integer": HEADER | {6: 5},
    "crit": HEADER | {2: [1]},
    "iv": HEADER | {5: bytes(13)},
    "content type": HEADER | {3: 0},
    "unknown private label": HEADER | {-65539: 1},
    "text label": HEADER | {"a": 1},
    "empty claims": HEADER | {15: {}},
    "null claim": HEADER | {15: {4: None, -65537: "t"}},
    "unknown claim": HEADER | {15: {1: "issuer"}},
    "claims as a list": HEADER | {15: []},
    "negative expiry": HEADER | {15: {4: -1}},
    "expiry beyond the calendar": HEADER | {15: {4: 253_402_300_800}},
    "empty topic": HEADER | {15: {-65537: ""}},
    "long topic": HEADER | {15: {-65537: "t" * 129}},
    "topic that is long in UTF-8": HEADER | {15: {-65537: "ä" * 65}},
    "long tag": HEADER | {15: {-65538: "t" * 65}},
    "empty start": HEADER | {-65537: []},
    "start of four": HEADER | {-65537: [FIXED, 1, bytes(1088), 1]},
    "start without a kid": HEADER | {-65537: [KEY * 3]},
    "start with a long kid": HEADER | {-65537: [KEY * 3 + bytes(9)]},
    "start with its hashes apart": HEADER | {-65537: [KEY, KEY, KEY]},
    "start in text": HEADER | {-65537: ["k" * 97]},
    "start with null at its end": HEADER | {-65537: [FIXED, None]},
    "start with a one-time index and null": HEADER | {-65537: [FIXED, 1, None]},
    "one-time index beyond the tree": HEADER | {-65537: [FIXED, 64]},
    "ML-KEM in the place of an index": HEADER | {-65537: [FIXED, bytes(1088)]},
    "short ML-KEM": HEADER | {-65537: [FIXED, None, bytes(1087)]},
    "opener of one": HEADER | {-65538: [0]},
    "opener of four": HEADER | {-65538: [0, KEY, 0, 1]},
    "opener of six": HEADER | {-65538: [0, KEY, 0, 1, SALT, 0]},
    "opener with null": HEADER | {-65538: [0, None]},
    "opener with null and a reseed": HEADER | {-65538: [0, None, None, 1, SALT]},
    "opener with a short key": HEADER | {-65538: [0, KEY[1:]]},
    "reseed without a number": HEADER | {-65538: [0, 0, SALT]},
    "reseed with a short salt": HEADER | {-65538: [0, 1, SALT[1:]]},
    "epoch after its chain": HEADER | {-65538: [3, KEY, 4, 1, SALT]},
    "chain after this message": HEADER | {-65538: [6, KEY]},
    "a key beside a start": HEADER | {-65537: START, -65538: [0, KEY]},
}


def raw(protected: Any, unprotected: Any = None, ciphertext: Any = bytes(9)) -> bytes:
    """An envelope of any parts."""
    return cbor.encode_tagged(16, [protected, {} if unprotected is None else unprotected, ciphertext])


@pytest.mark.parametrize("header", REFUSED_HEADERS.values(), ids=REFUSED_HEADERS.keys())
def test_any_other_header_is_malformed(header: dict[Any, Any]) -> None:
    with pytest.raises(Malformed):
        Envelope.decode(raw(cbor.encode(header)))


def test_the_header_that_those_were_made_from_is_fine() -> None:
    for more in ({}, {-65537: START}, {-65538: [5, KEY]}, {15: {4: 0}}, {-65537: START, -65538: [5, 1, SALT]}):
        Envelope.decode(raw(cbor.encode(HEADER | more)))


@pytest.mark.parametrize(
    "data",
    [
        raw(cbor.encode(HEADER), {4: b"k"}),
        raw(cbor.encode(HEADER), []),
        raw(HEADER),
        raw(b""),
        raw(b"\xa3\x01\x0a\x06\x41\x05\x04\x41k"),
        raw(cbor.encode(HEADER), None, None),
        raw(cbor.encode(HEADER), None, bytes(8)),
        raw(cbor.encode(HEADER | {1: 30}), None, bytes(16)),
        raw(cbor.encode(HEADER))[1:],
        b"\xd1" + raw(cbor.encode(HEADER))[1:],
        b"\xd0" + raw(cbor.encode(HEADER)),
        cbor.encode_tagged(16, [cbor.encode(HEADER), {}, bytes(9), 0]),
        b"\xd0\x83\x4aa3",
        b"",
    ],
    ids=["unprotected label", "unprotected list", "bare map", "empty header", "unsorted header", "detached", "tag only",
         "tag only, suite 2", "untagged", "other tag", "twice tagged", "four parts", "cut short", "nothing"],
)  # fmt: skip
def test_any_other_structure_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Envelope.decode(data)


def test_a_value_that_could_not_travel_can_not_be_made() -> None:
    for wrong in (
        lambda: Envelope(b"", 0, bytes(9)),
        lambda: Envelope(b"k", -1, bytes(9)),
        lambda: Envelope(b"k", 1 << 32, bytes(9)),
        lambda: Envelope(b"k", True, bytes(9)),
        lambda: Envelope(b"k", 0, bytes(8)),
        lambda: Envelope(b"k", 0, "text"),  # type: ignore[arg-type]
        lambda: Envelope(b"k", 0, bytes(9), 11),
        lambda: protected_bytes(10, b"k" * 9, 0),
        lambda: Claims(),
        lambda: Claims(topic="\ud800"),
        lambda: StartHeader(KEY, KEY, b"", KEY),
        lambda: Opener(0),
        lambda: Opener(0, KEY),
        lambda: Opener(3, KEY, 2),
        lambda: Opener(3, None, 3, (1, SALT)),
    ):
        with pytest.raises(Malformed):
            wrong()


def test_size_is_bounded_both_ways() -> None:
    most = MAX_ENVELOPE_BYTES - len(Envelope(b"k", 0, bytes(65536)).encode()) + 65536
    largest = Envelope(b"k", 0, bytes(most))
    assert len(largest.encode()) == MAX_ENVELOPE_BYTES
    assert Envelope.decode(largest.encode()) == largest
    with pytest.raises(TooLarge):
        Envelope(b"k", 0, bytes(most + 1)).encode()
    with pytest.raises(TooLarge):
        Envelope.decode(largest.encode() + b"\x00")
    with pytest.raises(TooLarge):
        _decode_general(largest.encode() + b"\x00")


@pytest.mark.parametrize("number", [0, 1, 255, 256, 65536, (1 << 32) - 1])
@pytest.mark.parametrize("suite", [SUITE_1, SUITE_2])  # pycose knows no alg 24; tests/vectors opens those of suite 3
@pytest.mark.parametrize("more", [{}, {"claims": Claims("readings", "t", 5)}], ids=["steady", "claims"])
def test_an_independent_implementation_opens_it(number: int, suite: Suite, more: dict[str, Any]) -> None:
    # pycose drops leading zero bytes of the nonce, so this Base IV begins with a byte that the number cannot reach.
    key, base_iv = filled(suite.key_length, 0x40), filled(suite.nonce_length, 0xA1)
    alg, message = suite.cose_alg, b"\x02\xb8readings\xff42.7 L"
    protected = protected_bytes(alg, b"\x07", number, **more)
    ciphertext = suite.aead(key).encrypt(nonce(base_iv, number), message, enc_structure(protected))
    encoded = Envelope(b"\x07", number, ciphertext, alg, **more).encode()
    assert encoded == assemble(protected, ciphertext)

    theirs = Enc0Message.from_cose_obj(list(cbor2.loads(encoded[1:])), allow_unknown_attributes=True)
    theirs.key = SymmetricKey(key, optional_params={KpBaseIV: base_iv})
    assert theirs.decrypt() == message
