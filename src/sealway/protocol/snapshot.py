# SPDX-License-Identifier: Apache-2.0
"""A session as bytes, to be committed with what it sealed or opened, and back.

Invariant: ``restore(snapshot(s), …)`` behaves as ``s`` does, and nothing else is restored: a snapshot in which a disk
or a memory has changed a bit is lost state, not one whose numbers run back. The format is private to one state
directory: it is read only by the version that wrote it, or by a later one through ``VERSION``. It holds keys; where it
is stored decides who can read the past. The log of sent messages is stored beside it, row by row, and handed in again.

Layout, made to be written and read in microseconds (docs/adr/0017): a head with the counts of what follows; all counts
and message numbers, 2 or 4 bytes each; all times and what else may be longer, 8 bytes each; the lengths of all byte
strings, 1 or 2 bytes each; these strings; a CRC-32. The order is that in which ``snapshot`` writes and ``restore``
reads.
"""

from __future__ import annotations

import zlib
from itertools import accumulate, islice, pairwise
from itertools import chain as _joined
from struct import Struct, error, pack, unpack_from

from sealway.crypto.secret import Secret
from sealway.crypto.suites import suite
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

VERSION = 5
CHECK_BYTES = 4
"""At the end of a snapshot: a CRC-32, against decay. Who can write here has the keys, and needs no changed bits."""
_LIMIT = 1 << 26
_HEAD = Struct(">BBIII")
_LAYOUTS = (">{}H{}Q{}B", ">{}I{}Q{}H")
"""Narrow, while all numbers and lengths allow it; wide."""

# Flags, in the first of the small numbers.
_INITIATOR, _MY_TURN, _ANNOUNCE, _SILENCE_TOLD, _PEER_FORKED, _MUST_RESEED = 1, 2, 4, 8, 16, 32
_HAS_SENDING, _HAS_START, _HAS_STOPPED, _HAS_REPORTED = 64, 128, 256, 512


class _Writing:
    """What goes into a snapshot, by kind."""

    __slots__ = ("longs", "shorts", "strings")

    def __init__(self) -> None:
        self.shorts: list[int] = []
        self.longs: list[int] = []
        self.strings: list[bytes] = []

    def ranges(self, numbers: RangeSet) -> None:
        firsts, lasts = numbers.edges
        self.shorts.append(len(firsts))
        if firsts:
            self.shorts += firsts
            self.shorts += lasts

    def secrets(self, mapping: dict[int, bytes]) -> None:
        self.shorts.append(len(mapping))
        if mapping:
            self.shorts += mapping
            self.strings += mapping.values()

    def encode(self) -> bytes:
        shorts, longs, strings = self.shorts, self.longs, self.strings
        a, b, c, lengths = len(shorts), len(longs), len(strings), [*map(len, strings)]
        width = 0 if max(shorts) < 1 << 16 and max(lengths) < 1 << 8 else 1
        fixed = pack(_LAYOUTS[width].format(a, b, c), *shorts, *longs, *lengths)
        return b"".join((_HEAD.pack(VERSION, width, a, b, c), fixed, *strings))


class _Reading:
    """The same, read in the same order. LookupError, ValueError or struct.error: it is not a snapshot."""

    __slots__ = ("long", "longs", "short", "shorts", "string", "strings")

    def __init__(self, data: bytes) -> None:
        version, width, a, b, c = _HEAD.unpack_from(data)
        if version != VERSION:
            raise ValueError(f"a stored session has version {version}; this program reads version {VERSION}")
        size = (2 * a + 8 * b + c) if width == 0 else (4 * a + 8 * b + 2 * c)
        if size > len(data):
            raise ValueError("a snapshot that is shorter than it says")
        fixed = unpack_from(_LAYOUTS[width].format(a, b, c), data, _HEAD.size)
        self.shorts, self.longs = iter(fixed[:a]), iter(fixed[a : a + b])
        self.strings = iter(_cut(data, _HEAD.size + size, fixed[a + b :]))
        self.short, self.long, self.string = self.shorts.__next__, self.longs.__next__, self.strings.__next__

    def ranges(self) -> RangeSet:
        count, shorts = self.short(), self.shorts
        return RangeSet.of_edges(list(islice(shorts, count)), list(islice(shorts, count)))

    def secrets(self) -> dict[int, bytes]:
        count, string = self.short(), self.string
        if not count:
            return {}
        return {number: string() for number in list(islice(self.shorts, count))}

    def finish(self) -> None:
        for left in _joined(self.shorts, self.longs, self.strings):
            raise ValueError(f"a snapshot with more in it than a session: {type(left).__name__}")


def _cut(data: bytes, at: int, lengths: tuple[int, ...]) -> list[bytes]:
    ends = list(accumulate(lengths, initial=at))
    if ends[-1] != len(data):
        raise ValueError("a snapshot of another length than it says")
    return [data[begin:end] for begin, end in pairwise(ends)]


def snapshot(session: Session) -> bytes:
    """Return the session's whole state, secrets included."""
    s, out = session, _Writing()
    out.shorts += (_flags(s), s.suite.number, s.since_step, s.failed_opens)
    out.longs += (s.created_ms, s.stepped_ms, s.heard_ms, 0 if s.max_silence_s is None else s.max_silence_s + 1)
    out.strings += (s.hash, s.root, s.peer_x, s.kid_in, s.kid_out, s.peer.encode())
    if s.stopped is not None:
        out.strings.append(s.stopped.encode())
    _write_sending(out, s.send)
    _write_receiving(out, s.receive)
    if s.start is not None:
        out.strings.append(_start(s.start))
    _write_clock(out, s.clock)
    out.shorts.append(len(s.forks_told))
    out.longs += s.forks_told
    fields = out.encode()
    return fields + _check(fields)


def restore(data: bytes, log: SentLog, policy: Policy, *, reopened: bool = True) -> Session:
    """Return the session of a snapshot.

    Args:
        reopened: the state was opened since this was written, so that the session reseeds before it seals. False only
        for what this process has written itself.

    Raises:
        StateLost: the bytes are damaged or of an unknown version.
    """
    try:
        session = _session(_Reading(_checked(data)), log, policy)
    except (SealwayError, ValueError, TypeError, LookupError, StopIteration, RuntimeError, error) as damage:
        raise _damaged() from damage
    if reopened:
        session.resume()
    return session


def refuse_damaged(data: bytes) -> None:
    """Look whether a snapshot is whole and of this version, without making a session of it. Raises StateLost."""
    if data[:1] != _VERSION_BYTE or _check(data[:-CHECK_BYTES]) != data[-CHECK_BYTES:]:
        raise _damaged()


_VERSION_BYTE = bytes((VERSION,))


def _damaged() -> StateLost:
    return StateLost("a stored session is damaged", hint="restore nothing over it; begin a new session")


def _check(fields: bytes) -> bytes:
    return zlib.crc32(fields).to_bytes(CHECK_BYTES)


def _checked(data: bytes) -> bytes:
    fields = data[:-CHECK_BYTES]
    if _check(fields) != data[-CHECK_BYTES:]:
        raise Malformed("a snapshot's check value does not fit")
    return fields


def _flags(s: Session) -> int:
    """The branches are cheaper than arithmetic on booleans, and most are not taken."""
    flags = 0
    if s.initiator:
        flags |= _INITIATOR
    if s.my_turn:
        flags |= _MY_TURN
    if s.announce_kid:
        flags |= _ANNOUNCE
    if s.silence_told:
        flags |= _SILENCE_TOLD
    if s.peer_forked:
        flags |= _PEER_FORKED
    return flags | _presences(s)


def _presences(s: Session) -> int:
    flags = 0
    if s.send.must_reseed:
        flags |= _MUST_RESEED
    if s.send.epoch is not None:
        flags |= _HAS_SENDING
    if s.start is not None:
        flags |= _HAS_START
    if s.stopped is not None:
        flags |= _HAS_STOPPED
    if s.receive.reported is not None:
        flags |= _HAS_REPORTED
    return flags


def _session(data: _Reading, log: SentLog, policy: Policy) -> Session:
    short, long, string = data.short, data.long, data.string
    flags, number, since_step, failed_opens = short(), short(), short(), short()
    created, stepped, heard, silence = long(), long(), long(), long()
    digest, root, peer_x, kid_in, kid_out, peer = string(), string(), string(), string(), string(), string().decode()
    stopped = string().decode() if flags & _HAS_STOPPED else None
    send, receive = _to_sending(data, flags), _to_receiving(data, flags)
    start = _to_start(string()) if flags & _HAS_START else None
    clock = _to_clock(data)
    forks_told = [long() for _ in range(short())]
    data.finish()
    return Session(
        suite(number), digest, peer, flags & _INITIATOR != 0, root, flags & _MY_TURN != 0, peer_x, kid_in, kid_out,
        created, send, receive, log, start, flags & _ANNOUNCE != 0, stepped, since_step, clock, heard,
        silence - 1 if silence else None, flags & _SILENCE_TOLD != 0, failed_opens, stopped,
        flags & _PEER_FORKED != 0, policy, forks_told=forks_told,
    )  # fmt: skip


def _write_sending(out: _Writing, send: Sending) -> None:
    e = send.epoch
    if e is not None:
        out.strings += (e.x, e.x_secret.reveal(), e.reseed_root, e.chain, e.salt)
        out.shorts += (e.first, e.chain_first, e.j)
    # -1 stands for "none yet"; shifted by one it is no negative number.
    out.longs += (send.next_number, send.highest_acked + 1, send.highest_acked_in + 1)
    out.ranges(send.acked)
    out.ranges(send.unkept)
    out.ranges(send.void)


def _to_sending(data: _Reading, flags: int) -> Sending:
    short, long, string, epoch = data.short, data.long, data.string, None
    if flags & _HAS_SENDING:
        x, secret, root, chain, salt = string(), Secret(string()), string(), string(), string()
        first, chain_first, j = short(), short(), short()
        epoch = SendingEpoch(x, secret, first, root, chain, chain_first, j, salt)
    number, highest, highest_in = long(), long() - 1, long() - 1
    sets = data.ranges(), data.ranges(), data.ranges()
    return Sending(epoch, number, flags & _MUST_RESEED != 0, *sets, highest, highest_in)


def _write_receiving(out: _Writing, receive: Receiving) -> None:
    out.shorts.append(len(receive.epochs))
    for epoch in receive.epochs:
        _write_epoch(out, epoch)
    out.ranges(receive.closed)
    out.ranges(receive.gone)
    out.ranges(receive.void)
    out.secrets(receive.marks)
    if receive.reported is not None:
        number, tag = receive.reported
        out.shorts.append(number)
        out.strings.append(tag)


def _to_receiving(data: _Reading, flags: int) -> Receiving:
    epochs = [_to_epoch(data) for _ in range(data.short())]
    sets, marks = (data.ranges(), data.ranges(), data.ranges()), data.secrets()
    reported = (data.short(), data.string()) if flags & _HAS_REPORTED else None
    return Receiving(epochs, *sets, marks, reported)


def _write_epoch(out: _Writing, e: Epoch) -> None:
    out.strings += (e.x, e.reseed_root)
    out.longs.append(0 if e.superseded_ms is None else e.superseded_ms + 1)
    out.shorts += (e.first, e.next_j, len(e.chains))
    for c in e.chains:
        # The next number may be one more than fits into 4 bytes; its distance from the first always does.
        out.shorts += (c.first, c.j, c.next - c.first)
        out.strings += (c.salt, b"" if c.key is None else c.key)
        out.secrets(c.skipped)
    out.secrets(e.skipped_roots)


def _to_epoch(data: _Reading) -> Epoch:
    x, root, superseded = data.string(), data.string(), data.long()
    first, next_j, count = data.short(), data.short(), data.short()
    chains = [_to_chain(data) for _ in range(count)]
    return Epoch(x, first, root, next_j, chains, data.secrets(), superseded - 1 if superseded else None)


def _to_chain(data: _Reading) -> Chain:
    first, j, distance = data.short(), data.short(), data.short()
    salt, key = data.string(), data.string()
    return Chain(first, j, salt, first + distance, key or None, data.secrets())


def _start(start: Start) -> bytes:
    return cbor.encode([start.header.to_value(), start.signature, start.newest_session, start.forked_session])


def _to_start(encoded: bytes) -> Start:
    header, signature, newest, forked = cbor.decode(encoded, limit=_LIMIT)
    return Start(StartHeader.from_value(header), signature, newest, forked)


def _write_clock(out: _Writing, clock: ReceiptClock) -> None:
    due = 0 if clock.due_ms is None else clock.due_ms + 1
    out.longs += (due, clock.waiting_ms, clock.sent_ms)
    out.shorts += (clock.waiting, clock.quiet, len(clock.listed))
    for (first, last), since in clock.listed.items():
        out.shorts += (first, last)
        out.longs.append(since + 1)


def _to_clock(data: _Reading) -> ReceiptClock:
    short, long = data.short, data.long
    due, waiting_ms, sent_ms, waiting, quiet, count = long(), long(), long(), short(), short(), short()
    listed = {(short(), short()): long() - 1 for _ in range(count)}
    return ReceiptClock(due - 1 if due else None, waiting, quiet, waiting_ms, sent_ms, listed)
