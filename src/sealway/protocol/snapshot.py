# SPDX-License-Identifier: Apache-2.0
"""A session as bytes, to be committed with what it sealed or opened, and back.

Invariant: ``restore(snapshot(s), …)`` behaves as ``s`` does, and nothing else is restored: a snapshot in which a disk
or a memory has changed a bit is lost state, not one whose numbers run back. The format is private to one state
directory: it is read only by the version that wrote it, or by a later one through ``VERSION``. It holds keys; where it
is stored decides who can read the past. The log of sent messages is stored beside it, row by row, and handed in again.
"""

from __future__ import annotations

import zlib
from typing import Any

from sealway.crypto.secret import Secret
from sealway.errors import Malformed, SealwayError, StateLost
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.policy import Policy
from sealway.protocol.ranges import RangeSet
from sealway.protocol.receiptclock import ReceiptClock
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session, Start
from sealway.wire import cbor
from sealway.wire.header import StartHeader

VERSION = 3
CHECK_BYTES = 4
"""At the end of a snapshot: a CRC-32, against decay. Who can write here has the keys, and needs no changed bits."""
_LIMIT = 1 << 26


def snapshot(session: Session) -> bytes:
    """Return the session's whole state, secrets included."""
    fields = cbor.encode(
        [
            VERSION, session.hash, session.peer, session.initiator, session.root, session.my_turn, session.peer_x,
            session.kid_in, session.kid_out, session.created_ms, _sending(session.send), _receiving(session.receive),
            _start(session.start), session.announce_kid, session.stepped_ms, session.since_step, _clock(session.clock),
            session.heard_ms, session.max_silence_s, session.silence_told, session.failed_opens, session.stopped,
            session.peer_forked,
        ]
    )  # fmt: skip
    return fields + _check(fields)


def restore(data: bytes, log: SentLog, policy: Policy) -> Session:
    """Return the session of a snapshot, which will reseed before it seals.

    Raises:
        StateLost: the bytes are damaged or of an unknown version.
    """
    try:
        session = _session(cbor.decode(_checked(data), limit=_LIMIT, depth=12), log, policy)
    except (SealwayError, ValueError, TypeError, LookupError) as damage:
        raise StateLost("a stored session is damaged", hint="restore nothing over it; begin a new session") from damage
    session.resume()
    return session


def _check(fields: bytes) -> bytes:
    return zlib.crc32(fields).to_bytes(CHECK_BYTES)


def _checked(data: bytes) -> bytes:
    fields = data[:-CHECK_BYTES]
    if _check(fields) != data[-CHECK_BYTES:]:
        raise Malformed("a snapshot's check value does not fit")
    return fields


def _session(fields: list[Any], log: SentLog, policy: Policy) -> Session:
    version, digest, peer, initiator, root, my_turn, peer_x, kid_in, kid_out, created, *rest = fields
    if version != VERSION:
        raise StateLost(f"a stored session has version {version}; this program reads version {VERSION}")
    send, receive, start, announce, stepped, since, clock, heard, silence, told, failed, stopped, forked = rest
    return Session(
        digest, peer, initiator, root, my_turn, peer_x, kid_in, kid_out, created,
        _to_sending(send), _to_receiving(receive), log, _to_start(start), announce, stepped, since,
        _to_clock(clock), heard, silence, told, failed, stopped, forked, policy,
    )  # fmt: skip


def _sending(send: Sending) -> list[Any]:
    e = send.epoch
    epoch = None
    if e is not None:
        epoch = [e.x, e.x_secret.reveal(), e.first, e.reseed_root, e.chain, e.chain_first, e.j, e.salt]
    sets = [_ranges(send.acked), _ranges(send.unkept), _ranges(send.void)]
    # -1 stands for "none yet" and would be a negative integer; shifted by one it is not.
    return [epoch, send.next_number, send.must_reseed, *sets, send.highest_acked + 1, send.highest_acked_in + 1]


def _to_sending(fields: list[Any]) -> Sending:
    epoch, number, must_reseed, acked, unkept, void, highest, highest_in = fields
    if epoch is not None:
        x, secret, *others = epoch
        epoch = SendingEpoch(x, Secret(secret), *others)
    sets = (_to_ranges(acked), _to_ranges(unkept), _to_ranges(void))
    return Sending(epoch, number, must_reseed, *sets, highest - 1, highest_in - 1)


def _receiving(receive: Receiving) -> list[Any]:
    epochs = [_epoch(e) for e in receive.epochs]
    reported = list(receive.reported) if receive.reported is not None else None
    sets = [_ranges(receive.closed), _ranges(receive.gone), _ranges(receive.void)]
    return [epochs, *sets, _pairs(receive.marks), reported]


def _to_receiving(fields: list[Any]) -> Receiving:
    epochs, closed, gone, void, marks, reported = fields
    told = (reported[0], reported[1]) if reported is not None else None
    sets = (_to_ranges(closed), _to_ranges(gone), _to_ranges(void))
    return Receiving([_to_epoch(e) for e in epochs], *sets, _to_pairs(marks), told)


def _epoch(e: Epoch) -> list[Any]:
    chains = [[c.first, c.j, c.salt, c.next, c.key, _pairs(c.skipped)] for c in e.chains]
    return [e.x, e.first, e.reseed_root, e.next_j, chains, _pairs(e.skipped_roots), e.superseded_ms]


def _to_epoch(fields: list[Any]) -> Epoch:
    x, first, root, next_j, chains, roots, superseded = fields
    restored = [Chain(s, j, salt, n, key, _to_pairs(skipped)) for s, j, salt, n, key, skipped in chains]
    return Epoch(x, first, root, next_j, restored, _to_pairs(roots), superseded)


def _start(start: Start | None) -> list[Any] | None:
    if start is None:
        return None
    return [start.header.to_value(), start.signature, start.newest_session, start.forked_session]


def _to_start(fields: list[Any] | None) -> Start | None:
    if fields is None:
        return None
    header, signature, newest, forked = fields
    return Start(StartHeader.from_value(header), signature, newest, forked)


def _clock(clock: ReceiptClock) -> list[Any]:
    listed = [[first, last, since + 1] for (first, last), since in clock.listed.items()]
    return [clock.due_ms, clock.waiting, clock.quiet, clock.waiting_ms, clock.sent_ms, listed]


def _to_clock(fields: list[Any]) -> ReceiptClock:
    due, waiting, quiet, waiting_ms, sent, listed = fields
    since = {(first, last): at - 1 for first, last, at in listed}
    return ReceiptClock(due, waiting, quiet, waiting_ms, sent, since)


def _ranges(numbers: RangeSet) -> list[int]:
    return [edge for part in numbers for edge in part]


def _to_ranges(edges: list[int]) -> RangeSet:
    return RangeSet(zip(edges[::2], edges[1::2], strict=True))


def _pairs(mapping: dict[int, bytes]) -> list[Any]:
    return [part for pair in mapping.items() for part in pair]


def _to_pairs(flat: list[Any]) -> dict[int, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
