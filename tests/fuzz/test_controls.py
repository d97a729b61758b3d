# SPDX-License-Identifier: Apache-2.0
"""A target that cannot fail shows nothing: each promise is broken once, and the check has to see it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fuzz import carrier_targets, identity_targets, session_targets, start_target, wire_targets
from fuzz.target import PromiseBrokenError
from fuzz.targets import TARGETS
from sealway.errors import Malformed, NotAuthentic
from sealway.gateway.resources import Mailboxes
from sealway.identity import credentials
from sealway.protocol.outcome import Opened
from sealway.protocol.session import Session
from sealway.wire.message import Message


def broken_by_some(name: str, mutations: int = 60) -> str:
    """Check the seeds and what is near them until one breaks a promise; return which."""
    target, random = TARGETS[name], Random(3)
    seeds = list(target.seeds())
    for data in (*seeds, *(target.mutate(random.choice(seeds), random) for _ in range(mutations))):
        try:
            target.check(data)
        except PromiseBrokenError as broken:
            return str(broken)
    return "nothing"


def test_a_hub_that_reads_another_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_targets, "expiry_of", lambda _: 5)
    assert "expiry" in broken_by_some("envelope")


def test_a_hub_that_takes_a_batch_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_targets, "deposits_in", lambda _: ())
    assert "differ about a batch" in broken_by_some("deposits")


def test_an_authority_whose_signature_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "check_issued_by", lambda *_: None)
    assert broken_by_some("certificate-chain", 400) == "accepted, and never issued"


def test_an_assertion_that_lives_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_targets, "LONGEST_SECONDS", -1000)
    assert "remembered" in broken_by_some("assertion")


def test_a_gateway_that_fails_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(Mailboxes, "deposit", fail)
    assert "inside" in broken_by_some("coap-datagram")


def test_a_refusal_in_a_strangers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Malformed("two\nlines")

    monkeypatch.setattr(carrier_targets, "form_of", refuse)
    assert "printed" in broken_by_some("form")


def _forgiving(session_open: Callable[..., Opened]) -> Callable[..., Opened]:
    def opening(self: Session, envelope: Any, *, now_ms: int) -> Opened:
        try:
            return session_open(self, envelope, now_ms=now_ms)
        except NotAuthentic:
            return Opened(self.hash, 0, b"", 0, Message(2))

    return opening


def test_a_session_that_opens_what_nobody_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "open", _forgiving(Session.open))
    assert broken_by_some("session") == "opened, and never sealed"


def test_a_session_that_changes_before_a_tag_has_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Session._count_failure

    def count_and_forget(self: Session, cost: int) -> None:
        self.root = bytes(32)
        count(self, cost)

    monkeypatch.setattr(Session, "_count_failure", count_and_forget)
    assert broken_by_some("session") == "changed by what nobody sealed"


def test_a_session_that_opens_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[bytes, Opened] = {}
    session_open = Session.open

    def again(self: Session, envelope: Any, *, now_ms: int) -> Opened:
        encoded = envelope.encode() + self.kid_in
        if encoded not in opened:
            opened[encoded] = session_open(self, envelope, now_ms=now_ms)
        return opened[encoded]

    monkeypatch.setattr(Session, "open", again)
    with pytest.raises(PromiseBrokenError, match="opened twice"):
        session_targets.check_session(bytes((0, 0, 0, 4, 1, 0, 4, 1, 0)))


def test_a_responder_that_accepts_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_target, "_accepted", lambda _: True)
    assert broken_by_some("start") in ("accepted, and never sealed", "accepted without the signature")
