# SPDX-License-Identifier: Apache-2.0
"""Suites: pinned by the recipient's bundle and by the session, never by an envelope; and nobody can swap them."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import NoReturn

import pytest

from sealway.crypto.suites import SUITE_1, SUITE_2, SUITE_3, SUITES, Suite, suite_of_alg
from sealway.errors import LocalMisuse, NoCommonSuite, NotAuthentic, Replayed, TooLarge
from sealway.identity.bundles import verify_bundle
from sealway.protocol import schedule
from sealway.protocol.snapshot import restore, snapshot
from sealway.wire.compact import from_compact, to_compact
from sealway.wire.envelope import Envelope
from tests.identity.small_domain import NOW, SmallDomain
from tests.protocol.party import Party
from tests.protocol.session_pair import ends, header, talking

ALL = list(SUITES.values())
OTHERS = [(mine, other) for mine in ALL for other in ALL if mine is not other]


@pytest.fixture
def town() -> SmallDomain:
    return SmallDomain()


def relabelled(envelope: Envelope, suite: Suite) -> Envelope:
    """The same bytes under the name of another suite, as long as its tag demands."""
    return replace(envelope, alg=suite.cose_alg, ciphertext=envelope.ciphertext.ljust(suite.tag_length + 1, b"\0"))


@pytest.mark.parametrize("suite", ALL, ids=str)
def test_a_whole_session_of_each_suite(town: SmallDomain, suite: Suite) -> None:
    """From certificates and bundles to the steady state, over a ratchet step, a restart and the compact form."""
    alice, bob = Party(town, "alice", suite=suite), Party(town, "bob", suite=suite)
    mine = alice.start(bob.offer(2))
    theirs, opened = bob.accept(alice.sealed(mine, b"first"), alice.bundle, 2)
    assert opened.message is not None and opened.message.payload == b"first"
    assert mine.suite is theirs.suite is suite
    assert mine.hash == theirs.hash
    for _ in range(3):
        mine.open(bob.sealed(theirs), now_ms=NOW * 1_000)
        theirs.open(alice.sealed(mine), now_ms=NOW * 1_000)
    mine, theirs = restore(snapshot(mine), mine.log, mine.policy), restore(snapshot(theirs), theirs.log, theirs.policy)
    assert mine.suite is theirs.suite is suite
    envelope = alice.sealed(mine)
    theirs.open(from_compact(to_compact(envelope)), now_ms=NOW * 1_000)
    assert suite_of_alg(envelope.alg) is suite


@pytest.mark.parametrize(("suite", "cose", "compact"), [(SUITE_1, 24, 12), (SUITE_2, 33, 20), (SUITE_3, 33, 20)])
def test_what_sealing_adds_in_the_steady_state(suite: Suite, cose: int, compact: int) -> None:
    """spec/envelope.md, "Size": kid of one byte, number from 256 to 65 535, message of 24 to 239 bytes."""
    a, b = talking(suite=suite, step_after_messages=1 << 30, ack_every=1 << 30)
    while a.session.send.next_number < 256:
        b.open(a.seal())
    for length in (24, 100):
        sealed = a.seal(bytes(length))
        assert len(sealed.envelope) == sealed.message_bytes + cose
        assert len(to_compact(header(sealed))) == sealed.message_bytes + compact
        b.open(sealed)


@pytest.mark.parametrize("suite", ALL, ids=str)
def test_message_keys_come_from_the_secret_as_the_page_says(suite: Suite) -> None:
    """spec/session.md, "Message"; and no two suites have a key together."""
    secret = bytes(range(32))

    def mac(label: bytes) -> bytes:
        return hmac.digest(secret, label, "sha256")

    expected = (mac(b"key"), mac(b"iv")[:12]) if suite is SUITE_3 else (secret[:16], secret[16:29])
    assert schedule.split(secret, suite) == expected
    assert [len(part) for part in expected] == [suite.key_length, suite.nonce_length]


@pytest.mark.parametrize(("suite", "other"), OTHERS, ids=str)
def test_an_envelope_with_another_alg_is_refused_before_any_key_is_used(
    suite: Suite, other: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = talking(suite=suite)
    sealed, before = a.seal(), snapshot(b.session)

    def used(*_: object) -> NoReturn:
        raise AssertionError("a key was derived for it")

    with monkeypatch.context() as patch:
        patch.setattr(schedule, "advance", used)
        patch.setattr(schedule, "split", used)
        with pytest.raises(NotAuthentic, match=f"alg {other.cose_alg}"):
            b.open(relabelled(header(sealed), other))
    assert snapshot(b.session) == before
    b.open(sealed)


@pytest.mark.parametrize(("suite", "other"), OTHERS, ids=str)
def test_a_start_relabelled_to_another_suite_does_not_open(town: SmallDomain, suite: Suite, other: Suite) -> None:
    """Both ends' bundles may list the other one too: the transcript then holds another number."""
    alice, bob = Party(town, "alice", suite=suite), Party(town, "bob", suite=suite)
    first = alice.sealed(alice.start(bob.offer(None)))
    with pytest.raises(NotAuthentic):
        bob.accept(relabelled(first, other), alice.bundle)
    bob.accept(first, alice.bundle)


@pytest.mark.parametrize(
    ("initiator", "responder", "agreed"),
    [(SUITE_1,) * 3, (SUITE_1, SUITE_2, SUITE_2), (SUITE_2, SUITE_1, SUITE_2), (SUITE_3,) * 3],
)
def test_the_recipient_prefers_and_both_have_to_list_it(
    town: SmallDomain, initiator: Suite, responder: Suite, agreed: Suite
) -> None:
    alice, bob = Party(town, "alice", suite=initiator), Party(town, "bob", suite=responder)
    session = alice.start(bob.offer(1))
    accepted, _ = bob.accept(alice.sealed(session), alice.bundle, 1)
    assert session.suite is accepted.suite is agreed


def test_ends_on_different_curves_learn_which_suites_they_have(town: SmallDomain) -> None:
    alice, bob = Party(town, "alice", suite=SUITE_3), Party(town, "bob")
    with pytest.raises(NoCommonSuite, match="bob takes part in suite 1 and 2, and this endpoint in suite 3") as refusal:
        alice.start(bob.offer(None))
    assert isinstance(refusal.value, LocalMisuse)
    assert refusal.value.hint is not None and "same curve" in refusal.value.hint


def test_a_start_in_a_suite_that_one_of_the_two_does_not_list(town: SmallDomain) -> None:
    """The keys would fit: who lists suite 2 alone wants no tags of 8 bytes, whoever else would take them."""
    alice, bob = Party(town, "alice"), Party(town, "bob", suite=SUITE_2)
    weaker = Party(town, "bob", {"suites": (1, 2)}, suite=SUITE_2)
    first = alice.sealed(alice.start(weaker.offer(None)))
    assert first.alg == SUITE_1.cose_alg
    with pytest.raises(NotAuthentic, match="suite 1"):
        bob.accept(first, alice.bundle)
    claimed = Party(town, "alice", {"suites": (2,)})  # and the initiator's own list counts as well
    assert first.start is not None
    with pytest.raises(NotAuthentic, match="suite 1"):
        weaker.accept(replace(first, start=replace(first.start, bundle_hash=claimed.bundle.hash)), claimed.bundle)


def test_a_bundle_whose_suites_are_rolled_back_is_refused(town: SmallDomain) -> None:
    """Who listed suite 1 once and now lists 2 alone: a directory that shows the older bundle is found out."""
    older = Party(town, "bob", {"sequence": 4, "suites": (1, 2)})
    newer = Party(town, "bob", {"sequence": 5, "suites": (2,)})
    with pytest.raises(Replayed):
        verify_bundle(older.encoded, older.credential, NOW, lowest_sequence=newer.bundle.claims.sequence)


def test_a_longer_ciphertext_is_too_large_in_each_suite() -> None:
    for suite in ALL:
        _, b = ends(suite=suite)
        with pytest.raises(TooLarge):
            b.open(Envelope(b"B", 0, bytes(65_536 + suite.tag_length), suite.cose_alg))
