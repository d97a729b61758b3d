# SPDX-License-Identifier: Apache-2.0
"""The hub's short cuts take and refuse exactly what the strict decoders do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import SealwayError
from sealway.hub import steady
from sealway.wire.carriage import Deposits
from sealway.wire.envelope import AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305, TAG_BYTES, Envelope
from sealway.wire.header import Claims, Opener

MAILBOXES = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=16, max_size=16)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    alg = draw(st.sampled_from([AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305]))
    size = TAG_BYTES[alg] + draw(st.sampled_from([1, 2, 6, 7, 14, 15, 80, 240, 300, 70_000]))
    extras: dict[str, Any] = draw(
        st.sampled_from([{}, {}, {"claims": Claims(expires=7)}, {"opener": Opener(0, bytes(32), 0)}])
    )
    return Envelope(
        draw(st.binary(min_size=1, max_size=8)), draw(st.integers(0, 2**32 - 1)), bytes(size), alg, **extras
    )


def outcome(read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data)
    except SealwayError as error:
        return type(error), error.message


def strict_expiry(data: bytes) -> int | None:
    claims = Envelope.decode(data).claims
    return None if claims is None else claims.expires


def altered(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes as they are, or with one byte changed near the front, one left out, one too many."""
    at = draw(st.integers(0, min(len(data) - 1, 48)))
    byte = draw(st.binary(min_size=1, max_size=1))
    return draw(
        st.sampled_from([data, data[:at] + byte + data[at + 1 :], data[:at] + data[at + 1 :], data + byte, data[:-1]])
    )


@given(st.data())
def test_an_envelope_is_read_as_the_strict_decoder_reads_it(data: st.DataObject) -> None:
    encoded = data.draw(st.composite(altered)(data.draw(envelopes()).encode()))
    assert outcome(steady.expiry_of, encoded) == outcome(strict_expiry, encoded)


@given(st.data())
def test_a_batch_is_read_as_the_strict_decoder_reads_it(data: st.DataObject) -> None:
    sizes = st.sampled_from([1, 22, 23, 24, 100, 255, 256, 300, 65_535, 65_536])
    count = data.draw(st.sampled_from([1, 2, 23, 24, 100]))
    rows = tuple((data.draw(MAILBOXES), bytes(data.draw(sizes))) for _ in range(min(count, 3))) * count
    encoded = data.draw(st.composite(altered)(Deposits(rows[:count]).encode()))
    assert outcome(steady.deposits_in, encoded) == outcome(lambda body: Deposits.decode(body).items, encoded)


@pytest.mark.parametrize(
    "body", [b"", b"\x80", b"\x81", b"\x98\x01", b"\x98\x65", b"\x81\x82\x70" + b"a" * 16 + b"\x5a\xff\xff\xff\xff"]
)
def test_rubbish_is_refused_alike(body: bytes) -> None:
    assert outcome(steady.deposits_in, body) == outcome(lambda given: Deposits.decode(given).items, body)


def test_the_common_forms_do_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = Envelope(b"kid", 70_000, bytes(100)).encode()
    batch = Deposits((("a" * 16, envelope),) * 100).encode()
    monkeypatch.setattr(steady, "Envelope", None)
    monkeypatch.setattr(steady, "Deposits", None)
    assert steady.expiry_of(envelope) is None
    assert steady.deposits_in(batch) == (("a" * 16, envelope),) * 100
