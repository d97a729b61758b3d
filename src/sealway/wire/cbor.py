# SPDX-License-Identifier: Apache-2.0
"""Deterministic CBOR (RFC 8949 §4.2.1), strict in both directions.

Invariant: ``decode(b)`` returns v only if ``encode(v) == b``; so every accepted value has exactly one encoding, and
what a signature or a tag covers is what the parser saw.

Values are: int within the 64 bits of CBOR, bytes, str, list (or tuple when encoding), dict with int, bytes or str keys,
bool and None. Floats, undefined, other simple values and all tags are refused; the few tags of Sealway stand at the
very front, where ``decode_tagged`` strips them. cbor2 does the reading; the rules over it are here, because cbor2
accepts trailing bytes, longer integers than needed and unsorted maps, and its ``canonical=True`` is the older order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cbor2

from sealway.errors import Malformed, TooLarge

MAX_DEPTH = 8
MAX_ITEMS = 16_384  # heads in all, whatever the depth; a byte string is one item, however long
_LOWEST, _HIGHEST = -(1 << 64), (1 << 64) - 1

# Tags that cbor2 would turn into something else by itself: dates, bignums, fractions, regular expressions, shared
# references (cycles), string references, MIME messages, sets, addresses, self-described CBOR. Others reach tag_hook.
_BUILT_IN_TAGS = (*range(6), 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def encode(value: Any) -> bytes:
    """Return the deterministic encoding. Raises Malformed for a value that has none (see the module's list)."""
    return _dumped(value, MAX_DEPTH)


def decode(data: bytes, *, limit: int, depth: int = MAX_DEPTH) -> Any:
    """Return the value of one strictly encoded item that fills ``data``.

    Args:
        data: untrusted bytes.
        limit: most bytes accepted; more raise TooLarge before anything is read.
        depth: deepest nesting of arrays and maps, at most 8.

    Raises Malformed for everything that ``encode`` would not have written, byte for byte.
    """
    if len(data) > limit:
        raise TooLarge(f"CBOR item of {len(data)} bytes, at most {limit} allowed")
    if len(data) > MAX_ITEMS:  # an item has at least one byte
        _check_count(data)
    value = _loaded(data)
    if _dumped(value, depth) != data:  # trailing bytes, longer heads, unsorted maps
        raise Malformed("CBOR is not in its deterministic encoding (RFC 8949 §4.2.1)")
    return value


def encode_tagged(tag: int, value: Any) -> bytes:
    """Return the encoding of ``value`` under one outermost tag (0 to 255)."""
    return _tag_head(tag) + encode(value)


def decode_tagged(tag: int, data: bytes, *, limit: int, depth: int = MAX_DEPTH) -> Any:
    """Return the value under exactly this outermost tag; otherwise as ``decode``."""
    if len(data) > limit:
        raise TooLarge(f"CBOR item of {len(data)} bytes, at most {limit} allowed")
    head = _tag_head(tag)
    if not data.startswith(head):
        raise Malformed(f"CBOR tag {tag} expected")
    return decode(data[len(head) :], limit=limit, depth=depth)


def bstr_head(length: int) -> bytes:
    """Return the shortest head of a byte string of ``length`` bytes (RFC 8949 §3)."""
    if length < 0x100:
        return _SHORT_HEADS[length]
    if length < 0x10000:
        return b"\x59" + length.to_bytes(2, "big")
    return b"\x5a" + length.to_bytes(4, "big")


_SHORT_HEADS = tuple(bytes((0x40 | n,)) if n < 24 else bytes((0x58, n)) for n in range(0x100))


def _dumped(value: Any, depth: int) -> bytes:
    try:
        return cbor2.dumps(_ordered(value, depth))
    except UnicodeEncodeError as error:
        raise Malformed("text is not valid UTF-8") from error


def _check_count(data: bytes) -> None:
    """Refuse an item of more than MAX_ITEMS items before objects are made of them. Walks over heads only."""
    at, pending = 0, 1
    for _ in range(MAX_ITEMS + 1):
        if pending == 0 or at >= len(data):
            return  # complete, or cut short: what is wrong with it will be found
        kind, short = data[at] >> 5, data[at] & 0x1F
        size = 1 << (short - 24) if 24 <= short < 28 else 0
        argument = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else short
        at += 1 + size + (argument if kind in (2, 3) else 0)
        pending += (argument if kind == 4 else 2 * argument if kind == 5 else kind == 6) - 1
    raise Malformed(f"more than {MAX_ITEMS} CBOR items in one")


def _loaded(data: bytes) -> Any:
    try:
        return cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSALS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except Exception as error:  # cbor2 raises many kinds on hostile input; they mean one thing
        raise Malformed("not well-formed CBOR within the allowed depth and types") from error


def _refuse_tag(*_: object) -> Any:
    raise Malformed("CBOR tag where none is allowed")


_REFUSALS = dict.fromkeys(_BUILT_IN_TAGS, _refuse_tag)


def _ordered(value: Any, depth: int) -> Any:
    """Return ``value`` with its maps in bytewise key order, having checked every type on the way."""
    kind = type(value)
    if kind is int:
        if not _LOWEST <= value <= _HIGHEST:
            raise Malformed("integer beyond 64 bits")
        return value
    if kind is bytes or kind is str or kind is bool or value is None:
        return value
    if depth == 0:
        raise Malformed("CBOR nested too deeply")
    if kind is list or kind is tuple:
        return [_ordered(item, depth - 1) for item in value]
    if kind is dict:
        return _ordered_map(value, depth - 1)
    raise Malformed(f"a {kind.__name__} has no place in Sealway's CBOR")


def _ordered_map(value: dict[Any, Any], depth: int) -> dict[Any, Any]:
    # RFC 8949 §4.2.1: bytewise lexicographic order of the encoded keys.
    return {key: _ordered(value[key], depth) for key in sorted(value, key=_encoded_key)}


def _encoded_key(key: Any) -> bytes:
    if type(key) is int:
        return _encoded_label(key)
    if type(key) not in (bytes, str):
        raise Malformed("map key is neither an integer nor a string")
    return cbor2.dumps(key)


@lru_cache(256)  # Sealway's own maps have labels for keys, always the same
def _encoded_label(key: int) -> bytes:
    return cbor2.dumps(_ordered(key, 0))


def _tag_head(tag: int) -> bytes:
    return bytes((0xC0 | tag,)) if tag < 24 else bytes((0xD8, tag))
