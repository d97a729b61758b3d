# SPDX-License-Identifier: Apache-2.0
"""The inner message: CoAP's code, options and payload, as RFC 8613 §5.3 serialises them for encryption.

Invariant: ``Message.decode(b).encode() == b``, except that unknown elective options are dropped. Sealway's own fields
are options of the experimental range; an unknown critical one is refused, so what must be obeyed is never ignored.

Most messages are *plain*: of Sealway's own options they have at most Sent-At. With it and a payload they take byte
templates in both directions: what stands before Sent-At is the same from one reading to the next, and its encoding is
kept. Everything else goes through the general codec. A property test holds the two equal on every input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar

from sealway.errors import Malformed, PeerMisbehaved, TooLarge
from sealway.wire import options, shape
from sealway.wire.message_parts import (
    MAX_VOID_RANGES,
    FileKey,
    FirstIdentity,
    Freshness,
    Ranges,
    Receipt,
    decode_void,
    encode_void,
)

__all__ = ["FileKey", "FirstIdentity", "Freshness", "Message", "Receipt", "code_text"]

MAX_MESSAGE_BYTES = 262_144
MAX_SEGMENTS = 16
MAX_GRANT_BYTES = 1024
_PLAIN = frozenset({"code", "path", "query", "content_format", "payload", "sent_at"})  # all that a plain message says

# RFC 7252 §12.1. An empty message is a bare receipt or a sign of life.
CODE_EMPTY = 0x00
CODE_GET, CODE_POST, CODE_PUT, CODE_DELETE = 0x01, 0x02, 0x03, 0x04
CODE_FETCH, CODE_PATCH, CODE_IPATCH = 0x05, 0x06, 0x07  # RFC 8132
CODE_CREATED, CODE_DELETED, CODE_VALID, CODE_CHANGED, CODE_CONTENT = 0x41, 0x42, 0x43, 0x44, 0x45
CODE_BAD_REQUEST, CODE_UNAUTHORIZED, CODE_FORBIDDEN, CODE_NOT_FOUND = 0x80, 0x81, 0x83, 0x84
CODE_METHOD_NOT_ALLOWED, CODE_CONFLICT, CODE_PRECONDITION_FAILED = 0x85, 0x89, 0x8C
CODE_TOO_MANY_REQUESTS, CODE_INTERNAL_ERROR = 0x9D, 0xA0


def code_text(code: int) -> str:
    """Return a CoAP code byte as people write it: 0x44 is "2.04" (RFC 7252 §3)."""
    return f"{code >> 5}.{code & 0x1F:02d}"


@dataclass(frozen=True)  # without slots: a field at its default need not be written when a parser makes one
class Message:
    """What one end says to the other, before sealing and after opening.

    Fields: ``code`` CoAP code byte (empty, a request, or a response of class 2, 4, 5); ``path`` and ``query`` at most
    16 segments of at most 255 bytes; ``content_format`` CoAP's number; ``sent_at`` milliseconds since the Unix epoch;
    ``request_id`` 8 bytes, in a request its own, in a response that of the request; ``max_silence`` seconds, from 1;
    ``start_signature`` 64 bytes; ``newest_session`` 32 bytes, or empty for none known; ``receive_kid`` 1 to 8 bytes;
    ``void`` at most 64 ranges of own numbers that will not come again; ``grant`` a signed grant of at most 1024 bytes;
    ``file_key`` what opens a sealed file; ``forked_session`` 32 bytes: where its sender found this peer to be forked.
    """

    code: int
    path: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    content_format: int | None = None
    payload: bytes = b""
    sent_at: int | None = None
    request_id: bytes | None = None
    max_silence: int | None = None
    receipt: Receipt | None = None
    freshness: Freshness | None = None
    first_identity: FirstIdentity | None = None
    start_signature: bytes | None = None
    newest_session: bytes | None = None
    receive_kid: bytes | None = None
    void: Ranges = ()
    grant: bytes | None = None
    file_key: FileKey | None = None
    forked_session: bytes | None = None

    plain: ClassVar[bool] = False
    """Whether of Sealway's own options it has at most Sent-At, so that nothing in it is for a session to act on."""

    def __post_init__(self) -> None:
        _check_code(self.code)
        _check_segments(self.path, "Uri-Path")
        _check_segments(self.query, "Uri-Query")
        if "." in self.path or ".." in self.path:  # RFC 7252 §5.10.1
            raise Malformed("Uri-Path: a segment of . or ..")
        if not isinstance(self.payload, bytes):
            raise Malformed("payload: bytes expected")
        if self.void is None:
            raise Malformed("void: ranges expected")
        for option, value in zip(_CHECKS, _checked_fields(self), strict=True):
            if value is not None:
                _CHECKS[option](value)
        self.__dict__["plain"] = _beyond_plain(self) == _NOTHING

    def having(self, **changes: Any) -> Message:
        """Return this message with other values of some options. Raises Malformed; only what is new is checked."""
        for option, value in changes.items():
            if value is not None:
                _CHECKS[option](value)
        message = object.__new__(Message)
        known = message.__dict__
        known.update(self.__dict__, **changes)
        known.pop("_encoded", None)
        if not changes.keys() <= _PLAIN:
            known["plain"] = _beyond_plain(message) == _NOTHING
        return message

    def sent(self, at: int) -> Message:
        """Return this message as sent at a time, milliseconds since the Unix epoch: as ``having``, at a quarter of the
        price where the message is plain, since it happens to each one. Raises Malformed."""
        if not self.plain:
            return self.having(sent_at=at)
        _CHECKS["sent_at"](at)
        message = object.__new__(Message)  # what a plain message does not say is at its default
        known = message.__dict__
        known["code"], known["path"], known["query"] = self.code, self.path, self.query
        known["content_format"], known["payload"] = self.content_format, self.payload
        known["sent_at"], known["plain"] = at, True
        return message

    @property
    def has_control(self) -> bool:
        """Whether it has any of the options that a session adds: receipt, void, kid, start."""
        if self.plain:
            return False
        return self.void != () or any(value is not None for value in _control_fields(self))

    def encode(self) -> bytes:
        """Return the plaintext to be sealed. Raises TooLarge above MAX_MESSAGE_BYTES."""
        kept: bytes | None = self.__dict__.get("_encoded")
        return self._encode() if kept is None else kept

    def encode_once(self) -> bytes:
        """As ``encode``, and keep it until ``forget_encoding``: who seals a message stores it, too.

        A message never changes; who opened it stores what it was read from, which is kept as well.
        """
        encoded = self.__dict__["_encoded"] = self.encode()
        return encoded

    def forget_encoding(self) -> None:
        """Give the memory of the kept encoding free: it has been stored, and the message itself stays in use."""
        self.__dict__.pop("_encoded", None)

    def _encode(self) -> bytes:
        at = self.sent_at
        if self.plain and at is not None and at >= _EARLIEST and self.payload:
            front = _front(self.code, self.path, self.query, self.content_format)
            data = b"".join((front, at.to_bytes(6, "big"), b"\xff", self.payload))
        else:
            data = _encode_general(self)
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} allowed")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """Read an opened plaintext. Raises Malformed, or TooLarge above MAX_MESSAGE_BYTES."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} allowed")
        return _decode_timed(data) or _decode_general(data)


# A plain message with Sent-At and payload: code ‖ options up to 15 ‖ Sent-At in 6 bytes ‖ FF ‖ payload ----------------
_EARLIEST = 1 << 40  # milliseconds: from 2004 on Sent-At has 6 bytes, to the end of the calendar
_TIMED_HEAD = b"\xe6\xfc"  # Sent-At: delta in two more bytes, whatever precedes it; length 6
_LONGEST_FRONT = 256  # what is longer goes through the general codec, so that kept fronts take little memory
_MOST_FRONTS = 512


@lru_cache(_MOST_FRONTS)
def _front(code: int, path: tuple[str, ...], query: tuple[str, ...], content_format: int | None) -> bytes:
    """Return what precedes the value of Sent-At: code, options up to 15, head of Sent-At."""
    return _encode_general(Message(code, path, query, content_format, sent_at=_EARLIEST))[:-6]


@lru_cache(_MOST_FRONTS)
def _read_front(front: bytes) -> dict[str, Any] | None:
    """Return the fields that a front of untrusted bytes stands for, or None unless ``_front`` would have written it.

    A message is read from its first byte to its last, so what a front means does not depend on what follows it.
    """
    try:
        read = _decode_general(front + _EARLIEST.to_bytes(6, "big"))
    except PeerMisbehaved:
        return None
    if _front(read.code, read.path, read.query, read.content_format) != front:
        return None
    said = {"code": read.code, "path": read.path, "query": read.query, "content_format": read.content_format}
    return {field: value for field, value in said.items() if value not in (None, ())}  # else at its default


def _decode_timed(data: bytes) -> Message | None:
    """Return what the general parser would, or None if this is not its to judge."""
    at = data.find(_TIMED_HEAD, 1, _LONGEST_FRONT) + 3  # where the value of Sent-At would begin
    fields = _read_front(data[:at]) if at > 3 and data[at + 6 : at + 7] == b"\xff" else None
    payload, sent_at = data[at + 7 :], int.from_bytes(data[at : at + 6], "big")
    if fields is None or not payload or not _EARLIEST <= sent_at <= shape.LATEST_MILLISECOND:
        return None
    message = object.__new__(Message)  # not the constructor: all that it checks is proven
    known = message.__dict__
    known.update(fields)
    known["payload"], known["sent_at"], known["plain"], known["_encoded"] = payload, sent_at, True, data
    return message


# Every other message --------------------------------------------------------------------------------------------------
def _encode_general(message: Message) -> bytes:
    marked = b"\xff" + message.payload if message.payload else b""
    return b"".join((bytes((message.code,)), options.encode_options(_options_of(message)), marked))


def _decode_general(data: bytes) -> Message:
    if not data:
        raise Malformed("message: empty")
    listed, payload_at = options.decode_options(data, 1)
    return Message(data[0], payload=data[payload_at:], **_fields_of(listed))


def _check_code(code: object) -> None:
    value = shape.uint(code, "code", 0, 0xFF)
    if not (value <= CODE_IPATCH or value >> 5 in (2, 4, 5)):
        raise Malformed(f"code {code_text(value)}: neither empty, nor a request, nor a response")


def _check_segments(segments: object, what: str) -> None:
    for segment in shape.sequence(segments, what, 0, MAX_SEGMENTS):
        shape.tstr(segment, what, 0, 255)


def _instance(kind: type) -> Callable[[object], None]:
    def check(value: object) -> None:
        if not isinstance(value, kind):
            raise Malformed(f"a {kind.__name__} expected")

    return check


def _check_newest_session(value: object) -> None:
    if len(shape.bstr(value, "newest session", 0, 32)) not in (0, 32):
        raise Malformed("newest session: empty or 32 bytes expected")


_CHECKS: dict[str, Callable[[Any], object]] = {
    "content_format": lambda value: shape.uint(value, "Content-Format", 0, 0xFFFF),
    "sent_at": lambda value: shape.uint(value, "Sent-At", 0, shape.LATEST_MILLISECOND),
    "request_id": lambda value: shape.bstr(value, "Request-Id", 8),
    "max_silence": lambda value: shape.uint(value, "Max-Silence", 1),
    "receipt": _instance(Receipt),
    "freshness": _instance(Freshness),
    "first_identity": _instance(FirstIdentity),
    "start_signature": lambda value: shape.bstr(value, "Start-Signature", 64),
    "newest_session": _check_newest_session,
    "receive_kid": lambda value: shape.bstr(value, "Receive-Kid", 1, 8),
    "grant": lambda value: shape.bstr(value, "Grant", 1, MAX_GRANT_BYTES),
    "file_key": _instance(FileKey),
    "forked_session": lambda value: shape.bstr(value, "Forked-Session", 32),
    "void": lambda value: shape.ranges(value, "void", MAX_VOID_RANGES),
}
_checked_fields = attrgetter(*_CHECKS)
_NOT_PLAIN = [f for f in fields(Message) if f.name not in _PLAIN]
_beyond_plain = attrgetter(*(f.name for f in _NOT_PLAIN))
_NOTHING = tuple(f.default for f in _NOT_PLAIN)
_control_fields = attrgetter("receipt", "receive_kid", "start_signature", "newest_session", "forked_session")


@dataclass(frozen=True, slots=True)
class _Option:
    """How one field that occurs at most once travels."""

    number: int
    field: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _opaque(value: bytes) -> bytes:
    return value


def _uint_of(longest: int) -> Callable[[bytes], int]:
    return lambda value: options.decode_uint(value, longest)


_SINGLE = (  # ascending, all above Uri-Query
    _Option(options.SENT_AT, "sent_at", options.encode_uint, _uint_of(8)),
    _Option(options.REQUEST_ID, "request_id", _opaque, _opaque),
    _Option(options.MAX_SILENCE, "max_silence", options.encode_uint, _uint_of(4)),
    _Option(options.RECEIPT, "receipt", Receipt.encode, Receipt.decode),
    _Option(options.FRESHNESS, "freshness", Freshness.encode, Freshness.decode),
    _Option(options.FIRST_IDENTITY, "first_identity", FirstIdentity.encode, FirstIdentity.decode),
    _Option(options.START_SIGNATURE, "start_signature", _opaque, _opaque),
    _Option(options.NEWEST_SESSION, "newest_session", _opaque, _opaque),
    _Option(options.RECEIVE_KID, "receive_kid", _opaque, _opaque),
    _Option(options.VOID, "void", encode_void, decode_void),
    _Option(options.GRANT, "grant", _opaque, _opaque),
    _Option(options.FILE_KEY, "file_key", FileKey.encode, FileKey.decode),
    _Option(options.FORKED_SESSION, "forked_session", _opaque, _opaque),
)
_single_fields = attrgetter(*(option.field for option in _SINGLE))
_CONTENT_FORMAT = _Option(options.CONTENT_FORMAT, "content_format", options.encode_uint, _uint_of(2))
_BY_NUMBER = {option.number: option for option in (*_SINGLE, _CONTENT_FORMAT)}
_SEGMENTS = {options.URI_PATH: "path", options.URI_QUERY: "query"}


def _options_of(message: Message) -> Iterator[tuple[int, bytes]]:
    yield from ((options.URI_PATH, segment.encode()) for segment in message.path)
    if message.content_format is not None:
        yield options.CONTENT_FORMAT, options.encode_uint(message.content_format)
    yield from ((options.URI_QUERY, segment.encode()) for segment in message.query)
    for option, value in zip(_SINGLE, _single_fields(message), strict=True):
        if value is not None and value != ():
            yield option.number, option.encode(value)


def _fields_of(listed: list[tuple[int, bytes]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for number, values in options.grouped(listed):
        if number in _SEGMENTS:
            fields[_SEGMENTS[number]] = tuple(map(_text, values))
        elif number in _BY_NUMBER:
            option = _BY_NUMBER[number]
            fields[option.field] = option.decode(_only(number, values))
        elif number & 1:  # RFC 7252 §5.4.1: critical
            raise Malformed(f"unknown critical option {number}")
    return fields


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Malformed("option: not valid UTF-8") from error


def _only(number: int, values: list[bytes]) -> bytes:
    if len(values) > 1:  # RFC 7252 §5.4.5
        raise Malformed(f"option {number} more than once")
    return values[0]
