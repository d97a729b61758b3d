# SPDX-License-Identifier: Apache-2.0
"""An endpoint that seals nothing, to compare with: only for benchmarks, and only in a process that asked for it.

``unseal_sessions`` replaces, in this process, what a running session does to a message: no chain, no key, no cipher, no
ratchet step, no associated data. A message travels as it is, in the outer form of an envelope, so that hops take it.
What any durable path needs stays: numbers, receipts, outbox, journal, and that nothing is handed out twice.
A session begins sealed, as ever, and goes over when its first messages are acknowledged.
"""

from __future__ import annotations

from typing import Final

from sealway.crypto.ports import Random
from sealway.crypto.suites import SUITE_1
from sealway.errors import Replayed
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.sentlog import SentRecord, Uptime
from sealway.protocol.session import Session
from sealway.wire.envelope import Envelope, assemble, protected_bytes
from sealway.wire.header import Claims
from sealway.wire.message import CODE_EMPTY, Message

_END: Final = b"bare"  # stands where the second half of a tag would
_TAG_BYTES: Final = 8

_seal, _open = Session.seal, Session.open


def unseal_sessions() -> None:
    """From now on no running session in this process seals anything, or opens what is sealed after that."""
    Session.seal = _plain_seal  # type: ignore[method-assign]
    Session.open = _plain_open  # type: ignore[method-assign]


def _plain_seal(
    self: Session, message: Message, *, now_ms: int, uptime: Uptime, random: Random, claims: Claims | None = None
) -> Sealed:
    if self.start is not None or self.announce_kid or not self.send.chain_is_acknowledged:
        return _seal(self, message, now_ms=now_ms, uptime=uptime, random=random, claims=claims)
    bare = message.code == CODE_EMPTY
    content = self._with_control(message, now_ms).encode()
    number, self.send.next_number = self.send.next_number, self.send.next_number + 1
    tag = number.to_bytes(4, "big")
    envelope = assemble(protected_bytes(SUITE_1.cose_alg, self.kid_out, number), content + tag + _END)
    if bare:
        self.send.give_up(number, number)
    self.log.add(number, SentRecord(tag, uptime, now_ms))
    return Sealed(number, envelope, tag, len(content), not bare)


def _plain_open(self: Session, envelope: Envelope, *, now_ms: int) -> Opened:
    number, content = envelope.number, envelope.ciphertext
    if not content.endswith(_END):
        return _open(self, envelope, now_ms=now_ms)
    if number in self.receive.closed:
        self.clock.due(now_ms)
        raise Replayed("this number came before")
    self.receive._note(number, content[-_TAG_BYTES : -len(_END)])
    self.heard_ms = now_ms
    return self._read(envelope, content[:-_TAG_BYTES], content[-_TAG_BYTES : -len(_END)], now_ms)
