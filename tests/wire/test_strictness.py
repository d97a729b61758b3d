# SPDX-License-Identifier: Apache-2.0
"""One promise for every decoder: its value encodes to the very bytes it read, or it raises a typed error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor
from sealway.wire.message import Message
from sealway.wire.options import decode_options
from tests.wire.wire_samples import EVERY_SAMPLE
from tests.wire.wire_strategies import CODECS, Codec, cbor_values

each_codec = pytest.mark.parametrize("codec", CODECS, ids=repr)
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def strict(name: str, decode: Callable[[bytes], Any], data: bytes) -> Any:
    """Decode; check the promise; return the value, or None where a typed error was raised."""
    try:
        value = decode(data)
    except (Malformed, TooLarge):
        return None
    again = (value.having() if isinstance(value, Message) else value).encode()  # not what it was read from
    if again != data:
        assert name == "Message", data.hex()
        assert drops_an_option(data), data.hex()
        assert Message.decode(again) == value
    return value


def drops_an_option(data: bytes) -> bool:
    """True if a message carries an elective option that this version does not know: the one thing that is not kept."""
    known = {11, 12, 15, 65000, 65002}
    return any(number % 2 == 0 and number not in known for number, _ in decode_options(data, 1)[0])


@each_codec
def test_round_trip(codec: Codec) -> None:
    @quick
    @given(codec.values)
    def check(value: Any) -> None:
        encoded = value.encode()
        assert codec.decode(encoded) == value
        assert codec.decode(encoded).encode() == encoded

    check()


@each_codec
def test_arbitrary_bytes_are_refused_with_a_typed_error(codec: Codec) -> None:
    @quick
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        strict(codec.name, codec.decode, data)

    check()


@each_codec
def test_any_mutation_is_refused_or_means_what_it_says(codec: Codec) -> None:
    @quick
    @given(codec.values, st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = value.encode()
        at = data.draw(st.integers(0, len(encoded)))
        cut = data.draw(st.integers(0, 4))
        strict(codec.name, codec.decode, encoded[:at] + data.draw(st.binary(max_size=4)) + encoded[at + cut :])

    check()


@pytest.mark.parametrize("sample", EVERY_SAMPLE, ids=lambda sample: type(sample).__name__)
def test_every_single_byte_change_truncation_and_extension(sample: Any) -> None:
    kind = type(sample)
    encoded = sample.encode()
    assert strict(kind.__name__, kind.decode, encoded) == sample
    for changed in _changes(encoded):
        strict(kind.__name__, kind.decode, changed)


def _changes(encoded: bytes) -> Iterator[bytes]:
    yield from (encoded + bytes((more,)) for more in range(256))
    for at, byte in enumerate(encoded):
        before, after = encoded[:at], encoded[at + 1 :]
        yield before
        yield before + after
        yield before + b"\x00" + encoded[at:]
        yield from (before + bytes((byte ^ flip,)) + after for flip in (*(1 << bit for bit in range(8)), 0xFF))


@each_codec
def test_well_formed_cbor_of_the_wrong_shape_is_refused(codec: Codec) -> None:
    """Replaces parts of a valid document, at any depth, by other CBOR: wrong types must never surface as such."""

    @quick
    @given(codec.values, st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = value.encode()
        for head in (b"\xd0", b"\xd2", b"\xd8\x62", b""):
            if encoded.startswith(head):
                break
        try:
            tree = cbor.decode(encoded[len(head) :], limit=len(encoded))
        except Malformed:  # a Message is not CBOR
            return
        strict(codec.name, codec.decode, head + cbor.encode(_grafted(tree, data)))

    check()


def _grafted(tree: Any, data: st.DataObject) -> Any:
    if isinstance(tree, list) and tree and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(tree) - 1))
        return [*tree[:at], _grafted(tree[at], data), *tree[at + 1 :]]
    if isinstance(tree, dict) and tree and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(list(tree)))
        return tree | {key: _grafted(tree[key], data)}
    if isinstance(tree, bytes) and data.draw(st.booleans()):
        try:
            return cbor.encode(_grafted(cbor.decode(tree, limit=len(tree)), data))  # CBOR inside a byte string
        except Malformed:
            return tree[:-1]
    return data.draw(cbor_values)
