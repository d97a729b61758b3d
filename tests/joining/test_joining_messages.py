# SPDX-License-Identifier: Apache-2.0
"""The messages of joining: one encoding each, as spec/joining.cddl has them, and every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pycddl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import Malformed, SealwayError, TooLarge
from sealway.joining.channel import signed_text
from sealway.joining.messages import (
    MAX_JOINING_BYTES,
    Begin,
    Hello,
    Offer,
    Provision,
    decode_inner,
    decode_outer,
)
from sealway.joining.ownership import Ownership
from sealway.wire import cbor
from tests.identity.small_domain import name
from tests.joining.samples import INNER, NONCE, OUTER

CDDL = (Path(__file__).parents[2] / "spec" / "joining.cddl").read_text(encoding="utf-8")


def schema(rule: str) -> pycddl.Schema:
    return pycddl.Schema(f"start = {rule}\n{CDDL}")


@pytest.mark.parametrize("message", OUTER, ids=lambda message: type(message).__name__)
def test_what_travels_has_one_encoding_that_the_specification_describes(message: Any) -> None:
    encoded = message.encode()
    assert decode_outer(encoded) == message
    schema(type(message).__name__.lower()).validate_cbor(encoded)
    schema("joining").validate_cbor(encoded)
    with pytest.raises(Malformed):
        decode_inner(encoded)


@pytest.mark.parametrize("message", INNER, ids=lambda message: type(message).__name__)
def test_what_is_in_the_channel_has_one_encoding_that_the_specification_describes(message: Any) -> None:
    encoded = message.encode()
    assert decode_inner(encoded) == message
    schema(type(message).__name__.lower()).validate_cbor(encoded)
    schema("inside").validate_cbor(encoded)
    with pytest.raises(Malformed):
        decode_outer(encoded)


def test_what_the_device_signs_is_as_the_specification_has_it() -> None:
    schema("signed-text").validate_cbor(signed_text(bytes(32), b"csr", b"root"))


@pytest.mark.parametrize("encoded", [each.encode() for each in (*OUTER, *INNER)])
def test_any_field_of_another_kind_missing_or_added_is_refused(encoded: bytes) -> None:
    value = cbor.decode(encoded, limit=4096)
    decode = decode_outer if value[0] < 16 else decode_inner
    for label in value:
        if label in (3, 4, 5) and value[0] in (1, 2):
            continue  # optional: looked at below
        without = {key: item for key, item in value.items() if key != label}
        for changed in (without, value | {label: True}, value | {label: None}):
            with pytest.raises((Malformed, TooLarge)):
                decode(cbor.encode(changed))
    with pytest.raises(Malformed):
        decode(cbor.encode(value | {9: 1}))


def test_the_parameters_of_an_offer_are_both_there_or_neither() -> None:
    encoded = OUTER[2].encode()
    value = cbor.decode(encoded, limit=4096)
    for label in (4, 5):
        with pytest.raises(Malformed, match="belong together"):
            decode_outer(cbor.encode({key: item for key, item in value.items() if key != label}))
    for cost in ([2**13, 8, 1], [2**18, 8, 1], [2**15, 8, 5], [2**15, 8], [2**15, 1, 1], [True, 8, 1]):
        with pytest.raises(Malformed):
            decode_outer(cbor.encode(value | {5: cost}))


def test_another_version_is_refused() -> None:
    with pytest.raises(Malformed, match="version"):
        decode_outer(cbor.encode({0: 1, 1: 1, 2: NONCE}))
    with pytest.raises(Malformed, match="resume id"):
        decode_outer(cbor.encode({0: 1, 1: 0, 2: NONCE, 3: bytes(7)}))


def test_constructors_refuse_what_could_not_be_encoded() -> None:
    with pytest.raises(Malformed):
        Hello(bytes(15))
    with pytest.raises(Malformed):
        Offer(NONCE, "", 1)
    with pytest.raises(Malformed, match="name of a device"):
        Begin(b"root", name("roof", "gateway"), 1)
    with pytest.raises(Malformed, match="at most 8"):
        Provision(b"e", {str(number): b"x" for number in range(9)})
    with pytest.raises(Malformed):
        Provision(b"e", {"wifi": b""})
    with pytest.raises(Malformed):
        Begin(b"root", name("meter"), 4)


def test_secrets_and_documents_do_not_show() -> None:
    shown = repr(Provision(b"enrolment of mine", {"wifi": b"hunter2"}))
    assert "hunter2" not in shown and "of mine" not in shown


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_with_a_typed_error(data: bytes) -> None:
    for decode in (decode_outer, decode_inner, Ownership.decode):
        try:
            decode(data)
        except SealwayError:
            continue


def test_what_is_too_large_is_not_read() -> None:
    with pytest.raises(TooLarge):
        decode_outer(bytes(MAX_JOINING_BYTES + 1))
