# SPDX-License-Identifier: Apache-2.0
"""The next number in a row is opened on a short path. It does what the general path does, whatever came before."""

from __future__ import annotations

import random as rng
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealway.errors import Malformed, NotAuthentic, SealwayError
from sealway.protocol.chains import Chain
from sealway.protocol.receiving import Receiving
from sealway.protocol.snapshot import snapshot
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_EMPTY, Message
from tests.protocol.session_pair import End, ends, talking


@contextmanager
def general_path_only() -> Iterator[None]:
    with mock.patch.object(Receiving, "in_a_row", return_value=None):
        yield


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count how often the short path is taken."""
    taken: list[int] = []
    take_next = Receiving.take_next

    def counting(self: Receiving, chain: Chain, number: int, key_after: bytes, tag: bytes) -> None:
        taken.append(number)
        take_next(self, chain, number, key_after, tag)

    with mock.patch.object(Receiving, "take_next", counting):
        yield taken


def test_a_stream_takes_the_short_path() -> None:
    a, b = talking()
    with counted() as taken:
        for _ in range(10):
            b.open(a.seal())
    assert len(taken) == 10


@pytest.mark.parametrize(("order", "short"), [((0, 2, 1, 3), 2), ((1, 0, 2), 1), ((0, 0, 1), 2), ((3, 1, 0, 2, 4), 1)])
def test_only_what_is_next_takes_the_short_path(order: tuple[int, ...], short: int) -> None:
    a, b = talking()
    sealed = [a.seal().envelope for _ in range(5)]
    with counted() as taken:
        for index in order:
            outcome(b, sealed[index])
    assert len(taken) == short


def outcome(end: End, data: bytes) -> object:
    """What opening yields, or its error; and all of the state that it leaves."""
    try:
        opened = end.open(data)
    except SealwayError as error:
        return type(error), error.message, snapshot(end.session)
    return opened, opened.identity, snapshot(end.session)


def both(end: End, data: bytes) -> tuple[object, object]:
    """Open on the general path and on the short one, each in a copy of the session; go on with the second."""
    allowance, failed = end.session.allowance.at_ms, end.session.failed_opens
    twin = end.copy()
    twin.session.failed_opens, twin.session.allowance.at_ms = failed, allowance
    with general_path_only():
        general = outcome(twin, data)
    again = end.copy()
    again.session.failed_opens, again.session.allowance.at_ms = failed, allowance
    short = outcome(again, data)
    outcome(end, data)
    return general, short


class Channel:
    """From ``a`` to ``b``, over a channel that loses, delays, repeats and forges; ``b`` opens everything twice."""

    def __init__(self, seed: int, *, fresh: bool) -> None:
        self.random = rng.Random(seed)
        self.a, self.b = (ends if fresh else talking)(seed, step_after_messages=5)
        self.late: list[bytes] = []
        self.seen: list[bytes] = [self.a.seal().envelope]

    def deliver(self, data: bytes) -> None:
        general, short = both(self.b, data)
        assert general == short
        self.seen.append(data)

    def send(self) -> None:
        self.deliver(self.a.seal().envelope)

    def bare(self) -> None:
        self.deliver(self.a.seal(Message(CODE_EMPTY)).envelope)

    def answer(self) -> None:
        for _ in range(self.random.choice((1, 6)) if self.b.session.receive.highest >= 0 else 0):
            self.a.open(self.b.seal())

    def lose(self) -> None:
        self.late.append(self.a.seal().envelope)

    def come_late(self) -> None:
        if self.late:
            self.deliver(self.late.pop(self.random.randrange(len(self.late))))

    def repeat(self) -> None:
        self.deliver(self.random.choice(self.seen))

    def restart(self) -> None:
        self.a.restart()

    def void(self) -> None:
        number = self.a.seal().number
        self.a.session.send.give_up(number, number, tell=True)

    def forge(self) -> None:
        data = bytearray(self.a.seal().envelope)
        data[self.random.randrange(len(data))] ^= 1
        with suppress(Malformed):
            Envelope.decode(bytes(data))
            self.deliver(bytes(data))


STEPS = ("send", "send", "send", "bare", "answer", "lose", "come_late", "repeat", "restart", "void", "forge")


@given(st.integers(0, 1 << 20), st.lists(st.sampled_from(STEPS), max_size=40), st.booleans())
@settings(max_examples=150, deadline=None)
def test_both_paths_leave_the_same_state(seed: int, steps: list[str], fresh: bool) -> None:
    channel = Channel(seed, fresh=fresh)
    for step in steps:
        channel.a.now_ms = channel.b.now_ms = channel.a.now_ms + channel.random.randrange(3_000)
        getattr(channel, step)()


def test_a_forged_next_message_changes_nothing_but_the_count() -> None:
    a, b = talking()
    sealed = a.seal().envelope
    forged = Envelope.decode(sealed[:-1] + bytes((sealed[-1] ^ 1,)))
    before = snapshot(b.session)
    with pytest.raises(NotAuthentic):
        b.open(forged)
    assert b.session.failed_opens == 1
    b.session.failed_opens = 0
    assert snapshot(b.session) == before
    assert b.open(sealed).message is not None
