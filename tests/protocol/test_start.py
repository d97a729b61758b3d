# SPDX-License-Identifier: Apache-2.0
"""Starts between real identities: spec/session.md, "Start"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealway.crypto.keys import agree, generate_scalar, public_x
from sealway.crypto.suites import SUITE_1, SUITE_2
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted, Replayed
from sealway.protocol import schedule
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session, Start
from sealway.protocol.snapshot import restore, snapshot
from sealway.protocol.start import transcript_hash
from sealway.wire.message import CODE_POST, Message
from tests.identity.small_domain import SmallDomain
from tests.protocol.party import DOMAIN_ID, NOW_MS, SIGNATURE_PREFIX, Party


@pytest.fixture(scope="module")
def mallory(town: SmallDomain) -> Party:
    return Party(town, "mallory")


# both ends agree -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("index", [None, 0, 3])
def test_both_ends_derive_the_same_with_and_without_a_one_time_key(alice: Party, bob: Party, index: int | None) -> None:
    mine = alice.start(bob.offer(index))
    first = alice.sealed(mine)
    assert first.kid == bob.bundle.claims.bundle_id
    assert first.start is not None
    assert first.start.one_time == index
    theirs, opened = bob.accept(first, alice.bundle, index)
    assert opened.message is not None
    assert opened.message.payload == b"hello"  # the first ciphertext carries payload already
    assert (theirs.hash, theirs.root) == (mine.hash, mine.root)
    assert theirs.peer == str(alice.credential.name)
    assert mine.peer == str(bob.credential.name)
    assert theirs.my_turn
    assert not mine.my_turn
    assert mine.open(bob.sealed(theirs), now_ms=NOW_MS).message is not None
    assert theirs.open(alice.sealed(mine), now_ms=NOW_MS).message is not None
    assert (mine.kid_out, theirs.kid_out) == (b"\x02", b"\x01")


def test_any_message_of_the_start_may_come_first(alice: Party, bob: Party) -> None:
    mine = alice.start(bob.offer(1))
    sealed = [alice.sealed(mine) for _ in range(3)]
    mine = restore(snapshot(mine), mine.log, DEFAULT_POLICY)
    sealed.append(alice.sealed(mine))
    theirs, opened = bob.accept(sealed[3], alice.bundle, 1)
    assert opened.number == 3
    for envelope in sealed[:3]:
        theirs.open(envelope, now_ms=NOW_MS)


def test_a_start_sent_again_is_a_replay_in_the_same_session(alice: Party, bob: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(2)))
    theirs, _ = bob.accept(first, alice.bundle, 2)
    with pytest.raises(Replayed):
        theirs.open(first, now_ms=NOW_MS)
    assert theirs.receipt_at() is not None


def test_the_transcript_is_all_that_both_must_agree_on(alice: Party, bob: Party, mallory: Party) -> None:
    header = alice.sealed(alice.start(bob.offer(0))).start
    assert header is not None
    usual = (DOMAIN_ID, SUITE_1, alice.bundle, bob.bundle, header, bob.public[0])
    changed = [
        (bytes(16), *usual[1:]),
        (DOMAIN_ID, SUITE_2, *usual[2:]),
        (DOMAIN_ID, SUITE_1, mallory.bundle, *usual[3:]),
        (DOMAIN_ID, SUITE_1, alice.bundle, mallory.bundle, *usual[4:]),
        (DOMAIN_ID, SUITE_1, bob.bundle, alice.bundle, *usual[4:]),  # roles
        (*usual[:4], replace(header, receive_kid=b"\x07"), usual[5]),
        (*usual[:4], replace(header, ephemeral=bytes(32)), usual[5]),
        (*usual[:4], replace(header, one_time=1), usual[5]),
        (*usual[:4], replace(header, ml_kem=bytes(1088)), usual[5]),
        (*usual[:5], bob.public[1]),
        (*usual[:5], None),
    ]
    hashes = {transcript_hash(*each) for each in [usual, *changed]}
    assert len(hashes) == 1 + len(changed)


# attacks -------------------------------------------------------------------------------------------------------------
def test_who_has_the_responders_keys_cannot_start_as_another(alice: Party, bob: Party, mallory: Party) -> None:
    """Key-compromise impersonation: with bob's keys all agreements of a start from alice can be computed."""
    ephemeral = generate_scalar(mallory.random)
    header = alice.sealed(alice.start(bob.offer(None))).start
    assert header is not None
    header = replace(header, ephemeral=public_x(ephemeral))
    digest = transcript_hash(DOMAIN_ID, SUITE_1, alice.bundle, bob.bundle, header, None)
    agreements = [
        agree(bob.secrets.signed_prekey, alice.bundle.claims.agreement_key),
        agree(bob.identity_key, header.ephemeral),
        agree(bob.secrets.signed_prekey, header.ephemeral),
    ]
    keys = schedule.start_keys(b"".join(a.reveal() for a in agreements), digest)
    sending = Sending(SendingEpoch(header.ephemeral, ephemeral, 0, keys.reseed_root, keys.chain, 0))
    for signature in (mallory.signer.sign(SIGNATURE_PREFIX + digest), bytes(64)):
        forged = Session(
            SUITE_1, digest, "bob", True, keys.root, False, b"", b"\x01", bob.bundle.claims.bundle_id, NOW_MS,
            replace(sending), Receiving(), SentLog(), Start(header, signature, b""),
        )  # fmt: skip
        state = replace(sending.epoch)  # type: ignore[type-var]
        with pytest.raises(NotAuthentic, match="signature"):
            bob.accept(mallory.sealed(forged), alice.bundle)
        sending.epoch = state


def test_a_start_signed_by_another_key_is_refused(alice: Party, bob: Party, mallory: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(None), signer=mallory.signer))
    with pytest.raises(NotAuthentic, match="signature"):
        bob.accept(first, alice.bundle)


def test_who_publishes_anothers_agreement_key_does_not_get_its_sessions(
    town: SmallDomain, alice: Party, bob: Party
) -> None:
    """Unknown key share: bob must not believe that he talks with mallory, who published alice's key as her own."""
    mallory = Party(town, "mallory", {"agreement_key": alice.bundle.claims.agreement_key})
    first = alice.sealed(alice.start(bob.offer(None)))
    assert first.start is not None
    with pytest.raises(NotTrusted):
        bob.accept(first, mallory.bundle)
    header = replace(first.start, bundle_hash=mallory.bundle.hash, x5t=mallory.credential.x5t)
    with pytest.raises(NotAuthentic):
        bob.accept(replace(first, start=header), mallory.bundle)


def test_a_start_meant_for_one_peer_does_not_open_at_another_whose_keys_it_published(
    town: SmallDomain, alice: Party, bob: Party
) -> None:
    """Identity misbinding: alice means mallory, who published bob's keys as her own and hands the start on to bob."""
    claims = bob.bundle.claims
    copied = {name: getattr(claims, name) for name in ("agreement_key", "signed_prekey", "bundle_id")}
    mallory = Party(town, "mallory", copied)
    first = alice.sealed(alice.start(mallory.offer(None)))
    assert first.kid == bob.bundle.claims.bundle_id
    with pytest.raises(NotAuthentic):
        bob.accept(first, alice.bundle)


def test_a_start_of_another_domain_does_not_open(alice: Party, bob: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(None), own=replace(alice.own, domain=bytes(16))))
    with pytest.raises(NotAuthentic):
        bob.accept(first, alice.bundle)


def test_a_start_over_another_bundle_does_not_open(town: SmallDomain, alice: Party, bob: Party) -> None:
    older = Party(town, "bob", {"bundle_id": b"older"})
    first = alice.sealed(alice.start(older.offer(None)))
    with pytest.raises(NotAuthentic):
        bob.accept(first, alice.bundle)


def test_the_initiators_bundle_is_the_one_that_the_start_names(town: SmallDomain, alice: Party, bob: Party) -> None:
    newer = Party(town, "alice", {"bundle_id": b"newer"})
    first = alice.sealed(alice.start(bob.offer(None)))
    with pytest.raises(NotTrusted):
        bob.accept(first, newer.bundle)


def test_another_certificate_than_the_one_proven_is_refused(alice: Party, bob: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(None)))
    assert first.start is not None
    with pytest.raises(NotTrusted):
        bob.accept(replace(first, start=replace(first.start, x5t=bytes(32))), alice.bundle)


def test_the_one_time_key_is_the_one_that_the_start_names(alice: Party, bob: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(1)))
    for index in (None, 2):
        with pytest.raises(LocalMisuse, match="one-time"):
            bob.accept(first, alice.bundle, index)
    assert first.start is not None
    for index in (None, 2):  # a hop changes the index
        changed = replace(first, start=replace(first.start, one_time=index))
        with pytest.raises(NotAuthentic):
            bob.accept(changed, alice.bundle, index)


def test_nothing_in_the_header_can_be_changed(alice: Party, bob: Party, mallory: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(None)))
    assert first.start is not None
    for header in (
        replace(first.start, receive_kid=b"\x09"),
        replace(first.start, ephemeral=mallory.bundle.claims.agreement_key),
    ):
        with pytest.raises(NotAuthentic):
            bob.accept(replace(first, start=header), alice.bundle)
    with pytest.raises(NotAuthentic):
        bob.accept(replace(first, kid=b"elsewhere"[:8]), alice.bundle)


def test_an_endpoint_refuses_a_start_from_itself(alice: Party) -> None:
    with pytest.raises(LocalMisuse, match="itself"):
        alice.start(alice.offer(None))
    header = alice.sealed(alice.start(Party(alice.domain, "bob").offer(None)))
    with pytest.raises(NotAuthentic, match="very endpoint"):
        alice.accept(header, alice.bundle)


def test_an_envelope_without_a_start_is_not_accepted(alice: Party, bob: Party) -> None:
    first = alice.sealed(alice.start(bob.offer(None)))
    with pytest.raises(Malformed, match="not a start"):
        bob.accept(replace(first, start=None), alice.bundle)


def test_a_start_whose_message_is_malformed_is_refused(
    alice: Party, bob: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    for plaintext in (b"\xe0", Message(CODE_POST).encode()):
        mine = alice.start(bob.offer(None))
        with monkeypatch.context() as patch:
            patch.setattr(Message, "encode", lambda self, plaintext=plaintext: plaintext)
            first = alice.sealed(mine)
        with pytest.raises(Malformed):
            bob.accept(first, alice.bundle)
