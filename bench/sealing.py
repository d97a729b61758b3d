# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening in a running session, against the least that any ratchet must do: two HMACs and one AEAD.

**The floor** of a message, to the letter: ``hmac.digest(chain, b"\\x01", "sha256")`` and ``hmac.digest(chain, b"\\x02",
"sha256")``, which give the message's secret and the next chain key; ``AESCCM(key, tag_length=8)`` with a key that is
new each time; one call of its ``encrypt`` (``decrypt``) of the plaintext of the same message with associated data of
the same length. Nonces come ready from the secret; nothing is encoded, parsed, looked up, checked or remembered.

**Sealing** is ``Session.seal`` of a message that is there, to the bytes of the envelope. **Opening** is all that stands
between bytes and a message: strict parsing of the envelope, finding the session by its kid, ``Session.open``, strict
parsing of the message. Neither side keeps what it made. All messages differ, so nothing that is kept of one helps the
next. The session is in the middle of a stream in one direction, as a device's readings are, whose latest ratchet step
has been acknowledged.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from bench.measure import Pair, Subject, cpu_each
from sealway.crypto.kdf import hmac_sha256_pair
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


def readings(size: int, count: int = MESSAGES) -> list[Message]:
    """Return messages that are all different, as in real use: whatever is kept of one is of no use for another."""
    return [
        Message(CODE_POST, ("readings",), payload=n.to_bytes(4) + bytes(size - 4), sent_at=START_MS + n)
        for n in range(count)
    ]


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


def open_all(sessions: dict[bytes, Session], envelopes: list[bytes]) -> None:
    """Open envelopes as they arrive: parse, find the session, open, read the message."""
    for data in envelopes:
        envelope = Envelope.decode(data)
        opened = sessions[envelope.kid].open(envelope, now_ms=START_MS)
        if opened.message is None:
            raise ValueError("a message was not opened")


def _seal_and_drop(sender: End, messages: list[Message]) -> None:
    session, now_ms, uptime, random = sender.session, sender.now_ms, sender.uptime, sender.random
    for message in messages:
        session.seal(message, now_ms=now_ms, uptime=uptime, random=random)


def _floor_of_sealing(plaintexts: list[bytes], aad: bytes) -> None:
    chain, digest = bytes(32), hmac.digest
    for data in plaintexts:
        secret, chain = digest(chain, b"\x01", "sha256"), digest(chain, b"\x02", "sha256")
        AESCCM(secret[:16], tag_length=8).encrypt(secret[16:29], data, aad)


def _floor_of_opening(ciphers: list[bytes], aad: bytes) -> None:
    chain, digest = bytes(32), hmac.digest
    for data in ciphers:
        secret, chain = digest(chain, b"\x01", "sha256"), digest(chain, b"\x02", "sha256")
        AESCCM(secret[:16], tag_length=8).decrypt(secret[16:29], data, aad)


def _ciphers(plaintexts: list[bytes], aad: bytes) -> list[bytes]:
    """Return what the floor of opening opens."""
    chain, sealed = bytes(32), []
    for data in plaintexts:
        secret, chain = hmac_sha256_pair(chain, b"\x01", b"\x02")
        sealed.append(SUITE_1.aead(secret[:16]).encrypt(secret[16:29], data, aad))
    return sealed


@contextmanager
def _sealing(size: int) -> Iterator[Pair]:
    plaintexts, aad = [message.encode() for message in readings(size)], _sample(size).aad

    def subject() -> float:
        (sender, _), messages = running(), readings(size)
        return cpu_each(lambda: _seal_and_drop(sender, messages), MESSAGES)

    yield Pair(subject, lambda: cpu_each(lambda: _floor_of_sealing(plaintexts, aad), MESSAGES))


@contextmanager
def _opening(size: int) -> Iterator[Pair]:
    aad = _sample(size).aad
    ciphers = _ciphers([message.encode() for message in readings(size)], aad)

    def subject() -> float:
        sender, receiver = running()
        envelopes = seal_all(sender, readings(size))
        sessions = {receiver.session.kid_in: receiver.session}
        return cpu_each(lambda: open_all(sessions, envelopes), MESSAGES)

    yield Pair(subject, lambda: cpu_each(lambda: _floor_of_opening(ciphers, aad), MESSAGES))


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
