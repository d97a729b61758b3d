# SPDX-License-Identifier: Apache-2.0
"""ML-KEM-768 in a start, and that nobody in between can take it out: spec/session.md, "The post-quantum part"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealway.crypto import kem
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_2, SUITE_3, Suite
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotPostQuantum, Replayed
from sealway.identity.bundles import verify_bundle
from sealway.protocol.policy import DEFAULT_POLICY, Policy, PostQuantum
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.sdk.encapsulating import encapsulate
from sealway.wire.bundle import SignedBundle
from sealway.wire.envelope import Envelope
from tests.identity.small_domain import NOW, SmallDomain
from tests.protocol.party import NOW_MS, Party

REQUIRED, PREFERRED, OFF = (
    replace(DEFAULT_POLICY, post_quantum=each)
    for each in (PostQuantum.REQUIRED, PostQuantum.PREFERRED, PostQuantum.OFF)
)


@pytest.fixture(scope="module")
def bob(town: SmallDomain) -> Party:
    """Publishes an ML-KEM key."""
    return Party(town, "bob", ml_kem=True)


@pytest.fixture(scope="module")
def plain(town: SmallDomain) -> Party:
    """Publishes none."""
    return Party(town, "plain")


def begun(alice: Party, peer: Party, policy: Policy = PREFERRED, index: int | None = None) -> tuple[Session, Envelope]:
    session = alice.start(peer.offer(index), policy=policy)
    return session, alice.sealed(session)


@pytest.mark.parametrize("index", [None, 2])
@pytest.mark.parametrize("policy", [REQUIRED, PREFERRED])
def test_both_ends_derive_the_same_with_ml_kem(alice: Party, bob: Party, index: int | None, policy: Policy) -> None:
    mine, first = begun(alice, bob, policy, index)
    assert first.start is not None and first.start.ml_kem is not None
    theirs, opened = bob.accept(first, alice.bundle, index, policy=policy)
    assert opened.message is not None and opened.message.payload == b"hello"
    assert (theirs.hash, theirs.root) == (mine.hash, mine.root)
    assert mine.open(bob.sealed(theirs), now_ms=NOW_MS).message is not None
    after = alice.sealed(mine)
    assert after.start is None  # the ciphertext goes with the start header
    assert theirs.open(after, now_ms=NOW_MS).message is not None
    with pytest.raises(Replayed):
        theirs.open(first, now_ms=NOW_MS)


@pytest.mark.parametrize("suite", [SUITE_2, SUITE_3], ids=str)
def test_it_goes_with_every_suite(town: SmallDomain, suite: Suite) -> None:
    alice, bob = Party(town, "alice", suite=suite), Party(town, "bob", suite=suite, ml_kem=True)
    mine, first = begun(alice, bob, REQUIRED, 1)
    theirs, opened = bob.accept(first, alice.bundle, 1, policy=REQUIRED)
    assert opened.message is not None and (theirs.hash, theirs.root) == (mine.hash, mine.root)


def test_a_restart_before_the_answer_shows_the_same_ciphertext(alice: Party, bob: Party) -> None:
    mine, first = begun(alice, bob)
    mine = restore(snapshot(mine), mine.log, PREFERRED)
    again = alice.sealed(mine)
    assert again.start == first.start and again.opener is not None
    theirs, _ = bob.accept(again, alice.bundle)
    assert theirs.open(first, now_ms=NOW_MS).message is not None


def test_the_secret_enters_the_keys_and_not_only_the_transcript(alice: Party, bob: Party) -> None:
    """Who could compute all agreements, and sees everything, still lacks it."""
    _, first = begun(alice, bob)
    without = replace(bob.secrets, ml_kem=kem.generate_seed(lambda count: bytes(count)))
    with pytest.raises(NotAuthentic):
        replace_secrets(bob, without).accept(first, alice.bundle)


def replace_secrets(party: Party, secrets: object) -> Party:
    other = object.__new__(Party)
    other.__dict__.update(party.__dict__, secrets=secrets)
    return other


def test_the_thief_of_an_ml_kem_key_reads_no_start(alice: Party, bob: Party) -> None:
    """It takes the private halves of all the agreements besides, as a start without ML-KEM does."""
    _, first = begun(alice, bob, index=1)
    other = bob.secrets.one_time[3]
    thief = replace_secrets(bob, replace(bob.secrets, signed_prekey=other))
    with pytest.raises(NotAuthentic):
        thief.accept(first, alice.bundle, 1)
    thief = replace_secrets(bob, bob.secrets)
    thief.identity_key = other
    with pytest.raises(NotAuthentic):
        thief.accept(first, alice.bundle, 1)
    halves = list(bob.secrets.one_time)
    halves[1] = other
    with pytest.raises(NotAuthentic):
        replace_secrets(bob, replace(bob.secrets, one_time=tuple(halves))).accept(first, alice.bundle, 1)
    bob.accept(first, alice.bundle, 1)


def test_a_start_whose_ciphertext_was_removed_does_not_open(alice: Party, bob: Party) -> None:
    _, first = begun(alice, bob)
    assert first.start is not None
    stripped = replace(first, start=replace(first.start, ml_kem=None))
    with pytest.raises(NotAuthentic):
        bob.accept(stripped, alice.bundle)
    with pytest.raises(NotPostQuantum):
        bob.accept(stripped, alice.bundle, policy=REQUIRED)


def test_a_start_whose_ciphertext_was_swapped_does_not_open(alice: Party, bob: Party) -> None:
    _, first = begun(alice, bob)
    assert first.start is not None and bob.bundle.claims.ml_kem is not None
    for other in (encapsulate(bob.bundle.claims.ml_kem).ciphertext, bytes(1088)):
        with pytest.raises(NotAuthentic):
            bob.accept(replace(first, start=replace(first.start, ml_kem=other)), alice.bundle)


def test_a_ciphertext_added_to_a_start_without_does_not_open(alice: Party, bob: Party, plain: Party) -> None:
    _, first = begun(alice, bob, OFF)
    assert first.start is not None and bob.bundle.claims.ml_kem is not None
    added = replace(first.start, ml_kem=encapsulate(bob.bundle.claims.ml_kem).ciphertext)
    with pytest.raises(NotAuthentic):
        bob.accept(replace(first, start=added), alice.bundle)
    _, first = begun(alice, plain)
    assert first.start is not None
    with pytest.raises(Malformed, match="without such a key"):
        plain.accept(replace(first, start=replace(first.start, ml_kem=bytes(1088))), alice.bundle)


def test_a_bundle_whose_ml_kem_key_was_removed_is_not_its_owners(bob: Party) -> None:
    signed = SignedBundle.decode(bob.encoded)
    claims = replace(signed.claims, ml_kem=None)
    stripped = SignedBundle(replace(signed.sign1, payload=claims.encode()), claims).encode()
    with pytest.raises(NotAuthentic):
        verify_bundle(stripped, bob.credential, NOW)


def test_a_bundle_from_before_the_ml_kem_key_is_refused(town: SmallDomain, bob: Party) -> None:
    older = Party(town, "bob", {"sequence": 1})
    assert older.bundle.claims.ml_kem is None
    with pytest.raises(Replayed):
        verify_bundle(older.encoded, bob.credential, NOW, lowest_sequence=2)


def test_a_bundle_with_a_key_that_is_none_is_refused(town: SmallDomain) -> None:
    with pytest.raises(Malformed, match="ML-KEM"):
        Party(town, "carol", {"ml_kem": b"\xff" * 1184})


def test_who_requires_it_does_not_write_to_a_peer_without(alice: Party, plain: Party) -> None:
    with pytest.raises(NotPostQuantum, match="publishes no ML-KEM key"):
        begun(alice, plain, REQUIRED)
    _, first = begun(alice, plain, PREFERRED)
    assert first.start is not None and first.start.ml_kem is None
    plain.accept(first, alice.bundle)


def test_who_requires_it_does_not_accept_a_start_without(alice: Party, bob: Party) -> None:
    _, first = begun(alice, bob, OFF)
    with pytest.raises(NotPostQuantum, match="without an ML-KEM part"):
        bob.accept(first, alice.bundle, policy=REQUIRED)
    bob.accept(first, alice.bundle, policy=PREFERRED)


def test_who_turned_it_off_still_opens_what_names_an_older_bundle_of_its_own(alice: Party, bob: Party) -> None:
    _, first = begun(alice, bob)
    bob.accept(first, alice.bundle, policy=OFF)


def test_nothing_is_left_out_silently_where_nobody_can_encapsulate(alice: Party, bob: Party) -> None:
    with pytest.raises(LocalMisuse, match="encapsulates"):
        alice.start(bob.offer(None), encapsulate=None)


def test_a_start_with_ml_kem_is_larger_by_the_ciphertext(alice: Party, bob: Party) -> None:
    sizes = [len(begun(alice, bob, policy)[1].encode()) for policy in (OFF, PREFERRED)]
    assert (
        sizes[1] - sizes[0] == 1088 + 3 + 1 + 1
    )  # with its head, and null for the index; the header's length takes a byte more


def test_a_made_prekey_is_in_the_bundle(bob: Party, plain: Party) -> None:
    assert isinstance(bob.secrets.ml_kem, Secret)
    assert bob.bundle.claims.ml_kem == kem.public_key(bob.secrets.ml_kem)
    assert plain.secrets.ml_kem is None
