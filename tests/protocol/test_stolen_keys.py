# SPDX-License-Identifier: Apache-2.0
"""What a stolen key is good for, and what not: the cells of THREAT_MODEL.md, "Stolen keys", shown with real sessions.

A thief here knows all public things and every envelope, and of private things exactly what the test gives him.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

import pytest

from sealway.crypto.keys import SoftAgreer, SoftSigner, agree, generate_scalar
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, NotTrusted
from sealway.identity.bundles import sign_bundle, verify_bundle
from sealway.identity.credentials import verify_chain
from sealway.identity.issuing import self_signed_ca
from sealway.protocol import schedule
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.outcome import Opened
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session, Start
from sealway.protocol.start import OneTimeSecret, OwnKeys, accept, transcript_hash
from sealway.wire.bundle import SignedBundle
from sealway.wire.envelope import Envelope
from tests.identity.small_domain import NOW, SmallDomain
from tests.protocol.party import DOMAIN_ID, NOW_MS, SIGNATURE_PREFIX, Party

DAY = 86_400
HALVES = ("initiator's agreement", "initiator's certificate", "agreement", "signed prekey", "one-time")
ALL_BUT_EPHEMERAL = frozenset(HALVES)


def keys_of(first: Envelope, alice: Party, bob: Party, stolen: Iterable[str]) -> tuple[bytes, schedule.EpochKeys]:
    """The session hash and keys of a start, as far as these private halves make them known; the rest is guessed."""
    header, stolen = first.start, set(stolen)
    assert header is not None
    guess = generate_scalar(alice.random)

    def known(name: str, secret: Secret) -> Secret:
        return secret if name in stolen else guess

    prekey = known("signed prekey", bob.secrets.signed_prekey)
    first_agreement = agree(prekey, alice.bundle.claims.agreement_key)
    if "initiator's agreement" in stolen:
        first_agreement = agree(alice.identity_key, bob.bundle.claims.signed_prekey)
    agreements = [first_agreement, agree(known("agreement", bob.identity_key), header.ephemeral)]
    agreements.append(agree(prekey, header.ephemeral))
    index = header.one_time
    if index is not None:
        agreements.append(agree(known("one-time", bob.secrets.one_time[index]), header.ephemeral))
    public = None if index is None else bob.public[index]
    digest = transcript_hash(DOMAIN_ID, SUITE_1, alice.bundle, bob.bundle, header, public)
    return digest, schedule.start_keys(b"".join(a.reveal() for a in agreements), digest)


def as_responder(first: Envelope, alice: Party, bob: Party, stolen: Iterable[str]) -> Session:
    """The session that a thief has who puts himself in bob's place."""
    digest, keys = keys_of(first, alice, bob, stolen)
    assert first.start is not None
    x = first.start.ephemeral
    epoch = Epoch(x, 0, keys.reseed_root, chains=[Chain(0, 0, b"", 0, keys.chain)])
    return Session(
        SUITE_1, digest, "alice", False, keys.root, True, x, first.kid, first.start.receive_kid, NOW_MS, Sending(),
        Receiving([epoch]), SentLog(), announce_kid=True,
    )  # fmt: skip


def read_by_thief(first: Envelope, alice: Party, bob: Party, stolen: Iterable[str]) -> bytes:
    """Open a start without being the responder. Raises NotAuthentic."""
    return payload_of(as_responder(first, alice, bob, stolen).open(first, now_ms=NOW_MS))


def payload_of(opened: Opened) -> bytes:
    assert opened.message is not None
    return opened.message.payload


def subsets(names: Iterable[str]) -> Iterator[frozenset[str]]:
    each = list(names)
    for size in range(len(each) + 1):
        yield from map(frozenset, combinations(each, size))


# single keys, and several at once -----------------------------------------------------------------------------------
@pytest.mark.parametrize("index", [None, 1])
def test_a_start_opens_with_all_of_the_responders_private_halves_and_never_with_fewer(
    alice: Party, bob: Party, index: int | None
) -> None:
    """Certificate keys open nothing; agreement key, signed prekey and one-time key only together."""
    first = alice.sealed(alice.start(bob.offer(index)))
    needed = {"agreement", "signed prekey"} | ({"one-time"} if index is not None else set())
    for stolen in subsets(HALVES):
        if needed <= stolen:
            assert read_by_thief(first, alice, bob, stolen) == b"hello"
        else:
            with pytest.raises(NotAuthentic):
                read_by_thief(first, alice, bob, stolen)


@pytest.mark.parametrize("stolen", ["agreement", "signed prekey", "one-time", "initiator's agreement"])
@pytest.mark.parametrize("index", [None, 1])
def test_the_thief_of_one_agreeing_key_reads_no_start(alice: Party, bob: Party, stolen: str, index: int | None) -> None:
    first = alice.sealed(alice.start(bob.offer(index)))
    with pytest.raises(NotAuthentic):
        read_by_thief(first, alice, bob, [stolen])


def test_a_one_time_key_that_was_used_keeps_the_start_from_a_later_thief_of_the_bundle(
    alice: Party, bob: Party
) -> None:
    """Forward secrecy of a start: accepting it deletes the one-time key, and all that is left is not enough."""
    first = alice.sealed(alice.start(bob.offer(2)))
    bob.accept(first, alice.bundle, 2)
    with pytest.raises(NotAuthentic):
        read_by_thief(first, alice, bob, ALL_BUT_EPHEMERAL - {"one-time"})
    with pytest.raises(LocalMisuse):
        bob.accept(first, alice.bundle, None)  # the endpoint itself can do it no more either


def test_without_a_one_time_key_a_later_thief_of_the_bundle_reads_what_came_before_the_responder_stepped(
    alice: Party, bob: Party
) -> None:
    """The price of a start without one, until the signed prekey is deleted; from the first reply on it is over."""
    mine = alice.start(bob.offer(None))
    first = alice.sealed(mine)
    theirs, _ = bob.accept(first, alice.bundle)
    reply = bob.sealed(theirs, b"the first reply")
    assert read_by_thief(first, alice, bob, ALL_BUT_EPHEMERAL) == b"hello"
    digest, keys = keys_of(first, alice, bob, ALL_BUT_EPHEMERAL)

    def open_reply(ephemeral: Secret) -> bytes:
        """Open the reply as who sealed the start, given all that follows from the stolen keys, and this scalar."""
        assert first.start is not None and mine.send.epoch is not None
        epoch = SendingEpoch(mine.send.epoch.x, ephemeral, 0, keys.reseed_root, keys.chain, 1)
        sending = replace(mine.send, epoch=epoch)  # numbers, which are no secret
        stand_in = Session(
            SUITE_1, digest, "bob", True, keys.root, False, b"", b"\x01", first.kid, NOW_MS, sending, Receiving(),
            mine.log, Start(first.start, bytes(64), b""),
        )  # fmt: skip
        return payload_of(stand_in.open(reply, now_ms=NOW_MS))

    with pytest.raises(NotAuthentic):
        open_reply(generate_scalar(alice.random))
    assert mine.send.epoch is not None
    assert open_reply(mine.send.epoch.x_secret) == b"the first reply"  # nothing else stood in the way


def test_the_thief_of_a_bundles_private_halves_answers_in_its_owners_place(alice: Party, bob: Party) -> None:
    """Impersonation of the victim: who answers a start shows these keys and nothing else, until the bundle expires."""
    mine = alice.start(bob.offer(3))
    first = alice.sealed(mine)
    thief, _ = accept(
        first, OwnKeys(bob.bundle, SoftAgreer(bob.identity_key), DOMAIN_ID), alice.bundle,
        signed_prekey=bob.secrets.signed_prekey, one_time=OneTimeSecret(3, bob.secrets.one_time[3]),
        receive_kid=b"\x09", now_ms=NOW_MS, policy=DEFAULT_POLICY,
    )  # fmt: skip
    assert payload_of(mine.open(bob.sealed(thief, b"from the thief"), now_ms=NOW_MS)) == b"from the thief"
    with pytest.raises(NotTrusted, match="expired"):
        verify_bundle(bob.encoded, bob.credential, bob.bundle.claims.expires + 1)


@pytest.mark.parametrize("stolen", [["agreement"], ["signed prekey"], ["agreement", "one-time"]])
def test_the_thief_of_a_part_of_a_bundle_cannot_answer_in_its_owners_place(
    alice: Party, bob: Party, stolen: list[str]
) -> None:
    mine = alice.start(bob.offer(1))
    first = alice.sealed(mine)
    thief = as_responder(first, alice, bob, stolen)
    with pytest.raises(NotAuthentic):
        mine.open(bob.sealed(thief), now_ms=NOW_MS)


def test_who_has_the_initiators_long_lived_keys_cannot_answer_it_as_another(alice: Party, bob: Party) -> None:
    """Key-compromise impersonation the other way: alice's own stolen keys do not make a thief bob to alice."""
    mine = alice.start(bob.offer(None))
    first = alice.sealed(mine)
    thief = as_responder(first, alice, bob, ["initiator's agreement", "initiator's certificate"])
    with pytest.raises(NotAuthentic):
        mine.open(bob.sealed(thief), now_ms=NOW_MS)


# the certificate key --------------------------------------------------------------------------------------------------
def stolen_name(alice: Party, signer: SoftSigner) -> Party:
    """What the thief of alice's certificate key makes of it: a bundle in her name with keys of his own."""
    thief = Party(alice.domain, "thief")
    claims = replace(thief.bundle.claims, name=alice.credential.name, mailbox=alice.bundle.claims.mailbox, sequence=9)
    thief.credential, thief.signer = alice.credential, signer
    thief.encoded = sign_bundle(claims, alice.credential, signer)
    thief.bundle = verify_bundle(thief.encoded, alice.credential, NOW)
    return thief


def test_the_thief_of_a_certificate_key_is_its_owner_in_sessions_that_begin(alice: Party, bob: Party) -> None:
    """He begins sessions in the victim's name, and gets those that others begin with a bundle of his."""
    thief = stolen_name(alice, alice.signer)
    theirs, opened = bob.accept(thief.sealed(thief.start(bob.offer(None))), thief.bundle)
    assert (theirs.peer, payload_of(opened)) == (str(alice.credential.name), b"hello")
    first = bob.sealed(bob.start(thief.offer(1)), b"for alice")
    assert payload_of(thief.accept(first, bob.bundle, 1)[1]) == b"for alice"


def test_who_has_no_certificate_key_publishes_nothing_in_anothers_name(alice: Party) -> None:
    with pytest.raises(LocalMisuse):
        stolen_name(alice, SoftSigner(generate_scalar(alice.random)))


def test_a_certificate_key_is_good_for_nothing_once_its_certificate_has_expired(alice: Party) -> None:
    thief = stolen_name(alice, alice.signer)
    verify_chain(alice.credential.chain, alice.domain.root, NOW + 29 * DAY)
    with pytest.raises(NotTrusted, match="expired"):
        verify_chain(thief.credential.chain, alice.domain.root, NOW + 31 * DAY)


def test_the_thief_of_a_certificate_key_cannot_be_others_to_its_owner(alice: Party, bob: Party) -> None:
    """Key-compromise impersonation with the certificate key: a start in bob's name needs bob's signature."""
    thief = Party(alice.domain, "bob", {"sequence": 1})
    first = thief.sealed(thief.start(alice.offer(None), signer=alice.signer))
    with pytest.raises(NotAuthentic, match="signature"):
        alice.accept(first, thief.bundle)


# the authorities ------------------------------------------------------------------------------------------------------
def impostor(town: SmallDomain, victim: Party) -> Party:
    """What the thief of the issuing CA's key makes of it: an endpoint with the victim's name and keys of his own."""
    made = Party(town, "impostor")
    made.signer = SoftSigner(generate_scalar(made.random))
    chain = town.chain(victim.credential.name, made.signer)
    made.credential = verify_chain(chain, town.root, NOW)
    claims = replace(made.bundle.claims, name=victim.credential.name, mailbox=victim.bundle.claims.mailbox)
    made.encoded = sign_bundle(claims, made.credential, made.signer)
    made.bundle = verify_bundle(made.encoded, made.credential, NOW)
    return made


def test_the_thief_of_the_issuing_ca_key_is_anyone_in_sessions_that_begin_and_no_one_in_others(
    town: SmallDomain, alice: Party, bob: Party
) -> None:
    mine = alice.start(bob.offer(0))
    first = alice.sealed(mine)
    theirs, _ = bob.accept(first, alice.bundle, 0)
    thief = impostor(town, alice)
    stolen, _ = bob.accept(thief.sealed(thief.start(bob.offer(None))), thief.bundle)
    assert stolen.peer == theirs.peer == str(alice.credential.name)
    assert stolen.hash != theirs.hash
    reply = bob.sealed(theirs)
    with pytest.raises(NotAuthentic):
        thief.start(bob.offer(None)).open(replace(reply, kid=b"\x01"), now_ms=NOW_MS)
    assert payload_of(mine.open(reply, now_ms=NOW_MS)) == b"hello"


def test_a_ca_that_a_newer_root_document_leaves_out_vouches_for_no_one(town: SmallDomain, alice: Party) -> None:
    thief = impostor(town, alice)
    other = SoftSigner(generate_scalar(alice.random))
    another = self_signed_ca(other, "building.example", now=NOW, days=30, random=alice.random)
    newer = town.root_with(number=2, issuing_cas=(another,))
    with pytest.raises(NotTrusted):
        verify_chain(thief.credential.chain, newer, NOW)


# attacks on what is proven, by name -----------------------------------------------------------------------------------
def test_a_start_reflected_to_its_initiator_does_not_open(alice: Party, bob: Party) -> None:
    mine = alice.start(bob.offer(None))
    first = alice.sealed(mine)
    with pytest.raises(NotAuthentic):
        mine.open(replace(first, kid=b"\x01"), now_ms=NOW_MS)
    with pytest.raises(NotAuthentic, match="very endpoint"):
        alice.accept(first, alice.bundle)


def test_a_start_under_the_tag_of_another_suite_does_not_open(alice: Party, bob: Party) -> None:
    """Cross-suite: alg is authenticated, and the keys are those of the suite that the transcript names."""
    first = alice.sealed(alice.start(bob.offer(None)))
    for alg in (30, 24):
        with pytest.raises((NotAuthentic, Malformed)):
            bob.accept(replace(first, alg=alg, ciphertext=first.ciphertext + bytes(8)), alice.bundle)


def test_a_signature_over_a_start_is_none_over_any_other_version(alice: Party, bob: Party) -> None:
    """Version roll-back: text and number of the version lead what is signed and what is hashed."""
    first = alice.sealed(alice.start(bob.offer(None)))
    digest, _ = keys_of(first, alice, bob, ALL_BUT_EPHEMERAL)
    signature = alice.signer.sign(SIGNATURE_PREFIX.replace(b" 1", b" 0") + digest)
    with pytest.raises(NotAuthentic):
        alice.credential.key.verify(SIGNATURE_PREFIX + digest, signature)


def test_a_bundle_whose_suites_were_struck_out_is_refused(alice: Party) -> None:
    """Roll-back by a hop: the suites are signed."""
    signed = SignedBundle.decode(alice.encoded)
    weaker = replace(signed.claims, suites=(1, 2, 3) if len(signed.claims.suites) < 3 else (1,))
    struck = SignedBundle(replace(signed.sign1, payload=weaker.encode()), weaker)
    with pytest.raises(NotAuthentic):
        verify_bundle(struck.encode(), alice.credential, NOW)
