# SPDX-License-Identifier: Apache-2.0
"""Starts, as a responder gets them: altered by a carrier, or from a certified peer who lies under the seal."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Final

from fuzz.mutating import mutate_bytes
from fuzz.reading import Program
from fuzz.session_targets import Raw, altered
from fuzz.target import Target, demand, refused
from sealway.errors import Malformed, NotTrusted, PeerMisbehaved, TooLarge
from sealway.protocol.sentlog import Uptime
from sealway.protocol.session import Session
from sealway.wire.envelope import Envelope
from sealway.wire.message import Message
from tests.identity.small_domain import SmallDomain, seeded
from tests.protocol.party import NOW_MS, Party

_UPTIME: Final = Uptime(b"boot" * 4, 0)
_KEYS: Final = 4  # one-time keys of a bundle


@cache
def _parties() -> tuple[Party, Party]:
    domain = SmallDomain()
    return Party(domain, "alice"), Party(domain, "bob")


def _begun(index: int | None) -> Session:
    alice, bob = _parties()
    alice.random = seeded("a start")
    return alice.start(bob.offer(index))


def _sealed(session: Session, message: object) -> bytes:
    sealed = session.seal(message, now_ms=NOW_MS, uptime=_UPTIME, random=seeded("x"))  # type: ignore[arg-type]
    return sealed.envelope


@cache
def _genuine() -> tuple[bytes, ...]:
    """Starts that are accepted: with and without a one-time key, with another payload."""
    message = Message(2, ("r",), payload=b"42")
    return tuple(_sealed(_begun(index), message) for index in (None, 0, 3))


def check_start(data: bytes) -> None:
    """A start is accepted as it was sealed, or not at all; one with lies under the seal is refused or means them."""
    program = Program(data)
    if program.below(4) == 0:
        _check_lie(program)
        return
    envelope = Envelope.decode(program.one_of(_genuine()))
    for _ in range(program.below(3)):
        with suppress(Malformed, TooLarge):
            envelope = altered(envelope, Envelope.decode(program.one_of(_genuine())), program)
    accepted = _accepted(envelope)
    demand(not accepted or envelope.encode() in _genuine(), "accepted, and never sealed")


def _check_lie(program: Program) -> None:
    """Who holds the keys says anything; without the signature over the transcript it is no start."""
    honest = _begun(0).start
    signature = honest.signature if honest is not None and program.flag() else program.take(64).ljust(64)
    plaintext = program.take(100)
    with suppress(Malformed, TooLarge):
        message = Message(2, start_signature=signature, newest_session=program.take(program.below(33)))
        plaintext = plaintext if program.flag() else message.encode()
    lie = Envelope.decode(_sealed(_begun(0), Raw(plaintext or b"\x02")))
    if _accepted(lie):
        read = Message.decode(plaintext)
        demand(honest is not None and read.start_signature == honest.signature, "accepted without the signature")


def _accepted(envelope: Envelope) -> bool:
    """Do what an endpoint does with a start; return whether it came to a session."""
    alice, bob = _parties()
    index = envelope.start.one_time if envelope.start is not None else None
    if index is not None and index >= _KEYS:
        return False  # the endpoint has no such key, and says so
    try:
        session, opened = bob.accept(envelope, alice.bundle, index)
    except (PeerMisbehaved, NotTrusted) as error:
        refused(error)
        return False
    demand(opened.message is not None and session.stopped is None, "accepted, and nothing came of it")
    return True


def _programs() -> list[bytes]:
    changes = [bytes((1, at % 3, 1, 0, at % 10, at % 4, 1, 2, 3, 4)) for at in range(30)]
    return [b"\x01\x00\x00", b"\x01\x01\x00", b"\x00\x01", b"\x00\x00abcd", *changes]


START: Final = (Target("start", check_start, _programs, 300, mutate_bytes, weight=2),)
