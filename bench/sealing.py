# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening in a running session, against the least that any ratchet must do: two HMACs and one AEAD.

Sealing is ``Session.seal`` of a message that is there. Opening is all that stands between bytes and a message: strict
parsing of the envelope, finding the session, opening, strict parsing of the message.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from bench.measure import Pair, Subject, cpu_each
from sealway.crypto.suites import SUITE_1
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.session import Session
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_POST, Message
from tests.protocol.session_pair import START_MS, End, talking

MESSAGES = 500


def reading(size: int) -> Message:
    """Return a message as the SDK makes it, with a payload of ``size`` bytes."""
    return Message(CODE_POST, ("readings",), payload=bytes(size), sent_at=START_MS)


def running() -> tuple[End, End]:
    """Return two ends as a stream of readings leaves them: a ratchet step was taken, and a receipt has covered it."""
    sender, receiver = talking()
    for _ in range(2 * DEFAULT_POLICY.step_after_messages):
        receiver.open(sender.seal())
    sender.open(receiver.receipt())
    return sender, receiver


def seal_all(sender: End, messages: list[Message]) -> list[bytes]:
    """Seal messages in a running session."""
    session, now_ms, uptime, random = sender.session, sender.now_ms, sender.uptime, sender.random
    return [session.seal(m, now_ms=now_ms, uptime=uptime, random=random).envelope for m in messages]


def _open_all(sessions: dict[bytes, Session], envelopes: list[bytes]) -> None:
    for data in envelopes:
        envelope = Envelope.decode(data)
        opened = sessions[envelope.kid].open(envelope, now_ms=START_MS)
        if opened.message is None:
            raise ValueError("a message was not opened")


def _floor(ciphers: list[bytes], aad: bytes, *, opening: bool) -> list[bytes]:
    """Advance a chain by two HMACs, make the AEAD, encrypt or decrypt: once for each."""
    chain, done, digest = bytes(32), [], hmac.digest
    for data in ciphers:
        secret, chain = digest(chain, b"\x01", "sha256"), digest(chain, b"\x02", "sha256")
        aead = AESCCM(secret[:16], tag_length=SUITE_1.tag_length)
        done.append((aead.decrypt if opening else aead.encrypt)(secret[16:29], data, aad))
    return done


@contextmanager
def _sealing(size: int) -> Iterator[Pair]:
    messages, plaintexts, aad = [reading(size)] * MESSAGES, [reading(size).encode()] * MESSAGES, _sample(size).aad

    def subject() -> float:
        sender, _ = running()
        return cpu_each(lambda: seal_all(sender, messages), MESSAGES)

    yield Pair(subject, lambda: cpu_each(lambda: _floor(plaintexts, aad, opening=False), MESSAGES))


@contextmanager
def _opening(size: int) -> Iterator[Pair]:
    messages, aad = [reading(size)] * MESSAGES, _sample(size).aad
    ciphers = _floor([reading(size).encode()] * MESSAGES, aad, opening=False)

    def subject() -> float:
        sender, receiver = running()
        envelopes = seal_all(sender, messages)
        sessions = {receiver.session.kid_in: receiver.session}
        return cpu_each(lambda: _open_all(sessions, envelopes), MESSAGES)

    yield Pair(subject, lambda: cpu_each(lambda: _floor(ciphers, aad, opening=True), MESSAGES))


def _sample(size: int) -> Envelope:
    envelope = Envelope.decode(seal_all(running()[0], [reading(size)])[0])
    if envelope.opener is not None:
        raise ValueError("this is not the steady state")
    return envelope


SUBJECTS = (
    Subject("seal 64 B", "µs", 1.6, partial(_sealing, 64)),
    Subject("seal 4 KiB", "µs", 1.5, partial(_sealing, 4096)),
    Subject("open 64 B", "µs", 1.8, partial(_opening, 64)),
    Subject("open 4 KiB", "µs", 1.5, partial(_opening, 4096)),
)
