# SPDX-License-Identifier: Apache-2.0
"""Deterministic CBOR: what RFC 8949 §4.2.1 writes is read, and everything else is refused."""

from __future__ import annotations

import datetime
import decimal
import time

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor
from tests.wire.wire_strategies import cbor_values

# RFC 8949 appendix A, as far as Sealway uses CBOR.
ACCEPTED = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65536, "1a00010000"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("ü", "62c3bc"),
    ("水", "63e6b0b4"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({}, "a0"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
]

REFUSED = {
    "nothing": "",
    "trailing byte": "0000",
    "longer integer": "1817",
    "longer 16-bit integer": "1900ff",
    "longer length of bytes": "580101",
    "longer length of text": "780161",
    "longer length of an array": "980100",
    "longer length of a map": "b8010000",
    "unsorted map": "a202000100",
    "RFC 7049 order of a map": "a2200018180000",
    "duplicate key": "a201000100",
    "indefinite bytes": "5f4101ff",
    "indefinite text": "7f6161ff",
    "indefinite array": "9f01ff",
    "indefinite map": "bf0101ff",
    "half float": "f93c00",
    "single float": "fa47c35000",
    "double float": "fb3ff199999999999a",
    "infinity": "f97c00",
    "undefined": "f7",
    "simple value": "f0",
    "simple value in two bytes": "f8ff",
    "false in two bytes": "f814",
    "bignum": "c249010000000000000000",
    "bignum of a small number": "c24101",
    "negative bignum": "c349010000000000000000",
    "date": "c074323031332d30332d32315432303a30343a30305a",
    "epoch date": "c11a514b67b0",
    "decimal fraction": "c48221196ab3",
    "bigfloat": "c5822003",
    "regular expression": "d8236161",
    "shared reference": "d81c8100",
    "cycle": "d81c81d81d00",
    "rational": "d81e820103",
    "uuid": "d8255000000000000000000000000000000000",
    "set": "d9010280",
    "self-described": "d9d9f700",
    "unknown tag": "d9ffff00",
    "tag inside": "81c100",
    "invalid UTF-8": "62c328",
    "surrogate in UTF-8": "63eda080",
    "overlong UTF-8": "62c0af",
    "array as key": "a18000",
    "map as key": "a1a000",
    "bool as key": "a1f500",
    "null as key": "a1f600",
    "float as key": "a1f93c0000",
    "reserved additional information": "1c",
    "break": "ff",
    "cut short": "820",
    "huge array": "9bffffffffffffffff",
    "huge map": "bbffffffffffffffff",
    "huge bytes": "5bffffffffffffffff",
    "huge text": "7bffffffffffffffff",
    "too deep": "81" * 9 + "00",
    "far too deep": "81" * 5000 + "00",
    "tags on tags": "c1" * 5000 + "00",
}


@pytest.mark.parametrize(("value", "encoded"), ACCEPTED, ids=[encoded for _, encoded in ACCEPTED])
def test_the_examples_of_rfc_8949(value: object, encoded: str) -> None:
    assert cbor.encode(value).hex() == encoded
    decoded = cbor.decode(bytes.fromhex(encoded), limit=100)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize("encoded", REFUSED.values(), ids=REFUSED.keys())
def test_everything_else_is_malformed(encoded: str) -> None:
    data = bytes.fromhex(encoded + "0" * (len(encoded) % 2))
    with pytest.raises(Malformed):
        cbor.decode(data, limit=10_000)


def test_keys_are_in_bytewise_order_of_their_encoding() -> None:
    # The very example of RFC 8949 §4.2.1, without its array and its false, which are no keys here.
    keys = [10, 100, -1, "z", "aa"]
    assert list(cbor.decode(cbor.encode(dict.fromkeys(reversed(keys), 0)), limit=100)) == keys


def test_every_tag_is_refused_whatever_the_library_makes_of_it() -> None:
    for tag in (*range(1200), 43000, 55799, 65535, 2**32 - 1, 2**64 - 1):
        head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
        for content in (b"\x00", b"\x40", b"\x60", b"\x80", b"\xa0", b"\x82\x01\x02", b"\x44\x7f\x00\x00\x01"):
            with pytest.raises(Malformed):
                cbor.decode(head + content, limit=100)


@pytest.mark.parametrize(
    "value",
    [1.0, 1 << 64, -(1 << 64) - 1, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), decimal.Decimal(1), {1},
     bytearray(b"x"), {(1,): 2}, {None: 1}, {True: 1}, {1.0: 1}, "\ud800", {"\ud800": 1}, [[[[[[[[[]]]]]]]]], object],
    ids=repr,
)  # fmt: skip
def test_a_value_without_an_encoding_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        cbor.encode(value)


def test_the_limit_is_checked_before_anything_is_read() -> None:
    with pytest.raises(TooLarge):
        cbor.decode(b"\xff" * 11, limit=10)
    with pytest.raises(TooLarge):
        cbor.decode_tagged(16, b"\xff" * 11, limit=10)


def test_depth_can_be_narrower() -> None:
    assert cbor.decode(b"\x81\x80", limit=10, depth=2) == [[]]
    with pytest.raises(Malformed):
        cbor.decode(b"\x81\x80", limit=10, depth=1)


@pytest.mark.parametrize("tag", [16, 18, 98, 255])
def test_only_the_expected_outermost_tag_is_taken(tag: int) -> None:
    data = cbor.encode_tagged(tag, [1])
    assert data == cbor2.dumps(cbor2.CBORTag(tag, [1]))
    assert cbor.decode_tagged(tag, data, limit=10) == [1]
    for wrong in (data[1:], b"\xd1\x81\x01", b"\xd9\x00" + bytes((tag,)) + b"\x81\x01", b"\xd8", b""):
        with pytest.raises(Malformed):
            cbor.decode_tagged(tag, wrong, limit=10)


@pytest.mark.parametrize("length", [0, 23, 24, 255, 256, 65535, 65536])
def test_heads_of_byte_strings(length: int) -> None:
    assert cbor.bstr_head(length) + bytes(length) == cbor2.dumps(bytes(length))


@given(cbor_values)
def test_round_trip(value: object) -> None:
    assert cbor.decode(cbor.encode(value), limit=1 << 20) == value


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    try:
        value = cbor.decode(data, limit=300)
    except Malformed:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize("pattern", [b"\x81", b"\x80", b"\x82\x00", b"\xa1\x00", b"\xc1", b"\x9f", b"\xd8\x1c\x81"])
def test_work_is_bounded_by_the_length(pattern: bytes) -> None:
    body = pattern * (262_144 // len(pattern))
    data = b"\x9a" + (len(body)).to_bytes(4, "big") + body
    begun = time.perf_counter()
    with pytest.raises(Malformed):
        cbor.decode(data, limit=300_000)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    "content", [b"\x00", b"\x18\x20", b"\x40", b"\x59\x01\x00" + bytes(256), b"\x80", b"\xa1\x00\x41x"]
)
def test_the_number_of_items_is_bounded_whatever_they_are(content: bytes) -> None:
    value = cbor.decode(content, limit=1000)
    inside = 3 if content[0] == 0xA1 else 1
    most = (cbor.MAX_ITEMS - 2) // inside
    encoded = cbor.encode([bytes(20_000), [value] * (most - 1)])  # long enough that items are counted
    assert cbor.decode(encoded, limit=10_000_000) == [bytes(20_000), [value] * (most - 1)]
    with pytest.raises(Malformed, match="items"):
        cbor.decode(cbor.encode([bytes(20_000), [value] * (most + 1)]), limit=10_000_000)


def test_a_long_item_with_bytes_after_it_or_cut_short_is_malformed() -> None:
    encoded = cbor.encode(bytes(20_000))
    for wrong in (encoded + b"\x00", encoded[:-1], encoded + bytes(20_000), b"\xc1" + encoded, b"\x5f" + encoded):
        with pytest.raises(Malformed):
            cbor.decode(wrong, limit=100_000)
