# SPDX-License-Identifier: Apache-2.0
"""Invalid curve and small order: a point that is none, wherever a session takes one, in every suite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealway.crypto.suites import SUITES, Suite
from sealway.errors import NotAuthentic
from sealway.protocol.snapshot import snapshot
from sealway.wire.header import Opener
from tests.identity.small_domain import SmallDomain
from tests.protocol.party import Party
from tests.protocol.session_pair import header, talking

OFF_THE_CURVE = (1).to_bytes(32, "big")
"""No point of P-256 has this x-coordinate."""
SMALL_ORDER = [bytes(32), (1).to_bytes(32, "little")]
"""Of Curve25519 (RFC 7748 §6.1): whatever the scalar, the result is zero."""
CASES = [(suite, bad) for suite in SUITES.values() for bad in ([OFF_THE_CURVE] if suite.number < 3 else SMALL_ORDER)]
each_bad_point = pytest.mark.parametrize(("suite", "bad"), CASES, ids=lambda each: repr(each)[:16])


@each_bad_point
def test_a_start_with_a_bad_point_is_refused(town: SmallDomain, suite: Suite, bad: bytes) -> None:
    alice, bob = Party(town, "alice", suite=suite), Party(town, "bob", suite=suite)
    first = alice.sealed(alice.start(bob.offer(1)))
    assert first.start is not None
    with pytest.raises(NotAuthentic, match=r"curve|order"):
        bob.accept(replace(first, start=replace(first.start, ephemeral=bad)), alice.bundle, 1)
    assert bob.accept(first, alice.bundle, 1)[1].message is not None  # as it was


@each_bad_point
def test_a_step_to_a_bad_point_is_refused_and_changes_no_key(suite: Suite, bad: bytes) -> None:
    a, b = talking(suite=suite)
    sealed = header(a.seal())
    before = (
        b.session.root,
        b.session.peer_x,
        [chain.key for epoch in b.session.receive.epochs for chain in epoch.chains],
    )
    a.session.my_turn, b.session.my_turn = True, False  # so that it is plausible
    with pytest.raises(NotAuthentic, match=r"curve|order"):
        b.open(replace(sealed, opener=Opener(sealed.number, bad, sealed.number)))
    after = (
        b.session.root,
        b.session.peer_x,
        [chain.key for epoch in b.session.receive.epochs for chain in epoch.chains],
    )
    assert after == before
    assert snapshot(b.session)
    assert b.open(sealed).message is not None
