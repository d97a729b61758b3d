# SPDX-License-Identifier: Apache-2.0
"""What the stolen state of a session is good for, and exactly until when: THREAT_MODEL.md, "Stolen keys".

The thief has every secret of a stored session, sees every envelope, derives all that can be derived, and tries it all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from sealway.crypto.keys import agree
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1
from sealway.errors import NotAuthentic, PeerForked, SealwayError
from sealway.protocol import schedule
from sealway.protocol.outcome import Sealed
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.wire import envelope
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_POST, Message
from tests.protocol.session_pair import End, talking

WALK = 24  # numbers that the thief tries on each chain


def strings(value: Any) -> Iterator[bytes]:
    """All byte strings in a value, private scalars included."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, dict):
        yield from strings([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
    elif is_dataclass(value):
        yield from strings([getattr(value, part.name) for part in fields(value)])


@dataclass
class Thief:
    """Everything of 32 bytes in a stored session may be a root, a chain key, a reseed root, a scalar, a secret."""

    secrets: dict[bytes, None] = field(default_factory=dict)

    @classmethod
    def of(cls, session: Session) -> Thief:
        stored = restore(snapshot(session), SentLog(), session.policy)
        return cls(dict.fromkeys(found for found in strings(stored) if len(found) == 32))

    def reads(self, sealed: Sealed) -> bool:
        """Try to open an envelope; what a step gives away is learned if it does open it."""
        found = Envelope.decode(sealed.envelope)
        for secret, learned in self._candidates(found):
            if _opens(found, secret):
                self.secrets.update(dict.fromkeys(learned))
                return True
        return False

    def _candidates(self, found: Envelope) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        """Message secrets that might be that of an envelope, and what else is known if it is."""
        opener = found.opener
        for secret in list(self.secrets):
            yield secret, ()
            yield from ((walked, ()) for walked in _walked(secret, WALK))
            if opener is not None and opener.reseed is not None:
                chain = schedule.reseed_chain(secret, opener.reseed[1], opener.chain_first)
                yield from ((walked, (chain,)) for walked in _at(chain, found.number - opener.chain_first))
        if opener is not None and opener.x is not None:
            for keys in self._steps(opener.x, opener.epoch_first or 0):
                learned = (keys.root, keys.reseed_root, keys.chain)
                yield from ((walked, learned) for walked in _at(keys.chain, found.number - (opener.epoch_first or 0)))

    def _steps(self, x: bytes, first: int) -> Iterator[schedule.EpochKeys]:
        """The keys of a step to x, from each pair of a scalar and a root."""
        for scalar in self.secrets:
            try:
                agreed = agree(Secret(scalar), x).reveal()
            except SealwayError:
                continue
            for root in self.secrets:
                yield schedule.step_keys(root, agreed, x, first)


def _opens(found: Envelope, secret: bytes) -> bool:
    key, base_iv = schedule.split(secret, SUITE_1)
    try:
        AESCCM(key, tag_length=8).decrypt(envelope.nonce(base_iv, found.number), found.ciphertext, found.aad)
    except InvalidTag:
        return False
    return True


def _walked(chain: bytes, steps: int) -> Iterator[bytes]:
    for _ in range(steps):
        secret, chain = schedule.advance(chain)
        yield secret


def _at(chain: bytes, steps: int) -> Iterator[bytes]:
    """The secret after so many others of a chain."""
    yield from list(_walked(chain, steps + 1))[-1:]


@dataclass
class Talk:
    """Two ends that exchange messages; ``said`` has (who, the sender's newest key, envelope)."""

    ends: tuple[End, End]
    said: list[tuple[int, bytes, Sealed]] = field(default_factory=list)

    def say(self, who: int) -> tuple[bytes, Sealed]:
        sender = self.ends[who]
        sealed = sender.seal(b"from %d" % who)
        self.ends[1 - who].open(sealed)
        assert sender.session.send.epoch is not None
        self.said.append((who, sender.session.send.epoch.x, sealed))
        return self.said[-1][1:]

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.say(0)
            self.say(1)


def talk(seed: int) -> Talk:
    """Ends in the steady state that step after every fourth message."""
    running = Talk(talking(seed, step_after_messages=4))
    running.rounds(10)
    return running


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_the_thief_of_a_session_reads_until_both_have_stepped_and_not_after(victim: int, before: int) -> None:
    """First the victim has to step, which shuts out what it says; then the peer, which shuts out the rest."""
    running = talk(victim)
    running.rounds(before)
    thief = Thief.of(running.ends[victim].session)
    keys = [end.session.send.epoch.x for end in running.ends if end.session.send.epoch is not None]
    victim_stepped = peer_stepped_after = stepped_at_once = False
    read: list[bool] = []
    for turn in range(36):
        who = turn % 2
        x, sealed = running.say(who)
        stepped, keys[who] = keys[who] != x, x
        victim_stepped |= stepped and who == victim
        peer_stepped_after |= stepped and who != victim and victim_stepped
        stepped_at_once |= turn == 1 and peer_stepped_after
        shut_out = victim_stepped if who == victim else peer_stepped_after
        read.append(thief.reads(sealed))
        assert read[-1] == (not shut_out), (turn, who, victim_stepped, peer_stepped_after)
    assert any(read[:2]) or stepped_at_once
    assert peer_stepped_after and not any(read[-10:])


@pytest.mark.parametrize("victim", [0, 1])
def test_the_state_of_a_session_opens_nothing_that_was_opened_or_sealed_before(victim: int) -> None:
    """Forward secrecy: message secrets go with their use, in both directions, and so do the roots of steps."""
    running = talk(7)
    running.rounds(1)
    early = Thief.of(running.ends[victim].session)
    begin = len(running.said)
    running.rounds(8)
    late = Thief.of(running.ends[victim].session)
    assert not any(late.reads(sealed) for _, _, sealed in running.said)
    assert any(early.reads(sealed) for _, _, sealed in running.said[begin : begin + 2])  # who came in time did


def test_the_state_of_a_session_opens_what_was_jumped_over() -> None:
    """A number that did not arrive keeps its secret, for when it does."""
    a, b = talking(3)
    late, newer = b.seal(), b.seal()
    a.open(newer)
    assert Thief.of(a.session).reads(late)
    a.open(late)
    assert not Thief.of(a.session).reads(late)


def forged_by(stolen: Session) -> Envelope:
    """What the peer would seal next on the chain that a state opens with."""
    chain = stolen.receive.epochs[-1].chains[-1]
    assert chain.key is not None
    key, base_iv = schedule.split(schedule.advance(chain.key)[0], SUITE_1)
    protected = envelope.protected_bytes(10, stolen.kid_in, chain.next)
    nonce, aad = envelope.nonce(base_iv, chain.next), envelope.enc_structure(protected)
    plaintext = Message(CODE_POST, payload=b"forged").encode()
    return Envelope.decode(envelope.assemble(protected, AESCCM(key, tag_length=8).encrypt(nonce, plaintext, aad)))


def test_the_thief_of_a_session_is_the_peer_to_its_owner_until_the_peer_has_stepped() -> None:
    """The keys of a session are the same at both ends: with one end's state either end can be played."""
    running = talk(1)
    a, b = running.ends
    stolen = a.copy().session
    opened = a.copy().open(forged_by(stolen))
    assert opened.message is not None and opened.message.payload == b"forged"
    running.rounds(12)
    with pytest.raises(SealwayError):
        a.open(forged_by(stolen))
    assert b.session.stopped is None


def test_the_thief_of_a_session_is_its_owner_to_the_peer_until_the_owner_is_heard() -> None:
    """Impersonation in the session, and how it comes out: two that seal under one number contradict each other."""
    a, b = talking(2)
    thief = a.copy()
    opened = b.open(thief.seal(b"from the thief"))
    assert opened.message is not None and opened.message.payload == b"from the thief"
    a.restart()
    with pytest.raises((PeerForked, NotAuthentic)):
        b.open(a.seal(b"from the owner"))
