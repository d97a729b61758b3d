# SPDX-License-Identifier: Apache-2.0
"""Live sessions of ``sealway.protocol`` under a hostile carrier and a hostile peer.

The input is a program: who seals, what is carried in which order, what is altered on the way, and what a peer that
holds the keys puts under the seal. Whatever happens, nothing opens that was not sealed, nothing opens twice, and what
is refused before its tag has verified changes nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

from fuzz.mutating import mutate_bytes, mutate_cbor
from fuzz.reading import Program
from fuzz.target import Target, demand, refused
from sealway.errors import LocalMisuse, Malformed, PeerForked, PeerMisbehaved, StateLost, TooLarge
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.receiptclock import ReceiptClock
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session
from sealway.protocol.snapshot import CHECK_BYTES, restore, snapshot
from sealway.wire.envelope import AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305, Envelope
from sealway.wire.header import Claims, Opener, StartHeader
from sealway.wire.message import FirstIdentity, Freshness, Message, Receipt
from tests.protocol.session_pair import End, copy_log, ends, talking
from tests.protocol.test_snapshot import eventful

MOST_STEPS: Final = 24
MOST_STATE: Final = 65_536
"""Bytes that a session may grow to in so few steps."""

_ALGORITHMS: Final = (AES_CCM_16_64_128, AES_CCM_16_128_128, CHACHA20_POLY1305)


class Raw:
    """What a hostile peer puts under the seal: any bytes in place of a message."""

    first_identity = None
    has_control = False
    code = 2

    def __init__(self, plaintext: bytes) -> None:
        self._plaintext = plaintext

    def having(self, **_: Any) -> Raw:
        """Take no control options."""
        return self

    def encode(self) -> bytes:
        """Return the bytes."""
        return self._plaintext


@dataclass
class Scene:
    """Two ends, and what is on the way from each to the other."""

    ends: tuple[End, End]
    program: Program
    sealed: tuple[dict[bytes, bytes | None], dict[bytes, bytes | None]] = field(default_factory=lambda: ({}, {}))
    """By the end that sealed: envelope -> payload, or None for what is no honest message."""
    opened: set[tuple[int, bytes]] = field(default_factory=set)

    def seal(self, side: int, message: Any, payload: bytes | None) -> None:
        """Seal at one end; what comes out is on the way."""
        end = self.ends[side]
        try:
            sealed: Sealed = end.session.seal(message, now_ms=end.now_ms, uptime=end.uptime, random=end.random)
        except (LocalMisuse, TooLarge) as error:
            refused(error)
            return
        self.sealed[side][sealed.envelope] = payload

    def deliver(self, side: int, envelope: bytes) -> None:
        """Hand an envelope to one end, and check what it makes of it."""
        end, known = self.ends[side], self.sealed[1 - side]
        stopped, before = end.session.stopped is not None, essence(end.session)
        try:
            opened = end.open(envelope)
        except (PeerMisbehaved, StateLost) as error:
            refused(error)
            if envelope not in known:
                demand(stopped or not isinstance(error, PeerForked | StateLost), "stopped by what nobody sealed")
                demand(essence(end.session) == before, "changed by what nobody sealed")
            return
        self._check_opened(side, envelope, known, opened)

    def _check_opened(self, side: int, envelope: bytes, known: dict[bytes, bytes | None], opened: Opened) -> None:
        demand(envelope in known, "opened, and never sealed")
        demand((side, envelope) not in self.opened, "opened twice")
        self.opened.add((side, envelope))
        payload = known[envelope]
        if payload is not None:
            demand(opened.message is not None and opened.message.payload == payload, "another message than was sealed")
        if opened.defect is not None:
            refused(opened.defect)

    def envelopes(self, side: int) -> list[bytes]:
        """Return what one end has sealed, oldest first."""
        return list(self.sealed[side])


def essence(session: Session) -> bytes:
    """Return all of a session that only its peer may change: not what failures are counted and timed by."""
    counted = replace(session, clock=ReceiptClock(), failed_opens=0, stopped=None, peer_forked=False)
    return snapshot(replace(counted, events=[], forks_told=[]))


# the program ---------------------------------------------------------------------------------------------------------
def check_session(data: bytes) -> None:
    """Run an input as a program of two ends."""
    program = Program(data)
    scene = Scene(_fresh(program.below(3)), program)
    for _ in range(MOST_STEPS):
        if program.ended:
            break
        _step(scene)
    for end in scene.ends:
        demand(len(snapshot(end.session)) <= MOST_STATE, "a session that grew beyond all measure")


def _step(scene: Scene) -> None:
    program = scene.program
    choice, side = program.below(12), program.below(2)
    end = scene.ends[side]
    if choice <= 2:
        payload = b"payload %d" % len(scene.sealed[side])
        scene.seal(side, Message(2, ("r",), payload=payload), payload)
    elif choice == 3:
        scene.seal(side, Message(0), b"")
    elif choice <= 5:
        _deliver_as_sealed(scene, side)
    elif choice <= 8:
        _deliver_altered(scene, side)
    elif choice == 9:
        scene.seal(side, Raw(_hostile_plaintext(scene, side)), None)
    elif choice == 10:
        end.now_ms += 1 << program.below(34)
        end.session.look(end.now_ms)
    else:
        end.restart()


def _deliver_as_sealed(scene: Scene, side: int) -> None:
    waiting = scene.envelopes(1 - side)
    if waiting:
        scene.deliver(side, waiting[-1 - scene.program.below(min(len(waiting), 4))])


def _deliver_altered(scene: Scene, side: int) -> None:
    """A reflected one, or one with a part of its header or of its ciphertext changed."""
    pool = [*scene.envelopes(1 - side)[-4:], *scene.envelopes(side)[-2:]]
    if not pool:
        return
    first, second = (Envelope.decode(scene.program.one_of(pool)) for _ in range(2))
    try:
        changed = altered(first, second, scene.program)
        scene.deliver(side, changed.encode())
    except (Malformed, TooLarge) as error:
        refused(error)


def altered(envelope: Envelope, other: Envelope, program: Program) -> Envelope:
    """Return an envelope with one part changed, or taken from another one. Raises Malformed, TooLarge."""
    match program.below(10):
        case 0:
            return replace(envelope, number=program.number())
        case 1:
            return replace(envelope, number=max(0, envelope.number + program.below(9) - 4))
        case 2:
            return replace(envelope, kid=program.take(1 + program.below(8)))
        case 3:
            return replace(envelope, ciphertext=_bent(envelope.ciphertext, program))
        case 4:
            return replace(envelope, ciphertext=other.ciphertext)
        case 5:
            return replace(envelope, alg=program.one_of(_ALGORITHMS))
        case 6:
            return replace(envelope, claims=Claims(topic="t", expires=program.number()))
        case 7:
            return replace(envelope, opener=other.opener, number=other.number)
        case 8:
            return replace(envelope, start=_altered_start(envelope.start or other.start, program))
        case _:
            return replace(envelope, opener=_altered_opener(envelope.opener or other.opener, program))


def _bent(ciphertext: bytes, program: Program) -> bytes:
    at = program.below(len(ciphertext))
    return ciphertext[:at] + program.take(program.below(4)) + ciphertext[at + program.below(3) :]


def _altered_opener(opener: Opener | None, program: Program) -> Opener | None:
    if opener is None:
        return Opener(program.number(), reseed=(program.number(), program.take(16)))
    match program.below(6):
        case 0:
            return None
        case 1:
            return replace(opener, chain_first=program.number())
        case 2:
            return replace(opener, x=program.take(32), epoch_first=program.number())
        case 3:
            return replace(opener, epoch_first=program.number())
        case 4:
            return replace(opener, reseed=(program.number(), opener.reseed[1] if opener.reseed else program.take(16)))
        case _:
            return replace(opener, reseed=None)


def _altered_start(start: StartHeader | None, program: Program) -> StartHeader | None:
    if start is None:
        return None
    match program.below(6):
        case 0:
            return None
        case 1:
            return replace(start, ephemeral=program.take(32))
        case 2:
            return replace(start, one_time=program.below(65))
        case 3:
            return replace(start, receive_kid=program.take(1 + program.below(8)))
        case 4:
            return replace(start, x5t=program.take(32))
        case _:
            return replace(start, bundle_hash=program.take(32))


def _hostile_plaintext(scene: Scene, side: int) -> bytes:
    """A message of control options that are well formed and lie, or any bytes."""
    program = scene.program
    if program.below(4) == 0:
        return program.take(program.below(64)) or b"\x02"
    try:
        return _lies(scene, side).encode()
    except (Malformed, TooLarge):
        return b"\x02"


def _lies(scene: Scene, side: int) -> Message:
    program = scene.program
    choice = program.below(7)
    if choice <= 1:
        return Message(0, receipt=_lying_receipt(scene, side))
    if choice == 2:
        first = program.number()
        return Message(2, payload=b"x", void=((first, first + program.below(200)),))
    if choice == 3:
        return Message(2, payload=b"x", receive_kid=program.take(1 + program.below(8)))
    if choice == 4:
        return Message(2, payload=b"x", freshness=Freshness(program.number(), program.take(4), 30))
    if choice == 5:
        return Message(2, payload=b"x", first_identity=FirstIdentity(program.take(32), program.number()))
    return Message(2, payload=b"x", start_signature=program.take(64), newest_session=b"")


def _lying_receipt(scene: Scene, side: int) -> Receipt:
    """The true receipt of this end, or one that is made up, with a number and a tag that the peer knows."""
    program, receive = scene.program, scene.ends[side].session.receive
    true = receive.receipt() if receive.marks else None
    number, tag = (
        (true.number, true.tag) if true is not None and program.flag() else (program.number(), program.take(4))
    )
    first = program.below(32)
    missing = ((first, first + program.below(8)),) if program.flag() else ()
    return Receipt(number, tag, missing, ((40, 40 + program.below(9)),) if program.flag() else ())


# where it begins -----------------------------------------------------------------------------------------------------
@cache
def _beginnings() -> tuple[tuple[tuple[End, bytes], ...], ...]:
    """Pairs of ends, each with its snapshot."""
    return tuple(tuple((end, snapshot(end.session)) for end in pair) for pair in (ends(), talking(), eventful()))


def _fresh(choice: int) -> tuple[End, End]:
    """Return copies of two ends: before the first message, in the steady state, or with all that a state can hold."""
    first, second = (_copied(end, state, at) for at, (end, state) in enumerate(_beginnings()[choice]))
    return first, second


def _copied(end: End, state: bytes, at: int) -> End:
    policy = replace(DEFAULT_POLICY, skipped=16, gap_ranges=16, step_after_messages=6)
    session = restore(state, copy_log(end.session.log), policy)
    drawn = [at]

    def random(count: int) -> bytes:
        drawn[0] += 1
        return (drawn[0].to_bytes(8) * count)[:count]

    return End(session, random, end.now_ms)


# a state that was damaged --------------------------------------------------------------------------------------------
def check_snapshot(data: bytes) -> None:
    """The input is what is stored without its check value: as if this fitted by chance, and with another one."""
    check = zlib.crc32(data).to_bytes(CHECK_BYTES)
    demand(_restored(data + bytes((check[0] ^ 1,)) + check[1:]) is None, "restored in spite of its check value")
    session = _restored(data + check)
    if session is not None:
        again = snapshot(session)
        # Numbers take up to four times the room where one of them does not fit into the narrow layout any more.
        demand(len(again) <= 4 * len(data) + 32, "a state that grows while it is read")
        demand(snapshot(restore(again, SentLog(), DEFAULT_POLICY)) == again, "a state that is read as another one")


def _restored(data: bytes) -> Session | None:
    try:
        return restore(data, SentLog(), DEFAULT_POLICY)
    except StateLost as error:
        refused(error)
    return None


def _snapshots() -> list[bytes]:
    return [state[:-CHECK_BYTES] for pair in _beginnings() for _, state in pair]


def _programs() -> list[bytes]:
    """Programs that exchange, lose, reorder, replay, alter and lie."""
    exchange = bytes((0, 0, 4, 1, 0, 0, 1, 4, 0, 0))
    lies = b"".join(bytes((9, 0, 1, choice, 1, 2, 3, 4, 5, 4, 1, 0)) for choice in range(7))
    alter = b"".join(bytes((0, 0, 6, 1, 0, 0, choice, 1, 2, 3)) for choice in range(10))
    return [bytes((begin,)) + part for begin in range(3) for part in (exchange * 4, lies, alter, exchange + alter)]


SESSION: Final = (
    Target("session", check_session, _programs, 200, mutate_bytes, weight=4),
    Target("snapshot", check_snapshot, _snapshots, 8192, mutate_cbor),
)
