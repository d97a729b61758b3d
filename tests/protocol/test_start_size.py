# SPDX-License-Identifier: Apache-2.0
"""What a start costs on the wire: spec/envelope.md, "Size"."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from sealway.crypto.suites import SUITE_1, SUITE_2, SUITE_3, Suite
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.start import start
from sealway.sdk.encapsulating import encapsulate
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_POST, Message
from tests.identity.small_domain import SmallDomain
from tests.protocol.party import NOW_MS, Party

SPEC = Path(__file__).parents[2] / "spec" / "envelope.md"
MOST = 260


@pytest.fixture(scope="module")
def alice() -> Party:
    return Party(SmallDomain(), "alice")


def party(town: SmallDomain, bundle_id: bytes) -> Party:
    return Party(town, "bob", {"bundle_id": bundle_id})


def overhead(
    alice: Party, bob: Party, *, kid: bytes, newest: bytes, index: int | None = 3, length: int = 64, number: int = 0
) -> int:
    """The bytes of a real first envelope beyond those of the message in it; with another number, if one is given."""
    session = start(
        alice.own, bob.offer(None if index is None else 3), alice.signer, receive_kid=kid, newest=newest, now_ms=NOW_MS,
        random=alice.random, policy=DEFAULT_POLICY, encapsulate=encapsulate,
    )  # fmt: skip
    envelope = alice.sealed(session, bytes(length))
    assert envelope.start is not None and (envelope.start.ml_kem is not None) == bob.ml_kem
    envelope = replace(envelope, number=number, start=replace(envelope.start, one_time=index))
    assert Envelope.decode(envelope.encode()) == envelope
    return len(envelope.encode()) - len(Message(CODE_POST, payload=bytes(length)).encode())


@pytest.mark.parametrize("suite", [SUITE_2, SUITE_3])
def test_the_other_suites_cost_nine_bytes_more(alice: Party, suite: Suite) -> None:
    """One for the longer alg, eight for the longer tag."""
    mine, theirs = Party(alice.domain, "alice", suite=suite), Party(alice.domain, "bob", suite=suite)
    for newest in (b"", b"n" * 32):
        usual = overhead(alice, party(alice.domain, b"id-b"), kid=b"\x01", newest=newest)
        assert overhead(mine, theirs, kid=b"\x01", newest=newest) == usual + 9
    assert "With suites 2 and 3 each of these is 9 more" in SPEC.read_text()


@pytest.mark.parametrize("suite", [SUITE_1, SUITE_2, SUITE_3], ids=["1", "2", "3"])
@pytest.mark.parametrize("bundle_id", [b"id-b", b"12345678"])
@pytest.mark.parametrize("kid", [b"\x01", b"12345678"])
@pytest.mark.parametrize("newest", [b"", b"n" * 32])
def test_a_start_without_ml_kem_adds_at_most_260_bytes_with_credentials_by_reference(
    alice: Party, suite: Suite, bundle_id: bytes, kid: bytes, newest: bytes
) -> None:
    """Any suite, identifiers, one-time index, number, and length of the message."""
    mine = Party(alice.domain, "alice", suite=suite)
    bob = Party(alice.domain, "bob", {"bundle_id": bundle_id}, suite=suite)
    for index, length, number in itertools.product((None, 3, 63), (1, 64, 1024, 60_000), (0, 0xFFFFFFFF)):
        assert overhead(mine, bob, kid=kid, newest=newest, index=index, length=length, number=number) <= MOST


def test_the_longest_start_is_as_long_as_the_page_says(alice: Party) -> None:
    mine, longest = Party(alice.domain, "alice", suite=SUITE_2), {"bundle_id": b"12345678"}
    bob = Party(alice.domain, "bob", longest, suite=SUITE_2)
    whole = overhead(mine, bob, kid=b"12345678", newest=b"n" * 32, index=63, length=60_000, number=0xFFFFFFFF)
    assert whole == MOST


def test_the_page_says_what_a_start_costs(alice: Party) -> None:
    text, bob = SPEC.read_text(), party(alice.domain, b"id-b")
    for newest, words in ((b"", "adds {} bytes"), (b"n" * 32, "is {} with the hash of an older session")):
        for length in (25, 64, 106):
            assert words.format(overhead(alice, bob, kid=b"\x01", newest=newest, length=length)) in text
    assert f"never more than {MOST}" in text
    assert f"never more than {MOST - 9} with suite 1" in text
    quantum = Party(alice.domain, "bob", {"bundle_id": b"id-b"}, ml_kem=True)
    more = overhead(alice, quantum, kid=b"\x01", newest=b"") - overhead(alice, bob, kid=b"\x01", newest=b"")
    assert f"each of these is {more} bytes more" in text
