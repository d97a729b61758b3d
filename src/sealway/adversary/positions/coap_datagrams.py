# SPDX-License-Identifier: Apache-2.0
"""Datagrams of the CoAP hop (RFC 7252, spec/carriage.md): what one asks for or answers, and the same with other
content.

Only what fits one datagram is read; of a blockwise transfer (RFC 7959) nothing is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiocoap.message import Direction, Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import ACK, CON, NON

from sealway.adversary.passing import Kind
from sealway.errors import Malformed, PeerMisbehaved
from sealway.transports import coap_api
from sealway.wire import carriage
from sealway.wire.bundle import Publication, SignedBundle
from sealway.wire.compact import from_compact
from sealway.wire.consent import SignedConsent

MOST_DATAGRAM_BYTES: Final = 65_507
ROOM: Final = coap_api.BLOCK_BYTES
"""Payload that fits one datagram."""


class What(StrEnum):
    """What a request is about."""

    DEPOSIT = "deposit"
    COLLECT = "collect"
    ACKNOWLEDGE = "acknowledge"
    PUBLISH = "publish"
    FETCH = "fetch"


@dataclass(frozen=True, slots=True)
class Request:
    """A request: what it is about, of which kind that is, and its subject (mailbox, name or digest)."""

    what: What
    kind: Kind
    subject: str
    observe: bool = False


def read(datagram: bytes) -> Message:
    """Return the message in a datagram. Raises Malformed."""
    try:
        return Message.decode(datagram)
    except Exception as error:  # noqa: BLE001 - aiocoap raises its own, UnicodeDecodeError and more for odd bytes
        raise Malformed(f"not a CoAP message: {type(error).__name__}") from None


def write(message: Message) -> bytes:
    """Return the datagram of a message."""
    message.direction = Direction.OUTGOING
    datagram: bytes = message.encode()
    return datagram


def is_request(message: Message) -> bool:
    """Say whether a message has a request code (class 0, detail 1 to 31)."""
    return 1 <= int(message.code) <= 31


def is_answer(message: Message) -> bool:
    """Say whether a message has a response code."""
    return int(message.code) >> 5 >= 2


def is_whole(message: Message) -> bool:
    """Say whether a message is no part of a blockwise transfer."""
    return message.opt.block1 is None and (
        message.opt.block2 is None or (message.opt.block2.block_number == 0 and not message.opt.block2.more)
    )


def in_cose(message: Message) -> Message:
    """Return a request as one of a device that knows COSE only: what a middlebox decides on has one form.

    A deposit in compact form is the same deposit in COSE, and compact forms are not asked for. Raises PeerMisbehaved.
    """
    if message.opt.content_format == coap_api.FORMAT_COMPACT and is_whole(message):
        envelope = from_compact(message.payload).encode()
        return message.copy(payload=envelope, content_format=coap_api.FORMAT_ENVELOPE)
    if message.opt.accept == coap_api.FORMAT_HANDED:
        return message.copy(accept=None)
    return message


def request_in(message: Message) -> Request | None:
    """Return what a request asks for, None if it is nothing that is decided on."""
    path, code = tuple(message.opt.uri_path), int(message.code)
    if not path or len(path) > 2:
        return None
    subject = path[1] if len(path) == 2 else _name_in(message)
    try:
        found: Request = _REQUESTS[path[0], code](message, subject)
    except (KeyError, PeerMisbehaved):
        return None
    return found


def _name_in(message: Message) -> str:
    return next((part[2:] for part in message.opt.uri_query if part.startswith("n=")), "")


def _deposit(message: Message, subject: str) -> Request:
    return Request(What.DEPOSIT, Kind.ENVELOPE, subject)


def _collect(message: Message, subject: str) -> Request:
    return Request(What.COLLECT, Kind.ENVELOPE, subject, observe=message.opt.observe == 0)


def _acknowledge(message: Message, _: str) -> Request:
    mailbox = carriage.Acknowledgement.decode(message.payload).items[0][0]
    return Request(What.ACKNOWLEDGE, Kind.ACKNOWLEDGEMENT, mailbox)


def _bundle_published(message: Message, _: str) -> Request:
    bundle = SignedBundle.decode(Publication.decode(message.payload).bundle)
    return Request(What.PUBLISH, Kind.PUBLICATION, str(bundle.claims.name))


def _chain_published(message: Message, _: str) -> Request:
    leaf = carriage.CertChain.decode(message.payload).certificates[0]
    return Request(What.PUBLISH, Kind.CHAIN, hashlib.sha256(leaf).hexdigest())


def _consent_published(message: Message, _: str) -> Request:
    return Request(What.PUBLISH, Kind.CONSENT, SignedConsent.decode(message.payload).claims.mailbox)


def _fetch(kind: Kind) -> Any:
    return lambda message, subject: Request(What.FETCH, kind, subject)


_REQUESTS: Final[dict[tuple[str, int], Any]] = {
    (coap_api.MAILBOX, int(Code.POST)): _deposit,
    (coap_api.MAILBOX, int(Code.GET)): _collect,
    (coap_api.ACKNOWLEDGE, int(Code.POST)): _acknowledge,
    (coap_api.BUNDLES, int(Code.PUT)): _bundle_published,
    (coap_api.BUNDLES, int(Code.POST)): _fetch(Kind.OFFER),
    (coap_api.BUNDLES, int(Code.GET)): _fetch(Kind.BUNDLE),
    (coap_api.CREDENTIALS, int(Code.PUT)): _chain_published,
    (coap_api.CREDENTIALS, int(Code.GET)): _fetch(Kind.CREDENTIAL),
    (coap_api.CONSENTS, int(Code.PUT)): _consent_published,
    (coap_api.ROOT, int(Code.GET)): _fetch(Kind.ROOT),
}


# the same with other content ---------------------------------------------------------------------------------------
def with_content(message: Message, content: bytes) -> bytes:
    """Return the datagram of a message with another payload."""
    changed = message.copy(payload=content)
    return write(changed)


def to_mailbox(message: Message, mailbox: str, content: bytes) -> bytes:
    """Return the datagram of a deposit with another mailbox or another envelope."""
    changed = message.copy(payload=content)
    changed.opt.uri_path = (coap_api.MAILBOX, mailbox)
    return write(changed)


def with_status(message: Message, status: int) -> bytes:
    """Return the datagram of an answer that says something else; 2xx becomes 2.04."""
    code = Code.CHANGED if 200 <= status < 300 else Code(status // 100 << 5 | status % 100)
    return write(message.copy(code=code, payload=b"", content_format=None))


def answer_to(request: Message, code: Code) -> bytes:
    """Return an answer of this position's own: piggybacked on the acknowledgement, where one is due."""
    message = Message(code=code, _mtype=ACK if request.mtype is CON else NON, _mid=request.mid, _token=request.token)
    return write(message)


def notification(token: bytes, mid: int, number: int, content: bytes) -> bytes:
    """Return an unconfirmed notification (RFC 7641) of an observed mailbox."""
    message = Message(code=Code.CONTENT, _mtype=NON, _mid=mid, _token=token, payload=content)
    message.opt.observe, message.opt.content_format = number, coap_api.FORMAT_CBOR
    return write(message)


def fitting(rows: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
    """Return the first of these, and those after it that fit the same datagram."""
    size = 0
    kept: list[tuple[str, int, bytes]] = []
    for row in rows:
        size += len(row[2]) + 34  # the CBOR around it
        if kept and size > ROOM - 16:
            break
        kept.append(row)
    return kept
