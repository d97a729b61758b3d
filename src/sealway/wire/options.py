# SPDX-License-Identifier: Apache-2.0
"""CoAP options as they are serialised inside a message (RFC 7252 §3.1): numbers, and the codec of the option list.

Sealway's own options stand in the experimental range 65000 to 65535 (RFC 7252 §12.2). An odd number is critical: who
does not know it refuses the message (§5.4.1). A delta or a length has exactly one encoding in CoAP: the extended forms
begin at 13 and at 269, where the shorter ones end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sealway.errors import Malformed, TooLarge

URI_PATH, CONTENT_FORMAT, URI_QUERY = 11, 12, 15
SENT_AT = 65000
REQUEST_ID = 65001
MAX_SILENCE = 65002
RECEIPT = 65003
FRESHNESS = 65005
FIRST_IDENTITY = 65007
START_SIGNATURE = 65009
NEWEST_SESSION = 65011
RECEIVE_KID = 65013
VOID = 65015
GRANT = 65017
FILE_KEY = 65019
FORKED_SESSION = 65021
RESERVED = range(65023, 65040)  # for later versions; see spec/labels.md

MAX_OPTIONS = 128
PAYLOAD_MARKER = 0xFF
_MAX_NUMBER = 65535
_MAX_LENGTH = 65804  # 269 + 65535, the longest value that an option can have


def encode_options(options: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the serialised list; ``options`` must be in ascending order of number."""
    parts, last = [], 0
    for number, value in options:
        delta, more_delta = _nibble(number - last)
        length, more_length = _nibble(len(value))
        parts += [bytes((delta << 4 | length,)), more_delta, more_length, value]
        last = number
    return b"".join(parts)


def decode_options(data: bytes, at: int) -> tuple[list[tuple[int, bytes]], int]:
    """Read the list that begins at ``data[at]``.

    Returns the options in order and the offset where the payload begins. Raises Malformed; TooLarge above 128 options.
    """
    options: list[tuple[int, bytes]] = []
    number = 0
    while at < len(data):
        if data[at] == PAYLOAD_MARKER:
            if at + 1 == len(data):  # RFC 7252 §3: a marker followed by a zero-length payload is a format error
                raise Malformed("payload marker without a payload")
            return options, at + 1
        delta, length, at = _read_head(data, at)
        number += delta
        if number > _MAX_NUMBER or at + length > len(data):
            raise Malformed("option beyond the numbers or beyond the message")
        options.append((number, data[at : at + length]))
        if len(options) > MAX_OPTIONS:
            raise TooLarge(f"more than {MAX_OPTIONS} options")
        at += length
    return options, at


def encode_uint(value: int) -> bytes:
    """Return CoAP's uint (RFC 7252 §3.2): big-endian, no leading zero byte, zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode_uint(value: bytes, longest: int) -> int:
    """Read CoAP's uint of at most ``longest`` bytes. Leading zero bytes are refused. Raises Malformed."""
    if len(value) > longest or value[:1] == b"\x00":
        raise Malformed(f"option: an unsigned integer of at most {longest} bytes without leading zeros expected")
    return int.from_bytes(value, "big")


def grouped(options: list[tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield each option number once, with all its values in order."""
    values: dict[int, list[bytes]] = {}
    for number, value in options:
        values.setdefault(number, []).append(value)
    yield from values.items()


def _nibble(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    if value > _MAX_LENGTH:
        raise TooLarge(f"option of {value} bytes")
    return 14, (value - 269).to_bytes(2, "big")


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    delta, length, at = data[at] >> 4, data[at] & 0x0F, at + 1
    if delta >= 13:
        delta, at = _extended(data, at, delta)
    if length >= 13:
        length, at = _extended(data, at, length)
    return delta, length, at


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    if nibble == 15:  # reserved (RFC 7252 §3.1)
        raise Malformed("option: reserved delta or length 15")
    size = nibble - 12
    more = data[at : at + size]
    if len(more) < size:
        raise Malformed("option: cut short")
    return int.from_bytes(more, "big") + (13 if nibble == 13 else 269), at + size
